//! Tables as files of rows: `.tsv`, `.csv`, `.jsonl`, `.ndjson`, each also packed as `.gz`.
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
mod column;
mod delimited;
mod found;
pub(super) mod json;
mod parse;
mod relative;
#[cfg(test)]
mod tests;

pub(super) use column::{kind, names_files};
pub(super) use delimited::json_lines;
pub(super) use found::names_none;
pub(super) use parse::{Parsed, ParsedFile, Raw, is_table, parse};
pub(super) use relative::RelativeFiles;

use super::place::{file_name, origin};
use super::{Modality, Place, Table, unknown_field};
use crate::data::error::contained;
use crate::data::{DataError, Files};
use beside::Beside;
use column::{Column, columns};
use found::{Found, found};
use smalti_contract::{File, Value};
use std::collections::HashSet;
use std::sync::Arc;

/// The layout's name.
pub const NAME: &str = "rows";
/// The field of the split, which is the start of a file's name.
const SPLIT: &str = "split";

/// The rows of one or several files.
struct Rows {
    name: String,
    fields: Vec<String>,
    files: Vec<FileRows>,
    len: usize,
    classes: Vec<(String, Vec<String>)>,
    skipped: Vec<(String, &'static str)>,
}

/// The rows of one file.
struct FileRows {
    location: String,
    origin: Option<String>,
    /// The number of the first row.
    start: usize,
    /// The values of each field of the table.
    columns: Vec<Column>,
    relative: RelativeFiles,
}

/// Opens a table; the tables that match a pattern; the `manifest.*` of a folder or archive, or its `metadata.*` with the field
/// `file_name`, also one in each folder of a split; a table at its top whose values name images or clips in it; or a folder or
/// archive of tables only. A folder that all files are in is entered. The rows of several files have the field `split`, by the names of the files, unless they already have one.
/// Images and clips in the folder that no row names are skipped.
///
/// # Errors
/// [`DataError`] for files that cannot be read or have no row, and for a field with values of different types.
pub fn open(place: &Place) -> Result<Option<Arc<dyn Table>>, DataError> {
    let Some(found) = found(place)? else { return Ok(None) };
    let tree = found.tree.clone();
    let mut rows = Rows::read(&place.path, found, place.columns.as_deref(), place.allow_outside)?;
    if let Some(tree) = tree {
        rows.skip_unnamed(&tree);
    }
    Ok(Some(Arc::new(rows)))
}

/// The rows of these files.
///
/// # Errors
/// As for [`open`].
#[cfg(feature = "trajectory")]
pub(super) fn read(name: &str, locations: Vec<String>) -> Result<Arc<dyn Table>, DataError> {
    let found = Found { locations, ..Found::default() };
    Ok(Arc::new(Rows::read(name, found, None, false)?))
}

/// The rows of parsed files.
///
/// # Errors
/// [`DataError`] for a field with values of different types.
pub(super) fn of_parsed(name: &str, files: Vec<ParsedFile>) -> Result<Arc<dyn Table>, DataError> {
    Ok(Arc::new(Rows::new(name, files, false)?))
}

impl Rows {
    fn read(
        name: &str,
        found: Found,
        columns: Option<&[String]>,
        allow_outside: bool,
    ) -> Result<Self, DataError> {
        let mut beside = Beside::default();
        let parsed = |location: String| -> Result<ParsedFile, DataError> {
            let mut table = parse(&location, columns)?;
            if found.may_name_files {
                beside.add_files(&location, &mut table)?;
            }
            Ok(ParsedFile { origin: origin(&location), location, table })
        };
        let mut files = found.locations.into_iter().map(parsed).collect::<Result<Vec<_>, _>>()?;
        if files.iter().all(|file| file.table.rows == 0) {
            return Err(DataError::Empty { location: name.into(), expected: "rows below the header" });
        }
        let has_split = files.iter().any(|file| file.table.fields.iter().any(|field| field == SPLIT));
        let splits = found.splits.filter(|splits| !has_split && splits.iter().any(|split| !split.is_empty()));
        for (ParsedFile { table, .. }, split) in files.iter_mut().zip(splits.unwrap_or_default()) {
            table.fields.push(SPLIT.into());
            table.columns.push(Raw::Cells(vec![split; table.rows]));
        }
        Self::new(name, files, allow_outside)
    }

    /// Adds the images and clips of a tree that no row names, if rows name files, and what the tree does not list.
    fn skip_unnamed(&mut self, tree: &Files) {
        self.skipped.extend(tree.skipped().iter().map(|(path, why)| (tree.location(path), *why)));
        let names_files =
            |file: &FileRows| file.columns.iter().any(|column| matches!(column, Column::Paths(_)));
        if !self.files.iter().any(names_files) {
            return;
        }
        let mut named = HashSet::new();
        for file in &self.files {
            let folder = file.location.strip_suffix(file_name(&file.location)).unwrap_or_default();
            for column in &file.columns {
                let Column::Paths(paths) = column else { continue };
                let paths = paths.iter().filter_map(|path| contained(&file.location, path).ok());
                named.extend(paths.map(|path| format!("{folder}{path}")));
            }
        }
        let is_media =
            |path: &&String| matches!(Modality::by_name(path), Some(Modality::Image | Modality::Audio));
        let media = tree.list().iter().filter(is_media).map(|path| tree.location(path));
        self.skipped.extend(media.filter(|path| !named.contains(path)).map(|path| (path, "no row names it")));
    }

    fn new(name: &str, mut parsed: Vec<ParsedFile>, allow_outside: bool) -> Result<Self, DataError> {
        let classes = classes(&parsed);
        let skipped = parsed.iter_mut().flat_map(|file| std::mem::take(&mut file.table.skipped)).collect();
        let (fields, columns) = typed(&mut parsed)?;
        let (mut files, mut len) = (Vec::with_capacity(parsed.len()), 0);
        for (ParsedFile { location, origin, table }, columns) in parsed.into_iter().zip(columns) {
            let relative = RelativeFiles::new(&location).allow_outside(allow_outside);
            files.push(FileRows { location, origin, start: len, columns, relative });
            len += table.rows;
        }
        Ok(Self { name: name.into(), fields, files, len, classes, skipped })
    }

    /// The file of a row, and the row's number in it.
    fn find(&self, row: usize) -> (&FileRows, usize) {
        let file = &self.files[self.files.partition_point(|file| file.start <= row).saturating_sub(1)];
        (file, row - file.start)
    }

    fn column(&self, row: usize, field: &str) -> Result<(&FileRows, usize, &Column), DataError> {
        let number = self.fields.iter().position(|known| known == field);
        let number = number.ok_or_else(|| unknown_field(self, field))?;
        let (file, row) = self.find(row);
        Ok((file, row, &file.columns[number]))
    }
}

impl FileRows {
    fn location(&self, row: usize) -> String {
        format!("{} row {}", self.location, row + 1)
    }
}

/// The class names that files declare, for the fields for which all such files have the same.
fn classes(parsed: &[ParsedFile]) -> Vec<(String, Vec<String>)> {
    let mut declared: Vec<(String, Vec<String>)> = vec![];
    let mut conflicting: Vec<&str> = vec![];
    for (field, names) in parsed.iter().flat_map(|file| &file.table.classes) {
        match declared.iter().find(|(known, _)| known == field) {
            Some((_, known)) if known == names => {}
            Some(_) => conflicting.push(field),
            None => declared.push((field.clone(), names.clone())),
        }
    }
    declared.retain(|(field, _)| !conflicting.contains(&field.as_str()));
    declared
}

/// The fields of all files, and for each file the column of each field.
fn typed(parsed: &mut [ParsedFile]) -> Result<(Vec<String>, Vec<Vec<Column>>), DataError> {
    let mut fields: Vec<String> = vec![];
    for field in parsed.iter().flat_map(|file| &file.table.fields) {
        if !fields.contains(field) {
            fields.push(field.clone());
        }
    }
    let mut of_files: Vec<Vec<Column>> = parsed.iter().map(|_| vec![]).collect();
    for field in &fields {
        let take = |ParsedFile { table, .. }: &mut ParsedFile| {
            let at = table.fields.iter().position(|known| known == field)?;
            table.fields.swap_remove(at);
            Some(table.columns.swap_remove(at))
        };
        let raw = parsed.iter_mut().map(take).collect();
        let places: Vec<&str> = parsed.iter().map(|file| file.location.as_str()).collect();
        for (columns, column) in of_files.iter_mut().zip(columns(field, raw, &places)?) {
            columns.push(column);
        }
    }
    Ok((fields, of_files))
}

impl Table for Rows {
    fn name(&self) -> &str {
        &self.name
    }

    fn fields(&self) -> &[String] {
        &self.fields
    }

    fn len(&self) -> usize {
        self.len
    }

    fn value(&self, row: usize, field: &str) -> Result<Value, DataError> {
        let (file, row, column) = self.column(row, field)?;
        match (column, column.get(row)) {
            (Column::Paths(_), Value::File(File { name, .. })) => {
                let bytes = file.relative.read(&name, &file.location(row))?;
                Ok(Value::File(File { name, bytes }))
            }
            (_, value) => Ok(value),
        }
    }

    fn peek(&self, row: usize, field: &str) -> Result<Value, DataError> {
        let (_, row, column) = self.column(row, field)?;
        Ok(column.get(row))
    }

    fn steps(&self, row: usize) -> usize {
        let (file, row) = self.find(row);
        file.columns.iter().find_map(|column| column.steps(row)).unwrap_or(0)
    }

    fn location(&self, row: usize) -> String {
        let (file, row) = self.find(row);
        file.location(row)
    }

    fn origin(&self, row: usize) -> Option<String> {
        let (file, row) = self.find(row);
        let mut origin = format!("{} row {row}", file.origin.as_ref()?);
        for column in &file.columns {
            if let (Column::Paths(_), Value::File(File { name, .. })) = (column, column.get(row)) {
                origin = format!("{origin}, {}", file.relative.origin(&name)?);
            }
        }
        Some(origin)
    }

    fn classes(&self, field: &str) -> Option<&[String]> {
        self.classes.iter().find(|(known, _)| known == field).map(|(_, names)| names.as_slice())
    }

    fn skipped(&self) -> &[(String, &'static str)] {
        &self.skipped
    }
}
