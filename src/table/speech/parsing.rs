//! Parsing of lists.

use crate::data::{DataError, Files, files, open_text};
use indexmap::IndexMap;
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
