//! Conversion of elements of Arrow arrays to values of fields.

use super::schema::is_file;
use crate::data::DataError;
use crate::table::rows::{RelativeFiles, json};
use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, ArrayRef, StructArray};
use arrow_schema::{DataType, TimeUnit};
use smalti_contract::{File, Value};
use std::ops::Range;

/// The way in which the values of a field in one row are read.
pub struct Reader<'a> {
    /// The name of the field.
    pub field: &'a str,
    /// The location of the row, for messages.
    pub location: &'a dyn Fn() -> String,
    /// Makes an error of a problem of this row.
    pub refuse: &'a dyn Fn(String) -> DataError,
    /// The class names that replace numbers.
    pub names: Option<&'a [String]>,
    /// Whether bytes without a declared type are texts.
    pub bytes_are_texts: bool,
    /// The files beside the table; `None` if the bytes of files are not wanted.
    pub files: Option<&'a RelativeFiles>,
}

impl Reader<'_> {
    /// The value of a row of an array. Empty texts and lists, null, and NaN are missing; true and false are texts.
    ///
    /// # Errors
    /// [`DataError`] for a class without a name, and for a file that cannot be read.
    pub fn value(&self, array: &dyn Array, row: usize) -> Result<Value, DataError> {
        use DataType as T;
        if row >= array.len() || array.is_null(row) {
            return Ok(Value::Missing);
        }
        if let Some(number) = numbers(array) {
            return self.number(number(row));
        }
        Ok(match array.data_type() {
            T::Boolean => Value::Text(array.as_boolean().value(row).to_string()),
            T::Utf8 | T::LargeUtf8 | T::Utf8View => text(string(array, row).unwrap_or_default()),
            T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => self.bytes(array, row)?,
            T::Dictionary(..) => {
                let dictionary = array.as_any_dictionary();
                let key = numbers(dictionary.keys()).map_or(-1.0, |keys| keys(row));
                if !(0.0..dictionary.values().len() as f64).contains(&key) {
                    let problem = format!("the field {:?} is entry {key}, out of its dictionary", self.field);
                    return Err((self.refuse)(problem));
                }
                self.value(dictionary.values(), key as usize)?
            }
            T::List(_) | T::LargeList(_) | T::FixedSizeList(..) => match items(array, row) {
                Some(items) => self.list(&items)?,
                None => Value::Missing,
            },
            T::Struct(fields) if is_file(fields) => self.file(array.as_struct(), row)?,
            T::Decimal32(..) => number_or_text(array.as_primitive::<Decimal32Type>().value_as_string(row)),
            T::Decimal64(..) => number_or_text(array.as_primitive::<Decimal64Type>().value_as_string(row)),
            T::Decimal128(..) => number_or_text(array.as_primitive::<Decimal128Type>().value_as_string(row)),
            T::Decimal256(..) => number_or_text(array.as_primitive::<Decimal256Type>().value_as_string(row)),
            _ => text(&date_or_time(array, row).unwrap_or_default()),
        })
    }

    fn number(&self, number: f64) -> Result<Value, DataError> {
        let Some(names) = self.names else {
            return Ok(if number.is_nan() { Value::Missing } else { Value::Number(number) });
        };
        // -1 is a missing class in `datasets`.
        if number == -1.0 || number.is_nan() {
            return Ok(Value::Missing);
        }
        let name = (number >= 0.0 && number.fract() == 0.0).then(|| names.get(number as usize)).flatten();
        name.map(|name| Value::Text(name.clone())).ok_or_else(|| {
            let problem = format!("class {number}; the file names {} classes", names.len());
            (self.refuse)(format!("the field {:?} is {problem}", self.field))
        })
    }

    fn bytes(&self, array: &dyn Array, row: usize) -> Result<Value, DataError> {
        let bytes = binary(array, row).unwrap_or_default();
        if !self.bytes_are_texts {
            return Ok(self.of_bytes(String::new(), bytes));
        }
        std::str::from_utf8(bytes).map(text).map_err(|_| {
            (self.refuse)(format!("the field {:?} is not UTF-8; its first values are texts", self.field))
        })
    }

    fn of_bytes(&self, name: String, bytes: &[u8]) -> Value {
        let bytes = if self.files.is_some() { bytes.to_vec() } else { vec![] };
        Value::File(File { name, bytes })
    }

    /// A group `{bytes, path}`; without bytes, the file at the path.
    fn file(&self, group: &StructArray, row: usize) -> Result<Value, DataError> {
        let child = |name: &str| group.column_by_name(name).filter(|array| !array.is_null(row));
        let path = child("path").and_then(|array| string(array, row)).filter(|path| !path.is_empty());
        match (child("bytes").and_then(|array| binary(array, row)), path) {
            (Some(bytes), path) => Ok(self.of_bytes(path.unwrap_or_default().into(), bytes)),
            (None, Some(path)) => self.at(path),
            (None, None) => Ok(Value::Missing),
        }
    }

    /// These steps of a series: the items of a list, each as a value of its own.
    ///
    /// # Errors
    /// As for [`value`](Self::value).
    pub fn steps(&self, array: &dyn Array, row: usize, steps: Range<usize>) -> Result<Value, DataError> {
        let Some(items) = items(array, row).filter(|items| !items.is_empty()) else {
            return Ok(Value::Missing);
        };
        let steps = steps.start.min(items.len())..steps.end.min(items.len());
        Ok(Value::Series(steps.map(|at| self.value(&items, at)).collect::<Result<_, _>>()?))
    }

    /// The file at a path relative to the table.
    ///
    /// # Errors
    /// The errors of [`RelativeFiles::read`].
    pub fn at(&self, path: &str) -> Result<Value, DataError> {
        let read = self.files.map(|files| files.read(path, &(self.location)())).transpose()?;
        Ok(Value::File(File { name: path.into(), bytes: read.unwrap_or_default() }))
    }

    /// A list: numbers of one shape as an array, other values as a series.
    fn list(&self, items: &ArrayRef) -> Result<Value, DataError> {
        if items.is_empty() {
            return Ok(Value::Missing);
        }
        if let Some(number) = numbers(items).filter(|_| self.names.is_none() && items.null_count() == 0) {
            let numbers: Vec<f32> = (0..items.len()).map(|at| number(at) as f32).collect();
            if !numbers.iter().any(|number| number.is_nan()) {
                return Ok(Value::vector(numbers));
            }
        }
        let values = (0..items.len()).map(|at| self.value(items, at));
        Ok(json::list(values.collect::<Result<_, _>>()?))
    }
}

/// The items of a list; `None` for null.
pub fn items(array: &dyn Array, row: usize) -> Option<ArrayRef> {
    if row >= array.len() || array.is_null(row) {
        return None;
    }
    match array.data_type() {
        DataType::List(_) => Some(array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => Some(array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => Some(array.as_fixed_size_list().value(row)),
        _ => None,
    }
}

fn text(text: &str) -> Value {
    if text.is_empty() { Value::Missing } else { Value::Text(text.into()) }
}

fn number_or_text(text: String) -> Value {
    text.parse().map_or(Value::Text(text), Value::Number)
}

/// The numbers of an array by position; `None` for an array of another type.
fn numbers(array: &dyn Array) -> Option<Box<dyn Fn(usize) -> f64 + '_>> {
    use DataType as T;
    macro_rules! of {
        ($type:ty, $convert:expr) => {{
            let values = array.as_primitive::<$type>().values();
            Box::new(move |at: usize| $convert(values[at]))
        }};
    }
    Some(match array.data_type() {
        T::Int8 => of!(Int8Type, f64::from),
        T::Int16 => of!(Int16Type, f64::from),
        T::Int32 => of!(Int32Type, f64::from),
        T::Int64 => of!(Int64Type, |number: i64| number as f64),
        T::UInt8 => of!(UInt8Type, f64::from),
        T::UInt16 => of!(UInt16Type, f64::from),
        T::UInt32 => of!(UInt32Type, f64::from),
        T::UInt64 => of!(UInt64Type, |number: u64| number as f64),
        T::Float16 => of!(Float16Type, f64::from),
        T::Float32 => of!(Float32Type, f64::from),
        T::Float64 => of!(Float64Type, f64::from),
        _ => return None,
    })
}

fn string(array: &dyn Array, row: usize) -> Option<&str> {
    match array.data_type() {
        DataType::Utf8 => Some(array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => Some(array.as_string::<i64>().value(row)),
        DataType::Utf8View => Some(array.as_string_view().value(row)),
        _ => None,
    }
}

/// The bytes of a row of an array of bytes.
pub fn binary(array: &dyn Array, row: usize) -> Option<&[u8]> {
    match array.data_type() {
        DataType::Binary => Some(array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => Some(array.as_binary::<i64>().value(row)),
        DataType::BinaryView => Some(array.as_binary_view().value(row)),
        DataType::FixedSizeBinary(_) => Some(array.as_fixed_size_binary().value(row)),
        _ => None,
    }
}

/// A date, a time or both as text, in UTC.
fn date_or_time(array: &dyn Array, row: usize) -> Option<String> {
    use DataType as T;
    macro_rules! of {
        ($type:ty, $value:ident) => {
            array.as_primitive::<$type>().$value(row)?
        };
    }
    let (moment, format) = match array.data_type() {
        T::Date32 => return Some(of!(Date32Type, value_as_date).to_string()),
        T::Date64 => return Some(of!(Date64Type, value_as_date).to_string()),
        T::Time32(TimeUnit::Second) => return Some(of!(Time32SecondType, value_as_time).to_string()),
        T::Time32(_) => return Some(of!(Time32MillisecondType, value_as_time).to_string()),
        T::Time64(TimeUnit::Microsecond) => {
            return Some(of!(Time64MicrosecondType, value_as_time).to_string());
        }
        T::Time64(_) => return Some(of!(Time64NanosecondType, value_as_time).to_string()),
        T::Timestamp(TimeUnit::Second, _) => {
            (of!(TimestampSecondType, value_as_datetime), "%Y-%m-%d %H:%M:%S %:z")
        }
        T::Timestamp(TimeUnit::Millisecond, _) => {
            (of!(TimestampMillisecondType, value_as_datetime), "%Y-%m-%d %H:%M:%S%.3f %:z")
        }
        T::Timestamp(TimeUnit::Microsecond, _) => {
            (of!(TimestampMicrosecondType, value_as_datetime), "%Y-%m-%d %H:%M:%S%.6f %:z")
        }
        T::Timestamp(TimeUnit::Nanosecond, _) => {
            (of!(TimestampNanosecondType, value_as_datetime), "%Y-%m-%d %H:%M:%S%.9f %:z")
        }
        _ => return None,
    };
    Some(moment.and_utc().format(format).to_string())
}
