//! The type of the values of one field in all files.

use super::json;
use crate::data::DataError;
use smalti_contract::Value;

/// The most digits of a number; longer cells are texts, such as ids.
const MAX_DIGITS: usize = 15;

/// What is known of the values of one field in one file.
#[derive(Clone, Copy, Debug)]
pub enum Seen {
    /// The type of the first value of JSON, and its row.
    Value(&'static str, usize),
    /// Values of JSON, all missing.
    Nothing,
    /// Cells, which have the type that fits all of them.
    Cells(Cells),
}

/// What all cells of a column have in common.
#[derive(Clone, Copy, Debug)]
pub struct Cells {
    /// The row of the first cell with a value.
    first: Option<usize>,
    are_numbers: bool,
    are_lists: bool,
}

/// The type of all cells of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Text,
    Number,
    List,
}

/// A field of all files.
#[derive(Debug)]
pub struct Field {
    /// The type of its cells.
    kind: Kind,
    /// A noun for the type of its values, and the place of the first one; `None` if all are missing.
    first: Option<(&'static str, String)>,
    /// Whether its texts are paths of files.
    pub is_path: bool,
}

impl Seen {
    /// Adds a value of JSON.
    ///
    /// # Errors
    /// The types of the first value and of this one, and the row of the first, if the types differ.
    pub fn add(&mut self, value: &Value, row: usize) -> Result<(), (&'static str, &'static str, usize)> {
        match (*self, kind(value)) {
            (Seen::Value(first, at), Some(found)) if first != found => Err((first, found, at)),
            (Seen::Nothing, Some(found)) => {
                *self = Seen::Value(found, row);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Default for Cells {
    fn default() -> Self {
        Self { first: None, are_numbers: true, are_lists: true }
    }
}

impl Cells {
    /// Adds a cell.
    pub fn add(&mut self, cell: &str, row: usize) {
        if !is_missing(cell) {
            self.first.get_or_insert(row);
            self.are_numbers = self.are_numbers && number(cell).is_some();
            self.are_lists = self.are_lists && list(cell).is_some();
        }
    }
}

impl Kind {
    fn of<'a>(columns: impl Iterator<Item = &'a Cells> + Clone) -> Self {
        let mut some = columns.filter(|cells| cells.first.is_some()).peekable();
        match some.peek().is_some() {
            true if some.clone().all(|cells| cells.are_numbers) => Kind::Number,
            true if some.all(|cells| cells.are_lists) => Kind::List,
            _ => Kind::Text,
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Kind::Text => "a text",
            Kind::Number => "a number",
            Kind::List => "an array of numbers",
        }
    }
}

impl Field {
    /// The field of this name, by what is known of it in each file that has it, with the file's location.
    ///
    /// # Errors
    /// [`DataError::Format`] with the row of the first value of a file whose type differs.
    pub fn new(name: &str, seen: &[(&str, Seen)]) -> Result<Self, DataError> {
        let cells = seen
            .iter()
            .filter_map(|(_, seen)| if let Seen::Cells(cells) = seen { Some(cells) } else { None });
        let mut field = Self { kind: Kind::of(cells), first: None, is_path: names_files(name) };
        for (location, seen) in seen {
            let (noun, row) = match seen {
                Seen::Value(noun, row) => (*noun, *row),
                Seen::Cells(Cells { first: Some(row), .. }) => (field.kind.noun(), *row),
                Seen::Cells(_) | Seen::Nothing => continue,
            };
            match &field.first {
                None => field.first = Some((noun, format!("{location} row {}", row + 1))),
                Some((expected, place)) if *expected != noun => {
                    return Err(other_type(location, name, (row, noun), (expected, place)));
                }
                Some(_) => {}
            }
        }
        Ok(field)
    }

    /// A field of plain texts, even if they look like numbers or its name is that of a field of paths.
    pub fn of_texts() -> Self {
        Self { kind: Kind::Text, first: None, is_path: false }
    }

    /// The value of a cell.
    pub fn cell(&self, cell: &str) -> Value {
        let value = match self.kind {
            Kind::Text => (!cell.is_empty()).then(|| Value::Text(cell.into())),
            Kind::Number => number(cell).map(Value::Number),
            Kind::List => list(cell),
        };
        value.unwrap_or_default()
    }

    /// Checks that a value of JSON, in a row of a file, has the field's type: not all rows are read when a file is opened.
    ///
    /// # Errors
    /// [`DataError::Format`] with the row.
    pub fn check(&self, name: &str, value: &Value, location: &str, row: usize) -> Result<(), DataError> {
        match (&self.first, kind(value)) {
            (Some((expected, place)), Some(found)) if *expected != found => {
                Err(other_type(location, name, (row, found), (expected, place)))
            }
            _ => Ok(()),
        }
    }

    /// Whether its values are series.
    pub fn is_series(&self) -> bool {
        self.first.as_ref().is_some_and(|(noun, _)| *noun == "a list")
    }
}

/// The error of a value whose type is not that of the first value at a place.
pub fn other_type(
    location: &str,
    field: &str,
    (row, found): (usize, &str),
    (expected, place): (&str, &str),
) -> DataError {
    let row = row + 1;
    let problem = format!("row {row}: the field {field:?} must be {expected}, as in {place}; found {found}");
    DataError::format(location, "a table", problem)
}

/// Whether the name of a field says that its values are paths of files.
pub fn names_files(field: &str) -> bool {
    // `smalti predict` writes the images of an output `image` as `image.path`; `datasets` has `image_file_name` too.
    ["path", "file_name"].contains(&field) || field.ends_with(".path") || field.ends_with("_file_name")
}

/// Whether a cell has no value: empty, or NumPy's `nan`.
fn is_missing(cell: &str) -> bool {
    let cell = cell.trim();
    cell.is_empty() || cell.eq_ignore_ascii_case("nan")
}

/// A cell as a number; `None` for numbers with leading zeros, such as `007`, and for more digits than are exact.
pub fn number(cell: &str) -> Option<f64> {
    let cell = cell.trim();
    let unsigned = cell.strip_prefix(['-', '+']).unwrap_or(cell);
    let mut characters = unsigned.chars();
    let first = characters.next().filter(|c| c.is_ascii_digit() || *c == '.')?;
    let padded = first == '0' && characters.next().is_some_and(|c| c.is_ascii_digit());
    let whole = unsigned.len() > MAX_DIGITS && unsigned.bytes().all(|byte| byte.is_ascii_digit());
    if padded || whole {
        return None;
    }
    cell.parse().ok().filter(|number: &f64| number.is_finite())
}

/// A cell as an array in JSON.
fn list(cell: &str) -> Option<Value> {
    let json = cell.trim().starts_with('[').then(|| serde_json::from_str(cell).ok())??;
    // Lists of texts are not read: a text may well be in brackets.
    json::value(&json).ok().filter(|value| matches!(value, Value::Array(_) | Value::Missing))
}

/// A noun for a value's type; `None` for a missing one.
fn kind(value: &Value) -> Option<&'static str> {
    match value {
        Value::Missing => None,
        Value::Text(_) => Some("a text"),
        Value::Number(_) => Some("a number"),
        Value::Array(_) => Some("an array of numbers"),
        Value::File(_) => Some("a file"),
        Value::Series(_) | Value::Several { .. } => Some("a list"),
    }
}
