//! Rows in Parquet: columns of texts, numbers, lists of them, and files in the format of Hugging Face's `datasets`.

use super::json;
use super::parse::{Parsed, Raw};
use crate::data::DataError;
use indexmap::IndexMap;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use smalti_contract::{File, Value};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The most rows and the most unpacked bytes that a file may declare: a corrupt file must not exhaust the memory.
const MAX_ROWS: usize = 100_000_000;
const MAX_UNPACKED: i64 = 8 << 30;

/// Parses a Parquet file. `{bytes, path}` and bytes that are not UTF-8 are files; fields of a group are named
/// `group.field`; numbers of classes that `datasets` declares are replaced by the class names.
///
/// # Errors
/// [`DataError::Format`] for a file that is corrupt or needs too much memory, and for lists of groups.
pub fn read(location: &str, bytes: Vec<u8>) -> Result<Parsed, DataError> {
    // The crate panics on some corrupt pages and schemas; checking them first would take a second Parquet reader.
    let read = catch_unwind(AssertUnwindSafe(|| table(bytes)));
    let read = read.unwrap_or_else(|_| Err("it is corrupt; the reader failed".into()));
    read.map_err(|problem| DataError::format(location, "Parquet", problem))
}

/// The names of a Parquet file's columns.
///
/// # Errors
/// [`DataError::Format`] for a file with corrupt metadata.
#[cfg(feature = "trajectory")]
pub fn columns(location: &str, bytes: Vec<u8>) -> Result<Vec<String>, DataError> {
    let names = move || {
        let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).map_err(|e| e.to_string())?;
        let schema = reader.metadata().file_metadata().schema().get_fields();
        Ok(schema.iter().map(|field| field.name().to_string()).collect())
    };
    let read = catch_unwind(AssertUnwindSafe(names));
    let read = read.unwrap_or_else(|_| Err("it is corrupt; the reader failed".into()));
    read.map_err(|problem: String| DataError::format(location, "Parquet", problem))
}

fn table(bytes: Vec<u8>) -> Result<Parsed, String> {
    let text = |e: parquet::errors::ParquetError| e.to_string();
    let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).map_err(text)?;
    let metadata = reader.metadata();
    let declared_rows = rows(metadata)?;
    let mut values: IndexMap<String, Vec<Value>> = IndexMap::new();
    let mut skipped = vec![];
    let mut rows = 0;
    for row in reader.get_row_iter(None).map_err(text)? {
        let row = row.map_err(text)?;
        let mut fields = vec![];
        flatten("", &row, &mut fields, &mut skipped).map_err(|e| format!("row {}: {e}", rows + 1))?;
        for (name, value) in fields {
            let values = values.entry(name).or_default();
            values.resize(rows, Value::Missing);
            values.push(value);
        }
        rows += 1;
    }
    if rows != declared_rows {
        return Err(format!("it declares {declared_rows} rows; found {rows}"));
    }
    let schema = metadata.file_metadata().schema().get_fields();
    if rows == 0 {
        values = schema.iter().map(|field| (field.name().to_string(), vec![])).collect();
    }
    let declared = declared(metadata);
    let mut table = Parsed { rows, skipped, ..Parsed::default() };
    for (name, mut values) in values {
        values.resize(rows, Value::Missing);
        let values = texts_of_bytes(values)?;
        let names = declared.get(&name);
        table.columns.push(Raw::Values(match names {
            Some(names) => {
                values.into_iter().map(|value| named(value, &name, names)).collect::<Result<_, _>>()?
            }
            None => values,
        }));
        table.classes.extend(names.map(|names| (name.clone(), names.clone())));
        table.fields.push(name);
    }
    Ok(table)
}

/// The declared number of rows.
///
/// # Errors
/// If the file declares more rows or bytes than are read.
fn rows(metadata: &ParquetMetaData) -> Result<usize, String> {
    let rows = metadata.file_metadata().num_rows();
    let rows = usize::try_from(rows).ok().filter(|rows| *rows <= MAX_ROWS);
    let rows = rows.ok_or_else(|| {
        format!("it declares {} rows; at most {MAX_ROWS} are read", metadata.file_metadata().num_rows())
    })?;
    let unpacked: i64 = metadata.row_groups().iter().map(|group| group.total_byte_size().max(0)).sum();
    match unpacked > MAX_UNPACKED {
        true => Err(format!("it unpacks to {unpacked} bytes; at most {MAX_UNPACKED} are read")),
        false => Ok(rows),
    }
}

/// The fields of a row or of a group in it.
fn flatten(
    prefix: &str,
    row: &Row,
    fields: &mut Vec<(String, Value)>,
    skipped: &mut Vec<(String, &'static str)>,
) -> Result<(), String> {
    for (name, field) in row.get_column_iter() {
        let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match field {
            Field::Group(group) if file(group).is_none() => flatten(&name, group, fields, skipped)?,
            Field::MapInternal(_) => {
                let note = (name, "a map; texts, numbers, lists and files are read");
                if !skipped.contains(&note) {
                    skipped.push(note);
                }
            }
            field => {
                let value = value(field).map_err(|problem| format!("the field {name:?} is {problem}"))?;
                fields.push((name, value));
            }
        }
    }
    Ok(())
}

fn value(field: &Field) -> Result<Value, String> {
    let number = |number: f64| if number.is_nan() { Value::Missing } else { Value::Number(number) };
    Ok(match field {
        Field::Null => Value::Missing,
        Field::Bool(truth) => Value::Text(truth.to_string()),
        Field::Byte(n) => Value::Number(f64::from(*n)),
        Field::Short(n) => Value::Number(f64::from(*n)),
        Field::Int(n) => Value::Number(f64::from(*n)),
        Field::Long(n) => Value::Number(*n as f64),
        Field::UByte(n) => Value::Number(f64::from(*n)),
        Field::UShort(n) => Value::Number(f64::from(*n)),
        Field::UInt(n) => Value::Number(f64::from(*n)),
        Field::ULong(n) => Value::Number(*n as f64),
        Field::Float16(n) => number(f64::from(*n)),
        Field::Float(n) => number(f64::from(*n)),
        Field::Double(n) => number(*n),
        Field::Str(text) if text.is_empty() => Value::Missing,
        Field::Str(text) => Value::Text(text.clone()),
        Field::Bytes(bytes) => Value::File(File { name: String::new(), bytes: bytes.data().to_vec() }),
        Field::ListInternal(list) => json::list(list.elements().iter().map(value).collect::<Result<_, _>>()?),
        Field::Group(group) => match file(group) {
            Some(file) => file,
            None => return Err("a list of groups; expected texts, numbers, files or lists of them".into()),
        },
        Field::MapInternal(_) => {
            return Err("a list of maps; expected texts, numbers, files or lists of them".into());
        }
        // Decimals, dates and times.
        other => match other.to_string() {
            text if matches!(other, Field::Decimal(_)) => {
                text.parse().map_or(Value::Text(text), Value::Number)
            }
            text => Value::Text(text),
        },
    })
}

/// A group `{bytes, path}` as a file, or without bytes as the path; `None` for another group.
fn file(group: &Row) -> Option<Value> {
    let (mut bytes, mut path, mut others) = (None, None, 0);
    for (name, field) in group.get_column_iter() {
        match (name.as_str(), field) {
            ("bytes", Field::Bytes(found)) => bytes = Some(found.data().to_vec()),
            ("path", Field::Str(found)) => path = Some(found.clone()),
            ("bytes" | "path", Field::Null) => {}
            _ => others += 1,
        }
    }
    if others > 0 || group.len() != 2 {
        return None;
    }
    Some(match (bytes, path) {
        (Some(bytes), path) => Value::File(File { name: path.unwrap_or_default(), bytes }),
        (None, Some(path)) => Value::Text(path),
        (None, None) => Value::Missing,
    })
}

/// Converts a column of bytes to texts if all are UTF-8: writers may leave out the type.
fn texts_of_bytes(values: Vec<Value>) -> Result<Vec<Value>, String> {
    let unnamed = |value: &Value| match value {
        Value::File(file) => file.name.is_empty() && std::str::from_utf8(&file.bytes).is_ok(),
        other => other.is_missing(),
    };
    if !values.iter().all(unnamed) {
        return Ok(values);
    }
    let text = |value: Value| match value {
        Value::Missing => Ok(Value::Missing),
        Value::File(file) if file.bytes.is_empty() => Ok(Value::Missing),
        other => other.into_text().map(Value::Text).map_err(|e| e.to_string()),
    };
    values.into_iter().map(text).collect()
}

/// The class names that `datasets` declares in the file's metadata, by field.
fn declared(metadata: &ParquetMetaData) -> IndexMap<String, Vec<String>> {
    let pairs = metadata.file_metadata().key_value_metadata().into_iter().flatten();
    let json = pairs.filter(|pair| pair.key == "huggingface").find_map(|pair| pair.value.as_deref());
    let json: serde_json::Value = json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    let features = json["info"]["features"].as_object().into_iter().flatten();
    let names = features.filter_map(|(field, feature)| {
        let names = feature["names"].as_array()?.iter().map(|name| Some(name.as_str()?.to_string()));
        Some((field.clone(), names.collect::<Option<Vec<_>>>()?))
    });
    names.collect()
}

/// The class name of a number; -1 is missing, as in `datasets`.
fn named(value: Value, field: &str, names: &[String]) -> Result<Value, String> {
    match value {
        Value::Number(-1.0) => Ok(Value::Missing),
        Value::Number(number)
            if number >= 0.0 && number.fract() == 0.0 && (number as usize) < names.len() =>
        {
            Ok(Value::Text(names[number as usize].clone()))
        }
        Value::Number(number) => {
            Err(format!("the field {field:?} is class {number}; the file names {} classes", names.len()))
        }
        other => Ok(other),
    }
}
