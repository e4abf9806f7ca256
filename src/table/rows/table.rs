//! The rows of several files as a table.

use super::beside::{Beside, FILE, Folder};
use super::delimited::UNNAMED;
use super::found::Found;
use super::kind::{Field, Seen};
use super::records::{Contents, Record, Records};
use super::{Reading, RelativeFiles};
use crate::data::error::contained;
use crate::data::{DataError, Files};
use crate::table::place::{file_name, origin};
use crate::table::{Modality, Table, unknown_field};
use indexmap::IndexMap;
use rayon::prelude::*;
use smalti_contract::{File, Value};
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// The field of the split, which is the start of a file's name.
const SPLIT: &str = "split";
/// The most files that stay open.
const OPEN: usize = 256;
/// The places for records that are kept decoded, the last one of each thread.
const KEPT: usize = 64;

thread_local! {
    /// The number of the thread, to find its record.
    static THREAD: usize = {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        STARTED.fetch_add(1, Relaxed)
    };
}

/// The rows of one or several files.
pub struct Rows {
    name: String,
    names: Vec<String>,
    fields: IndexMap<String, Field>,
    /// The fields whose values name files.
    paths: Vec<String>,
    files: Vec<FileRows>,
    len: usize,
    skipped: Vec<(String, &'static str)>,
    /// The row that each thread read last: the fields of a row are often read one after another.
    decoded: Vec<Mutex<Option<Decoded>>>,
}

/// A row and its record.
type Decoded = (usize, Arc<Record>);

/// The rows of one file.
struct FileRows {
    records: Records,
    location: String,
    origin: Option<String>,
    /// The number of the first row.
    start: usize,
    /// The place of each field of the table.
    columns: Vec<Column>,
    relative: RelativeFiles,
}

/// The place of a field's values in a file.
#[derive(Clone)]
enum Column {
    /// The file does not have the field.
    Absent,
    /// One value for all rows.
    Fixed(Arc<str>),
    /// The values of this key.
    Key,
    /// The cells of this column.
    Cells(usize),
    /// The files of a folder that the cells of a column name.
    Files(usize, Arc<Folder>),
}

/// A file that is opened.
struct Opened {
    location: String,
    records: Records,
    fields: IndexMap<String, (Column, Seen)>,
    skipped: Option<(String, &'static str)>,
}

impl Rows {
    /// The rows of files that are found.
    ///
    /// # Errors
    /// [`DataError`] for files that cannot be read or have no row, and for a field with values of different types.
    pub fn read(name: &str, found: Found, reading: Reading) -> Result<Self, DataError> {
        let stays_open = found.locations.len() <= OPEN;
        let beside = found.may_name_files.then(Mutex::default);
        let open = |location: String| {
            let mut opened = Opened::open(location, reading.columns, beside.as_ref())?;
            if !stays_open {
                opened.records.close();
            }
            Ok(opened)
        };
        let opened: Vec<Result<Opened, DataError>> = found.locations.into_par_iter().map(open).collect();
        // The error of the first file, whichever thread was faster.
        let mut opened = opened.into_iter().collect::<Result<Vec<_>, _>>()?;
        if opened.iter().all(|file| file.records.len() == 0) {
            return Err(DataError::Empty { location: name.into(), expected: "rows below the header" });
        }
        let has_split = opened.iter().any(|file| file.fields.contains_key(SPLIT));
        let splits = found.splits.filter(|splits| !has_split && splits.iter().any(|split| !split.is_empty()));
        for (file, split) in opened.iter_mut().zip(splits.unwrap_or_default()) {
            file.fields.insert(SPLIT.into(), (Column::Fixed(split.into()), Seen::Nothing));
        }
        Self::new(name, opened, reading)
    }

    fn new(name: &str, opened: Vec<Opened>, reading: Reading) -> Result<Self, DataError> {
        let mut seen: IndexMap<&str, Vec<(&str, Seen)>> = IndexMap::new();
        for file in &opened {
            for (field, (_, of_file)) in &file.fields {
                seen.entry(field).or_default().push((&file.location, *of_file));
            }
        }
        let of = |(field, seen): (&str, Vec<_>)| {
            let is_text = reading.texts.contains(&field);
            let found = if is_text { Field::of_texts() } else { Field::new(field, &seen)? };
            Ok((field.to_string(), found))
        };
        let fields = seen.into_iter().map(of).collect::<Result<IndexMap<_, _>, DataError>>()?;
        let (mut files, mut len, mut skipped) = (Vec::with_capacity(opened.len()), 0, vec![]);
        for mut file in opened {
            let other = if file.records.has_keys() { Column::Key } else { Column::Absent };
            let mut take = |field: &String| {
                file.fields.swap_remove(field).map_or_else(|| other.clone(), |(column, _)| column)
            };
            let columns = fields.keys().map(&mut take).collect();
            let relative = RelativeFiles::new(&file.location).allow_outside(reading.allow_outside);
            let (rows, origin) = (file.records.len(), origin(&file.location));
            skipped.extend(file.skipped);
            files.push(FileRows {
                records: file.records,
                location: file.location,
                origin,
                start: len,
                columns,
                relative,
            });
            len += rows;
        }
        let is_path = |(number, field): (usize, &Field)| {
            let of_folder = |file: &FileRows| matches!(file.columns[number], Column::Files(..));
            field.is_path || files.iter().any(of_folder)
        };
        let names: Vec<String> = fields.keys().cloned().collect();
        let paths = names.iter().zip(fields.values().enumerate()).filter(|(_, field)| is_path(*field));
        let paths = paths.map(|(name, _)| name.clone()).collect();
        let decoded = (0..KEPT).map(|_| Mutex::default()).collect();
        Ok(Self { name: name.into(), names, fields, paths, files, len, skipped, decoded })
    }

    /// Adds the images and clips of a tree that no row names, if rows name files, and what the tree does not list.
    pub fn skip_unnamed(&mut self, tree: &Files) {
        self.skipped.extend(tree.skipped().iter().map(|(path, why)| (tree.location(path), *why)));
        let is_media =
            |path: &&String| matches!(Modality::by_name(path), Some(Modality::Image | Modality::Audio));
        let media: HashSet<String> =
            tree.list().iter().filter(is_media).map(|path| tree.location(path)).collect();
        if media.is_empty() || self.paths.is_empty() {
            return;
        }
        let named = |row: usize| {
            let location = &self.find(row).0.location;
            let folder = location.strip_suffix(file_name(location)).unwrap_or_default();
            let paths = self.named_files(row);
            let paths =
                paths.filter_map(|path| Some(format!("{folder}{}", contained(location, &path).ok()?)));
            paths.filter(|path| media.contains(path)).collect::<Vec<_>>()
        };
        let named: HashSet<String> = (0..self.len).into_par_iter().flat_map_iter(named).collect();
        let mut unnamed: Vec<String> = media.into_iter().filter(|path| !named.contains(path)).collect();
        unnamed.sort_unstable();
        self.skipped.extend(unnamed.into_iter().map(|path| (path, "no row names it")));
    }

    /// The paths of the files that a row names.
    fn named_files(&self, row: usize) -> impl Iterator<Item = String> {
        self.paths.iter().filter_map(move |field| match self.peek(row, field) {
            Ok(Value::File(File { name, .. })) => Some(name),
            _ => None,
        })
    }

    /// The file of a row, and the row's number in it.
    fn find(&self, row: usize) -> (&FileRows, usize) {
        let file = &self.files[self.files.partition_point(|file| file.start <= row).saturating_sub(1)];
        (file, row - file.start)
    }

    /// The decoded record of a row.
    fn record(&self, row: usize) -> Result<Arc<Record>, DataError> {
        let (file, in_file) = self.find(row);
        let place = &self.decoded[THREAD.with(|thread| *thread) % KEPT];
        let mut kept = place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, record)) = &*kept
            && *known == row
        {
            return Ok(record.clone());
        }
        let record = Arc::new(file.records.read(in_file)?);
        *kept = Some((row, record.clone()));
        Ok(record)
    }
}

impl Opened {
    fn open(
        location: String,
        columns: Option<&[String]>,
        beside: Option<&Mutex<Beside>>,
    ) -> Result<Self, DataError> {
        let (records, contents) = Records::open(&location, columns, false)?;
        let files = beside
            .map(|beside| beside.lock().unwrap_or_else(PoisonError::into_inner).find(&location, &contents));
        let files = files.transpose()?.flatten();
        let Contents { fields, first, .. } = contents;
        let column =
            |number: usize| if records.has_keys() { Column::Key } else { Column::Cells(first + number) };
        let fields = fields.into_iter().enumerate();
        let mut fields: IndexMap<_, _> =
            fields.map(|(number, (field, seen))| (field, (column(number), seen))).collect();
        if let Some((number, folder)) = files {
            fields.insert(FILE.into(), (Column::Files(first + number, folder), Seen::Nothing));
        }
        let skipped = (first > 0).then(|| (UNNAMED.to_string(), "the index that pandas writes"));
        Ok(Self { location, records, fields, skipped })
    }
}

impl Table for Rows {
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
        match self.peek(row, field)? {
            Value::File(File { name, .. }) => {
                let (file, row) = self.find(row);
                let bytes = file.relative.read(&name, &file.records.location(row))?;
                Ok(Value::File(File { name, bytes }))
            }
            value => Ok(value),
        }
    }

    fn peek(&self, row: usize, field: &str) -> Result<Value, DataError> {
        let (number, _, known) = self.fields.get_full(field).ok_or_else(|| unknown_field(self, field))?;
        let (file, in_file) = self.find(row);
        let text = |text: &str| if text.is_empty() { Value::Missing } else { Value::Text(text.into()) };
        let column = &file.columns[number];
        let value = match column {
            Column::Absent => Value::Missing,
            Column::Fixed(value) => text(value),
            Column::Key => {
                let value = self.record(row)?.value(field);
                known.check(field, &value, &file.location, in_file)?;
                value
            }
            Column::Cells(number) => known.cell(self.record(row)?.cell(*number)),
            Column::Files(number, folder) => text(&folder.path(self.record(row)?.cell(*number))),
        };
        Ok(match value {
            Value::Text(name) if known.is_path || matches!(column, Column::Files(..)) => {
                Value::File(File { name, bytes: vec![] })
            }
            value => value,
        })
    }

    fn steps(&self, row: usize) -> usize {
        let mut series = self.fields.iter().filter(|(_, field)| field.is_series());
        series.find_map(|(field, _)| self.peek(row, field).ok()?.steps()).unwrap_or(0)
    }

    fn location(&self, row: usize) -> String {
        let (file, row) = self.find(row);
        file.records.location(row)
    }

    fn origin(&self, row: usize) -> Option<String> {
        let (file, in_file) = self.find(row);
        let mut origin = format!("{} row {in_file}", file.origin.as_ref()?);
        for path in self.named_files(row) {
            origin = format!("{origin}, {}", file.relative.origin(&path)?);
        }
        Some(origin)
    }

    fn skipped(&self) -> &[(String, &'static str)] {
        &self.skipped
    }
}
