//! Importing a checkpoint as a run folder.

use super::files;
use super::names::Report;
use super::task::ImportedTask;
use super::{Checkpoint, Options, Pretrained, PretrainedError, Scales, open_with, sentence, trajectory};
use crate::config::{CardSettings, RunConfig, VERSION};
use crate::model::{Model, Params};
use crate::ops::QuantizedType;
use crate::report::card::{self, Form};
use crate::run::{CONFIG_FILE, PUBLISHED_FOLDER, Run, RunError, TOKENIZERS_FILE};
use crate::sample::TaskSettings;
use crate::task::Task;
use crate::train::{
    MODEL_FILE, SETTINGS, SaveError, Storage, TrainConfig, check_vacant, checkpoint, checksums,
};
use candle_core::Device;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// The names of the settings that were ignored.
pub(super) const IGNORED: &str = "ignored_settings.json";
/// The names of the checkpoint's tensors.
pub(super) const NAMES: &str = "tensors.json";
/// The tensors that the model does not read.
pub(super) const UNREAD: &str = "unread.safetensors";

/// Import a checkpoint into a run folder, with weights in this storage. `scales` are for trajectory checkpoints.
///
/// # Errors
/// [`PretrainedError`] if the checkpoint cannot be read or the folder holds a run, before anything is written.
pub fn import(
    path: &Path,
    run: &Path,
    storage: Storage,
    scales: Option<&Scales>,
) -> Result<Report, PretrainedError> {
    import_ignoring(path, run, storage, scales, &[])
}

/// [`import`], with the settings named in `ignored` read as if they were in no file. The run keeps their names for its export.
///
/// # Errors
/// As of [`import`], and if no file has one of these settings.
pub fn import_ignoring(
    path: &Path,
    run: &Path,
    storage: Storage,
    scales: Option<&Scales>,
    ignored: &[String],
) -> Result<Report, PretrainedError> {
    import_with(path, run, storage, &Options { scales, ignored, ..Options::default() })
}

/// [`import`], with these choices.
///
/// # Errors
/// As of [`import_ignoring`], and if the checkpoint does not hold two models and one is chosen, or the other way round.
pub fn import_with(
    path: &Path,
    run: &Path,
    storage: Storage,
    options: &Options,
) -> Result<Report, PretrainedError> {
    check_new(run)?;
    whole(run, || import_new(path, run, storage, options))
}

fn import_new(
    path: &Path,
    run: &Path,
    storage: Storage,
    options: &Options,
) -> Result<Report, PretrainedError> {
    let Options { scales, ignored, .. } = *options;
    let mut pretrained = open_with(path, options)?;
    if let Some(scales) = scales {
        let ImportedTask { settings, task } = trajectory::scaled(&pretrained.checkpoint, scales)?;
        (pretrained.settings, pretrained.task) = (settings, task);
    }
    let published = run.join(PUBLISHED_FOLDER);
    let mut vocabularies = vocabularies(&mut pretrained.settings);
    let ids_as_text = vocabularies.iter().any(|vocabulary| vocabulary.get("numbers").is_some());
    // The settings name the run's copy of the vocabulary, not the checkpoint's.
    for location in vocabularies.iter_mut().filter_map(|vocabulary| vocabulary.get_mut("file")) {
        *location = published.display().to_string().into();
    }
    let learning_rate = 5e-5; // for fine-tuning: the default of transformers' TrainingArguments
    let saved = pretrained.task.saved();
    let TaskSettings { data, inputs, outputs } = pretrained.settings.clone();
    // hf:OWNER/NAME@REVISION
    let address = path.to_str().and_then(|path| path.strip_prefix("hf:"));
    let base_model = address.map(|address| address.split('@').next().unwrap_or(address).into());
    let config = RunConfig {
        version: VERSION,
        card: CardSettings { base_model, ..CardSettings::default() },
        train: TrainConfig {
            learning_rate,
            min_learning_rate: 0.1 * learning_rate,
            ..TrainConfig::default()
        },
        model: pretrained.config.clone(),
        data: Some(data),
        inputs,
        outputs,
        mix: BTreeMap::new(),
    };
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| SaveError::Write { path, source }
    };
    std::fs::create_dir_all(&published).map_err(failed(&published))?;
    keep_files(&pretrained.checkpoint, &published)?;
    write_json(&published.join(NAMES), &pretrained.checkpoint.tensors)?;
    if !ignored.is_empty() {
        write_json(&published.join(IGNORED), &ignored)?;
    }
    checkpoint::save(&published.join(UNREAD), &pretrained.unread, &BTreeMap::new())?;
    checksums::add_below(run, PUBLISHED_FOLDER)?;
    let tensors = pretrained.model.params().tensors();
    let toml = config.to_toml().map_err(RunError::from)?;
    // The settings as they are read again.
    let read = RunConfig::parse(CONFIG_FILE, &toml, &[]).map_err(RunError::from)?;
    let texts = BTreeMap::from([(SETTINGS.to_string(), read.computation().map_err(RunError::from)?)]);
    let rounded = rounded(&pretrained, options.quantized)?;
    checkpoint::save_rounded_in(run, MODEL_FILE, &tensors, &texts, storage, &rounded)?;
    let tokenizers = serde_json::to_vec(&BTreeMap::from([("", saved)]));
    let tokenizers = tokenizers.map_err(|e| unwritten(&run.join(TOKENIZERS_FILE), e))?;
    checksums::write(run, TOKENIZERS_FILE, &tokenizers)?;
    // Written last: a folder with settings is a run.
    checksums::write(run, CONFIG_FILE, toml.as_bytes())?;
    card::write(&Run::open(run)?, run, Form::Run)?;
    Ok(Report { ids_as_text, ignored: ignored.to_vec(), ..pretrained.report })
}

/// The parameters that an import rounds, by name, and their types.
fn rounded(
    pretrained: &Pretrained,
    dtype: Option<QuantizedType>,
) -> Result<BTreeMap<String, QuantizedType>, PretrainedError> {
    let Some(dtype) = dtype else { return Ok(BTreeMap::new()) };
    // Zeros take no memory until they are written to.
    let params = Params::blank(&Device::Cpu).quantized(dtype)?;
    let model = Model::with_params(&pretrained.config, &[pretrained.task.spec().clone()], params)?;
    Ok(model.params().quantized_types())
}

/// Fails unless the folder is missing or empty.
pub(super) fn check_new(folder: &Path) -> Result<(), PretrainedError> {
    match folder.join(CONFIG_FILE).exists() {
        true => Err(PretrainedError::Exists(folder.into())),
        false => Ok(check_vacant(folder, |_| false)?),
    }
}

/// Writes a folder; if that fails, a folder that was missing is removed.
pub(super) fn whole<T>(
    folder: &Path,
    write: impl FnOnce() -> Result<T, PretrainedError>,
) -> Result<T, PretrainedError> {
    let was_missing = !folder.exists();
    let written = write();
    if written.is_err() && was_missing {
        // The error of the write says more than one of the removal.
        let _ = std::fs::remove_dir_all(folder);
    }
    written
}

/// The vocabulary settings of text parts.
fn vocabularies(task: &mut TaskSettings) -> Vec<&mut Value> {
    let inputs = task.inputs.values_mut().map(|input| &mut input.settings);
    let outputs = task.outputs.values_mut().map(|output| &mut output.settings);
    inputs.chain(outputs).filter_map(|settings| settings.get_mut("vocabulary")).collect()
}

pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), PretrainedError> {
    let json = serde_json::to_vec_pretty(value).map_err(|e| unwritten(path, e))?;
    Ok(checkpoint::write_atomically(path, &json)?)
}

/// The error for a value that has no JSON.
fn unwritten(path: &Path, error: serde_json::Error) -> PretrainedError {
    PretrainedError::Format { file: path.display().to_string(), problem: error.to_string() }
}

/// Copy the files beside the weights, as they are.
pub(super) fn keep_files(checkpoint: &Checkpoint, to: &Path) -> Result<(), PretrainedError> {
    let of_sentences = sentence::settings_files(checkpoint)?;
    let mut names = files::beside_weights(&checkpoint.folder)?;
    names.extend(of_sentences.iter().cloned());
    // A new head takes the place of the modules after the transformer.
    let has_new_head = checkpoint.classifier.is_some() && !checkpoint.publishes_classifier();
    let replaced = |name: &String| has_new_head && of_sentences.contains(name);
    let is_own = |name: &String| [NAMES, IGNORED].contains(&name.as_str());
    for name in names.iter().filter(|name| !is_own(name) && !replaced(name)) {
        let Some(bytes) = checkpoint.file(name)? else { continue };
        let path = to.join(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|source| SaveError::Write { path: folder.into(), source })?;
        }
        checkpoint::write_atomically(&path, &bytes)?;
    }
    Ok(())
}
