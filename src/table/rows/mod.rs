//! Tables as files of rows: `.tsv`, `.csv`, `.jsonl`, `.ndjson`, each also packed as `.gz`.
//!
//! A file is read once when it is opened. What stays in memory are the offsets of its records, 8 bytes each; a record is decoded
//! again when a value of it is read. The fields of JSON lines are the keys of the first 32 MiB of a file, and of some lines
//! after; a later value of another type is an error when it is read.
//!
//! | in the file | value |
//! | --- | --- |
//! | nothing: an empty cell or list, `null`, `nan` | missing |
//! | a field of numbers only | number |
//! | lists of numbers, of one shape in each row | array |
//! | other lists | series |
//! | a path in the field `path`, `file_name`, `NAME.path` or `NAME_file_name` | the file, relative to the table or in `FOLDER.tar` or `FOLDER.zip` beside it |
//! | anything else, `true` and `false` too | text |
//!
//! If 9 of 10 of the first 100 values of a column of a `.csv` or `.tsv` name images or clips in one folder beside the table, with
//! or without the ending, as `0040` in `train.csv` beside `train/0040.jpg`, that file is the field `file`.

mod beside;
mod bytes;
mod delimited;
mod found;
pub(super) mod json;
mod kind;
mod records;
mod relative;
mod table;
#[cfg(test)]
mod tests;

#[cfg(any(feature = "trajectory", test))]
pub(super) use delimited::first_cells;
pub(super) use found::{is_table, names_none};
pub(super) use kind::names_files;
pub(super) use relative::RelativeFiles;

use super::{Place, Table};
use crate::data::DataError;
use found::{Found, found};
use std::sync::Arc;
use table::Rows;

/// The layout's name.
pub const NAME: &str = "rows";

/// How rows are read.
#[derive(Clone, Copy, Default)]
pub(super) struct Reading<'a> {
    /// The names of the fields of files without a header.
    pub columns: Option<&'a [String]>,
    /// Whether rows may name files outside the folders of their tables.
    pub allow_outside: bool,
    /// The fields whose values are plain texts, neither numbers nor files.
    pub texts: &'a [&'a str],
}

/// Opens a table; the tables that match a pattern; the `manifest.*` of a folder or archive, or its `metadata.*` with the field
/// `file_name`, also one in each folder of a split; a table at its top whose values name images or clips in it; or a folder or
/// archive of tables only. A folder that all files are in is entered. The rows of several files have the field `split`, by the
/// names of the files, unless they already have one. Images and clips in the folder that no row names are skipped.
///
/// # Errors
/// [`DataError`] for files that cannot be read or have no row, and for a field with values of different types.
pub fn open(place: &Place) -> Result<Option<Arc<dyn Table>>, DataError> {
    let Some(found) = found(place)? else { return Ok(None) };
    let tree = found.tree.clone();
    let columns = place.columns.as_deref();
    let reading = Reading { columns, allow_outside: place.allow_outside, ..Reading::default() };
    let mut rows = Rows::read(&place.path, found, reading)?;
    if let Some(tree) = tree {
        rows.skip_unnamed(&tree);
    }
    Ok(Some(Arc::new(rows)))
}

/// The rows of these files, and their splits, if any.
///
/// # Errors
/// As for [`open`].
pub(super) fn read(
    name: &str,
    locations: Vec<String>,
    splits: Option<Vec<String>>,
    reading: Reading,
) -> Result<Arc<dyn Table>, DataError> {
    let found = Found { locations, splits, ..Found::default() };
    Ok(Arc::new(Rows::read(name, found, reading)?))
}
