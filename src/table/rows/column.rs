//! The columns of one field in all files, all of one type.

use super::json;
use super::parse::Raw;
use crate::data::DataError;
use smalti_contract::{File, Value};

/// The values of one field in one file.
#[derive(Debug)]
pub enum Column {
    /// The file does not have the field.
    Absent,
    /// Texts; an empty one is missing.
    Texts(Vec<String>),
    /// Numbers; NaN is missing.
    Numbers(Vec<f64>),
    /// Paths of files beside the table; an empty one is missing.
    Paths(Vec<String>),
    /// Any other values.
    Values(Vec<Value>),
}

/// The most digits of a number; longer cells are texts, such as ids.
const MAX_DIGITS: usize = 15;

/// The column of one field in each file; `places` are the files' names, for messages.
///
/// # Errors
/// [`DataError::Format`] with the row of the first value whose type differs.
pub fn columns(field: &str, raw: Vec<Option<Raw>>, places: &[&str]) -> Result<Vec<Column>, DataError> {
    let cells = raw.iter().flatten().flat_map(|raw| match raw {
        Raw::Cells(cells) => cells.as_slice(),
        Raw::Values(_) | Raw::Paths(_) => &[],
    });
    let kind = Kind::of(cells);
    let columns: Vec<Column> =
        raw.into_iter().map(|raw| raw.map_or(Column::Absent, |raw| kind.column(raw))).collect();
    let mut first: Option<(&'static str, String)> = None;
    for (column, place) in columns.iter().zip(places) {
        column.check(field, place, &mut first)?;
    }
    let names_files = names_files(field);
    Ok(columns.into_iter().map(|column| column.settle(names_files)).collect())
}

/// Whether the name of a field says that its values are paths of files.
pub fn names_files(field: &str) -> bool {
    // `smalti predict` writes the images of an output `image` as `image.path`; `datasets` has `image_file_name` too.
    ["path", "file_name"].contains(&field) || field.ends_with(".path") || field.ends_with("_file_name")
}

/// The type of all cells of a field.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Text,
    Number,
    List,
}

impl Kind {
    fn of<'a>(cells: impl Iterator<Item = &'a String> + Clone) -> Self {
        let some = cells.filter(|cell| !is_missing(cell));
        if some.clone().next().is_none() {
            return Kind::Text;
        }
        if some.clone().all(|cell| number(cell).is_some()) {
            return Kind::Number;
        }
        if some.clone().all(|cell| list(cell).is_some()) { Kind::List } else { Kind::Text }
    }

    fn column(self, raw: Raw) -> Column {
        match (raw, self) {
            (Raw::Values(values), _) => Column::Values(values),
            (Raw::Paths(paths), _) => Column::Paths(paths),
            (Raw::Cells(cells), Kind::Text) => Column::Texts(cells),
            (Raw::Cells(cells), Kind::Number) => {
                Column::Numbers(cells.iter().map(|cell| number(cell).unwrap_or(f64::NAN)).collect())
            }
            (Raw::Cells(cells), Kind::List) => {
                Column::Values(cells.iter().map(|cell| list(cell).unwrap_or_default()).collect())
            }
        }
    }
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

impl Column {
    /// The value of a row, without the bytes of a file.
    pub fn get(&self, row: usize) -> Value {
        let some = |text: &String| (!text.is_empty()).then(|| text.clone());
        match self {
            Column::Absent => Value::Missing,
            Column::Texts(texts) => texts.get(row).and_then(some).map_or(Value::Missing, Value::Text),
            Column::Numbers(numbers) => match numbers.get(row) {
                Some(number) if !number.is_nan() => Value::Number(*number),
                _ => Value::Missing,
            },
            Column::Paths(paths) => match paths.get(row).and_then(some) {
                Some(name) => Value::File(File { name, bytes: vec![] }),
                None => Value::Missing,
            },
            Column::Values(values) => values.get(row).cloned().unwrap_or_default(),
        }
    }

    /// The number of steps of a row's series.
    pub fn steps(&self, row: usize) -> Option<usize> {
        match self {
            Column::Values(values) => values.get(row)?.steps(),
            _ => None,
        }
    }

    /// Checks that all values have one type; `first` is the type and place of the first value.
    fn check(
        &self,
        field: &str,
        file: &str,
        first: &mut Option<(&'static str, String)>,
    ) -> Result<(), DataError> {
        let rows = match self {
            Column::Values(values) => values.len(),
            Column::Texts(texts) => texts.len(),
            Column::Numbers(numbers) => numbers.len(),
            Column::Absent | Column::Paths(_) => 0,
        };
        for row in 0..rows {
            let kind = match self {
                Column::Values(values) => kind(&values[row]),
                Column::Texts(texts) => (!texts[row].is_empty()).then_some("a text"),
                Column::Numbers(numbers) => (!numbers[row].is_nan()).then_some("a number"),
                Column::Absent | Column::Paths(_) => None,
            };
            let Some(kind) = kind else { continue };
            match first {
                None => *first = Some((kind, format!("{file} row {}", row + 1))),
                Some((expected, place)) if *expected != kind => {
                    let problem = format!(
                        "row {}: the field {field:?} must be {expected}, as in {place}; found {kind}",
                        row + 1
                    );
                    return Err(DataError::format(file, "a table", problem));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Converts values to the variant that takes the least memory.
    fn settle(self, names_files: bool) -> Self {
        match self {
            Column::Texts(texts) if names_files => Column::Paths(texts),
            Column::Values(values) => settle(values, names_files),
            other => other,
        }
    }
}

fn settle(values: Vec<Value>, names_files: bool) -> Column {
    let first = values.iter().find(|value| !value.is_missing());
    match first {
        Some(Value::Text(_)) => {
            let text = |value| if let Value::Text(text) = value { text } else { String::new() };
            Column::Texts(values.into_iter().map(text).collect()).settle(names_files)
        }
        Some(Value::Number(_)) => {
            let number = |value: &Value| if let Value::Number(number) = value { *number } else { f64::NAN };
            Column::Numbers(values.iter().map(number).collect())
        }
        _ => Column::Values(values),
    }
}

/// A noun for a value's type; `None` for a missing one.
pub fn kind(value: &Value) -> Option<&'static str> {
    match value {
        Value::Missing => None,
        Value::Text(_) => Some("a text"),
        Value::Number(_) => Some("a number"),
        Value::Array(_) => Some("an array of numbers"),
        Value::File(_) => Some("a file"),
        Value::Series(_) | Value::Several { .. } => Some("a list"),
    }
}
