//! Text files: one row per file, with the field `text`.

use super::place::{extension, origin, split_in_tree, split_of_table, split_word};
use super::{Place, Table, unknown_field};
use crate::data::{DataError, open_text, read_text};
use smalti_contract::Value;
use std::io::Read;
use std::sync::Arc;

/// The layout's name.
pub const NAME: &str = "text";

struct Texts {
    name: String,
    fields: Vec<String>,
    locations: Vec<String>,
    /// The split of each file; empty if some file is in none.
    splits: Vec<&'static str>,
    skipped: Vec<(String, &'static str)>,
}

/// Opens a `.txt` file, the files of a pattern, or the `.txt` files of a folder or archive. If the settings name this
/// layout, files may have any ending. Several files have the field `split` if each has a split in its name or in that of a
/// folder: `train.txt`, `train/a.txt`.
///
/// # Errors
/// [`DataError`] if there is no such file.
pub fn open(place: &Place) -> Result<Option<Arc<dyn Table>>, DataError> {
    let requested = place.is_requested(NAME);
    let is_text = |location: &String| extension(location) == "txt";
    let mut skipped = vec![];
    let (locations, splits): (Vec<String>, Option<Vec<_>>) = match place.files()? {
        Some(files) => {
            let (texts, others): (Vec<&String>, Vec<&String>) =
                files.list().iter().partition(|path| is_text(path));
            skipped.extend(files.skipped().iter().map(|(path, why)| (files.location(path), *why)));
            skipped.extend(others.iter().map(|path| (files.location(path), "not named .txt")));
            let splits = texts.iter().map(|path| split_in_tree(path)).collect();
            (texts.iter().map(|path| files.location(path)).collect(), splits)
        }
        None => {
            let locations = place.locations()?;
            let splits = locations.iter().map(|location| split_word(split_of_table(location))).collect();
            (locations, splits)
        }
    };
    if locations.is_empty() {
        return place.decline("it has no file named .txt");
    }
    if !requested && !locations.iter().all(is_text) {
        return place.decline("its name does not end in .txt");
    }
    place.refuse_columns(NAME)?;
    place.because(match locations.len() {
        1 => "it is a file named .txt".to_string(),
        n => format!("it holds {n} files named .txt"),
    });
    let several = place.is_pattern() || locations.len() > 1;
    let splits = splits.filter(|_| several).unwrap_or_default();
    let mut fields = vec!["text".to_string()];
    fields.extend((!splits.is_empty()).then(|| "split".into()));
    Ok(Some(Arc::new(Texts { name: place.path.clone(), fields, locations, splits, skipped })))
}

/// A file whose last line is ended, if another file follows.
struct Lined {
    file: Box<dyn Read + Send>,
    /// The last byte that was read.
    last: u8,
    /// Bytes to append to a last line without an end.
    ends: Vec<u8>,
}

impl Read for Lined {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.file.read(buffer)?;
        if n > 0 || buffer.is_empty() {
            self.last = buffer[..n].last().copied().unwrap_or(self.last);
            return Ok(n);
        }
        match self.ends.pop().filter(|_| self.last != b'\n') {
            Some(end) => {
                buffer[0] = end;
                Ok(1)
            }
            None => Ok(0),
        }
    }
}

impl Table for Texts {
    fn name(&self) -> &str {
        &self.name
    }

    fn fields(&self) -> &[String] {
        &self.fields
    }

    fn len(&self) -> usize {
        self.locations.len()
    }

    fn value(&self, row: usize, field: &str) -> Result<Value, DataError> {
        match self.fields.iter().position(|known| known == field) {
            Some(0) => read_text(&self.locations[row]).map(Value::Text),
            Some(_) => Ok(self.splits.get(row).map_or(Value::Missing, |split| Value::Text((*split).into()))),
            None => Err(unknown_field(self, field)),
        }
    }

    fn stream(&self, row: usize, field: &str) -> Result<Box<dyn Read + Send>, DataError> {
        match field == self.fields[0] {
            true => {
                let file = open_text(&self.locations[row])?;
                let ends = if row + 1 == self.locations.len() { vec![] } else { vec![b'\n'] };
                Ok(Box::new(Lined { file, last: b'\n', ends }))
            }
            false => Err(unknown_field(self, field)),
        }
    }

    fn streams(&self, field: &str) -> bool {
        field == self.fields[0]
    }

    fn location(&self, row: usize) -> String {
        self.locations[row].clone()
    }

    fn origin(&self, row: usize) -> Option<String> {
        origin(&self.locations[row])
    }

    fn skipped(&self) -> &[(String, &'static str)] {
        &self.skipped
    }
}
