//! Parquet: a file, a folder of files or a pattern, as Hugging Face's `datasets` writes them and as other programs do.
//!
//! | in the file | value |
//! | --- | --- |
//! | nothing: an empty text or list, null, NaN | missing |
//! | integers and numbers; those of a `ClassLabel` | number; text, the class name |
//! | lists of numbers, of one shape in each row; other lists | array; series |
//! | lists that the key `smalti.series` of the metadata names, as a JSON list | series, a step for each item |
//! | `{bytes, path}`, without bytes the path relative to the table; bytes | the file |
//! | a path in the field `path`, `file_name` or `NAME.path` | the file, relative to the table or in `FOLDER.tar` beside it |
//! | a group | a field for each of its own, `GROUP.FIELD` |
//! | anything else, `true`, dates and times too | text |
//!
//! Only the footers of files are read when they are opened. A value is read with its part: the pages of its column around it.

mod pages;
mod shard;
#[cfg(test)]
mod tests;

use super::columnar::{Columnar, ShardFile};
#[cfg(feature = "trajectory")]
use super::columnar::{SERIES, guarded, series};
use super::place::{describes, extension, file_name, has_rows_of_files, is_archive};
use super::{Place, Table};
use crate::data::files::Extent;
use crate::data::{DataError, Files};
use rayon::prelude::*;
use shard::ParquetShard;
use smalti_parquet::{TAIL, footer_length};
use std::sync::Arc;

/// The layout's name.
pub const NAME: &str = "parquet";

/// Whether a location has the extension of a Parquet file.
pub fn is_parquet(location: &str) -> bool {
    extension(location) == "parquet"
}

/// Opens a file, the files of a pattern, the `manifest.parquet` or the files `metadata.parquet` of a folder or archive, or a folder
/// or archive of Parquet files only.
/// Several files have the field `split` by their names and folders, unless they already have one.
///
/// # Errors
/// [`DataError`] for files that cannot be read or have no row, and for a field with values of different types.
pub fn open(place: &Place) -> Result<Option<Arc<dyn Table>>, DataError> {
    let requested = place.is_requested(NAME);
    let tree = place.files()?;
    let files: Vec<ShardFile> = match &tree {
        Some(files) => match of_tree(files, requested) {
            Ok(paths) => paths.into_iter().map(|path| ShardFile::new(files, path)).collect(),
            Err(reason) => return refused(place, requested, reason),
        },
        None => place.locations()?.iter().map(|location| ShardFile::at(location)).collect(),
    };
    if let Some(other) = files.iter().map(ShardFile::location).find(|location| !is_parquet(location)) {
        return refused(place, requested, format!("{} is not named .parquet", file_name(&other)));
    }
    place.refuse_columns(NAME)?;
    place.because(match tree {
        Some(_) => format!("it has files named .parquet, such as {}", files[0].location()),
        None => "it is named .parquet".into(),
    });
    let splits = tree.is_some() || place.is_pattern();
    let table = of_files(&place.path, files, splits)?;
    let skipped =
        tree.iter().flat_map(|files| files.skipped().iter().map(|(path, why)| (files.location(path), *why)));
    Ok(Some(Arc::new(table.with_skipped(skipped.collect()).allow_outside(place.allow_outside))))
}

/// The rows of these files.
///
/// # Errors
/// As for [`open`].
#[cfg(feature = "trajectory")]
pub(super) fn read(name: &str, locations: &[String]) -> Result<Arc<dyn Table>, DataError> {
    let files = locations.iter().map(|location| ShardFile::at(location)).collect();
    Ok(Arc::new(of_files(name, files, false)?))
}

/// The columns of a file.
#[cfg(feature = "trajectory")]
pub(super) struct Columns {
    pub names: Vec<String>,
    /// Parquet without rows.
    pub footer: Vec<u8>,
    /// Whether the file declares which columns are series.
    pub has_series: bool,
}

/// The columns of a file.
///
/// # Errors
/// [`DataError::Format`] for a file with corrupt metadata.
#[cfg(feature = "trajectory")]
pub(super) fn columns(location: &str) -> Result<Columns, DataError> {
    let file = ShardFile::at(location).open()?;
    let columns = guarded(|| {
        let footer = footer(&file)?;
        let metadata = smalti_parquet::metadata(&footer)?;
        let fields = metadata.file_metadata().schema().get_fields();
        let names = fields.iter().map(|field| field.name().to_string()).collect();
        let has_series = !series(shard::described(&metadata, SERIES)).is_empty();
        Ok(Columns { names, footer, has_series })
    });
    columns.map_err(|problem| DataError::format(location, "Parquet", problem))
}

/// The footer of a file: the only bytes that are read when a table is opened.
///
/// # Errors
/// The problem of a file that is truncated or no Parquet.
fn footer(file: &Extent) -> Result<Vec<u8>, String> {
    let last = |length: u64| {
        let range = file.len().checked_sub(length).and_then(|start| file.slice(start, length));
        range.ok_or("it ends before its footer")?.read().map_err(|e| e.to_string())
    };
    last(footer_length(file.len(), &last(TAIL as u64)?)?)
}

fn of_files(name: &str, files: Vec<ShardFile>, splits: bool) -> Result<Columnar, DataError> {
    let open = |file: ShardFile| Ok((file.clone(), Box::new(ParquetShard::open(file)?) as _));
    let shards = files.into_par_iter().map(open).collect::<Result<_, DataError>>()?;
    Columnar::new(name, "Parquet", shards, splits)
}

fn refused(place: &Place, requested: bool, reason: String) -> Result<Option<Arc<dyn Table>>, DataError> {
    match requested {
        true => Err(DataError::layout(&place.path, format!("{reason}; expected Parquet files"))),
        false => place.decline(reason),
    }
}

/// The Parquet files of a folder, or the reason why it is no table of them.
fn of_tree(files: &Files, requested: bool) -> Result<Vec<&str>, String> {
    const MANIFEST: &str = "manifest.parquet";
    let all = || files.list().iter().map(String::as_str);
    let manifests = all().filter(|path| path.starts_with("manifest.") && !path.contains('/'));
    if manifests.collect::<Vec<_>>() == [MANIFEST] {
        return Ok(vec![MANIFEST]);
    }
    let tables: Vec<&str> = all().filter(|path| is_parquet(path)).collect();
    if !tables.is_empty() && tables.iter().all(|path| file_name(path) == "metadata.parquet") {
        return Ok(tables);
    }
    let other = all().find(|path| !is_parquet(path) && !describes(path));
    match other {
        _ if tables.is_empty() => Err("it has no file named .parquet".into()),
        Some(other) if !requested => Err(format!("it has {other} beside its files named .parquet")),
        None if is_archive(files.name()) && has_rows_of_files(files) && !requested => {
            Err("it is an archive in which files of one name are a row".into())
        }
        _ => Ok(tables),
    }
}
