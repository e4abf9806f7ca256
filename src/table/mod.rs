//! Sources as tables: rows with named fields, whatever the format on disk.
//!
//! A [`Table`] gives the value of any field of any row when it is asked for; nothing else is read. [`open_all`] finds the
//! layout of what lies at a location, or takes the one that the settings name. Splits, filters, several sources and fields
//! computed over a row ([`derive`]) are for all layouts alike.

mod alias;
#[cfg(feature = "image")]
mod cifar;
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
#[cfg(feature = "image")]
mod pixels;
mod place;
mod rows;
mod select;
mod several;
mod source;
#[cfg(test)]
mod tests;
mod text;
mod webdataset;

pub use alias::alias;
pub use derived::{Derivation, derive};
pub use filter::Filter;
pub use memory::Memory;
pub use modality::Modality;
pub use place::Place;
pub use select::{hold_out, select};
pub use several::{Several, open_all};
pub use source::{Opener, Source, SourceError, SourceRegistry};

use crate::data::DataError;
use smalti_contract::Value;
use std::io::{Cursor, Read};
use std::ops::Range;

/// Rows with named fields.
pub trait Table: Send + Sync {
    /// Where it lies, for messages.
    fn name(&self) -> &str;

    /// The names of the fields, in the order of the source.
    fn fields(&self) -> &[String];

    /// The number of rows.
    fn len(&self) -> usize;

    /// True when there is no row.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a field in a row; no other field is read.
    ///
    /// # Errors
    /// If there is no such field ([`unknown_field`]), or its file cannot be read.
    fn value(&self, row: usize, field: &str) -> Result<Value, DataError>;

    /// The value of a field, but for the bytes of a file: enough to filter and to count rows.
    ///
    /// # Errors
    /// As of [`value`](Self::value); a file that cannot be read is none.
    fn peek(&self, row: usize, field: &str) -> Result<Value, DataError> {
        self.value(row, field)
    }

    /// These time steps of a field that is a series; any other field as a whole.
    ///
    /// # Errors
    /// As of [`value`](Self::value).
    fn window(&self, row: usize, field: &str, steps: Range<usize>) -> Result<Value, DataError> {
        Ok(self.value(row, field)?.window(steps))
    }

    /// The bytes of a text or of a file, from its first to its last, for values that are larger than memory.
    ///
    /// # Errors
    /// As of [`value`](Self::value); for a value that is neither. What is wrong further on is found in reading.
    fn stream(&self, row: usize, field: &str) -> Result<Box<dyn Read + Send>, DataError> {
        match self.value(row, field)? {
            Value::Text(text) => Ok(Box::new(Cursor::new(text.into_bytes()))),
            Value::File(file) => Ok(Box::new(Cursor::new(file.bytes))),
            other => Err(DataError::tokenize(&self.location(row), other.unexpected("text or a file"))),
        }
    }

    /// The number of time steps of a row's series; 0 for a row without series.
    fn steps(&self, _row: usize) -> usize {
        0
    }

    /// Where a row lies, for messages: `labels.csv row 7`.
    fn location(&self, row: usize) -> String {
        format!("{} row {}", self.name(), row + 1)
    }

    /// Tells a row from every other and from itself after its source has changed: location, size and time of change.
    /// `None` if that is not known; tokens of such a row are never kept.
    fn origin(&self, _row: usize) -> Option<String> {
        None
    }

    /// The class names that the source declares for a field, in its order.
    fn classes(&self, _field: &str) -> Option<&[String]> {
        None
    }

    /// Files and columns that are not used, each with the reason.
    fn skipped(&self) -> &[(String, &'static str)] {
        &[]
    }
}

/// Where a row lies, for messages, with the files that these fields name unless they are the row.
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
        known: table.fields().join(", "),
    }
}
