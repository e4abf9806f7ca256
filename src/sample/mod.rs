//! From rows to samples: parts and their order, windows, targets. Plain data, no tensors.
//!
//! A task is named inputs and outputs ([`TaskSettings`]). Each input is of one registered modality; each output has a
//! registered head. A [`Composition`] is such a task fitted to its training rows: it tokenizes a row, or a window of its series,
//! into one document of tokens and the targets of its heads.
//!
//! **Order.** Parts without a clock come first, in the order of the file, then the series, step by step, within a step in the
//! order of the file, then the class tokens of outputs of the whole sample; generated outputs come last.

mod aliases;
mod builder;
mod compose;
mod composition;
mod decoding;
mod document;
mod open;
mod part;
mod plan;
mod rows;
mod rules;
mod samples;
pub mod settings;
mod values;
mod windows;

pub use aliases::aliased;
pub use compose::{Get, Purpose};
pub use composition::{Composition, OutputPart, Site};
pub use decoding::Decoding;
pub use open::Start;
pub use part::{Added, Part, Role};
pub use rows::Rows;
pub use samples::{Read, Samples};
pub use settings::{DataSettings, InputSettings, KeepBest, OneOrMany, OutputSettings, Pool, TaskSettings};

use crate::data::{DataError, Dataset};
use crate::head::HeadError;
use smalti_contract::{RegistryError, TokenizeError};
use std::sync::Arc;

/// A task and its data.
#[derive(Clone)]
pub struct Opened {
    /// The task.
    pub task: Arc<Composition>,
    /// What it learns from.
    pub train: Arc<dyn Dataset>,
    /// What it is measured on.
    pub validation: Arc<dyn Dataset>,
    /// The rows that train.
    pub train_rows: Arc<Samples>,
    /// The rows that validate: generated values are compared with them.
    pub validation_rows: Arc<Samples>,
}

/// Why a task cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The data cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A setting that cannot work.
    #[error("{setting}: {problem}")]
    Setting {
        /// Which setting: `inputs.camera.field`.
        setting: String,
        /// What is wrong, with the expected and the actual value.
        problem: String,
    },
    /// An unknown modality, or settings that it cannot have.
    #[error("{part}: {problem}")]
    Modality {
        /// The part: `inputs.camera`.
        part: String,
        /// What is wrong.
        problem: Box<RegistryError>,
    },
    /// An unknown head, or settings or values that it cannot have.
    #[error("outputs.{output}: {problem}")]
    Head {
        /// The output's name.
        output: String,
        /// What is wrong.
        problem: Box<HeadError>,
    },
    /// A run folder whose fitted state is not that of its settings.
    #[error("{part}: the run has no saved state of it; its settings were changed after it was made")]
    Saved {
        /// The part or output.
        part: String,
    },
}

/// The error of a part, with its name and its fields.
fn named(table: &str, name: &str, fields: &[String], error: TokenizeError) -> TokenizeError {
    let field = match fields {
        [one] if one == name => String::new(),
        fields => format!(" (field {})", fields.join(", ")),
    };
    TokenizeError::Input(format!("{table}.{name}{field}: {error}"))
}
