//! Importing a checkpoint as a run folder, and exporting it again.

use super::classifier::{self, Classifier};
use super::files::{self, CONFIG, WEIGHTS};
use super::fits::Compared;
use super::image;
use super::names::{Report, Tensors};
use super::settings::Settings;
use super::task::ImportedTask;
use super::trained::{self, Trained};
use super::{
    Checkpoint, Options, PretrainedError, Scales, Tower, fits, open_with, sentence, towers, trajectory,
};
use crate::config::{RunConfig, VERSION};
use crate::registry::Modalities;
use crate::run::{CONFIG_FILE, NamedTask, PUBLISHED_FOLDER, Run, RunError, TOKENIZERS_FILE, Weights};
use crate::sample::TaskSettings;
use crate::train::{
    Checks, MODEL_FILE, SETTINGS, SaveError, Storage, TrainConfig, check_vacant, checkpoint, checksums,
};
use candle_core::Device;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The names of the settings that were ignored.
const IGNORED: &str = "ignored_settings.json";
/// The names of the checkpoint's tensors.
const NAMES: &str = "tensors.json";
/// The tensors that the model does not read.
const UNREAD: &str = "unread.safetensors";
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
    let config = RunConfig {
        version: VERSION,
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
    checkpoint::save_in(run, MODEL_FILE, &tensors, &texts, storage)?;
    let tokenizers = json_of(&run.join(TOKENIZERS_FILE), &BTreeMap::from([("", saved)]))?;
    checksums::write(run, TOKENIZERS_FILE, &tokenizers)?;
    // Written last: a folder with settings is a run.
    checksums::write(run, CONFIG_FILE, toml.as_bytes())?;
    Ok(Report { ids_as_text, ignored: ignored.to_vec(), ..pretrained.report })
}

/// Fails unless the folder is missing or empty.
fn check_new(folder: &Path) -> Result<(), PretrainedError> {
    match folder.join(CONFIG_FILE).exists() {
        true => Err(PretrainedError::Exists(folder.into())),
        false => Ok(check_vacant(folder, |_| false)?),
    }
}

/// Writes a folder; if that fails, a folder that was missing is removed.
fn whole<T>(folder: &Path, write: impl FnOnce() -> Result<T, PretrainedError>) -> Result<T, PretrainedError> {
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
    Ok(checkpoint::write_atomically(path, &json_of(path, value)?)?)
}

/// The content of the JSON file at `path`.
fn json_of(path: &Path, value: &impl Serialize) -> Result<Vec<u8>, PretrainedError> {
    serde_json::to_vec_pretty(value)
        .map_err(|e| PretrainedError::Format { file: path.display().to_string(), problem: e.to_string() })
}

/// Copy the files beside the weights, as they are.
fn keep_files(checkpoint: &Checkpoint, to: &Path) -> Result<(), PretrainedError> {
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

/// The checkpoint that a run was imported from, without its weights.
fn imported_checkpoint(run: &Path) -> Result<Checkpoint, PretrainedError> {
    let folder = run.join(PUBLISHED_FOLDER);
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read(&path).map_err(|e| PretrainedError::Read { path, problem: e.to_string() })
    };
    let names = |name: &str, json: Vec<u8>| -> Result<BTreeSet<String>, PretrainedError> {
        serde_json::from_slice(&json).map_err(|e| PretrainedError::Format {
            file: folder.join(name).display().to_string(),
            problem: e.to_string(),
        })
    };
    let settings = Settings::parse(&folder.join(CONFIG).display().to_string(), &read(CONFIG)?)?;
    let tensors = names(NAMES, read(NAMES)?)?;
    let ignored = match folder.join(IGNORED).is_file() {
        true => names(IGNORED, read(IGNORED)?)?,
        false => BTreeSet::new(),
    };
    Ok(Checkpoint::new(folder, settings, tensors, ignored))
}

/// The published tensors that the model does not read.
fn unread(run: &Path) -> Result<Tensors, PretrainedError> {
    let (unread, _) = checkpoint::load(&run.join(PUBLISHED_FOLDER).join(UNREAD), &Device::Cpu)?;
    Ok(unread.into_iter().collect())
}

impl Checkpoint {
    /// Choose one of two models, if there are two.
    fn choose(&mut self, tower: Tower) {
        if towers::KINDS.contains(&self.kind()) {
            self.tower = Some(tower);
        }
    }
}

/// Write the run's current settings to `folder`, as settings of the checkpoint.
fn update_settings(
    mut published: Checkpoint,
    folder: &Path,
    tasks: &[NamedTask],
    storage: Storage,
) -> Result<Checkpoint, PretrainedError> {
    let mut config = published.settings.values().clone();
    let stored = match storage {
        Storage::F32 => "float32",
        Storage::Bf16 => "bfloat16",
        Storage::F16 => "float16",
    };
    for key in
        ["dtype", "torch_dtype"].into_iter().filter(|key| published.settings.values().contains_key(*key))
    {
        config.insert(key.into(), stored.into());
    }
    for named in tasks {
        let image = image::preparation(&named.task);
        published.choose(if image.is_some() { Tower::Image } else { Tower::Text });
        if let Some(image) = image {
            image::state(&image, &published, &mut config, folder)?;
        }
    }
    if let Some(classifier) = &published.classifier {
        classifier.state(&published, &mut config)?;
    } else if published.publishes_classifier() {
        published.remove_classifier();
        config.insert("architectures".into(), json!([classifier::class_without_head(published.kind())]));
    }
    if config != *published.settings.values() {
        write_json(&folder.join(CONFIG), &config)?;
    }
    let path = folder.join(CONFIG);
    let json = std::fs::read(&path)
        .map_err(|e| PretrainedError::Read { path: path.clone(), problem: e.to_string() })?;
    let settings = Settings::parse(&path.display().to_string(), &json)?;
    let mut written = Checkpoint { folder: folder.into(), settings, ..published };
    written.settings = written.without_ignored(written.settings.clone());
    Ok(written)
}

/// Export an imported run in the layout of its checkpoint, or a run that was trained here in that of the kind that its settings
/// tell, with the run's weights in this storage.
///
/// # Errors
/// [`PretrainedError`], also if the run no longer has the shapes of its checkpoint, or has a setting that the kind does not have.
pub fn export(run: &Path, to: &Path, storage: Storage) -> Result<Tensors, PretrainedError> {
    export_checked(run, to, &ExportOptions { storage, ..ExportOptions::default() })
}

/// The choices of an export.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExportOptions<'a> {
    /// The type of the stored weights.
    pub storage: Storage,
    /// The kind of a run that was trained here, one of [`TRAINED_KINDS`](super::TRAINED_KINDS); by its settings if left out.
    pub kind: Option<&'a str>,
    /// The checks of the run's files.
    pub checks: Checks,
}

/// [`export`], with these choices.
///
/// # Errors
/// As of [`export`], and if the kind is not one of a trained run, or the run was imported and has one already.
pub fn export_checked(run: &Path, to: &Path, options: &ExportOptions) -> Result<Tensors, PretrainedError> {
    check_new(to)?;
    whole(to, || export_new(run, to, options))
}

fn export_new(run: &Path, to: &Path, options: &ExportOptions) -> Result<Tensors, PretrainedError> {
    let ExportOptions { storage, kind, checks } = *options;
    let opened = Run::open_checked(run, &Modalities::builtin(), checks)?;
    let (model, tasks) = opened.load(Weights::Best, &Device::Cpu)?;
    let trained = match trained::is_imported(run) {
        true => None,
        false => Some(Trained::new(run, &model, &tasks, kind)?),
    };
    if let (None, Some(kind)) = (&trained, kind) {
        let problem = format!(
            "expected none, as the run was imported and keeps the kind of its checkpoint; found {kind}"
        );
        return Err(trained::refused(run, "kind", problem));
    }
    std::fs::create_dir_all(to).map_err(|source| SaveError::Write { path: to.into(), source })?;
    if trained.is_none() && checks.checksums {
        checksums::check_below(run, PUBLISHED_FOLDER)?;
    }
    let mut checkpoint = match &trained {
        Some(trained) => trained.write(to)?,
        None => imported_checkpoint(run)?,
    };
    for named in &tasks {
        if let Some(classifier) = Classifier::of_run(&checkpoint, &named.task, &model)? {
            checkpoint.classifier = Some(classifier);
        }
    }
    let unread = match trained {
        Some(_) => Tensors::new(),
        None => {
            keep_files(&checkpoint, to)?;
            checkpoint.beside_classifier(unread(run)?)
        }
    };
    let checkpoint = update_settings(checkpoint, to, &tasks, storage)?;
    let description = checkpoint.describe()?;
    let renaming =
        trained.as_ref().map(|trained| trained.renaming(&description)).transpose()?.unwrap_or_default();
    let compared = Compared {
        model: &model,
        renaming: &renaming,
        run,
        of: trained.as_ref().map_or("its checkpoint", Trained::kind),
        settings_first: trained.is_some(),
    };
    fits::check(&compared, &description)?;
    let mut parameters = model.params().tensors();
    if let Some(classifier) = &checkpoint.classifier {
        classifier.denormalize(&mut parameters)?;
    }
    let renamed = parameters.into_iter().map(|(name, tensor)| (renaming.parameter(&name), tensor));
    let parameters: Tensors = renamed.collect();
    let tensors = description.names.export(&parameters, &unread)?;
    // transformers requires the framework of the tensors.
    let metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
    // Those of a module after the transformer, named FOLDER/NAME, are in a file of its own.
    let mut files: BTreeMap<&str, Tensors> = BTreeMap::from([("", Tensors::new())]);
    for (name, tensor) in &tensors {
        let (module, name) = name.split_once('/').unwrap_or(("", name));
        files.entry(module).or_default().insert(name.into(), tensor.clone());
    }
    for (module, tensors) in files {
        checkpoint::save_published(&to.join(module).join(WEIGHTS), &tensors, &metadata, storage)?;
    }
    Ok(tensors)
}
