//! Errors of reading data.

use smalti_contract::TokenizeError;
use std::io;

/// An error of reading data; it names the location.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A system call failed.
    #[error("{location}: {source}")]
    Io {
        /// The file or folder.
        location: String,
        /// The system's error.
        source: io::Error,
    },
    /// A loader thread panicked.
    #[error("a loader thread panicked; its message is above")]
    Worker,
    /// Corrupt samples are skipped, but too many follow one another.
    #[error("{tried} samples in a row cannot be used; the last: {last}")]
    AllCorrupt {
        /// The number of samples tried.
        tried: usize,
        /// The problem of the last one.
        last: String,
    },
    /// There is nothing at a location.
    #[error("{location}: not found; expected {expected}")]
    Missing {
        /// The location.
        location: String,
        /// The expected kind of file.
        expected: String,
    },
    /// A file without bytes, or a folder or archive without files.
    #[error("{location}: empty; expected {expected}")]
    Empty {
        /// The file, folder or archive.
        location: String,
        /// The expected content.
        expected: &'static str,
    },
    /// A folder where a file is needed.
    #[error("{location}: a folder; expected a file")]
    IsFolder {
        /// The folder.
        location: String,
    },
    /// A file that is no archive, where a folder or an archive is needed.
    #[error("{location}: a file; expected {expected}")]
    IsFile {
        /// The file.
        location: String,
        /// The expected kind of location.
        expected: &'static str,
    },
    /// Bytes that are not in the expected format: of another format, corrupt or truncated.
    #[error("{location}: not readable as {format}: {problem}")]
    Format {
        /// The file.
        location: String,
        /// The expected format.
        format: &'static str,
        /// The problem, with the expected and the actual value.
        problem: String,
    },
    /// A path that leads out of the folder or archive that it belongs to.
    #[error("{location}: the path {path:?} is not allowed: {problem}")]
    Path {
        /// The manifest or archive that names the path.
        location: String,
        /// The path.
        path: String,
        /// The problem.
        problem: &'static str,
    },
    /// Readable files that are not arranged as a source must be.
    #[error("{location}: {problem}")]
    Layout {
        /// The folder, archive or pattern.
        location: String,
        /// The problem, with what was expected and found.
        problem: String,
    },
    /// A field, split or recipe that does not exist.
    #[error("{location}: no {what} {name:?}; there is {known}")]
    Unknown {
        /// The data.
        location: String,
        /// The kind of the name: `field`, `split`, `recipe`.
        what: &'static str,
        /// The name.
        name: String,
        /// The existing names.
        known: String,
    },
    /// A filter that cannot be read.
    #[error("filter {filter:?}: {problem}")]
    Filter {
        /// The filter.
        filter: String,
        /// The problem.
        problem: String,
    },
    /// A downloaded file that is not the one of its recipe.
    #[error("{location}: {what} is {found}; expected {expected}; nothing was kept")]
    Checksum {
        /// The address.
        location: String,
        /// The property that differs: `size` or `sha256`.
        what: &'static str,
        /// The recipe's value.
        expected: String,
        /// The file's value.
        found: String,
    },
    /// A file that its modality's tokenizer cannot read.
    #[error("{location}: {problem}")]
    Tokenize {
        /// The file.
        location: String,
        /// The tokenizer's error.
        problem: String,
    },
    /// A sample that does not fit its task.
    #[error("{}sample {id} {problem}", of_task(task))]
    Sample {
        /// The task's name; empty for the only task of a run.
        task: String,
        /// The sample's identity.
        id: u64,
        /// The problem.
        problem: String,
    },
    /// A failed download.
    #[error("{location}: {problem}")]
    Download {
        /// The address.
        location: String,
        /// The error of the server or the connection.
        problem: String,
    },
}

/// The beginning of a message about a task; empty for a task without a name.
pub(crate) fn of_task(task: &str) -> String {
    if task.is_empty() { String::new() } else { format!("task {task}: ") }
}

/// The same as a tokenizer's error.
impl From<DataError> for TokenizeError {
    fn from(error: DataError) -> Self {
        TokenizeError::Input(error.to_string())
    }
}

impl DataError {
    /// An I/O error at `location`; "not found" becomes [`DataError::Missing`].
    pub(crate) fn io(location: impl Into<String>, expected: &str, source: io::Error) -> Self {
        let location = location.into();
        match source.kind() {
            io::ErrorKind::NotFound => Self::Missing { location, expected: expected.to_string() },
            io::ErrorKind::IsADirectory => Self::IsFolder { location },
            _ => Self::Io { location, source },
        }
    }

    /// A tokenizer's error about the data at `location`.
    pub fn tokenize(location: &str, problem: impl ToString) -> Self {
        Self::Tokenize { location: location.to_string(), problem: problem.to_string() }
    }

    pub(crate) fn format(location: &str, format: &'static str, problem: impl ToString) -> Self {
        Self::Format { location: location.to_string(), format, problem: problem.to_string() }
    }

    pub(crate) fn layout(location: &str, problem: impl Into<String>) -> Self {
        Self::Layout { location: location.to_string(), problem: problem.into() }
    }
}

/// A relative path that a file names, normalized: `.` and empty parts are dropped.
///
/// # Errors
/// [`DataError::Path`] with the file's `location` if the path has a `..`, a drive letter or a backslash, or is absolute:
/// data may name only files below its own folder.
pub(crate) fn contained(location: &str, path: &str) -> Result<String, DataError> {
    let refuse =
        |problem| DataError::Path { location: location.to_string(), path: path.to_string(), problem };
    let drive = matches!(path.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic());
    if path.starts_with('/') || drive {
        return Err(refuse("it is absolute"));
    }
    if path.contains('\\') {
        return Err(refuse("it has a backslash; use / in paths"));
    }
    if path.contains('\0') {
        return Err(refuse("it has a zero byte"));
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.contains(&"..") {
        return Err(refuse("it leads out of its folder"));
    }
    if parts.is_empty() {
        return Err(refuse("it names no file"));
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_task_of_a_run_has_no_name() {
        let message = |task: &str| {
            DataError::Sample { task: task.into(), id: 35, problem: "has 50 tokens".into() }.to_string()
        };
        assert_eq!(message(""), "sample 35 has 50 tokens");
        assert_eq!(message("words"), "task words: sample 35 has 50 tokens");
    }
}
