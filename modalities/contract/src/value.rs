//! Rows of named fields: the data that tokenizers read.

use crate::tokenizer::TokenizeError;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;

/// The value of one field.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// The row has no value for this field.
    #[default]
    Missing,
    /// A text.
    Text(String),
    /// A number.
    Number(f64),
    /// An array of numbers of any shape.
    Array(Array),
    /// The bytes of a file: an encoded image or audio clip.
    File(File),
    /// One value for each time step.
    Series(Vec<Value>),
    /// The values of several rows, which are concatenated into one input
    /// ([`Tokenizer::concat`](crate::Tokenizer::concat)).
    Several {
        /// One value from each row; none is missing.
        values: Vec<Value>,
        /// The seed of random gaps between them.
        seed: u64,
    },
}

/// Numbers in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// The length of each dimension; their product is the number of elements.
    pub shape: Vec<usize>,
    /// The numbers.
    pub numbers: Numbers,
}

/// The numbers of an [`Array`].
#[derive(Clone, Debug, PartialEq)]
pub enum Numbers {
    /// Bytes, such as pixels in 0..=255.
    U8(Vec<u8>),
    /// Real numbers.
    F32(Vec<f32>),
}

/// The bytes of a file and its name.
#[derive(Clone, Debug, PartialEq)]
pub struct File {
    /// The file's name or path, for messages and for formats that are known by their extension.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// One row of a table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// The fields by name.
    pub fields: BTreeMap<String, Value>,
}

/// The values of one field over the rows that a tokenizer is fitted to: one for each row or, for a series, one for each
/// time step. A row without a value gives [`Value::Missing`].
pub trait Values {
    /// The number of values.
    fn len(&self) -> usize;

    /// True when there is no value.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Value `index`.
    ///
    /// # Errors
    /// If the value cannot be read; the message names its row.
    fn get(&self, index: usize) -> Result<Value, TokenizeError>;

    /// The bytes of a file that a setting names, such as a published vocabulary; `None` if there is no file. By default
    /// the location is a local path ([`read_local`]); a program may also support remote addresses and members of
    /// archives.
    ///
    /// # Errors
    /// If there is a file and it cannot be read; the message names the location.
    fn read_file(&self, location: &str) -> Result<Option<Vec<u8>>, TokenizeError> {
        read_local(location)
    }

    /// Tell the user, in one line, what a fit chose from the values: `"3 channels, from 200 of 1000 images"`. By default
    /// the note is dropped.
    fn note(&self, _note: &str) {}
}

/// 2⁶⁴ divided by the golden ratio: its multiples are spread evenly and repeat with no short period (Knuth 1973).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl dyn Values + '_ {
    /// At most `most` values, spread evenly over all rows, because tables are often sorted by class: a fixed random one of each of
    /// as many equal ranges. An even stride would select only one type of values that repeat, such as the first step of each
    /// series.
    pub fn spread(&self, most: usize) -> impl Iterator<Item = Result<Value, TokenizeError>> + '_ {
        let every = self.len().div_ceil(most.max(1)).max(1);
        (0..self.len()).step_by(every).enumerate().map(move |(number, start)| {
            let random = (number as u64).wrapping_mul(GOLDEN) >> 32;
            self.get(start + random as usize % every.min(self.len() - start))
        })
    }
}

/// The bytes of a local file; `None` if there is no file at the location.
///
/// # Errors
/// If there is a file and it cannot be read; the message names the location.
pub fn read_local(location: &str) -> Result<Option<Vec<u8>>, TokenizeError> {
    match std::fs::read(location) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(_) if Path::new(location).is_dir() => Ok(None),
        Err(e) => Err(TokenizeError::Input(format!("{location}: {e}"))),
    }
}

/// Values in memory.
impl Values for Vec<Value> {
    fn len(&self) -> usize {
        self.as_slice().len()
    }

    fn get(&self, index: usize) -> Result<Value, TokenizeError> {
        Ok(self.as_slice().get(index).cloned().unwrap_or_default())
    }
}

impl Row {
    /// The value of a field; [`Value::Missing`] if the row does not have it.
    pub fn get(&self, field: &str) -> &Value {
        self.fields.get(field).unwrap_or(&Value::Missing)
    }
}

/// A row of these fields; a field that is given twice has its last value.
impl<K: Into<String>, const N: usize> From<[(K, Value); N]> for Row {
    fn from(fields: [(K, Value); N]) -> Self {
        Self { fields: fields.into_iter().map(|(name, value)| (name.into(), value)).collect() }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.into())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Value::Number(number)
    }
}

/// The text `true` or `false`, as files of rows have it.
impl From<bool> for Value {
    fn from(is_true: bool) -> Self {
        Value::Text(is_true.to_string())
    }
}

impl Array {
    /// An array of one dimension.
    pub fn vector(numbers: Vec<f32>) -> Self {
        Self { shape: vec![numbers.len()], numbers: Numbers::F32(numbers) }
    }

    /// The numbers as `f32`, row-major.
    pub fn to_f32(&self) -> Vec<f32> {
        match &self.numbers {
            Numbers::U8(bytes) => bytes.iter().map(|&byte| f32::from(byte)).collect(),
            Numbers::F32(numbers) => numbers.clone(),
        }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        match &self.numbers {
            Numbers::U8(bytes) => bytes.len(),
            Numbers::F32(numbers) => numbers.len(),
        }
    }

    /// True if there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Value {
    /// A vector of numbers.
    pub fn vector(numbers: impl Into<Vec<f32>>) -> Self {
        Value::Array(Array::vector(numbers.into()))
    }

    /// True for [`Value::Missing`].
    pub fn is_missing(&self) -> bool {
        *self == Value::Missing
    }

    /// A noun phrase for messages: `text`, `an array [3, 4]`, `a series of 20 steps`.
    pub fn describe(&self) -> String {
        match self {
            Value::Missing => "nothing".into(),
            Value::Text(_) => "text".into(),
            Value::Number(_) => "a number".into(),
            Value::Array(array) => format!("an array {:?}", array.shape),
            Value::File(file) => format!("the file {:?}", file.name),
            Value::Series(steps) => format!("a series of {} steps", steps.len()),
            Value::Several { values, .. } => format!("the values of {} rows", values.len()),
        }
    }

    /// The error of a tokenizer that expects another type of value.
    pub fn unexpected(&self, expected: &str) -> TokenizeError {
        TokenizeError::Input(format!("expected {expected}; found {}", self.describe()))
    }

    /// The text of a [`Value::Text`], or of a file in UTF-8.
    ///
    /// # Errors
    /// [`TokenizeError::Input`] for any other value, and for bytes that are not UTF-8.
    pub fn into_text(self) -> Result<String, TokenizeError> {
        match self {
            Value::Text(text) => Ok(text),
            Value::File(File { name, bytes }) => String::from_utf8(bytes).map_err(|e| {
                let at = e.utf8_error().valid_up_to();
                TokenizeError::Input(format!(
                    "{name}: expected UTF-8 text; found an invalid byte at offset {at}"
                ))
            }),
            other => Err(other.unexpected("text")),
        }
    }

    /// The numbers of a number, an array, or a text or text file that contains a number.
    ///
    /// # Errors
    /// [`TokenizeError::Input`] for any other value.
    pub fn into_numbers(self) -> Result<Vec<f32>, TokenizeError> {
        match self {
            Value::Number(number) => Ok(vec![number as f32]),
            Value::Array(array) => Ok(array.to_f32()),
            Value::Text(text) => match text.trim().parse() {
                Ok(number) => Ok(vec![number]),
                Err(_) => Err(TokenizeError::Input(format!("expected a number; found the text {text:?}"))),
            },
            file @ Value::File(_) => Value::Text(file.into_text()?).into_numbers(),
            other => Err(other.unexpected("numbers")),
        }
    }

    /// The value as a class label: a text unchanged, a number as its decimal string.
    ///
    /// # Errors
    /// [`TokenizeError::Input`] for a value that is neither text nor number.
    pub fn into_label(self) -> Result<String, TokenizeError> {
        match self {
            Value::Text(text) => Ok(text),
            Value::Number(number) => Ok(number.to_string()),
            Value::Array(array) if array.len() == 1 => Ok(array.to_f32()[0].to_string()),
            Value::File(_) => Ok(self.into_text()?.trim().to_string()),
            other => Err(other.unexpected("a label: a text or a number")),
        }
    }

    /// The number of time steps of a series; `None` for every other value.
    pub fn steps(&self) -> Option<usize> {
        match self {
            Value::Series(steps) => Some(steps.len()),
            _ => None,
        }
    }

    /// The given steps of a series, cut at its end; any other value unchanged.
    pub fn window(self, steps: Range<usize>) -> Value {
        match self {
            Value::Series(values) => {
                Value::Series(values.into_iter().skip(steps.start).take(steps.len()).collect())
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_convert_to_text_numbers_and_labels() {
        let file = |bytes: &[u8]| Value::File(File { name: "a.cls".into(), bytes: bytes.to_vec() });
        assert_eq!(Value::Text(" 3.5 ".into()).into_numbers().unwrap(), [3.5]);
        assert_eq!(Value::vector([1.0, 2.0]).into_numbers().unwrap(), [1.0, 2.0]);
        assert_eq!(file(b"7\n").into_label().unwrap(), "7");
        assert_eq!(Value::Number(7.0).into_label().unwrap(), "7");
        let message = |error: TokenizeError| error.to_string();
        assert_eq!(message(Value::Missing.into_text().unwrap_err()), "expected text; found nothing");
        assert_eq!(
            message(Value::Text("x".into()).into_numbers().unwrap_err()),
            "expected a number; found the text \"x\""
        );
        assert_eq!(
            message(file(&[b'a', 0xff]).into_text().unwrap_err()),
            "a.cls: expected UTF-8 text; found an invalid byte at offset 1"
        );
    }

    #[test]
    fn a_window_cuts_only_series() {
        let series = Value::Series((0..5).map(|i| Value::Number(f64::from(i))).collect());
        assert_eq!(series.steps(), Some(5));
        assert_eq!(series.clone().window(3..9), Value::Series(vec![Value::Number(3.0), Value::Number(4.0)]));
        assert_eq!(Value::Text("a".into()).window(3..9), Value::Text("a".into()));
    }

    #[test]
    fn spread_values_are_one_of_each_range_and_of_every_type_that_repeats() {
        let values: Vec<Value> = (0..600).map(|i| Value::Number(f64::from(i))).collect();
        let all: &dyn Values = &values;
        let few: Vec<Value> = all.spread(200).map(Result::unwrap).collect();
        let places: Vec<usize> =
            few.iter().filter_map(|value| values.iter().position(|known| known == value)).collect();
        assert!(places.iter().enumerate().all(|(number, place)| place / 3 == number), "{places:?}");
        assert!((0..3).all(|kind| places.iter().filter(|place| **place % 3 == kind).count() > 40));
        assert_eq!((places.len(), all.spread(401).count(), all.spread(999).count()), (200, 300, 600));
    }
}
