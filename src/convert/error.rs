//! Errors of a conversion.

use crate::data::DataError;
use crate::train::SaveError;
use std::path::{Path, PathBuf};

/// Why a table is not converted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// The table cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A file cannot be written.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// A setting that is out of range, or that fits no field.
    #[error("{setting}: {problem}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// Expected and found.
        problem: String,
    },
    /// A field that the format cannot hold.
    #[error("field {field:?}: {problem}")]
    Field {
        /// The field.
        field: String,
        /// Expected and found, and what to do.
        problem: String,
    },
    /// The folder or file cannot take the conversion.
    #[error("{}: {problem}", path.display())]
    Destination {
        /// The folder or file.
        path: PathBuf,
        /// Expected and found, and what to do.
        problem: String,
    },
}

impl ConvertError {
    pub(super) fn setting(setting: &'static str, problem: impl ToString) -> Self {
        Self::Setting { setting, problem: problem.to_string() }
    }

    pub(super) fn field(field: &str, problem: impl Into<String>) -> Self {
        Self::Field { field: field.into(), problem: problem.into() }
    }

    pub(super) fn destination(path: &Path, problem: impl ToString) -> Self {
        Self::Destination { path: path.into(), problem: problem.to_string() }
    }

    /// A file that cannot be written.
    pub(super) fn write(path: &Path, source: std::io::Error) -> Self {
        SaveError::Write { path: path.into(), source }.into()
    }
}
