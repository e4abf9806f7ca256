//! Training: data to loss to gradient to step, with evaluation, checkpoints and an exact way to go on.

mod agree;
mod ahead;
mod audit;
mod baseline;
pub mod checkpoint;
mod config;
mod evaluate;
pub mod log;
mod optimizer;
pub mod ranks;
mod trainer;

pub use crate::head::Metrics;
pub use crate::metrics::edits;
use ahead::Ahead;
pub use audit::{Audit, audit};
pub use baseline::baseline;
pub use checkpoint::{SaveError, Storage, save};
pub use config::{Precision, TrainConfig, TrainConfigError};
pub use evaluate::{Scores, evaluate};
pub use log::{METRICS_FILE, MetricsLog};
pub use optimizer::Optimizer;
pub use ranks::{Alone, Ranks, RanksError};
pub(crate) use trainer::weights_of;
pub use trainer::{MODEL_FILE, Observer, Outcome, Part, STATE_FILE, Silent, StepReport, Trainer};

use crate::data::DataError;

/// Why training or evaluation stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// Settings that cannot work together.
    #[error(transparent)]
    Config(#[from] TrainConfigError),
    /// A sample cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A file cannot be written or read.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// The tensor library refused.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// A GPU's memory is full.
    #[error("the GPU's memory does not hold a step on {tokens} tokens at a time; {}", tries.join("; "))]
    Memory {
        /// Tokens of the largest micro-batch.
        tokens: usize,
        /// What takes less.
        tries: Vec<String>,
    },
    /// A task has nothing to learn from or to be measured on.
    #[error("task {task} has no samples")]
    NoSamples {
        /// The task's name.
        task: String,
    },
    /// Samples may be skipped, but not one can be used.
    #[error("task {task}: none of {samples} samples can be used; the last: {last}")]
    NoneUsable {
        /// The task's name.
        task: String,
        /// Samples that were tried.
        samples: usize,
        /// What is wrong with the last of them.
        last: String,
    },
    /// A mix has tasks that would never be drawn.
    #[error(
        "train.batch_size {batch} leaves task {task}, or a source of it, without a sample in a batch; raise the batch or \
         its weight"
    )]
    NoShare {
        /// The task's name.
        task: String,
        /// Documents in a batch.
        batch: usize,
    },
    /// Of all samples not one has a target that fits its tokens, so there is nothing to measure.
    #[error(
        "outputs {task}: none of {samples} samples has a target: expected rows that have the field of an output (a table \
         without a header needs `columns`), and for CTC a slice for each label and one between repeated ones"
    )]
    NothingFits {
        /// The task's name.
        task: String,
        /// Samples that were tried.
        samples: usize,
    },
    /// A setting that no task has a use for.
    #[error("train.{setting}: {problem}")]
    Unused {
        /// Which setting.
        setting: &'static str,
        /// Why it has no meaning here.
        problem: &'static str,
    },
    /// The audit of the first step failed: a defect of the model, not of the data.
    #[error("after one backward pass, {problem}: {}", names.join(", "))]
    Gradient {
        /// What is wrong with the gradients.
        problem: &'static str,
        /// Of these parameters.
        names: Vec<String>,
    },
    /// The loss or the gradient is infinite or not a number.
    #[error(
        "the loss of step {step} is {loss} and its gradient has a norm of {grad_norm}; the last checkpoint is from before. A lower train.learning_rate \
         or a train.max_grad_norm may help"
    )]
    Diverged {
        /// The step.
        step: u64,
        /// The loss.
        loss: f64,
        /// The gradient's norm.
        grad_norm: f64,
    },
    /// Processes that cannot train together.
    #[error(transparent)]
    Ranks(#[from] RanksError),
    /// Another rank has failed, so that this one cannot go on.
    #[error("rank {rank} has failed: {problem}")]
    Elsewhere {
        /// That rank.
        rank: usize,
        /// What it said.
        problem: String,
    },
    /// A saved state is of another run.
    #[error("the saved state does not fit: {0}")]
    State(String),
}
