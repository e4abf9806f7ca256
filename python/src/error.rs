//! smalti's errors as Python exceptions, with the same message.

use pyo3::prelude::*;
use pyo3::types::PyType;
use smalti::config::SettingsError;
use smalti::contract::{RegistryError, SpecError, TokenizeError};
use smalti::data::DataError;
use smalti::inference::{PredictError, SamplingError};
use smalti::model::ModelError;
use smalti::run::RunError;
use smalti::sample::OpenError;
use smalti::train::TrainError;
use std::fmt::Display;

/// An error of the library, which is either of a file (`OSError`) or of a value or a setting (`ValueError`).
pub trait Cause: Display {
    /// Whether a file or folder is the cause.
    fn is_file(&self) -> bool {
        false
    }
}

impl Cause for ModelError {}
impl Cause for RegistryError {}
impl Cause for SamplingError {}
impl Cause for SpecError {}
impl Cause for TokenizeError {}
impl Cause for TrainError {}

impl Cause for DataError {
    fn is_file(&self) -> bool {
        matches!(
            self,
            DataError::Io { .. }
                | DataError::Missing { .. }
                | DataError::Empty { .. }
                | DataError::IsFolder { .. }
                | DataError::IsFile { .. }
                | DataError::Checksum { .. }
                | DataError::Download { .. }
        )
    }
}

impl Cause for OpenError {
    fn is_file(&self) -> bool {
        matches!(self, OpenError::Data(error) if error.is_file())
    }
}

impl Cause for PredictError {
    fn is_file(&self) -> bool {
        matches!(self, PredictError::Data(error) if error.is_file())
    }
}

impl Cause for RunError {
    fn is_file(&self) -> bool {
        match self {
            RunError::NoRun { .. } | RunError::NoWeights { .. } | RunError::Save(_) => true,
            RunError::Settings(error) => error.is_file(),
            RunError::Task(error) => error.is_file(),
            _ => false,
        }
    }
}

impl Cause for SettingsError {
    fn is_file(&self) -> bool {
        matches!(self, SettingsError::NoSuchPreset { .. })
    }
}

/// A message about an option of the program, `--top-p: …`, as one about Python's argument, `top_p: …`.
fn of_argument(message: String) -> String {
    match message.strip_prefix("--").and_then(|rest| rest.split_once(": ")) {
        Some((option, problem)) => format!("{}: {problem}", option.replace('-', "_")),
        None => message,
    }
}

/// The exception of an error.
pub fn raise(error: impl Cause) -> PyErr {
    exception(if error.is_file() { "FileError" } else { "InputError" }, of_argument(error.to_string()))
}

/// The exception of an unusable value.
pub fn input(message: impl Into<String>) -> PyErr {
    exception("InputError", message.into())
}

/// The exception of an unreadable file.
pub fn file(message: impl Into<String>) -> PyErr {
    exception("FileError", message.into())
}

fn exception(name: &str, message: String) -> PyErr {
    Python::attach(|py| {
        let class = py.import("smalti._errors").and_then(|errors| errors.getattr(name));
        match class.and_then(|class| Ok(class.cast_into::<PyType>()?)) {
            Ok(class) => PyErr::from_type(class, (message,)),
            Err(error) => error,
        }
    })
}
