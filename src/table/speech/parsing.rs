//! Parsing of lists, and the fields of parsed files.

use super::{AUDIO, SPLIT};
use crate::data::{DataError, Files, files, open_text};
use crate::table::rows::{Parsed, Raw};
use indexmap::IndexMap;
use smalti_contract::Value;
use std::io::Read;

/// The most bytes of a first line that are read.
const PROBED: u64 = 1 << 16;

/// The lines of a file: an id each, and the rest of the line.
pub(super) type Lines = IndexMap<String, String>;

/// The lines of a file of a tree.
///
/// # Errors
/// [`DataError`] for a file that is not text, a line without an id, and an id that occurs twice.
pub(super) fn lines(tree: &Files, path: &str) -> Result<Lines, DataError> {
    let location = tree.location(path);
    let text = files::text(&location, tree.read(path)?)?;
    let mut lines = Lines::new();
    for (number, line) in (1..).zip(text.trim_end().lines()) {
        let refuse = |problem: String| {
            Err(DataError::format(
                &location,
                "lines of an id and a value",
                format!("line {number}: {problem}"),
            ))
        };
        let line = line.trim();
        let (id, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        if id.is_empty() {
            return refuse("expected an id; found a blank line".into());
        }
        if lines.insert(id.to_string(), rest.trim_start().to_string()).is_some() {
            return refuse(format!("the id {id:?} occurs twice"));
        }
    }
    Ok(lines)
}

/// The first line of a text file, or its start.
///
/// # Errors
/// [`DataError`] if the file cannot be read.
pub(super) fn first_line(location: &str) -> Result<String, DataError> {
    let mut start = vec![];
    let read = open_text(location)?.take(PROBED).read_to_end(&mut start);
    read.map_err(|e| DataError::io(location, "a file", e))?;
    let start = String::from_utf8_lossy(&start);
    Ok(start.trim_start().lines().next().unwrap_or_default().to_string())
}

/// Adds a field.
pub(super) fn add(table: &mut Parsed, field: &str, values: impl Iterator<Item = Value>) {
    table.fields.push(field.into());
    table.columns.push(Raw::Values(values.collect()));
}

/// Adds a field of texts.
pub(super) fn add_texts<'a>(table: &mut Parsed, field: &str, texts: impl Iterator<Item = &'a str>) {
    add(table, field, texts.map(text));
}

/// A text; an empty one is missing.
pub(super) fn text(text: &str) -> Value {
    if text.is_empty() { Value::Missing } else { Value::Text(text.into()) }
}

/// Adds the split that a name begins with, if there is one and the file does not have the field.
pub(super) fn add_split(table: &mut Parsed, name: &str) {
    let Some(split) = split_in(name).filter(|_| !table.fields.iter().any(|field| field == SPLIT)) else {
        return;
    };
    let rows = table.rows;
    add_texts(table, SPLIT, std::iter::repeat_n(split, rows));
}

/// Renames the field of the recordings' paths to `audio`.
///
/// # Errors
/// [`DataError`] if the field is missing, or there is another `audio`.
pub(super) fn rename_to_audio(table: &mut Parsed, location: &str, field: &str) -> Result<(), DataError> {
    if table.fields.iter().any(|known| known == AUDIO) {
        let problem = format!("it has the fields {field:?} and {AUDIO:?}; rename one of them");
        return Err(DataError::layout(location, problem));
    }
    let Some(at) = table.fields.iter().position(|known| known == field) else {
        let (location, name) = (location.to_string(), field.to_string());
        return Err(DataError::Unknown {
            location,
            what: "field",
            name,
            known: smalti_contract::listed(&table.fields, ", "),
        });
    };
    table.fields[at] = AUDIO.into();
    Ok(())
}

/// The split that the first word of a name stands for: `validation` for `dev-clean`.
pub(super) fn split_in(name: &str) -> Option<&'static str> {
    let word = name.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_lowercase();
    match word.trim_end_matches(|c: char| c.is_ascii_digit()) {
        "train" | "training" => Some("train"),
        "dev" | "val" | "valid" | "validation" => Some("validation"),
        "test" | "eval" => Some("test"),
        _ => None,
    }
}
