//! Errors of building a model.

use super::config::ConfigError;
use crate::data::of_task;
use crate::rules::RuleError;

/// Errors of building a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// Invalid settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A rule that does not fit its kinds.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// A task that does not fit the settings or the other tasks.
    #[error("{}{problem}", of_task(task))]
    Task {
        /// The task's name; empty for the only task of a run.
        task: String,
        /// The problem.
        problem: String,
    },
    /// A pattern of `train.freeze` that matches no parameter.
    #[error(
        "train.freeze: no parameter's name matches {pattern:?}; `smalti info RUN` lists parts, `*` stands for any letters"
    )]
    Frozen {
        /// The pattern.
        pattern: String,
    },
    /// A layer of your own that has no place in the model.
    #[error("{layer}: the model has none of this name")]
    Layer {
        /// The layer.
        layer: String,
    },
    /// An operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}
