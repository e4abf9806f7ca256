//! The training values that tokenizers and heads are fitted to.

use super::part::Part;
use crate::data::read_if_found;
use crate::table::{Table, located};
use smalti_contract::{TokenizeError, Value, Values};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// The values of a part's fields over rows of a table: one for each row, or for each time step of a series.
pub(super) struct FieldValues {
    table: Arc<dyn Table>,
    rows: Vec<u32>,
    fields: Vec<String>,
    /// For a series: the number of time steps up to and including each row.
    ends: Option<Vec<usize>>,
    /// Whether a value that cannot be read counts as missing.
    skips: bool,
    /// The index of the value that was read last, which an error of fitting is about.
    last_read: AtomicUsize,
    /// Indices of corrupt values, which are skipped.
    corrupt: Mutex<BTreeSet<usize>>,
}

/// A problem, and the setting that leaves out rows whose files are missing or corrupt, if it is one of a file.
pub(super) fn with_remedy(problem: &str) -> String {
    let is_of_file = ["not readable as", "not found", "panicked"].iter().any(|words| problem.contains(words));
    match is_of_file {
        true => format!("{problem}; data.corrupt_samples = \"skip\" leaves such rows out"),
        false => problem.into(),
    }
}

/// Number of rows that are read to detect a series.
const PROBED_ROWS: usize = 100;

impl FieldValues {
    pub(super) fn new(table: Arc<dyn Table>, rows: &[u32], fields: &[String], skips: bool) -> Self {
        let mut values = Self {
            table,
            rows: rows.to_vec(),
            fields: fields.to_vec(),
            ends: None,
            skips,
            last_read: AtomicUsize::new(usize::MAX),
            corrupt: Mutex::default(),
        };
        let every = rows.len().div_ceil(PROBED_ROWS).max(1);
        // One step is enough, and the images of a whole episode may be large.
        let mut probed = rows.iter().step_by(every).filter_map(|&row| values.read(row, Some(0..1)).ok());
        let first = probed.find(|value| !value.is_missing());
        if first.is_some_and(|value| value.steps().is_some()) {
            let ends = values.rows.iter().scan(0, |sum, &row| {
                *sum += values.table.steps(row as usize);
                Some(*sum)
            });
            values.ends = Some(ends.collect());
        }
        values
    }

    /// An error of fitting with the location of the value that was read last.
    pub(super) fn with_location(&self, problem: &str) -> String {
        match self.locate(self.last_read.load(Ordering::Relaxed)) {
            Some((row, _)) => {
                let problem = with_remedy(problem);
                format!("{}: {problem}", located(self.table.as_ref(), row as usize, &self.fields))
            }
            None => problem.into(),
        }
    }

    /// Marks the value that was read last as corrupt, if corrupt values are skipped; returns whether it was not marked before.
    pub(super) fn skip_last(&self) -> bool {
        let last = self.last_read.load(Ordering::Relaxed);
        self.skips && last < self.len() && self.corrupt.lock().is_ok_and(|mut corrupt| corrupt.insert(last))
    }

    /// The row of value `index`, and its time step in a series.
    fn locate(&self, index: usize) -> Option<(u32, Option<usize>)> {
        let Some(ends) = &self.ends else { return Some((*self.rows.get(index)?, None)) };
        let row = ends.partition_point(|&end| end <= index);
        let start = row.checked_sub(1).map_or(0, |before| ends[before]);
        Some((*self.rows.get(row)?, Some(index - start)))
    }

    /// Whether the field is a series.
    pub(super) fn is_series(&self) -> bool {
        self.ends.is_some()
    }

    /// The class names that the source of the first field declares.
    pub(super) fn classes(&self) -> Option<&[String]> {
        self.table.classes(self.fields.first()?)
    }

    /// A row's value; of a series, these steps.
    fn read(&self, row: u32, steps: Option<Range<usize>>) -> Result<Value, TokenizeError> {
        let row = row as usize;
        let get = |field: &str| match &steps {
            Some(steps) => self.table.window(row, field, steps.clone()),
            None => self.table.value(row, field),
        };
        let get = |field: &str| get(field).map_err(|e| TokenizeError::Input(e.to_string()));
        match Part::value(&self.fields, &get) {
            Err(_) if self.skips => Ok(Value::Missing),
            other => other,
        }
    }
}

impl Values for FieldValues {
    fn len(&self) -> usize {
        self.ends.as_ref().map_or(self.rows.len(), |ends| ends.last().copied().unwrap_or(0))
    }

    fn get(&self, index: usize) -> Result<Value, TokenizeError> {
        self.last_read.store(index, Ordering::Relaxed);
        if self.corrupt.lock().is_ok_and(|corrupt| corrupt.contains(&index)) {
            return Ok(Value::Missing);
        }
        let Some((row, step)) = self.locate(index) else { return Ok(Value::Missing) };
        match (self.read(row, step.map(|step| step..step + 1))?, step) {
            (Value::Series(mut values), Some(_)) => Ok(values.pop().unwrap_or_default()),
            (value, _) => Ok(value),
        }
    }

    fn read_file(&self, location: &str) -> Result<Option<Vec<u8>>, TokenizeError> {
        Ok(read_if_found(location)?)
    }
}

/// The concatenated values of several parts that share a vocabulary.
pub(super) struct ConcatenatedValues<'a> {
    members: Vec<&'a FieldValues>,
    /// The notes of the fit.
    notes: Mutex<Vec<String>>,
}

impl<'a> ConcatenatedValues<'a> {
    pub(super) fn new(members: Vec<&'a FieldValues>) -> Self {
        Self { members, notes: Mutex::default() }
    }

    /// The notes of the fit, which are taken out.
    pub(super) fn take_notes(&self) -> Vec<String> {
        self.notes.lock().map(|mut notes| std::mem::take(&mut *notes)).unwrap_or_default()
    }

    /// The part whose value was read last.
    fn last_read(&self) -> Option<&FieldValues> {
        self.members
            .iter()
            .rev()
            .find(|values| values.last_read.load(Ordering::Relaxed) < values.len())
            .copied()
    }

    /// As for [`FieldValues::with_location`].
    pub(super) fn with_location(&self, problem: &str) -> String {
        self.last_read().map_or_else(|| problem.into(), |values| values.with_location(problem))
    }

    /// As for [`FieldValues::skip_last`].
    pub(super) fn skip_last(&self) -> bool {
        self.last_read().is_some_and(FieldValues::skip_last)
    }
}

impl Values for ConcatenatedValues<'_> {
    fn len(&self) -> usize {
        self.members.iter().map(|values| values.len()).sum()
    }

    fn get(&self, mut index: usize) -> Result<Value, TokenizeError> {
        for values in &self.members {
            match index.checked_sub(values.len()) {
                None => return values.get(index),
                Some(rest) => index = rest,
            }
        }
        Ok(Value::Missing)
    }

    fn read_file(&self, location: &str) -> Result<Option<Vec<u8>>, TokenizeError> {
        Ok(read_if_found(location)?)
    }

    fn note(&self, note: &str) {
        if let Ok(mut notes) = self.notes.lock() {
            notes.push(note.into());
        }
    }
}

#[cfg(all(test, feature = "text"))]
mod tests {
    use super::*;
    use crate::modalities::text::{TextSettings, TextTokenizer, TextUnit};
    use crate::table::MemoryTable;
    use smalti_contract::{Row, Tokenizer};

    /// The tokenizer of a vocabulary file.
    fn of_file(location: &str) -> Result<TextTokenizer, TokenizeError> {
        let row = Row { fields: [("text".to_string(), Value::Text("the lower".into()))].into() };
        let table = Arc::new(MemoryTable::new("rows", vec![row]));
        let values = FieldValues::new(table, &[0], &["text".to_string()], false);
        let settings =
            TextSettings { vocabulary: TextUnit::File(location.into()), ..TextSettings::default() };
        TextTokenizer::new(TextTokenizer::fit(settings, None, &ConcatenatedValues::new(vec![&values]))?)
    }

    #[test]
    fn a_vocabulary_can_be_read_from_an_archive() {
        let words = b"[PAD]\n[UNK]\n[CLS]\n[SEP]\nthe\nlow\n##er\n";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.tar").display().to_string();
        let mut tar = tar::Builder::new(std::fs::File::create(&path).unwrap());
        for (name, bytes) in [("vocab.txt", &words[..]), ("in/vocab.txt", words), ("other/a.txt", b"a")] {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, bytes).unwrap();
        }
        tar.into_inner().unwrap();
        for inside in ["", "/vocab.txt", "/in", "/in/vocab.txt"] {
            let tokenizer = of_file(&format!("{path}{inside}")).unwrap();
            assert_eq!(tokenizer.ids("the lower").unwrap(), [4, 5, 6], "{inside}");
        }
        for missing in [format!("{path}/other"), "builtin:digits".into()] {
            let message = of_file(&missing).err().unwrap().to_string();
            let expected =
                "not found; expected a vocabulary: tokenizer.json, encoder.json, vocab.json, vocab.txt";
            assert_eq!(message, format!("{missing}: {expected}"));
        }
        let message = of_file("builtin:text/smalti.txt").err().unwrap().to_string();
        assert!(message.starts_with("builtin:text/smalti.txt: not readable as vocab.txt"), "{message}");
    }
}
