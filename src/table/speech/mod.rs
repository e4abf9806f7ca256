//! Corpora of speech in their published layouts: rows of clips and their texts.
//!
//! | layout | files | more fields |
//! | --- | --- | --- |
//! | `kaldi` | folders with `wav.scp`, `text`, `segments`, `utt2spk`, `spk2gender` | `speaker`, `gender`, `id`, `split` |
//! | `librispeech` | `84-121123.trans.txt` beside `84-121123-0000.flac` | `speaker`, `chapter`, `id`, `subset`, `split` |
//! | `ljspeech` | `metadata.csv` without a header, beside `wavs/` | `raw_text`, `id` |
//! | `common_voice` | `train.tsv`, `dev.tsv`, `test.tsv` beside `clips/` | the other columns, `split` |
//! | `nemo` | JSON lines with `audio_filepath` | the other keys, `split` |
//!
//! All have the fields `audio`, a file, and `text`. The clip of a row with a number in the field `offset` is the part of its
//! recording that begins there and lasts `duration` (both in seconds; to the end without one), as a WAV file. `split` is the
//! split that a name begins with: `train`, `validation` or `test`.

mod common_voice;
mod cut;
mod kaldi;
mod librispeech;
mod lists;
mod ljspeech;
mod nemo;
mod parsing;
mod recordings;
mod tree;

use super::place::file_name;
use super::rows::{self, Reading};
use super::{ConcatTable, Opener, Place, Table, unknown_field};
use crate::data::{DataError, Files};
use cut::{Cut, Cutter};
use indexmap::IndexMap;
use lists::List;
use parsing::split_in;
use recordings::Recordings;
use smalti_contract::{File, Value};
use std::collections::HashSet;
use std::sync::Arc;
use tree::{folder, skipped};

/// The layouts, in the order in which they are tried.
pub(super) const LAYOUTS: [(&str, Opener); 5] = [
    (kaldi::NAME, kaldi::open),
    (librispeech::NAME, librispeech::open),
    (ljspeech::NAME, ljspeech::open),
    (common_voice::NAME, common_voice::open),
    (nemo::NAME, nemo::open),
];

/// The field of clips; in the files, the paths of recordings.
const AUDIO: &str = "audio";
/// The field of transcripts.
const TEXT: &str = "text";
const ID: &str = "id";
const SPEAKER: &str = "speaker";
const SPLIT: &str = "split";
/// The start of a clip in its recording, in seconds.
const OFFSET: &str = "offset";
/// The length of a clip that has an offset, in seconds.
const DURATION: &str = "duration";

/// Rows that name recordings.
struct Speech {
    rows: Arc<dyn Table>,
    fields: Vec<String>,
    naming: Naming,
    recordings: Recordings,
    cutter: Cutter,
    skipped: Vec<(String, &'static str)>,
}

/// How rows name their recordings.
#[derive(Clone, Copy)]
struct Naming {
    /// The field of the paths, which is named `audio` in the table.
    field: &'static str,
    /// The folder of recordings that are named without one.
    folder: &'static str,
    /// The recordings for rows of a list in a folder.
    recordings: fn(&str) -> Recordings,
}

impl Speech {
    /// Rows whose list lies in a folder, and the files that are not used.
    ///
    /// # Errors
    /// [`DataError`] if the rows do not have the field of the paths, or have another field `audio`.
    fn new(
        rows: Arc<dyn Table>,
        naming: Naming,
        recordings: Recordings,
        mut skipped: Vec<(String, &'static str)>,
    ) -> Result<Self, DataError> {
        let mut fields = rows.fields().to_vec();
        let Some(at) = fields.iter().position(|field| field == naming.field) else {
            return Err(unknown_field(rows.as_ref(), naming.field));
        };
        if naming.field != AUDIO && fields.iter().any(|field| field == AUDIO) {
            let problem = format!("it has the fields {:?} and {AUDIO:?}; rename one of them", naming.field);
            return Err(DataError::layout(rows.name(), problem));
        }
        fields[at] = AUDIO.into();
        skipped.extend_from_slice(rows.skipped());
        Ok(Self { rows, fields, naming, recordings, cutter: Cutter::default(), skipped })
    }

    /// The path of the recording that a row names; `None` if that is missing.
    fn path(&self, row: usize) -> Result<Option<String>, DataError> {
        match self.rows.value(row, self.naming.field)? {
            Value::Missing => Ok(None),
            Value::Text(path) if path.contains('/') => Ok(Some(path)),
            Value::Text(path) => Ok(Some(format!("{}{path}", self.naming.folder))),
            other => {
                Err(DataError::tokenize(&self.location(row), other.unexpected("the path of a recording")))
            }
        }
    }

    fn clip(&self, row: usize, path: String) -> Result<Value, DataError> {
        let location = self.location(row);
        let read = || self.recordings.read(&path, &location);
        let bytes = match self.cut(row)? {
            Some(cut) => self.cutter.cut(&path, cut, &location, read)?,
            None => read()?,
        };
        Ok(Value::File(File { name: path, bytes }))
    }

    /// The part of its recording that a row's clip is; `None` for the whole recording.
    fn cut(&self, row: usize) -> Result<Option<Cut>, DataError> {
        let Some(offset) = self.seconds(row, OFFSET)? else { return Ok(None) };
        Ok(Some(Cut { offset, duration: self.seconds(row, DURATION)? }))
    }

    fn seconds(&self, row: usize, field: &str) -> Result<Option<f64>, DataError> {
        if !self.fields().iter().any(|known| known == field) {
            return Ok(None);
        }
        match self.rows.value(row, field)? {
            Value::Missing => Ok(None),
            Value::Number(seconds) => Ok(Some(seconds)),
            other => {
                let problem = format!("the field {field:?}: {}", other.unexpected("a number of seconds"));
                Err(DataError::tokenize(&self.location(row), problem))
            }
        }
    }
}

impl Table for Speech {
    fn name(&self) -> &str {
        self.rows.name()
    }

    fn fields(&self) -> &[String] {
        &self.fields
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn value(&self, row: usize, field: &str) -> Result<Value, DataError> {
        match field {
            AUDIO => self.path(row)?.map_or(Ok(Value::Missing), |path| self.clip(row, path)),
            _ => self.rows.value(row, field),
        }
    }

    fn peek(&self, row: usize, field: &str) -> Result<Value, DataError> {
        let named = |name| Value::File(File { name, bytes: vec![] });
        match field {
            AUDIO => Ok(self.path(row)?.map_or(Value::Missing, named)),
            _ => self.rows.peek(row, field),
        }
    }

    fn steps(&self, row: usize) -> usize {
        self.rows.steps(row)
    }

    fn location(&self, row: usize) -> String {
        self.rows.location(row)
    }

    fn origin(&self, row: usize) -> Option<String> {
        let origin = self.rows.origin(row)?;
        match self.path(row) {
            Ok(Some(path)) => Some(format!("{origin}, {}", self.recordings.origin(&path)?)),
            _ => Some(origin),
        }
    }

    fn classes(&self, field: &str) -> Option<&[String]> {
        self.rows.classes(field)
    }

    fn skipped(&self) -> &[(String, &'static str)] {
        &self.skipped
    }
}

/// The table of lists whose paths of recordings are relative to a tree. Files of the tree that are neither read nor named are
/// skipped.
fn in_tree(
    tree: &Files,
    lists: Vec<List>,
    is_read: impl Fn(&str) -> bool,
) -> Result<Option<Arc<dyn Table>>, DataError> {
    let paths = lists.iter().filter_map(|list| list.fields.get(AUDIO)).flatten();
    let named: HashSet<&str> = paths
        .filter_map(|path| match path {
            Value::Text(path) => Some(path.as_str()),
            _ => None,
        })
        .collect();
    let skipped = skipped(tree, |path| is_read(path) || named.contains(path));
    let naming = Naming { field: AUDIO, folder: "", recordings: Recordings::below };
    let rows = lists::table(tree.name(), lists)?;
    Ok(Some(Arc::new(Speech::new(rows, naming, Recordings::below(tree.name()), skipped)?)))
}

/// The table of tables whose paths of recordings, relative to the folder of each, are in a field; `texts` are fields of plain
/// texts. `split` is the split that the name of a table begins with.
fn of_tables(
    place: &Place,
    locations: Vec<String>,
    texts: &[&str],
    naming: Naming,
    skipped: Vec<(String, &'static str)>,
) -> Result<Arc<dyn Table>, DataError> {
    let located = locations.into_iter().map(|location| (folder(&location).to_string(), location)).collect();
    let open = |name: &str, locations: Vec<String>| {
        let split = |location: &String| split_in(file_name(location)).unwrap_or_default().to_string();
        let splits = locations.iter().map(split).collect();
        rows::read(name, locations, Some(splits), Reading { texts, ..Reading::default() })
    };
    by_folder(place, located, open, naming, skipped)
}

/// The table of lists with their folders, to which the paths of recordings are relative.
fn by_folder<T>(
    place: &Place,
    lists: Vec<(String, T)>,
    open: impl Fn(&str, Vec<T>) -> Result<Arc<dyn Table>, DataError>,
    naming: Naming,
    mut skipped: Vec<(String, &'static str)>,
) -> Result<Arc<dyn Table>, DataError> {
    let mut folders: IndexMap<String, Vec<T>> = IndexMap::new();
    for (folder, list) in lists {
        folders.entry(folder).or_default().push(list);
    }
    let one = folders.len() == 1;
    let mut tables: Vec<(Arc<dyn Table>, f64)> = vec![];
    for (folder, lists) in folders {
        let rows = open(if one { &place.path } else { &folder }, lists)?;
        let recordings = (naming.recordings)(&folder).allow_outside(place.allow_outside);
        let table = Speech::new(rows, naming, recordings, std::mem::take(&mut skipped))?;
        tables.push((Arc::new(table), 1.0));
    }
    Ok(if one { tables.swap_remove(0).0 } else { Arc::new(ConcatTable::new(tables)) })
}

/// No table, because the files that are `expected` are not there; an error if the settings name the layout.
fn none(place: &Place, layout: &str, expected: &str) -> Result<Option<Arc<dyn Table>>, DataError> {
    match place.is_requested(layout) {
        true => Err(DataError::layout(&place.path, format!("expected {expected}; found none"))),
        false => place.decline(format!("it lacks {expected}")),
    }
}
