//! Data sets in the RLDS layout of TensorFlow Datasets: TFRecord files with `features.json` beside them; a record is a row.
//!
//! A record is read when one of its values is requested, and the number of its steps is then known.

mod fields;
mod shards;
#[cfg(test)]
mod tests;

use super::NAME;
use crate::data::DataError;
use crate::data::files::{self, Files};
use crate::table::place::file_name;
use crate::table::{Place, Table, unknown_field};
use fields::Field;
use shards::Shards;
use smalti_contract::{Value, listed};
use smalti_trajectory::TrajectoryError;
use smalti_trajectory::rlds::{FEATURES, Feature, Features, INFO, Record, shard_lengths};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

struct Rlds {
    name: String,
    names: Vec<String>,
    fields: Vec<Field>,
    shards: Shards,
    /// A feature whose values are counted.
    counted: Feature,
    /// The number of steps of each record, once it is read.
    steps: Vec<OnceLock<usize>>,
    skipped: Vec<(String, &'static str)>,
}

/// The TFRecord files of a source.
struct Found {
    files: Arc<Files>,
    /// The folder of the data set in `files`; empty, or with a `/` at its end.
    folder: String,
    /// The paths of the TFRecord files.
    records: Vec<String>,
}

/// Opens a folder or an archive with a data set, or one or several of its TFRecord files.
///
/// # Errors
/// [`DataError`] for TFRecord files without `features.json` or of several data sets, for files that are packed, truncated or
/// corrupt, and for a file with another number of records than `dataset_info.json` has.
pub(super) fn open(place: &Place) -> Result<Option<Arc<dyn Table>>, DataError> {
    let Some(found) = Found::of(place)? else { return Ok(None) };
    place.refuse_columns(NAME)?;
    place.because(format!("it has TFRecord files, such as {}", file_name(&found.records[0])));
    let invalid = |e: TrajectoryError| DataError::tokenize(&place.path, e);
    let features = Features::parse(&found.description(FEATURES)?).map_err(invalid)?;
    let mut skipped = features.skipped.clone();
    skipped.extend_from_slice(found.files.skipped());
    skipped.extend(found.others());
    let shards = Shards::open(found.files.clone(), &found.records)?;
    if found.files.contains(&found.path(INFO)) {
        let lengths = shard_lengths(&found.description(INFO)?).map_err(invalid)?;
        skipped.extend(shards.check(&lengths)?);
    }
    let fields = fields::of(&features, shards.splits().all(|split| !split.is_empty()));
    let (names, fields) = fields.into_iter().unzip();
    let steps = (0..shards.len()).map(|_| OnceLock::new()).collect();
    let counted = fields::counted(&features);
    Ok(Some(Arc::new(Rlds { name: place.path.clone(), names, fields, shards, counted, steps, skipped })))
}

impl Found {
    fn of(place: &Place) -> Result<Option<Self>, DataError> {
        let found = match place.files()? {
            Some(files) => {
                let records: Vec<String> =
                    files.list().iter().filter(|path| is_record(path)).cloned().collect();
                let Some(first) = records.first() else { return Ok(None) };
                Self { folder: folder(first).into(), files, records }
            }
            None if !is_record(&place.path) => return Ok(None),
            None => {
                let locations = place.locations()?;
                if !locations.iter().all(|location| is_record(location)) {
                    return Ok(None);
                }
                // Records and descriptions are files of the folder of the first one.
                let top = locations.first().map_or("", |location| folder(location)).to_string();
                let below = |location: &String| location.strip_prefix(&top).unwrap_or(location).to_string();
                let records: Vec<String> = locations.iter().map(below).collect();
                let mut names = records.clone();
                for name in [FEATURES, INFO] {
                    names.extend(files::is_file(&files::join(&top, name))?.then(|| name.to_string()));
                }
                let files = Arc::new(Files::named(&top, names.into_iter()));
                Self { files, folder: String::new(), records }
            }
        };
        found.check(place).map(Some)
    }

    /// Checks that there is one data set with a description.
    fn check(self, place: &Place) -> Result<Self, DataError> {
        let refuse = |problem: String| Err(DataError::layout(&place.path, problem));
        let mut folders: Vec<&str> = self.records.iter().map(|path| folder(path)).collect();
        folders.dedup();
        if folders.len() > 1 {
            return refuse(format!(
                "expected one data set of TFRecord files; found several, in {}; name one of these folders",
                listed(folders, ", ")
            ));
        }
        if let Some(packed) = self.records.iter().find(|path| path.ends_with(".gz")) {
            return refuse(format!("{packed} is packed; unpack it, because records are read in place"));
        }
        if !self.files.contains(&self.path(FEATURES)) {
            let first = self.records.first().map_or("", |path| file_name(path));
            return refuse(format!(
                "expected {FEATURES} beside {first}, with the shapes of its features, as TensorFlow Datasets writes \
                 it; found none"
            ));
        }
        Ok(self)
    }

    fn path(&self, name: &str) -> String {
        format!("{}{name}", self.folder)
    }

    fn description(&self, name: &str) -> Result<Vec<u8>, DataError> {
        self.files.read(&self.path(name))
    }

    /// The files that are neither records nor descriptions.
    fn others(&self) -> impl Iterator<Item = (String, &'static str)> + '_ {
        let describes = |path: &str| [".json", ".md", ".txt"].iter().any(|ending| path.ends_with(ending));
        let others = self.files.list().iter().filter(move |path| !is_record(path) && !describes(path));
        others.map(|path| (path.clone(), "not a TFRecord file"))
    }
}

/// Whether a file has the name of a TFRecord file: `bridge-train.tfrecord-00000-of-00004`.
fn is_record(path: &str) -> bool {
    file_name(path).contains(".tfrecord")
}

/// The path without the file's name.
fn folder(path: &str) -> &str {
    path.strip_suffix(file_name(path)).unwrap_or_default()
}

impl Rlds {
    fn get(&self, row: usize, name: &str, steps: Range<usize>, bytes: bool) -> Result<Value, DataError> {
        let number = self.names.iter().position(|known| known == name);
        let field = &self.fields[number.ok_or_else(|| unknown_field(self, name))?];
        if let Field::Split = field {
            return Ok(Value::Text(self.shards.split(row).into()));
        }
        let record = self.shards.read(row)?;
        let refuse = |e: TrajectoryError| DataError::tokenize(&self.location(row), e);
        let record = Record::parse(&record).map_err(refuse)?;
        let all = self.count(row, &record).map_err(refuse)?;
        let steps = steps.start.min(all)..steps.end.min(all);
        field.value(&record, all, steps, bytes).map_err(refuse)
    }

    fn count(&self, row: usize, record: &Record) -> Result<usize, TrajectoryError> {
        match self.steps[row].get() {
            Some(&steps) => Ok(steps),
            None => record.steps(&self.counted).map(|steps| *self.steps[row].get_or_init(|| steps)),
        }
    }
}

impl Table for Rlds {
    fn name(&self) -> &str {
        &self.name
    }

    fn fields(&self) -> &[String] {
        &self.names
    }

    fn len(&self) -> usize {
        self.shards.len()
    }

    fn value(&self, row: usize, field: &str) -> Result<Value, DataError> {
        self.get(row, field, 0..usize::MAX, true)
    }

    fn peek(&self, row: usize, field: &str) -> Result<Value, DataError> {
        self.get(row, field, 0..usize::MAX, false)
    }

    fn window(&self, row: usize, field: &str, steps: Range<usize>) -> Result<Value, DataError> {
        self.get(row, field, steps, true)
    }

    /// A corrupt episode counts as one step, so that reading it reports its error.
    fn steps(&self, row: usize) -> usize {
        if let Some(&steps) = self.steps[row].get() {
            return steps;
        }
        let Ok(record) = self.shards.read(row) else { return 1 };
        Record::parse(&record).and_then(|record| self.count(row, &record)).unwrap_or(1)
    }

    fn location(&self, row: usize) -> String {
        self.shards.location(row)
    }

    fn origin(&self, row: usize) -> Option<String> {
        self.shards.origin(row)
    }

    fn skipped(&self) -> &[(String, &'static str)] {
        &self.skipped
    }
}
