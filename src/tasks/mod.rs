//! The built-in tasks: what each modality crate brings to a model. Only this module names modality crates.
//!
//! A task's settings ([`TaskConfig`]) open its data and fit its tokenizers, or restore it from a run folder.
//! A modality of your own needs nothing from here: implement [`Task`](crate::task::Task) and
//! [`Dataset`], as `examples/06_your_own_modality` does.

#[cfg(feature = "audio")]
pub mod audio;
#[cfg(any(feature = "text", feature = "image"))]
mod embed;
#[cfg(any(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]
mod holdout;
#[cfg(feature = "image")]
pub mod image;
mod more;
mod saved;
mod standard;
#[cfg(feature = "text")]
pub mod text;
#[cfg(feature = "trajectory")]
pub mod trajectory;

pub use crate::modalities;
pub use crate::task::{SavedTask, SavedTokenizer};
#[cfg(any(feature = "text", feature = "image"))]
pub use embed::{Embedding, Pooling};
pub use more::More;
pub use saved::save;
#[cfg(feature = "image")]
pub use standard::standard_pictures;
pub use standard::{StandardInput, standard_inputs};

use crate::data::{DataError, Dataset};
use crate::sample::{Composition, OpenError};
use crate::task::Task;
use serde::{Deserialize, Serialize};
use smalti_contract::{RegistryError, TokenizeError};
use std::sync::Arc;

/// A task's data and settings: `[data]` in `run.toml`, told apart by `modality`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "modality", rename_all = "snake_case")]
pub enum TaskConfig {
    /// Text: the next character, or the masked one.
    #[cfg(feature = "text")]
    Text(text::TextTaskConfig),
    /// Images: which class.
    #[cfg(feature = "image")]
    Image(image::ImageTaskConfig),
    /// Audio: which text.
    #[cfg(feature = "audio")]
    Audio(audio::AudioTaskConfig),
    /// Trajectories: which action.
    #[cfg(feature = "trajectory")]
    Trajectory(trajectory::TrajectoryTaskConfig),
}

/// A built-in task.
#[derive(Clone)]
pub enum Builtin {
    /// Text.
    #[cfg(feature = "text")]
    Text(Arc<text::TextTask>),
    /// Images.
    #[cfg(feature = "image")]
    Image(Arc<image::ImageTask>),
    /// Audio.
    #[cfg(feature = "audio")]
    Audio(Arc<audio::AudioTask>),
    /// Trajectories.
    #[cfg(feature = "trajectory")]
    Trajectory(Arc<trajectory::TrajectoryTask>),
    /// Inputs and outputs of any modality.
    Parts(Arc<Composition>),
}

/// The training and validation data of a task.
#[derive(Clone)]
pub struct Splits {
    /// What it learns from.
    pub train: Arc<dyn Dataset>,
    /// What it is measured on.
    pub valid: Arc<dyn Dataset>,
}

/// Why a task cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// The data cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A task of inputs and outputs.
    #[error(transparent)]
    Parts(Box<OpenError>),
    /// A tokenizer refused its settings.
    #[error(transparent)]
    Tokenizer(#[from] TokenizeError),
    /// The registry refused.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A setting that cannot work.
    #[error("data.{setting}: {problem}")]
    Setting {
        /// Which setting.
        setting: &'static str,
        /// What is wrong, with the expected and the actual value.
        problem: String,
    },
    /// What to generate cannot be generated.
    #[error("--{option}: {problem}")]
    Generate {
        /// Which of the prompt and the settings of sampling, as `smalti generate` names it.
        option: &'static str,
        /// What is wrong, with the expected and the actual value.
        problem: String,
    },
    /// An environment that cannot be played.
    #[error("--env {name}: {problem}")]
    Environment {
        /// Its name.
        name: String,
        /// What is wrong, with the expected and the actual value.
        problem: String,
    },
    /// A run folder whose tokenizers are not those of its settings.
    #[error("task {task}: its saved tokenizers {problem}")]
    Saved {
        /// The task's name.
        task: String,
        /// What is wrong.
        problem: String,
    },
    /// The tensor library refused.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl From<OpenError> for TaskError {
    fn from(error: OpenError) -> Self {
        TaskError::Parts(Box::new(error))
    }
}

impl TaskConfig {
    /// The modality's name.
    pub fn modality(&self) -> &'static str {
        match *self {
            #[cfg(feature = "text")]
            TaskConfig::Text(_) => "text",
            #[cfg(feature = "image")]
            TaskConfig::Image(_) => "image",
            #[cfg(feature = "audio")]
            TaskConfig::Audio(_) => "audio",
            #[cfg(feature = "trajectory")]
            TaskConfig::Trajectory(_) => "trajectory",
        }
    }

    /// The settings that every task has: where its data are, what more there are, where samples are kept.
    fn shared_settings(&mut self) -> (&mut String, &mut Vec<More>, Option<&mut Option<String>>) {
        match *self {
            #[cfg(feature = "text")]
            TaskConfig::Text(ref mut config) => (&mut config.path, &mut config.more, None),
            #[cfg(feature = "image")]
            TaskConfig::Image(ref mut config) => {
                (&mut config.path, &mut config.more, Some(&mut config.cache))
            }
            #[cfg(feature = "audio")]
            TaskConfig::Audio(ref mut config) => {
                (&mut config.path, &mut config.more, Some(&mut config.cache))
            }
            #[cfg(feature = "trajectory")]
            TaskConfig::Trajectory(ref mut config) => (&mut config.path, &mut config.more, None),
        }
    }

    /// Opens the data, fits the tokenizers to its training part, and gives the task and its data.
    ///
    /// # Errors
    /// [`TaskError`], which names the file or the setting.
    pub fn open(&self, name: &str, loss_weight: f64) -> Result<(Builtin, Splits), TaskError> {
        self.of_all_sources(name, loss_weight, None)
    }

    /// The task of a run with its data, its tokenizers as they were saved.
    ///
    /// # Errors
    /// [`TaskError`], which names the file or the setting.
    pub fn reopen(
        &self,
        name: &str,
        loss_weight: f64,
        saved: &SavedTask,
    ) -> Result<(Builtin, Splits), TaskError> {
        self.of_all_sources(name, loss_weight, Some(saved))
    }

    fn build(
        &self,
        _name: &str,
        _loss_weight: f64,
        _saved: Option<&SavedTask>,
    ) -> Result<(Builtin, Splits), TaskError> {
        match *self {
            #[cfg(feature = "text")]
            TaskConfig::Text(ref config) => {
                let (task, splits) = text::TextTask::open(_name, _loss_weight, config, _saved)?;
                Ok((Builtin::Text(task), splits))
            }
            #[cfg(feature = "image")]
            TaskConfig::Image(ref config) => {
                let (task, splits) = image::ImageTask::open(_name, _loss_weight, config, _saved)?;
                Ok((Builtin::Image(task), splits))
            }
            #[cfg(feature = "audio")]
            TaskConfig::Audio(ref config) => {
                let (task, splits) = audio::AudioTask::open(_name, _loss_weight, config, _saved)?;
                Ok((Builtin::Audio(task), splits))
            }
            #[cfg(feature = "trajectory")]
            TaskConfig::Trajectory(ref config) => {
                let (task, splits) = trajectory::TrajectoryTask::open(_name, _loss_weight, config, _saved)?;
                Ok((Builtin::Trajectory(task), splits))
            }
        }
    }

    /// The task of a run without its data, for prediction.
    ///
    /// # Errors
    /// [`TaskError`] where the saved tokenizers are not those of the settings.
    pub fn restore(&self, _name: &str, _loss_weight: f64, _saved: &SavedTask) -> Result<Builtin, TaskError> {
        match *self {
            #[cfg(feature = "text")]
            TaskConfig::Text(ref config) => {
                Ok(Builtin::Text(Arc::new(text::TextTask::restore(_name, _loss_weight, config, _saved)?)))
            }
            #[cfg(feature = "image")]
            TaskConfig::Image(ref config) => {
                Ok(Builtin::Image(Arc::new(image::ImageTask::restore(_name, _loss_weight, config, _saved)?)))
            }
            #[cfg(feature = "audio")]
            TaskConfig::Audio(ref config) => {
                Ok(Builtin::Audio(Arc::new(audio::AudioTask::restore(_name, _loss_weight, config, _saved)?)))
            }
            #[cfg(feature = "trajectory")]
            TaskConfig::Trajectory(ref config) => {
                let task = trajectory::TrajectoryTask::restore(_name, _loss_weight, config, _saved)?;
                Ok(Builtin::Trajectory(Arc::new(task)))
            }
        }
    }
}

impl Builtin {
    /// The task, as every task is seen by a trainer.
    pub fn as_task(&self) -> Arc<dyn Task> {
        match *self {
            #[cfg(feature = "text")]
            Builtin::Text(ref task) => task.clone(),
            #[cfg(feature = "image")]
            Builtin::Image(ref task) => task.clone(),
            #[cfg(feature = "audio")]
            Builtin::Audio(ref task) => task.clone(),
            #[cfg(feature = "trajectory")]
            Builtin::Trajectory(ref task) => task.clone(),
            Builtin::Parts(ref task) => task.clone(),
        }
    }
}
