//! From rows to samples: parts and their order, windows, targets. Plain data, no tensors.
//!
//! A task has named inputs and outputs, its parts ([`TaskSettings`]). Each input has a registered modality; each output has a
//! registered head. A [`Composition`] is a task fitted to its training rows: it tokenizes a row, or a window of its series,
//! into one document of tokens, with the targets of the heads.
//!
//! **Order of tokens.** Parts without time steps, in the order of `run.toml`; then the series, step by step, within a step in
//! the order of `run.toml`; then class tokens; then generated outputs.

mod aliases;
mod assemble;
mod builder;
mod compose;
mod composition;
mod decoding;
mod document;
mod fit;
mod open;
mod part;
mod plan;
mod rows;
mod rules;
mod samples;
pub mod settings;
mod spans;
mod values;
mod windows;

pub use aliases::aliased;
pub use compose::{GetField, Purpose};
pub use composition::{Composition, OutputPart, ReadSite};
pub use decoding::Decoding;
pub use open::Start;
pub use part::{Part, Role, SpecialIds};
pub use rows::Rows;
pub use samples::{BoxedGetField, Samples};
pub use settings::{DataSettings, InputSettings, KeepBest, OneOrMany, OutputSettings, Pool, TaskSettings};
pub use spans::{SpanCorruption, Spans};

use crate::data::{DataError, Dataset};
use crate::head::HeadError;
use smalti_contract::{RegistryError, TokenizeError};
use std::sync::Arc;

/// A task and its data.
#[derive(Clone)]
pub struct Opened {
    /// The task.
    pub task: Arc<Composition>,
    /// The training samples.
    pub train: Arc<dyn Dataset>,
    /// The validation samples.
    pub validation: Arc<dyn Dataset>,
    /// The rows of the training samples.
    pub train_rows: Arc<Samples>,
    /// The rows of the validation samples, for the comparison with generated values.
    pub validation_rows: Arc<Samples>,
}

/// Errors of opening a task.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The data cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// An invalid setting.
    #[error("{setting}: {problem}")]
    Setting {
        /// The setting: `inputs.camera.field`.
        setting: String,
        /// The expected and the actual value.
        problem: String,
    },
    /// An unknown modality, or settings or values that it cannot use.
    #[error("{}", with_keys(part, &format!("{part}: {problem}")))]
    Modality {
        /// The part: `inputs.camera`.
        part: String,
        /// The problem.
        problem: Box<RegistryError>,
    },
    /// An unknown head, or settings or values that it cannot use.
    #[error("outputs.{output}: {problem}")]
    Head {
        /// The output's name.
        output: String,
        /// The problem.
        problem: Box<HeadError>,
    },
    /// A run folder without the fitted state of a part.
    #[error(
        "{part}: the run has no saved state for this part; restore the settings that the run was trained with"
    )]
    Saved {
        /// The part or output.
        part: String,
    },
}

impl OpenError {
    /// The error in a task of a mix, whose settings are in the table `mix.TASK`.
    pub(crate) fn in_mix(self, task: &str) -> Self {
        let mix = |setting: String| format!("mix.{task}.{setting}");
        let in_mix = |problem: String| problem.replace("--set ", &format!("--set mix.{task}."));
        match self {
            Self::Data(DataError::Tokenize { location, problem }) => {
                Self::Data(DataError::Tokenize { location, problem: in_mix(problem) })
            }
            Self::Data(_) => self,
            Self::Setting { setting, problem } => {
                Self::Setting { setting: mix(setting), problem: in_mix(problem) }
            }
            Self::Modality { part, problem } => Self::Modality { part: mix(part), problem },
            Self::Saved { part } => Self::Saved { part: mix(part) },
            Self::Head { output, problem } => {
                Self::Setting { setting: mix(format!("outputs.{output}")), problem: problem.to_string() }
            }
        }
    }
}

/// A message about a part. A tokenizer names a setting to change as `: try KEY=VALUE`, which becomes a setting of the part.
fn with_keys(part: &str, message: &str) -> String {
    let mut pieces = message.split(TRY);
    let first = pieces.next().unwrap_or_default().to_string();
    pieces.fold(first, |message, piece| {
        let is_key = |key: &str| key.chars().all(|c| c.is_ascii_lowercase() || "_.".contains(c));
        match piece.split_once('=').is_some_and(|(key, _)| is_key(key)) {
            true => format!("{message}{TRY}--set {part}.{piece}"),
            false => format!("{message}{TRY}{piece}"),
        }
    })
}

/// The message of an error about a value of an output, with the settings to change.
pub(crate) fn of_output(output: &Part, error: &TokenizeError) -> String {
    with_keys(&format!("outputs.{}", output.name), &error.to_string())
}

/// The words before a setting to change.
const TRY: &str = ": try ";

/// An error with the name and the fields of its part.
fn named(table: &str, name: &str, fields: &[String], error: TokenizeError) -> TokenizeError {
    let field = match fields {
        [one] if one == name => String::new(),
        fields => format!(" (field {})", fields.join(", ")),
    };
    TokenizeError::Input(with_keys(&format!("{table}.{name}"), &format!("{table}.{name}{field}: {error}")))
}
