//! What can be wrong with data before any modality has looked at it.

use smalti_contract::TokenizeError;
use std::io;

/// Why data was refused. Every variant names the location it is about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The operating system refused.
    #[error("{location}: {source}")]
    Io {
        /// The file or folder.
        location: String,
        /// What the system said.
        source: io::Error,
    },
    /// A loader thread panicked.
    #[error("a loader thread panicked; its message is above")]
    Worker,
    /// Samples that cannot be used may be passed over, but there is no end of them.
    #[error("{tried} samples in a row cannot be used; the last: {last}")]
    AllBad {
        /// How many were tried.
        tried: usize,
        /// What is wrong with the last of them.
        last: String,
    },
    /// There is nothing at a location.
    #[error("{location}: not found; expected {expected}")]
    Missing {
        /// Where something was looked for.
        location: String,
        /// What should be there.
        expected: String,
    },
    /// A file without bytes, or a folder or archive without files.
    #[error("{location}: empty; expected {expected}")]
    Empty {
        /// The file, folder or archive.
        location: String,
        /// What should be in it.
        expected: &'static str,
    },
    /// A folder where a file is needed.
    #[error("{location}: a folder; expected a file")]
    IsFolder {
        /// The folder.
        location: String,
    },
    /// A file, and not an archive, where a folder or the like is needed.
    #[error("{location}: a file; expected {expected}")]
    IsFile {
        /// The file.
        location: String,
        /// What is needed.
        expected: &'static str,
    },
    /// Bytes that are not of the format they should be in: another kind, corrupt or truncated.
    #[error("{location}: not readable as {format}: {problem}")]
    Format {
        /// The file.
        location: String,
        /// The format that was expected.
        format: &'static str,
        /// What is wrong, with the expected and the actual value.
        problem: String,
    },
    /// A path that would lead out of the folder or archive that it belongs to.
    #[error("{location}: refused the path {path:?}: {problem}")]
    Path {
        /// The manifest or archive that names the path.
        location: String,
        /// The path.
        path: String,
        /// Why it is refused.
        problem: &'static str,
    },
    /// Files that are all readable, but not arranged as a labelled source is.
    #[error("{location}: {problem}")]
    Layout {
        /// The folder, archive or pattern.
        location: String,
        /// What was expected and what was found.
        problem: String,
    },
    /// A split or column that the data do not have.
    #[error("{location}: no {what} {name:?}; there is {known}")]
    Unknown {
        /// The data.
        location: String,
        /// What was asked for: `split`, `column`, `recipe`.
        what: &'static str,
        /// Its name.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A filter that cannot be read.
    #[error("filter {filter:?}: {problem}")]
    Filter {
        /// The filter as it was given.
        filter: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A fetched file that is not the one its recipe describes.
    #[error("{location}: {what} is {found}; expected {expected}; nothing was kept")]
    Checksum {
        /// Where the file came from.
        location: String,
        /// What differs: `size` or `sha256`.
        what: &'static str,
        /// The recipe's value.
        expected: String,
        /// The file's value.
        found: String,
    },
    /// A file that its modality's tokenizer refuses.
    #[error("{location}: {problem}")]
    Tokenize {
        /// The file.
        location: String,
        /// What is wrong with it, in the tokenizer's words.
        problem: String,
    },
    /// A sample that does not fit its task.
    #[error("task {task}: sample {id} {problem}")]
    Sample {
        /// The task's name.
        task: String,
        /// The sample's identity.
        id: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// A download that did not come through.
    #[error("{location}: {problem}")]
    Download {
        /// The address.
        location: String,
        /// What the server or the connection said.
        problem: String,
    },
}

/// What a tokenizer cannot read, as its own error.
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

    /// A tokenizer's refusal of what lies at `location`.
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

/// A path given by data, as the parts that lie between its slashes.
///
/// Data may name only what is below its own folder: `..`, absolute paths, drive letters and backslashes
/// are refused, and `.` and empty parts are dropped.
///
/// # Errors
/// [`DataError::Path`], naming `location` as the one that gave the path.
pub(crate) fn contained(location: &str, path: &str) -> Result<String, DataError> {
    let refuse =
        |problem| DataError::Path { location: location.to_string(), path: path.to_string(), problem };
    let drive = matches!(path.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic());
    if path.starts_with('/') || drive {
        return Err(refuse("it is absolute"));
    }
    if path.contains(['\\', '\0']) {
        return Err(refuse("it holds a backslash or a zero byte"));
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

/// Names joined for a message; of many, the first.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 20;
    let names: Vec<&str> = names.into_iter().collect();
    let shown = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN { format!("{shown}, … ({} in all)", names.len()) } else { shown }
}
