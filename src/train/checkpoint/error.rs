//! Why a file cannot be written or read.

use std::path::{Path, PathBuf};

/// Why a file cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// The file cannot be written; an earlier file of its name is unchanged.
    #[error("cannot write {}: {source}{}", path.display(), unchanged(path))]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The name is that of something which a file may not replace.
    #[error("{}: expected a {expected} to replace, or a new name; found {found}, which is left as it is", path.display())]
    NotReplaced {
        /// The file or folder.
        path: PathBuf,
        /// What may be there.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// The name of a new file is taken.
    #[error("{}: exists; expected a new file: choose another --out", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A folder for new files has others.
    #[error("{} holds {found}; expected a new folder, or an empty one: choose another --out", folder.display())]
    NotEmpty {
        /// The folder.
        folder: PathBuf,
        /// A file in it, and how many more there are.
        found: String,
    },
    /// Another process writes the run.
    #[error(
        "{} is written by {holder}: wait until that training ends, stop it, or choose another --out",
        folder.display()
    )]
    Locked {
        /// The run's folder.
        folder: PathBuf,
        /// The process and its host.
        holder: String,
    },
    /// The file is missing or cannot be opened.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file has another format.
    #[error("{} is not a {expected}: {problem}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The expected format.
        expected: &'static str,
        /// The problem.
        problem: String,
    },
    /// A file of a run is not as the run wrote it.
    #[error(
        "{} is damaged, or not the run's own file: expected {expected}; found {found}: restore it from a copy, or read it as \
         it is with --no-verify",
        path.display()
    )]
    Checksum {
        /// The file.
        path: PathBuf,
        /// The listed checksum.
        expected: String,
        /// The checksum of the file.
        found: String,
    },
    /// An operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// A note about a file that was there before a failed attempt to write it.
fn unchanged(path: &Path) -> &'static str {
    if path.exists() { "; the file saved before is unchanged" } else { "" }
}
