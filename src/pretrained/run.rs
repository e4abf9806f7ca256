//! Importing a checkpoint as a run folder, and exporting it again.

use super::files::{CONFIG, WEIGHTS};
use super::image;
use super::names::{Report, Tensors};
use super::settings::Settings;
use super::task::ImportedTask;
use super::{
    Checkpoint, Description, Options, PretrainedError, Scales, Tower, open_with, preprocessor, sentence,
    trajectory,
};
use crate::config::{RunConfig, VERSION};
use crate::model::Model;
use crate::run::{CONFIG_FILE, NamedTask, PUBLISHED_FOLDER, Run, RunError, TOKENIZERS_FILE, Weights};
use crate::sample::{ReadSite, TaskSettings};
use crate::task::Task;
use crate::train::{MODEL_FILE, SaveError, Storage, TrainConfig, checkpoint};
use candle_core::{Device, Tensor};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The names of the settings that were ignored.
const IGNORED: &str = "ignored_settings.json";
/// The names of the checkpoint's tensors.
const NAMES: &str = "tensors.json";
/// The tensors that the model does not read.
const UNREAD: &str = "unread.safetensors";
/// Files beside the weights: settings of tokenizers, of the preparation of inputs and of decoding.
const FRONT_END: &[&str] = &[
    "added_tokens.json",
    "encoder.json",
    "generation_config.json",
    "merges.txt",
    preprocessor::FILE,
    preprocessor::PROCESSORS,
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.bpe",
    "vocab.json",
    "vocab.txt",
];

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
    import_with(path, run, storage, &Options { scales, ignored, tower: None })
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
    let Options { scales, ignored, .. } = *options;
    if run.join(CONFIG_FILE).exists() {
        return Err(PretrainedError::Exists(run.into()));
    }
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
    keep_front_end(&pretrained.checkpoint, &published)?;
    write_json(&published.join(NAMES), &pretrained.checkpoint.tensors)?;
    if !ignored.is_empty() {
        write_json(&published.join(IGNORED), &ignored)?;
    }
    checkpoint::save(&published.join(UNREAD), &pretrained.unread, &BTreeMap::new())?;
    let tensors = pretrained.model.params().tensors();
    checkpoint::save_as(&run.join(MODEL_FILE), &tensors, &BTreeMap::new(), storage)?;
    write_json(&run.join(TOKENIZERS_FILE), &BTreeMap::from([("", saved)]))?;
    // Written last: a folder with settings is a run.
    let toml = config.to_toml().map_err(RunError::from)?;
    checkpoint::write_atomically(&run.join(CONFIG_FILE), toml.as_bytes())?;
    Ok(Report { ids_as_text, ignored: ignored.to_vec(), ..pretrained.report })
}

/// The vocabulary settings of text parts.
fn vocabularies(task: &mut TaskSettings) -> Vec<&mut Value> {
    let inputs = task.inputs.values_mut().map(|input| &mut input.settings);
    let outputs = task.outputs.values_mut().map(|output| &mut output.settings);
    inputs.chain(outputs).filter_map(|settings| settings.get_mut("vocabulary")).collect()
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), PretrainedError> {
    let json = serde_json::to_vec_pretty(value)
        .map_err(|e| PretrainedError::Format { file: path.display().to_string(), problem: e.to_string() })?;
    Ok(checkpoint::write_atomically(path, &json)?)
}

/// Copy the settings and the [`FRONT_END`] files.
fn keep_front_end(checkpoint: &Checkpoint, to: &Path) -> Result<(), PretrainedError> {
    let of_sentences = sentence::settings_files(checkpoint)?;
    for name in FRONT_END.iter().copied().chain([CONFIG]).chain(of_sentences.iter().map(String::as_str)) {
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
        std::fs::read(&path).map_err(|e| PretrainedError::Read {
            path,
            problem: format!("{e}; only an imported run can be exported"),
        })
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

impl Checkpoint {
    /// Choose one of two models, if there are two.
    fn choose(&mut self, tower: Tower) {
        if self.kind() == "clip" {
            self.tower = Some(tower);
        }
    }
}

/// Check that a run's parameters have the shapes of the published checkpoint.
fn check_shapes(model: &Model, published: &Description, run: &Path) -> Result<(), PretrainedError> {
    let described = Model::new(&published.model, &[published.task.task.spec().clone()], 0, &Device::Cpu)?;
    let (here, there) = (model.params().tensors(), described.params().tensors());
    let differs =
        here.iter().find(|(name, tensor)| there.get(*name).is_none_or(|t| t.dims() != tensor.dims()));
    let problem = match (differs, there.keys().find(|name| !here.contains_key(*name))) {
        (Some((name, tensor)), _) => {
            format!(
                "{name}: expected {:?}, as in the published settings; found {:?}",
                there.get(name).map(Tensor::dims),
                tensor.dims()
            )
        }
        (None, Some(name)) => format!("{name} is missing"),
        (None, None) => return Ok(()),
    };
    let file = run.display().to_string();
    Err(PretrainedError::Tensors {
        file,
        problems: format!("the run no longer has the shapes of its checkpoint: {problem}"),
    })
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
        let task = &named.task;
        let Some(preparation) = image::preparation(task) else {
            published.choose(Tower::Text);
            if let Some((name, classes)) = image::predicted_classes(task) {
                image::set_classes(classes, &mut config);
                published.classes = Some(name.into());
            }
            continue;
        };
        published.choose(Tower::Image);
        let file = published.file(preprocessor::FILE)?;
        let parse = |bytes: Vec<u8>| Settings::parse(preprocessor::FILE, &bytes);
        let mut preprocessor = file.map(parse).transpose()?.map(|settings| settings.values().clone());
        let (name, classes) = image::predicted_classes(task).unzip();
        image::adapt(&preparation, classes.unwrap_or_default(), &mut config, preprocessor.as_mut());
        if let Some(name) = name {
            published.classes = Some(name.into());
            let site = task.outputs().iter().find(|output| output.name == name).map(|output| output.site);
            published.class_token_only = matches!(site, Some(ReadSite::ClassToken { .. }));
            if !matches!(site, Some(ReadSite::ClassTokenAndRegisters { .. })) {
                published.tensors.extend(["classifier.weight".to_string(), "classifier.bias".to_string()]);
            }
        }
        if let Some(preprocessor) = preprocessor {
            write_json(&folder.join(preprocessor::FILE), &preprocessor)?;
        }
    }
    write_json(&folder.join(CONFIG), &config)?;
    let path = folder.join(CONFIG);
    let json = std::fs::read(&path)
        .map_err(|e| PretrainedError::Read { path: path.clone(), problem: e.to_string() })?;
    let settings = Settings::parse(&path.display().to_string(), &json)?;
    let mut written = Checkpoint { folder: folder.into(), settings, ..published };
    written.settings = written.without_ignored(written.settings.clone());
    Ok(written)
}

/// Export an imported run in the layout of its checkpoint, with the run's weights in this storage.
///
/// # Errors
/// [`PretrainedError`], also if the run was not imported, or no longer has the shapes of its checkpoint.
pub fn export(run: &Path, to: &Path, storage: Storage) -> Result<Tensors, PretrainedError> {
    if to.join(CONFIG_FILE).exists() {
        return Err(PretrainedError::Exists(to.into()));
    }
    let (model, tasks) = Run::open(run)?.load(Weights::Best, &Device::Cpu)?;
    let checkpoint = imported_checkpoint(run)?;
    std::fs::create_dir_all(to).map_err(|source| SaveError::Write { path: to.into(), source })?;
    keep_front_end(&checkpoint, to)?;
    let checkpoint = update_settings(checkpoint, to, &tasks, storage)?;
    let description = checkpoint.describe()?;
    check_shapes(&model, &description, run)?;
    let (unread, _) = checkpoint::load(&run.join(PUBLISHED_FOLDER).join(UNREAD), &Device::Cpu)?;
    let tensors = description.names.export(&model.params().tensors(), &unread.into_iter().collect())?;
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
