//! Published checkpoints as run folders, and back.

use super::files::{CONFIG, WEIGHTS};
use super::image;
use super::names::{Report, Tensors};
use super::settings::Settings;
use super::{Checkpoint, PretrainedError, Scales, open, trajectory};
use crate::config::{RunConfig, VERSION};
use crate::run::{CONFIG_FILE, NamedTask, Run, RunError, TOKENIZERS_FILE, Weights};
use crate::tasks;
use crate::tasks::Builtin;
use crate::tasks::{TaskConfig, text::TextTaskConfig, text::TextUnit};
use crate::train::{MODEL_FILE, SaveError, Storage, TrainConfig, checkpoint};
use candle_core::Device;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What a run folder keeps of the checkpoint that it came from.
const PUBLISHED: &str = "published";
/// The names of its tensors.
const NAMES: &str = "tensors.json";
/// Those of them that the model does not read.
const UNREAD: &str = "unread.safetensors";
/// Files beside the weights that say how inputs are prepared and outputs read.
const FRONT_END: &[&str] = &[
    "1_Pooling/config.json",
    "added_tokens.json",
    "encoder.json",
    "generation_config.json",
    "merges.txt",
    "modules.json",
    "preprocessor_config.json",
    "sentence_bert_config.json",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.bpe",
    "vocab.json",
    "vocab.txt",
];

/// Reads a checkpoint and writes it as a run folder, its weights in this storage; with scales, those of its trajectories.
///
/// # Errors
/// [`PretrainedError`]; [`RunError::Exists`] where the folder holds a run already. Nothing is written before the
/// checkpoint is read whole.
pub fn import(
    path: &Path,
    run: &Path,
    storage: Storage,
    scales: Option<&Scales>,
) -> Result<Report, PretrainedError> {
    if run.join(CONFIG_FILE).exists() {
        return Err(RunError::Exists(run.into()).into());
    }
    let mut pretrained = open(path)?;
    if let Some(scales) = scales {
        let (TaskConfig::Trajectory(config), Builtin::Trajectory(task)) =
            (&pretrained.task_config, &pretrained.task)
        else {
            let problem = "scales are of trajectories; it is of another modality".into();
            return Err(PretrainedError::Read { path: path.into(), problem });
        };
        let scaled = trajectory::scaled(config, task, scales)?;
        (pretrained.task_config, pretrained.task) = (scaled.config, scaled.task);
    }
    let published = run.join(PUBLISHED);
    // What the settings name is what the run keeps, not what it was copied from.
    if let TaskConfig::Text(TextTaskConfig { vocabulary: TextUnit::File(location), .. }) =
        &mut pretrained.task_config
    {
        *location = published.display().to_string();
    }
    let saved = tasks::save(pretrained.task.as_task().as_ref()).map_err(tasks::TaskError::from)?;
    let name = pretrained.task_config.modality();
    let config = RunConfig {
        version: VERSION,
        train: TrainConfig::default(),
        model: pretrained.config.clone(),
        data: Some(pretrained.task_config.clone()),
        mix: BTreeMap::new(),
    };
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| SaveError::Write { path, source }
    };
    std::fs::create_dir_all(&published).map_err(failed(&published))?;
    keep_front_end(&pretrained.checkpoint, &published)?;
    write_json(&published.join(NAMES), &pretrained.checkpoint.tensors)?;
    checkpoint::save(&published.join(UNREAD), &pretrained.unread, &BTreeMap::new())?;
    let tensors = pretrained.model.params().tensors();
    checkpoint::save_as(&run.join(MODEL_FILE), &tensors, &BTreeMap::new(), storage)?;
    write_json(&run.join(TOKENIZERS_FILE), &BTreeMap::from([(name, saved)]))?;
    // The settings come last: a folder with them is a run.
    let toml = config.to_toml().map_err(RunError::from)?;
    checkpoint::write_atomically(&run.join(CONFIG_FILE), toml.as_bytes())?;
    Ok(pretrained.report)
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), PretrainedError> {
    let json = serde_json::to_vec_pretty(value)
        .map_err(|e| PretrainedError::Format { file: path.display().to_string(), problem: e.to_string() })?;
    Ok(checkpoint::write_atomically(path, &json)?)
}

/// Copies the settings and what lies beside them.
fn keep_front_end(checkpoint: &Checkpoint, to: &Path) -> Result<(), PretrainedError> {
    for name in FRONT_END.iter().chain([&CONFIG]) {
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

/// The checkpoint that a run came from, without its weights.
fn came_from(run: &Path) -> Result<Checkpoint, PretrainedError> {
    let folder = run.join(PUBLISHED);
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read(&path).map_err(|e| PretrainedError::Read {
            path,
            problem: format!("{e}; only what was imported can be exported"),
        })
    };
    let settings = Settings::parse(&folder.join(CONFIG).display().to_string(), &read(CONFIG)?)?;
    let tensors: BTreeSet<String> = serde_json::from_slice(&read(NAMES)?).map_err(|e| {
        PretrainedError::Format { file: folder.join(NAMES).display().to_string(), problem: e.to_string() }
    })?;
    Ok(Checkpoint { folder, settings, tensors })
}

/// The checkpoint in `folder`, its settings those that the run has now.
fn learned_since(
    mut before: Checkpoint,
    folder: &Path,
    tasks: &[NamedTask],
) -> Result<Checkpoint, PretrainedError> {
    for named in tasks {
        let Builtin::Image(task) = &named.task else { continue };
        let object =
            |name: &str, bytes: Vec<u8>| -> Result<serde_json::Map<String, Value>, PretrainedError> {
                Ok(Settings::parse(name, &bytes)?.values().clone())
            };
        let mut config = before.settings.values().clone();
        let file = before.file(image::PREPROCESSOR)?;
        let mut preprocessor = file.map(|bytes| object(image::PREPROCESSOR, bytes)).transpose()?;
        image::adapt(task, &mut config, preprocessor.as_mut());
        if !task.classes().is_empty() {
            before.tensors.extend(["classifier.weight".to_string(), "classifier.bias".to_string()]);
        }
        write_json(&folder.join(CONFIG), &config)?;
        if let Some(preprocessor) = preprocessor {
            write_json(&folder.join(image::PREPROCESSOR), &preprocessor)?;
        }
    }
    let path = folder.join(CONFIG);
    let json = std::fs::read(&path)
        .map_err(|e| PretrainedError::Read { path: path.clone(), problem: e.to_string() })?;
    let settings = Settings::parse(&path.display().to_string(), &json)?;
    Ok(Checkpoint { folder: folder.into(), settings, tensors: before.tensors })
}

/// Writes a run that was imported as the checkpoint that it came from: its layout, with the run's weights in this
/// storage.
///
/// # Errors
/// [`PretrainedError`], also where the run was never imported, or its shapes are no longer the checkpoint's.
pub fn export(run: &Path, to: &Path, storage: Storage) -> Result<Tensors, PretrainedError> {
    let (model, tasks) = Run::open(run)?.load(Weights::Best, &Device::Cpu)?;
    let checkpoint = came_from(run)?;
    std::fs::create_dir_all(to).map_err(|source| SaveError::Write { path: to.into(), source })?;
    keep_front_end(&checkpoint, to)?;
    let checkpoint = learned_since(checkpoint, to, &tasks)?;
    let description = checkpoint.describe()?;
    let (unread, _) = checkpoint::load(&run.join(PUBLISHED).join(UNREAD), &Device::Cpu)?;
    let tensors = description.names.export(&model.params().tensors(), &unread.into_iter().collect())?;
    // Python's library wants to know which framework the tensors are of.
    let metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
    checkpoint::save_published(&to.join(WEIGHTS), &tensors, &metadata, storage)?;
    Ok(tensors)
}
