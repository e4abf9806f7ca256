//! Speed on standard loads: training, inference, tokenizers, the loader, and how cost grows; and whether operations on
//! a device compute what the CPU does.
//!
//! Models and samples have the sizes that the field's own code uses on a processor; what runs is the code that
//! `train`, `generate` and `classify` run.

mod growth;
mod inference;
#[cfg(feature = "image")]
mod loader;
mod loads;
mod machine;
mod ops;
mod standard;
mod tokenizers;
mod training;

pub use growth::{Growth, growth};
pub use inference::{Inference, inference};
#[cfg(feature = "image")]
pub use loader::{Loading, loading};
pub use loads::{GPU_LOADS, LOADS, Load};
pub use machine::{gpu_product_rate, peak_memory, product_rate, read_rate};
pub use ops::{Checked, operations};
#[cfg(feature = "image")]
pub use standard::standard_images;
pub use tokenizers::{Tokenizing, tokenizers};
pub use training::Measured;

use crate::data::DataError;
use crate::model::ModelError;
use crate::sample::OpenError;
use crate::train::TrainError;
use smalti_contract::TokenizeError;

/// Why a load could not be measured.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
#[non_exhaustive]
pub enum BenchError {
    /// The model.
    Model(#[from] ModelError),
    /// Training.
    Train(#[from] TrainError),
    /// Data.
    Data(#[from] DataError),
    /// A standard task cannot be opened.
    Open(#[from] OpenError),
    /// The settings of a standard task.
    Settings(#[from] serde_json::Error),
    /// A tokenizer.
    Tokenize(#[from] TokenizeError),
    /// The tensor library.
    Tensor(#[from] candle_core::Error),
    /// A file could not be written.
    Io(#[from] std::io::Error),
    /// Threads could not be started.
    Threads(#[from] rayon::ThreadPoolBuildError),
}

/// The middle of some seconds; not a number where there are none.
fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN)
}
