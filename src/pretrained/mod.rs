//! Published checkpoints, in and out: their settings and names, translated.
//!
//! A kind is a file here: which settings of the one transformer stand for its `config.json`, and which of the
//! published tensors is which parameter. No kind has a model of its own. What a setting does not say, or what is said
//! that nothing here reads, is an error; so is a tensor that is missing, left over or of another shape.
//!
//! ```no_run
//! # use smalti::pretrained;
//! # use std::path::Path;
//! let pretrained = pretrained::open(Path::new("gpt2"))?;
//! println!("{} parameters", pretrained.report.numbers);
//! # Ok::<(), pretrained::PretrainedError>(())
//! ```

mod audio;
mod bert;
mod decision_transformer;
mod decoding;
mod files;
mod gpt2;
mod image;
mod llama;
mod names;
mod run;
mod settings;
mod t5;
mod task;
mod text;
mod trajectory;
mod vit;
mod whisper;

pub use names::{Report, Tensors};
pub use run::{export, import};
pub use trajectory::Scales;

use crate::data::DataError;
use crate::model::ModelConfig;
use crate::model::{Model, ModelError};
use crate::run::RunError;
use crate::sample::{Composition, OpenError, TaskSettings};
use crate::task::Task;
use crate::train::SaveError;
use candle_core::Device;
use names::NameMap;
use settings::Settings;
use smalti_contract::TokenizeError;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use task::ImportedTask;

/// Why a checkpoint cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PretrainedError {
    /// A file is missing or cannot be read.
    #[error("{}: {problem}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A file is not what it should be.
    #[error("{file}: {problem}")]
    Format {
        /// The file.
        file: String,
        /// What is wrong.
        problem: String,
    },
    /// A setting that this build cannot follow.
    #[error("{file}: {setting}: {problem}")]
    Setting {
        /// The file.
        file: String,
        /// The setting.
        setting: String,
        /// What is wrong, with the expected and the actual value.
        problem: String,
    },
    /// Tensors that are not those of the model.
    #[error("{file}: {problems}")]
    Tensors {
        /// The file.
        file: String,
        /// Each of them.
        problems: String,
    },
    /// A log of episodes.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A vocabulary, or what else a tokenizer is made of.
    #[error(transparent)]
    Tokenizer(#[from] TokenizeError),
    /// A task.
    #[error(transparent)]
    Task(Box<OpenError>),
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A run folder.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A file cannot be written.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// The tensor library refused.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl From<OpenError> for PretrainedError {
    fn from(error: OpenError) -> Self {
        PretrainedError::Task(Box::new(error))
    }
}

/// A published model, loaded.
pub struct Pretrained {
    /// The transformer's settings.
    pub config: ModelConfig,
    /// The settings of its task: built-in data, unless a user sets others.
    pub settings: TaskSettings,
    /// Its task.
    pub task: Arc<Composition>,
    /// The model, with its weights.
    pub model: Model,
    /// What became of the checkpoint's tensors.
    pub report: Report,
    /// Tensors that the model does not read, for export.
    unread: Tensors,
    checkpoint: Checkpoint,
}

/// A checkpoint's settings and the names of its tensors: all that is needed to say what it is.
struct Checkpoint {
    folder: PathBuf,
    settings: Settings,
    tensors: BTreeSet<String>,
    /// What a run calls its output of classes, if not `class`: of a trunk that has learned some, it is `embedding`.
    classes: Option<String>,
}

/// A checkpoint in this project's terms.
struct Description {
    model: ModelConfig,
    task: ImportedTask,
    names: NameMap,
}

impl Checkpoint {
    /// What sort of model it is.
    fn kind(&self) -> &str {
        self.settings.values().get("model_type").and_then(|kind| kind.as_str()).unwrap_or_default()
    }

    /// Whether there is a tensor of this name.
    fn has(&self, name: &str) -> bool {
        self.tensors.contains(name)
    }

    /// `prefix`, where names begin with it: a checkpoint of the bare trunk has none.
    fn prefix(&self, prefix: &str) -> String {
        let there = self.tensors.iter().any(|name| name.starts_with(prefix));
        if there { prefix.into() } else { String::new() }
    }

    /// A file beside the weights, where there is one.
    fn file(&self, name: &str) -> Result<Option<Vec<u8>>, PretrainedError> {
        let path = self.folder.join(name);
        if !path.is_file() {
            return Ok(None);
        }
        std::fs::read(&path).map(Some).map_err(|e| PretrainedError::Read { path, problem: e.to_string() })
    }

    fn refuse(&self, setting: &str, problem: impl ToString) -> PretrainedError {
        self.settings.refuse(setting, problem.to_string())
    }

    fn describe(&self) -> Result<Description, PretrainedError> {
        let description = match self.kind() {
            "gpt2" => gpt2::describe(self),
            "bert" => bert::describe(self),
            "t5" => t5::describe(self),
            "llama" | "mistral" => llama::describe(self),
            "vit" | "deit" | "dinov2" | "dinov2_with_registers" => vit::describe(self),
            "whisper" => whisper::describe(self),
            "decision_transformer" => decision_transformer::describe(self),
            other => Err(self.refuse("model_type", format!("{other:?} is none of {}", KINDS.join(", ")))),
        }?;
        self.settings.finish()?;
        Ok(description)
    }
}

/// The kinds of checkpoint that this build reads, by the name that they have in `config.json`.
pub const KINDS: &[&str] = &[
    "gpt2",
    "bert",
    "t5",
    "llama",
    "mistral",
    "vit",
    "deit",
    "dinov2",
    "dinov2_with_registers",
    "whisper",
    "decision_transformer",
];

/// Reads a checkpoint: a folder with `config.json` and weights (`model.safetensors`, in one file or in several with their
/// index; or `pytorch_model.bin`), or a safetensors file with `config.json` beside it.
///
/// # Errors
/// [`PretrainedError`], which names the file and what in it does not fit.
pub fn open(path: &Path) -> Result<Pretrained, PretrainedError> {
    let (checkpoint, tensors, file) = files::read(path)?;
    let Description { model: config, task: ImportedTask { settings, task }, names } =
        checkpoint.describe()?;
    let model = Model::new(&config, &[task.spec().clone()], 0, &Device::Cpu)?;
    let shapes: BTreeMap<String, Vec<usize>> =
        model.params().iter().map(|(name, var)| (name.to_string(), var.dims().to_vec())).collect();
    let (ours, unread, report) = names.import(&file, &tensors, &shapes)?;
    model.params().load(&ours.into_iter().collect())?;
    Ok(Pretrained { config, settings, task, model, report, unread, checkpoint })
}
