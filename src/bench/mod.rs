//! Speed on standard loads: training, inference, tokenizers, the loader, attention, and cost by length; and comparison of
//! the operations of a device with the CPU.
//!
//! Models and samples have the sizes of published code; the measured code is that of `train`, `generate` and `classify`.

mod attention;
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

pub use attention::{ATTENTION_LENGTHS, ATTENTION_RULES, AttentionCost, attention_cost};
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

/// A measurement failed.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
#[non_exhaustive]
pub enum BenchError {
    /// The model could not be created.
    Model(#[from] ModelError),
    /// Training failed.
    Train(#[from] TrainError),
    /// A sample could not be read.
    Data(#[from] DataError),
    /// A standard task cannot be opened.
    Open(#[from] OpenError),
    /// The settings of a standard task are invalid.
    Settings(#[from] serde_json::Error),
    /// A tokenizer failed.
    Tokenize(#[from] TokenizeError),
    /// An operation failed.
    Tensor(#[from] candle_core::Error),
    /// A file could not be written.
    Io(#[from] std::io::Error),
    /// Threads could not be started.
    Threads(#[from] rayon::ThreadPoolBuildError),
}

/// The median; NaN if there are no values.
fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN)
}
