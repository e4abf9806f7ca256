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
mod ljspeech;
mod nemo;
mod parsing;
mod recordings;
mod tree;

use super::rows::{self, ParsedFile, Raw};
use super::{ConcatTable, Opener, Place, Table};
use crate::data::{DataError, Files};
use cut::{Cut, Cutter};
use indexmap::IndexMap;
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

/// Rows whose field `audio` names recordings.
struct Speech {
    rows: Arc<dyn Table>,
    recordings: Recordings,
    cutter: Cutter,
}

impl Speech {
    fn new(name: &str, files: Vec<ParsedFile>, recordings: Recordings) -> Result<Self, DataError> {
        if files.iter().all(|file| file.table.rows == 0) {
            return Err(DataError::Empty { location: name.into(), expected: "clips and their texts" });
        }
        Ok(Self { rows: rows::of_parsed(name, files)?, recordings, cutter: Cutter::default() })
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
        self.rows.fields()
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn value(&self, row: usize, field: &str) -> Result<Value, DataError> {
        match self.rows.value(row, field)? {
            Value::Text(path) if field == AUDIO => self.clip(row, path),
            value => Ok(value),
        }
    }

    fn peek(&self, row: usize, field: &str) -> Result<Value, DataError> {
        match self.rows.peek(row, field)? {
            Value::Text(name) if field == AUDIO => Ok(Value::File(File { name, bytes: vec![] })),
            value => Ok(value),
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
        match self.rows.value(row, AUDIO) {
            Ok(Value::Text(path)) => Some(format!("{origin}, {}", self.recordings.origin(&path)?)),
            _ => Some(origin),
        }
    }

    fn classes(&self, field: &str) -> Option<&[String]> {
        self.rows.classes(field)
    }

    fn skipped(&self) -> &[(String, &'static str)] {
        self.rows.skipped()
    }
}

/// The table of files whose paths of recordings are relative to a tree. Files of the tree that are neither read nor named are
/// skipped.
fn in_tree(
    tree: &Files,
    mut files: Vec<ParsedFile>,
    is_read: impl Fn(&str) -> bool,
) -> Result<Option<Arc<dyn Table>>, DataError> {
    let columns = files.iter().flat_map(|file| file.table.columns.first());
    let paths = columns.flat_map(|column| match column {
        Raw::Values(paths) => paths.as_slice(),
        Raw::Cells(_) | Raw::Paths(_) => &[],
    });
    let named: HashSet<&str> = paths
        .filter_map(|path| match path {
            Value::Text(path) => Some(path.as_str()),
            _ => None,
        })
        .collect();
    let skipped = skipped(tree, |path| is_read(path) || named.contains(path));
    if let Some(first) = files.first_mut() {
        first.table.skipped = skipped;
    }
    let table = Speech::new(tree.name(), files, Recordings::below(tree.name()))?;
    Ok(Some(Arc::new(table)))
}

/// The table of files whose paths of recordings are relative to the folder of each.
fn by_folder(
    place: &Place,
    files: Vec<ParsedFile>,
    recordings: fn(&str) -> Recordings,
) -> Result<Arc<dyn Table>, DataError> {
    let mut folders: IndexMap<String, Vec<ParsedFile>> = IndexMap::new();
    for file in files {
        folders.entry(folder(&file.location).to_string()).or_default().push(file);
    }
    let one = folders.len() == 1;
    let mut tables: Vec<(Arc<dyn Table>, f64)> = vec![];
    for (folder, files) in folders {
        let name = if one { place.path.as_str() } else { folder.as_str() };
        let recordings = recordings(&folder).allow_outside(place.allow_outside);
        tables.push((Arc::new(Speech::new(name, files, recordings)?), 1.0));
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
