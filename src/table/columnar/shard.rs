//! The files of a table, and the parts of them that are decoded together.

use crate::data::files::Extent;
use crate::data::{DataError, Files};
use arrow_array::ArrayRef;
use arrow_schema::Schema;
use serde_json::Value as Json;
use smalti_contract::caught;
use std::sync::{Arc, OnceLock};

/// A file of rows.
pub trait Shard: Send + Sync {
    /// The number of rows.
    fn rows(&self) -> usize;

    /// The types of the columns.
    fn schema(&self) -> &Schema;

    /// The description of the columns by `datasets`; null without one.
    fn features(&self) -> Json;

    /// The names of the columns that are declared as series.
    fn series(&self) -> Vec<String> {
        vec![]
    }

    /// The rows that are decoded together with this row of a column.
    ///
    /// # Errors
    /// A problem of the file.
    fn part(&self, column: usize, row: usize) -> Result<Part, String>;

    /// Decodes a part.
    ///
    /// # Errors
    /// A problem of the file.
    fn decode(&self, part: Part) -> Result<Decoded, String>;
}

/// A part, decoded.
pub struct Decoded {
    /// The array of each column of the part.
    pub arrays: Vec<ArrayRef>,
    /// The bytes that they hold together.
    pub bytes: usize,
}

/// Rows of a shard that are decoded together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Part {
    /// The first row.
    pub start: usize,
    /// The row after the last one.
    pub end: usize,
    /// The only column that is decoded; all columns without one.
    pub column: Option<usize>,
}

/// The file of a shard: a file of a tree.
#[derive(Clone, Debug)]
pub struct ShardFile {
    files: Arc<Files>,
    path: String,
    /// The content of a file whose name ends in `.gz`, once unpacked.
    unpacked: OnceLock<Extent>,
}

impl ShardFile {
    /// A file of a tree.
    pub fn new(files: &Arc<Files>, path: &str) -> Self {
        Self { files: files.clone(), path: path.into(), unpacked: OnceLock::new() }
    }

    /// The file at a location.
    pub fn at(location: &str) -> Self {
        let start = location.rfind(['/', ':']).map_or(0, |end| end + 1);
        let (folder, name) = location.split_at_checked(start).unwrap_or(("", location));
        Self::new(&Arc::new(Files::named(folder, std::iter::once(name.to_string()))), name)
    }

    /// The location.
    pub fn location(&self) -> String {
        self.files.location(&self.path)
    }

    /// The location, size and time of change; `None` if they are not known.
    pub fn origin(&self) -> Option<String> {
        self.files.origin(&self.path)
    }

    /// The bytes, to be read in ranges. A file whose name ends in `.gz` is unpacked into memory.
    ///
    /// # Errors
    /// The errors of [`Files::read`].
    pub fn open(&self) -> Result<Extent, DataError> {
        if let Some(unpacked) = self.unpacked.get() {
            return Ok(unpacked.clone());
        }
        if self.path.ends_with(".gz") {
            let unpacked = Extent::memory(self.files.read(&self.path)?.into());
            return Ok(self.unpacked.get_or_init(|| unpacked).clone());
        }
        let file = self.files.extent(&self.path)?;
        match file.len() {
            0 => Err(DataError::Empty { location: self.location(), expected: "data" }),
            _ => Ok(file),
        }
    }
}

/// Runs a reader of a crate that panics on some corrupt files.
///
/// # Errors
/// The problem that it returns, or that it panicked.
pub fn guarded<T>(read: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    caught(read).unwrap_or_else(|panic| Err(format!("it is corrupt: the reader failed: {panic}")))
}
