//! Tables as files of rows: `.tsv`, `.csv`, `.jsonl`, `.ndjson`, `.parquet`, each also packed as `.gz`.
//!
//! | in the file | value |
//! | --- | --- |
//! | nothing: an empty cell or list, `null`, `nan` | missing |
//! | a field of numbers only | number |
//! | lists of numbers, of one shape in each row | array |
//! | other lists | series |
//! | a path in the field `path`, `file_name` or `NAME.path` | the file, relative to the table or in `FOLDER.tar` beside it |
//! | `{bytes, path}` in Parquet | the file |
//! | anything else, `true` and `false` too | text |

mod column;
mod delimited;
pub(super) mod json;
mod parquet;
mod parse;
mod relative;
#[cfg(test)]
mod tests;

pub(super) use column::{kind, names_files};
pub(super) use delimited::json_lines;
#[cfg(feature = "trajectory")]
pub(super) use parquet::columns as parquet_columns;
pub(super) use parse::{Parsed, ParsedFile, Raw, is_table, parse};
pub(super) use relative::RelativeFiles;

use super::place::{file_name, is_archive, origin, split_of_table};
use super::{Place, Table, unknown_field};
use crate::data::{DataError, Files};
use column::{Column, columns};
use parse::EXTENSIONS;
use smalti_contract::{File, Value};
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

/// Opens a table, the tables that match a pattern, the `manifest.*` of a folder or archive, or a folder of tables only. The
/// rows of several files have the field `split`, the start of the file's name, unless they already have one.
///
/// # Errors
/// [`DataError`] for files that cannot be read or have no row, and for a field with values of different types.
pub fn open(place: &Place) -> Result<Option<Arc<dyn Table>>, DataError> {
    let Some(locations) = locations(place)? else { return Ok(None) };
    let several = place.is_pattern() || locations.len() > 1;
    Rows::read(&place.path, locations, place.columns.as_deref(), several)
        .map(|rows| Some(Arc::new(rows) as _))
}

/// The rows of these files.
///
/// # Errors
/// As for [`open`].
#[cfg(feature = "trajectory")]
pub(super) fn read(name: &str, locations: Vec<String>) -> Result<Arc<dyn Table>, DataError> {
    Ok(Arc::new(Rows::read(name, locations, None, false)?))
}

/// The rows of parsed files.
///
/// # Errors
/// [`DataError`] for a field with values of different types.
pub(super) fn of_parsed(name: &str, files: Vec<ParsedFile>) -> Result<Arc<dyn Table>, DataError> {
    Ok(Arc::new(Rows::new(name, files)?))
}

fn locations(place: &Place) -> Result<Option<Vec<String>>, DataError> {
    let requested = place.is_requested(NAME);
    let none = || match requested {
        true => {
            let problem = format!("expected a table; its name must end in .{}", EXTENSIONS.join(", ."));
            Err(DataError::layout(&place.path, problem))
        }
        false => Ok(None),
    };
    let found = match place.files()? {
        Some(files) => of_tree(&files)?,
        None => place.locations()?,
    };
    match !found.is_empty() && found.iter().all(|location| is_table(location)) {
        true => Ok(Some(found)),
        false => none(),
    }
}

/// The manifest in a folder or archive; in a folder of tables and their descriptions only, all tables.
fn of_tree(files: &Files) -> Result<Vec<String>, DataError> {
    let is_manifest =
        |path: &&String| !path.contains('/') && file_name(path).starts_with("manifest.") && is_table(path);
    let manifests: Vec<&str> = files.list().iter().filter(is_manifest).map(String::as_str).collect();
    match manifests[..] {
        [manifest] => return Ok(vec![files.location(manifest)]),
        [] => {}
        _ => {
            let problem = format!("expected one manifest; found {}; name one of them", manifests.join(", "));
            return Err(DataError::layout(files.name(), problem));
        }
    }
    let describes = |path: &String| {
        file_name(path).starts_with('.')
            || [".json", ".md", ".txt"].iter().any(|ending| path.ends_with(ending))
    };
    let (tables, others): (Vec<&String>, Vec<&String>) = files.list().iter().partition(|path| is_table(path));
    match others.into_iter().all(describes) && !is_archive(files.name()) {
        true => Ok(tables.into_iter().map(|path| files.location(path)).collect()),
        false => Ok(vec![]),
    }
}

impl Rows {
    fn read(
        name: &str,
        locations: Vec<String>,
        columns: Option<&[String]>,
        several: bool,
    ) -> Result<Self, DataError> {
        let parsed = |location: String| -> Result<ParsedFile, DataError> {
            let table = parse(&location, columns)?;
            Ok(ParsedFile { origin: origin(&location), location, table })
        };
        let mut files = locations.into_iter().map(parsed).collect::<Result<Vec<_>, _>>()?;
        if files.iter().all(|file| file.table.rows == 0) {
            return Err(DataError::Empty { location: name.into(), expected: "rows below the header" });
        }
        let has_split = files.iter().any(|file| file.table.fields.iter().any(|field| field == SPLIT));
        if several && !has_split && files.iter().any(|file| !split_of_table(&file.location).is_empty()) {
            for ParsedFile { location, table, .. } in &mut files {
                table.fields.push(SPLIT.into());
                table.columns.push(Raw::Cells(vec![split_of_table(location).to_string(); table.rows]));
            }
        }
        Self::new(name, files)
    }

    fn new(name: &str, mut parsed: Vec<ParsedFile>) -> Result<Self, DataError> {
        let classes = classes(&parsed);
        let skipped = parsed.iter_mut().flat_map(|file| std::mem::take(&mut file.table.skipped)).collect();
        let (fields, columns) = typed(&mut parsed)?;
        let (mut files, mut len) = (Vec::with_capacity(parsed.len()), 0);
        for (ParsedFile { location, origin, table }, columns) in parsed.into_iter().zip(columns) {
            let relative = RelativeFiles::new(&location);
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
