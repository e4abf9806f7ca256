//! Tables of columns in shards: values are decoded on demand, in parts of some rows, of which the last ones are kept.

mod cache;
mod schema;
mod shard;
mod split;
mod value;

pub use schema::{FEATURES, SERIES, features, series};
pub use shard::{Decoded, Part, Shard, ShardFile, guarded};

use super::rows::{RelativeFiles, names_files};
use super::{Table, unknown_field};
use crate::data::DataError;
use arrow_array::{Array, ArrayRef, cast::AsArray};
use cache::Cache;
use indexmap::IndexMap;
use schema::{Column, FileFields, Kind};
use smalti_contract::Value;
use std::ops::Range;
use std::sync::Arc;
use value::{Reader, binary, items};

/// The field of the split.
const SPLIT: &str = "split";
/// The most rows of a file.
const MAX_ROWS: usize = 100_000_000;
/// The most values that are searched for bytes that are not UTF-8.
const PROBED: usize = 1_000;

/// The rows of several shards.
pub struct Columnar {
    name: String,
    format: &'static str,
    /// The fields by name, and for each whether its bytes without a declared type are texts.
    fields: IndexMap<String, bool>,
    names: Vec<String>,
    shards: Vec<Opened>,
    len: usize,
    classes: Vec<(String, Arc<Vec<String>>)>,
    skipped: Vec<(String, &'static str)>,
    cache: Cache<(usize, Part)>,
}

/// A shard of a table.
struct Opened {
    shard: Box<dyn Shard>,
    location: String,
    origin: Option<String>,
    /// The number of the first row.
    start: usize,
    /// The column of each field of the table.
    columns: Vec<Option<Column>>,
    /// The split in the names of the file and its folders.
    split: Option<String>,
    relative: RelativeFiles,
}

impl Columnar {
    /// The rows of these shards of one format. With `splits`, they have the field `split`, the split that the names of the
    /// file and its folders begin with, unless the shards have the field themselves.
    ///
    /// # Errors
    /// [`DataError::Empty`] without a row, and [`DataError::Format`] for fields of different types.
    pub fn new(
        name: &str,
        format: &'static str,
        shards: Vec<(ShardFile, Box<dyn Shard>)>,
        splits: bool,
    ) -> Result<Self, DataError> {
        let of_files: Vec<FileFields> = shards
            .iter()
            .map(|(_, shard)| FileFields::of(shard.schema(), &shard.features(), &shard.series()))
            .collect();
        let locations: Vec<String> = shards.iter().map(|(file, _)| file.location()).collect();
        let mut fields = united(format, &locations, &of_files)?;
        let has_split = fields.contains_key(SPLIT);
        let splits =
            if splits && !has_split { split::of(name, &locations) } else { vec![None; shards.len()] };
        if splits.iter().any(Option::is_some) {
            fields.insert(SPLIT.into(), false);
        }
        let classes = classes(&of_files);
        let (mut opened, mut len, mut skipped) = (vec![], 0, vec![]);
        let of_shards = shards.into_iter().zip(locations).zip(of_files).zip(splits);
        for ((((file, shard), location), of_file), split) in of_shards {
            let mut columns = vec![None; fields.len()];
            for (field, column) in of_file.columns {
                if let Some(number) = fields.get_index_of(&field) {
                    columns[number] = Some(column);
                }
            }
            skipped.extend(of_file.skipped);
            let rows = shard.rows();
            if rows > MAX_ROWS {
                let problem = format!("it declares {rows} rows; at most {MAX_ROWS} are read");
                return Err(DataError::format(&location, format, problem));
            }
            let origin = file.origin();
            let relative = RelativeFiles::new(&location);
            opened.push(Opened { shard, location, origin, start: len, columns, split, relative });
            len += rows;
        }
        if len == 0 {
            return Err(DataError::Empty { location: name.into(), expected: "rows below the header" });
        }
        skipped.sort_unstable();
        skipped.dedup();
        let names = fields.keys().cloned().collect();
        let cache = Cache::default();
        let mut table =
            Self { name: name.into(), format, fields, names, shards: opened, len, classes, skipped, cache };
        for number in 0..table.fields.len() {
            let are_texts = table.bytes_are_texts(number)?;
            table.fields[number] = are_texts;
        }
        Ok(table)
    }

    /// Whether files at absolute paths and above the folders of the tables are read.
    pub fn allow_outside(mut self, allow: bool) -> Self {
        for opened in &mut self.shards {
            opened.relative = RelativeFiles::new(&opened.location).allow_outside(allow);
        }
        self
    }

    /// Adds files that are not read.
    pub fn with_skipped(mut self, skipped: Vec<(String, &'static str)>) -> Self {
        self.skipped.extend(skipped);
        self
    }

    /// Whether a field has bytes without a declared type, of which the first ones are UTF-8.
    fn bytes_are_texts(&self, number: usize) -> Result<bool, DataError> {
        let of_field =
            |opened: &&Opened| opened.columns[number].as_ref().is_some_and(|c| c.kind != Kind::Missing);
        let Some(first) = self.shards.iter().filter(|opened| opened.shard.rows() > 0).find(of_field) else {
            return Ok(false);
        };
        let Some(column) = first.columns[number].as_ref().filter(|column| column.kind == Kind::Bytes) else {
            // Another file declares the type.
            return Ok(first.columns[number].as_ref().is_some_and(|column| column.kind == Kind::Text));
        };
        let (array, _) = self.array(first, column, first.start)?;
        let Some(array) = array else { return Ok(false) };
        let mut some = (0..array.len().min(PROBED)).filter(|row| !array.is_null(*row));
        Ok(some.all(|row| binary(&array, row).is_some_and(|bytes| std::str::from_utf8(bytes).is_ok())))
    }

    fn find(&self, row: usize) -> &Opened {
        &self.shards[self.shards.partition_point(|opened| opened.start <= row).saturating_sub(1)]
    }

    fn field(&self, row: usize, field: &str) -> Result<(&Opened, usize), DataError> {
        let number = self.fields.get_index_of(field).ok_or_else(|| unknown_field(self, field))?;
        Ok((self.find(row), number))
    }

    /// The array with the values of a column in a row, and the number of the row in it; `None` if a group around it is
    /// missing.
    fn array(
        &self,
        opened: &Opened,
        column: &Column,
        row: usize,
    ) -> Result<(Option<ArrayRef>, usize), DataError> {
        let refuse = |problem: String| DataError::format(&opened.location, self.format, problem);
        let row = row - opened.start;
        let shard = self.shards.partition_point(|other| other.start < opened.start);
        let part = guarded(|| opened.shard.part(column.root, row)).map_err(refuse)?;
        let number = if part.column.is_some() { 0 } else { column.root };
        let decode = || guarded(|| opened.shard.decode(part)).map_err(refuse);
        let at = row - part.start;
        let mut array = self.cache.get((shard, part), number, decode)?;
        for child in &column.path {
            array = array.as_ref().filter(|group| group.is_valid(at)).and_then(|group| {
                let group = group.as_struct_opt()?;
                group.columns().get(*child).cloned()
            });
        }
        Ok((array, at))
    }

    fn get(
        &self,
        row: usize,
        field: &str,
        steps: Range<usize>,
        with_bytes: bool,
    ) -> Result<Value, DataError> {
        let (opened, number) = self.field(row, field)?;
        let Some(column) = &opened.columns[number] else {
            let split = opened.split.as_ref().filter(|_| field == SPLIT);
            return Ok(split.map_or(Value::Missing, |split| Value::Text(split.clone())));
        };
        let (Some(array), at) = self.array(opened, column, row)? else { return Ok(Value::Missing) };
        let refuse = |problem: String| {
            let problem = format!("row {}: {problem}", row - opened.start + 1);
            DataError::format(&opened.location, self.format, problem)
        };
        let reader = Reader {
            field,
            location: &|| opened.location(row),
            refuse: &refuse,
            names: column.names.as_deref().map(Vec::as_slice),
            bytes_are_texts: self.fields[number],
            files: with_bytes.then_some(&opened.relative),
        };
        if column.steps.is_some() {
            return reader.steps(array.as_ref(), at, steps);
        }
        match reader.value(array.as_ref(), at)? {
            Value::Text(path) if names_files(field) && column.names.is_none() => reader.at(&path),
            value => Ok(value),
        }
    }
}

impl Columnar {
    /// The number of steps of a row whose file declares series; `None` if none is, or none has a value. Series of files are
    /// the last that are decoded for it.
    fn declared_steps(&self, row: usize) -> Option<usize> {
        let opened = self.find(row);
        let of = |files: bool| {
            let columns = opened.columns.iter().flatten();
            columns.filter(move |column| column.steps.is_some_and(|kind| (kind == Kind::File) == files))
        };
        of(false).chain(of(true)).find_map(|column| {
            let (array, at) = self.array(opened, column, row).ok()?;
            Some(items(array?.as_ref(), at)?.len())
        })
    }
}

/// The fields of all files.
///
/// # Errors
/// [`DataError::Format`] for a field without a name, one that a file has twice, and one with different types.
fn united(
    format: &'static str,
    locations: &[String],
    of_files: &[FileFields],
) -> Result<IndexMap<String, bool>, DataError> {
    let mut known: IndexMap<&str, (Kind, &str)> = IndexMap::new();
    for (location, of_file) in locations.iter().zip(of_files) {
        let refuse = |problem: String| Err(DataError::format(location, format, problem));
        let mut own = std::collections::HashSet::new();
        for (number, (field, column)) in of_file.columns.iter().enumerate() {
            if field.trim().is_empty() {
                return refuse(format!("field {} has no name", number + 1));
            }
            if !own.insert(field) {
                return refuse(format!("the field {field:?} occurs twice"));
            }
            let (kind, first) = known.entry(field).or_insert((column.kind, location));
            if !kind.agrees(column.kind) {
                return refuse(format!(
                    "the field {field:?} must be {}, as in {first}; found {}",
                    kind.noun(),
                    column.kind.noun()
                ));
            }
            if *kind == Kind::Missing {
                (*kind, *first) = (column.kind, location);
            }
        }
    }
    Ok(known.into_keys().map(|field| (field.to_string(), false)).collect())
}

/// The class names that files declare, for the fields for which all such files have the same.
fn classes(of_files: &[FileFields]) -> Vec<(String, Arc<Vec<String>>)> {
    let mut declared: IndexMap<&str, Option<&Arc<Vec<String>>>> = IndexMap::new();
    for (field, column) in of_files.iter().flat_map(|of_file| &of_file.columns) {
        let Some(names) = &column.names else { continue };
        let known = declared.entry(field).or_insert(Some(names));
        if known.is_some_and(|known| known != names) {
            *known = None;
        }
    }
    let same = declared.into_iter().filter_map(|(field, names)| Some((field.to_string(), names?.clone())));
    same.collect()
}

impl Opened {
    fn location(&self, row: usize) -> String {
        format!("{} row {}", self.location, row - self.start + 1)
    }
}

impl Table for Columnar {
    fn name(&self) -> &str {
        &self.name
    }

    fn fields(&self) -> &[String] {
        &self.names
    }

    fn len(&self) -> usize {
        self.len
    }

    fn value(&self, row: usize, field: &str) -> Result<Value, DataError> {
        self.get(row, field, 0..usize::MAX, true)
    }

    fn peek(&self, row: usize, field: &str) -> Result<Value, DataError> {
        self.get(row, field, 0..usize::MAX, false)
    }

    fn window(&self, row: usize, field: &str, steps: Range<usize>) -> Result<Value, DataError> {
        match self.field(row, field)? {
            (opened, number) if opened.columns[number].as_ref().is_some_and(|c| c.steps.is_some()) => {
                self.get(row, field, steps, true)
            }
            _ => Ok(self.value(row, field)?.window(steps)),
        }
    }

    fn steps(&self, row: usize) -> usize {
        if let Some(steps) = self.declared_steps(row) {
            return steps;
        }
        let is_list =
            |column: &Option<Column>| column.as_ref().is_some_and(|column| column.kind == Kind::List);
        let columns = self.names.iter().zip(&self.find(row).columns);
        let mut lists = columns.filter(|(_, column)| is_list(column));
        lists.find_map(|(field, _)| self.peek(row, field).ok()?.steps()).unwrap_or(0)
    }

    fn location(&self, row: usize) -> String {
        self.find(row).location(row)
    }

    fn origin(&self, row: usize) -> Option<String> {
        let opened = self.find(row);
        let mut origin = format!("{} row {}", opened.origin.as_ref()?, row - opened.start);
        for field in self.names.iter().filter(|field| names_files(field)) {
            if let Ok(Value::File(file)) = self.peek(row, field) {
                origin = format!("{origin}, {}", opened.relative.origin(&file.name)?);
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
