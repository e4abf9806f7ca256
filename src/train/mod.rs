//! Training: data, loss, gradient, optimizer step; with evaluation, checkpoints and exact resumption.

mod audit;
mod baseline;
pub mod checkpoint;
pub mod checksums;
mod config;
mod evaluate;
mod integers;
pub mod log;
pub(crate) mod memory;
mod observers;
mod optimizer;
mod prefetch;
pub mod ranks;
pub(crate) mod reference;
mod schedule;
pub(crate) mod synchronize;
mod target;
mod tensor_file;
mod trainer;
mod watch;
mod writer;

pub use crate::head::Metrics;
pub use crate::metrics::edits;
pub use audit::{Audit, audit};
pub use baseline::baseline;
pub use checkpoint::{SaveError, Storage, save};
pub use checksums::Checks;
pub use config::{Precision, TrainConfig, TrainConfigError};
pub use evaluate::{SAMPLES, Scores, evaluate, evaluate_predictions, is_count};
pub use log::{METRICS_FILE, MetricsLog};
pub use observers::Observers;
pub use optimizer::Optimizer;
use prefetch::Prefetcher;
pub use ranks::{Alone, Ranks, RanksError};
pub use reference::References;
pub use schedule::{FurtherTraining, ResumeSchedule};
pub(crate) use target::check_vacant;
pub use target::{check_folder, check_new_file, check_target, check_tensors_target};
pub use tensor_file::TensorFile;
#[cfg(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]
pub(crate) use tensor_file::not_finite;
pub use trainer::{
    End, MODEL_FILE, Observer, Outcome, RangePoint, RangeTest, RangeTestConfig, STATE_FILE, Silent,
    StepReport, TrainTask, Trainer, lanes,
};
pub(crate) use trainer::{PARAM, SAMPLE_COUNTS, SETTINGS};
pub use writer::{LOCK_FILE, Writer};

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
    /// An operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// The GPU is out of memory.
    #[error("the GPU is out of memory at a micro-batch of {tokens} tokens; {}", hints.join("; "))]
    OutOfMemory {
        /// Tokens of the largest micro-batch.
        tokens: usize,
        /// Settings that need less memory.
        hints: Vec<String>,
    },
    /// The model or a step does not fit into memory: the sizes, the memory at hand, and settings that need less.
    #[error("{0}")]
    Memory(String),
    /// A task has no training samples or no validation samples.
    #[error("task {task} has no samples")]
    NoSamples {
        /// The task's name.
        task: String,
    },
    /// All samples of an evaluation are corrupt.
    #[error("task {task}: all {samples} samples are corrupt; the last: {last}")]
    AllCorrupt {
        /// The task's name.
        task: String,
        /// The number of samples.
        samples: usize,
        /// The problem of the last sample.
        last: String,
    },
    /// A task or source of a mix gets no sample of a batch.
    #[error(
        "train.batch_size: expected a sample of each task and source in a batch; a batch of {batch} has none of task \
         {task}, or of a source of it: raise train.batch_size or its weight"
    )]
    NoShare {
        /// The task's name.
        task: String,
        /// Documents in a batch.
        batch: usize,
    },
    /// All outputs are representations, which have no target.
    #[error(
        "outputs: expected one that learns, such as classify, regress or generate; found head = \"represent\" alone, which has \
         no target: add [outputs.NAME] with a head and the field of its targets"
    )]
    NothingToLearn,
    /// No sample of an evaluation has a target that fits its tokens.
    #[error(
        "outputs {task}: none of {samples} samples has a target: expected rows with the field of an output (a table \
         without a header needs `columns`), and for CTC a slice for each label and one between repeated labels"
    )]
    NoTargets {
        /// The task's name.
        task: String,
        /// The number of samples.
        samples: usize,
    },
    /// Preference pairs that are not the same in every draw, so that the reference model's log-probabilities change too.
    #[error(
        "task {task}: expected preference pairs that are the same in every draw; remove `drop`, masking, augmentation, \
         `data.concat` or series from this task"
    )]
    VaryingPairs {
        /// The task's name.
        task: String,
    },
    /// A setting that does not apply to the tasks.
    #[error("train.{setting}: {problem}")]
    Unused {
        /// The setting.
        setting: &'static str,
        /// Why it does not apply.
        problem: &'static str,
    },
    /// The audit of the first step failed: a defect of the model, not of the data.
    #[error("after the first backward pass, {problem}: {}", smalti_contract::listed(names, ", "))]
    Gradient {
        /// The problem.
        problem: &'static str,
        /// The parameters that have it.
        names: Vec<String>,
    },
    /// The loss or the gradient is infinite or not a number.
    #[error(
        "the loss of step {step} is {loss} and its gradient norm {grad_norm}: lower train.learning_rate or \
         train.max_grad_norm; a checkpoint, if the run has one, is from before this step"
    )]
    Diverged {
        /// The step.
        step: u64,
        /// The loss.
        loss: f64,
        /// The gradient norm.
        grad_norm: f64,
    },
    /// The process group failed.
    #[error(transparent)]
    Ranks(#[from] RanksError),
    /// Another rank failed.
    #[error("rank {rank} failed: {problem}")]
    OtherRank {
        /// The rank.
        rank: usize,
        /// Its error.
        problem: String,
    },
    /// A saved state belongs to another run.
    #[error("the saved state does not match this run: {0}")]
    State(String),
}
