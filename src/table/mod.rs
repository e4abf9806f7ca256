//! Sources as tables: rows with named fields, for every format on disk.
//!
//! A [`Table`] reads the value of one field of one row on demand. [`open_all`] detects the layout of a source, unless the
//! settings name it. Splits, filters, several sources and fields derived from a row ([`derive()`]) work with every layout.

mod alias;
mod arrow;
#[cfg(feature = "image")]
mod cifar;
mod columnar;
mod concat;
mod derived;
#[cfg(feature = "trajectory")]
pub mod episodes;
mod filter;
mod folders;
#[cfg(feature = "image")]
mod idx;
mod lines;
mod memory;
mod modality;
mod nearest;
mod parquet;
#[cfg(feature = "image")]
mod pixels;
mod place;
mod rows;
mod select;
mod source;
mod speech;
mod splits;
#[cfg(test)]
mod tests;
mod text;
mod unread;
mod webdataset;

pub use alias::alias;
pub(crate) use columnar::SERIES;
pub use concat::{ConcatTable, open_all};
pub use derived::{Derivation, derive};
pub use filter::Filter;
pub use memory::MemoryTable;
pub use modality::Modality;
pub use place::Place;
pub(crate) use place::RECORD;
pub use select::{compared_values, hold_out, select};
pub use source::{Declined, Detected, Opener, Source, SourceError, SourceRegistry};
pub use splits::{Splits, splits};
pub(crate) use unread::is_unread;

use crate::data::DataError;
use smalti_contract::Value;
use std::io::{Cursor, Read};
use std::ops::Range;

/// Rows with named fields.
pub trait Table: Send + Sync {
    /// The location, for messages.
    fn name(&self) -> &str;

    /// The names of the fields, in the order of the source.
    fn fields(&self) -> &[String];

    /// The number of rows.
    fn len(&self) -> usize;

    /// Whether there is no row.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads the value of one field of one row.
    ///
    /// # Errors
    /// If the field does not exist ([`unknown_field`]), or its file cannot be read.
    fn value(&self, row: usize, field: &str) -> Result<Value, DataError>;

    /// The value of a field without the bytes of a file: enough to filter and to count rows.
    ///
    /// # Errors
    /// As for [`value`](Self::value), but a file that cannot be read is no error.
    fn peek(&self, row: usize, field: &str) -> Result<Value, DataError> {
        self.value(row, field)
    }

    /// The values of a series at these time steps; the whole value of any other field.
    ///
    /// # Errors
    /// As for [`value`](Self::value).
    fn window(&self, row: usize, field: &str, steps: Range<usize>) -> Result<Value, DataError> {
        Ok(self.value(row, field)?.window(steps))
    }

    /// A reader of the bytes of a text or of a file, which may be larger than memory.
    ///
    /// # Errors
    /// As for [`value`](Self::value), and for a value that is neither a text nor a file. Later errors are the reader's.
    fn stream(&self, row: usize, field: &str) -> Result<Box<dyn Read + Send>, DataError> {
        match self.value(row, field)? {
            Value::Text(text) => Ok(Box::new(Cursor::new(text.into_bytes()))),
            Value::File(file) => Ok(Box::new(Cursor::new(file.bytes))),
            other => Err(DataError::tokenize(&self.location(row), other.unexpected("text or a file"))),
        }
    }

    /// Whether the values of a field are whole files of text, of any size: better read by [`stream`](Self::stream).
    fn streams(&self, _field: &str) -> bool {
        false
    }

    /// The number of time steps of a row's series; 0 for a row without series.
    fn steps(&self, _row: usize) -> usize {
        0
    }

    /// The location of a row, for messages: `labels.csv row 7`.
    fn location(&self, row: usize) -> String {
        format!("{} row {}", self.name(), row + 1)
    }

    /// A key of a row that changes with its source: the source's location, size and time of change. `None` if that is not
    /// known; tokens of such a row are never cached.
    fn origin(&self, _row: usize) -> Option<String> {
        None
    }

    /// The class names that the source declares for a field, in the order of their numbers.
    fn classes(&self, _field: &str) -> Option<&[String]> {
        None
    }

    /// Files and columns that are not used, each with the reason.
    fn skipped(&self) -> &[(String, &'static str)] {
        &[]
    }
}

/// The location of a row, for messages, with the files in these fields that it does not name.
pub fn located(table: &dyn Table, row: usize, fields: &[String]) -> String {
    let location = table.location(row);
    let name = |field: &String| match table.peek(row, field) {
        Ok(Value::File(file)) if !location.contains(&file.name) => Some(file.name),
        _ => None,
    };
    let names: Vec<String> = fields.iter().filter_map(name).collect();
    if names.is_empty() { location } else { format!("{location}, {}", names.join(", ")) }
}

/// The error for a field that a table does not have.
pub fn unknown_field(table: &dyn Table, field: &str) -> DataError {
    DataError::Unknown {
        location: table.name().to_string(),
        what: "field",
        name: field.to_string(),
        known: smalti_contract::listed(table.fields(), ", "),
    }
}
