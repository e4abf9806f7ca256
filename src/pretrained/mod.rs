//! Import and export of published checkpoints.
//!
//! Each file describes a kind of checkpoint: how its `config.json` maps to the settings of the one transformer, and its tensors
//! to parameters. No kind has a model of its own. A missing or unknown setting is an error, and so is a tensor that is missing,
//! unknown or of another shape.
//!
//! ```no_run
//! # use smalti::pretrained;
//! # use std::path::Path;
//! let pretrained = pretrained::open(Path::new("gpt2"))?;
//! println!("{} parameters", pretrained.report.numbers);
//! # Ok::<(), pretrained::PretrainedError>(())
//! ```

mod ast;
mod audio;
mod bert;
mod blocks;
mod classifier;
mod clip;
mod decision_transformer;
mod decoding;
mod distilbert;
mod encoder;
mod export;
mod files;
mod fits;
mod gemma;
mod generation;
mod gguf;
mod gpt2;
mod gpt_neox;
mod hub;
mod image;
mod interpolate;
mod llama;
mod modernbert;
mod names;
mod onnx;
mod opt;
mod phi;
mod pickle;
mod preprocessor;
mod qwen;
mod roberta;
mod rotary;
mod run;
mod sentence;
mod settings;
mod siglip;
mod t5;
mod task;
mod text;
mod tokenizer;
mod towers;
mod trained;
mod trajectory;
mod vit;
mod whisper;

pub use export::{ExportOptions, export, export_checked};
pub use gguf::export_gguf;
pub use names::{Report, Tensors};
pub use onnx::{OnnxReport, export_onnx};
pub use run::{import, import_ignoring, import_with};
pub use towers::Tower;
pub use trained::TrainedKind;
pub use trajectory::Scales;

use crate::data::DataError;
use crate::model::ModelConfig;
use crate::model::{Model, ModelError, Params};
use crate::ops::QuantizedType;
use crate::run::RunError;
use crate::sample::{Composition, OpenError, TaskSettings};
use crate::task::Task;
use crate::train::SaveError;
use candle_core::Device;
use classifier::Classifier;
use names::NameMap;
use settings::Settings;
use smalti_contract::TokenizeError;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
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
        /// The problem.
        problem: String,
    },
    /// A file has another format than expected.
    #[error("{file}: {problem}")]
    Format {
        /// The file.
        file: String,
        /// The problem.
        problem: String,
    },
    /// This build does not support a setting.
    #[error("{file}: {setting}: {problem}")]
    Setting {
        /// The file.
        file: String,
        /// The setting.
        setting: String,
        /// Expected and found.
        problem: String,
    },
    /// Tensors do not fit the model.
    #[error("{file}: {problems}")]
    Tensors {
        /// The file.
        file: String,
        /// The tensors, with expected and found.
        problems: String,
    },
    /// The folder of an import or export holds a run.
    #[error("{} holds a run already; expected a new folder: choose another --out", .0.display())]
    Exists(PathBuf),
    /// A log of episodes cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A tokenizer cannot be built.
    #[error(transparent)]
    Tokenizer(#[from] TokenizeError),
    /// A task cannot be built.
    #[error(transparent)]
    Task(Box<OpenError>),
    /// The model cannot be built.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A run folder cannot be read or written.
    #[error(transparent)]
    Run(Box<RunError>),
    /// A file cannot be written.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// An operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl From<OpenError> for PretrainedError {
    fn from(error: OpenError) -> Self {
        PretrainedError::Task(Box::new(error))
    }
}

impl From<RunError> for PretrainedError {
    fn from(error: RunError) -> Self {
        PretrainedError::Run(Box::new(error))
    }
}

/// A loaded checkpoint.
pub struct Pretrained {
    /// The transformer's settings.
    pub config: ModelConfig,
    /// The settings of its task; the data are built-in ones.
    pub settings: TaskSettings,
    /// Its task.
    pub task: Arc<Composition>,
    /// The model, with its weights.
    pub model: Model,
    /// Which of the checkpoint's tensors were loaded.
    pub report: Report,
    /// Tensors that the model does not read, for export.
    unread: Tensors,
    checkpoint: Checkpoint,
}

/// The choices of an import.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// The scales of a trajectory checkpoint.
    pub scales: Option<&'a Scales>,
    /// The settings that are read as if they were in no file.
    pub ignored: &'a [String],
    /// Which of the two models of a CLIP or SigLIP checkpoint is read.
    pub tower: Option<Tower>,
    /// Whether weights may be infinite or not numbers.
    pub allow_non_finite: bool,
    /// Whether weights may be integers, which are read as numbers in f32.
    pub allow_integers: bool,
    /// The type to which an import rounds the weights of linear maps, before it stores them.
    pub quantized: Option<QuantizedType>,
}

/// A checkpoint's settings and the names of its tensors.
#[derive(Clone)]
struct Checkpoint {
    folder: PathBuf,
    settings: Settings,
    tensors: BTreeSet<String>,
    /// The head of classes, labels or numbers of the run that is exported; `None` in an import. The run may have learned one
    /// that the checkpoint did not have.
    classifier: Option<Classifier>,
    /// Which of two models is read.
    tower: Option<Tower>,
    /// The settings of both models, if `settings` are those of one.
    both: Option<Settings>,
    /// The settings that are read as if they were not there.
    ignored: BTreeSet<String>,
    /// Those that are in a file.
    found: RefCell<BTreeSet<String>>,
}

/// A checkpoint as a model, a task and a map of names.
struct Description {
    model: ModelConfig,
    task: ImportedTask,
    names: NameMap,
}

impl Checkpoint {
    fn new(
        folder: PathBuf,
        settings: Settings,
        tensors: BTreeSet<String>,
        ignored: BTreeSet<String>,
    ) -> Self {
        Self {
            folder,
            settings,
            tensors,
            classifier: None,
            tower: None,
            both: None,
            ignored,
            found: RefCell::default(),
        }
    }

    /// The kind of model: `model_type`.
    fn kind(&self) -> &str {
        self.settings.values().get("model_type").and_then(|kind| kind.as_str()).unwrap_or_default()
    }

    /// Whether there is a tensor of this name.
    fn has(&self, name: &str) -> bool {
        self.tensors.contains(name)
    }

    /// `prefix` if names of tensors begin with it, or a head is added, else empty: a checkpoint without a head has no prefix.
    fn prefix(&self, prefix: &str) -> String {
        let has_prefix =
            self.is_below_head(prefix) || self.tensors.iter().any(|name| name.starts_with(prefix));
        if has_prefix { prefix.into() } else { String::new() }
    }

    /// A file beside the weights; `None` if there is none.
    fn file(&self, name: &str) -> Result<Option<Vec<u8>>, PretrainedError> {
        let path = self.folder.join(name);
        if !path.is_file() {
            return Ok(None);
        }
        std::fs::read(&path).map(Some).map_err(|e| PretrainedError::Read { path, problem: e.to_string() })
    }

    /// The settings of a JSON file beside the weights, without ignored ones; `None` if there is no such file.
    fn settings_of(&self, name: &str) -> Result<Option<Settings>, PretrainedError> {
        let Some(json) = self.file(name)? else { return Ok(None) };
        let settings = Settings::parse(&self.folder.join(name).display().to_string(), &json)?;
        Ok(Some(self.without_ignored(settings)))
    }

    /// Settings without ignored ones.
    fn without_ignored(&self, mut settings: Settings) -> Settings {
        self.found.borrow_mut().extend(settings.remove(&self.ignored));
        settings
    }

    fn refuse(&self, setting: &str, problem: impl ToString) -> PretrainedError {
        self.settings.refuse(setting, problem.to_string())
    }

    fn describe(&self) -> Result<Description, PretrainedError> {
        if self.tower.is_some() && !towers::KINDS.contains(&self.kind()) {
            let (known, found) = (towers::KINDS.join(" or "), self.kind());
            let problem = format!("expected a checkpoint of two models for --tower, {known}; found {found}");
            return Err(self.refuse("model_type", problem));
        }
        if !sentence::KINDS.contains(&self.kind()) {
            sentence::refuse(self)?;
        }
        let description =
            match self.kind() {
                "gpt2" => gpt2::describe(self),
                "bert" => bert::describe(self),
                "roberta" | "xlm-roberta" => roberta::describe(self),
                "distilbert" => distilbert::describe(self),
                "modernbert" => modernbert::describe(self),
                "t5" | "mt5" => t5::describe(self),
                "llama" | "mistral" => llama::describe(self),
                "qwen2" | "qwen3" => qwen::describe(self),
                "phi3" => phi::describe_third(self),
                "phi" => phi::describe(self),
                "gemma" | "gemma2" | "gemma3_text" => gemma::describe(self),
                "opt" => opt::describe(self),
                "gpt_neox" => gpt_neox::describe(self),
                "vit" | "deit" | "dinov2" | "dinov2_with_registers" => vit::describe(self),
                "clip" => clip::describe(self),
                "clip_vision_model" => clip::tower(self, Tower::Image),
                "clip_text_model" => clip::tower(self, Tower::Text),
                "siglip" => siglip::describe(self),
                "siglip_vision_model" => siglip::tower(self, Tower::Image),
                "siglip_text_model" => siglip::tower(self, Tower::Text),
                ast::KIND => ast::describe(self),
                "whisper" => whisper::describe(self),
                "decision_transformer" => decision_transformer::describe(self),
                other => Err(self
                    .refuse("model_type", format!("expected one of {}; found {other:?}", KINDS.join(", ")))),
            }?;
        self.settings.finish()?;
        if let Some(key) = self.ignored.difference(&self.found.borrow()).next() {
            return Err(
                self.refuse(key, "expected a setting of this file or of one beside it to ignore; found none")
            );
        }
        Ok(description)
    }
}

/// The kinds of checkpoint that this build reads, by their `model_type` in `config.json`.
pub const KINDS: &[&str] = &[
    "gpt2",
    "bert",
    "roberta",
    "xlm-roberta",
    "distilbert",
    "modernbert",
    "t5",
    "mt5",
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "phi3",
    "phi",
    "gemma",
    "gemma2",
    "gemma3_text",
    "opt",
    "gpt_neox",
    "vit",
    "deit",
    "dinov2",
    "dinov2_with_registers",
    "clip",
    "clip_vision_model",
    "clip_text_model",
    "siglip",
    "siglip_vision_model",
    "siglip_text_model",
    ast::KIND,
    "whisper",
    "decision_transformer",
];

/// Read a checkpoint: a safetensors file with `config.json` beside it, a folder with `config.json` and weights
/// (`model.safetensors` or `pytorch_model.bin`, in one file or in several with an index), or such a folder on the Hugging Face
/// Hub (`hf:OWNER/NAME` or `hf:OWNER/NAME@REVISION`), which is downloaded into its cache.
///
/// # Errors
/// [`PretrainedError`], with the file and the setting or tensor that does not fit.
pub fn open(path: &Path) -> Result<Pretrained, PretrainedError> {
    open_ignoring(path, &[])
}

/// [`open`], with the settings named in `ignored` read as if they were in no file.
///
/// # Errors
/// As of [`open`], and if no file has one of these settings.
pub fn open_ignoring(path: &Path, ignored: &[String]) -> Result<Pretrained, PretrainedError> {
    open_with(path, &Options { ignored, ..Options::default() })
}

/// [`open`] with these choices; scales are those of an import.
///
/// # Errors
/// As of [`open`], and if no file has one of the ignored settings, or the checkpoint does not hold two models.
pub fn open_with(path: &Path, options: &Options) -> Result<Pretrained, PretrainedError> {
    let (mut checkpoint, mut tensors, file) = files::read(path, options.ignored)?;
    checkpoint.tower = options.tower;
    tensors.extend(sentence::tensors(&checkpoint)?);
    checkpoint.tensors = tensors.keys().cloned().collect();
    let Description { model: config, task: ImportedTask { settings, task }, names } =
        checkpoint.describe()?;
    let tasks = [task.spec().clone()];
    // Shapes are compared before the model is built: a size in config.json is no reason to allocate.
    let outline = Model::outline(&config, &tasks)?;
    let tensors = names.check_numbers(&file, tensors, options)?;
    let (ours, unread, report) = names.import(&file, &tensors, outline.shapes())?;
    let model = Model::with_params(&config, &tasks, Params::blank(&Device::Cpu))?;
    model.params().load(&ours.into_iter().collect::<HashMap<_, _>>())?;
    Ok(Pretrained { config, settings, task, model, report, unread, checkpoint })
}
