//! Writing rows to a CSV, JSON Lines or Parquet file.

use crate::train::{SaveError, check_target, checkpoint::write_atomically};
use parquet::basic::{Compression, ConvertedType, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::Type;
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use smalti_contract::{Array, Numbers, Value};
use std::borrow::Cow;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows in a row group of a Parquet file: a reader holds one group at a time in memory.
const ROWS_PER_GROUP: usize = 1 << 20;

/// Why rows cannot be written. An existing file stays unchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The file's extension is not that of a format.
    #[error("{}: expected a name that ends in .csv, .jsonl or .parquet", path.display())]
    Extension {
        /// The file.
        path: PathBuf,
    },
    /// The field names are not those of a table.
    #[error("{}: {problem}", path.display())]
    Fields {
        /// The file.
        path: PathBuf,
        /// Expected and found.
        problem: String,
    },
    /// A row has more or fewer values than there are fields.
    #[error("{}: row {row}: expected {expected} values, one for each field; found {found}", path.display())]
    Width {
        /// The file.
        path: PathBuf,
        /// The row, counted from 1.
        row: usize,
        /// The number of fields.
        expected: usize,
        /// The number of values.
        found: usize,
    },
    /// A table cannot hold the value.
    #[error(
        "{}: row {row}, field {field:?}: expected a text, a number, an array or a file; found {found}; leave this field out",
        path.display()
    )]
    Value {
        /// The file.
        path: PathBuf,
        /// The row, counted from 1.
        row: usize,
        /// The field.
        field: String,
        /// The value, in words.
        found: String,
    },
    /// The rows cannot be encoded.
    #[error("{}: encoding the rows failed: {problem}", path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// The encoder's message.
        problem: String,
    },
    /// The file cannot be written.
    #[error(transparent)]
    Save(#[from] SaveError),
}

/// The format of a table's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A header of the field names, then a line for each row (RFC 4180).
    Csv,
    /// A JSON object for each row.
    Jsonl,
    /// Apache Parquet.
    Parquet,
}

impl Format {
    /// The format of a file with the extension `.csv`, `.jsonl` or `.parquet`.
    ///
    /// # Errors
    /// [`WriteError::Extension`] for any other extension.
    pub fn of(path: &Path) -> Result<Self, WriteError> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("csv") => Ok(Self::Csv),
            Some("jsonl") => Ok(Self::Jsonl),
            Some("parquet") => Ok(Self::Parquet),
            _ => Err(WriteError::Extension { path: path.into() }),
        }
    }
}

/// Write rows to a file in the [`Format`] of its extension, whole or not at all. Each row has a value for each field.
///
/// - A field whose present values are all numbers is a field of numbers: `DOUBLE` in Parquet. Any other field is one of texts,
///   `BYTE_ARRAY` of UTF-8 in Parquet, and its numbers are written as texts.
/// - Arrays (nested by their shape) and series are JSON arrays in JSON Lines, and the text of a JSON array in CSV and Parquet.
/// - A missing value is an empty field in CSV, as is an empty text, and null in JSON Lines and Parquet. JSON has no infinity
///   and no NaN: both are null there.
/// - A file (an image) is written to the folder `TABLE.files` beside `TABLE.csv`; its field is named `FIELD.path`.
///
/// # Errors
/// If the extension is not one of the three, there is no field, two fields have one name, a row does not have one value for each
/// field, a series holds files, or a file cannot be written.
pub fn write_rows(path: &Path, fields: &[String], given: &[Vec<Value>]) -> Result<(), WriteError> {
    let format = check_columns(path, fields)?;
    check_values(path, fields, given)?;
    let (rows, files) = &with_paths(path, fields, given);
    let fields = &written_names(fields, given);
    let are_numbers: Vec<bool> = (0..fields.len()).map(|field| are_numbers(field, rows)).collect();
    let encoded = match format {
        Format::Csv => csv(fields, rows).map_err(|e| e.to_string()),
        Format::Jsonl => json_lines(fields, &are_numbers, rows).map_err(|e| e.to_string()),
        Format::Parquet => parquet(fields, &are_numbers, rows).map_err(|e| e.to_string()),
    };
    let bytes = encoded.map_err(|problem| WriteError::Encode { path: path.into(), problem })?;
    for (file, bytes) in files {
        let folder = file.parent().unwrap_or(path);
        std::fs::create_dir_all(folder).map_err(|source| SaveError::Write { path: folder.into(), source })?;
        write_atomically(file, bytes)?;
    }
    Ok(write_atomically(path, &bytes)?)
}

/// Check that rows with these fields can be written to this file.
///
/// # Errors
/// If the extension is not one of the three, a file there cannot be replaced, there is no field, or two fields have one name.
pub fn check_columns(path: &Path, fields: &[String]) -> Result<Format, WriteError> {
    let format = Format::of(path)?;
    check_target(path)?;
    let refuse = |problem| Err(WriteError::Fields { path: path.into(), problem });
    if fields.is_empty() {
        return refuse("expected 1 or more fields; found 0".into());
    }
    let mut names = HashSet::new();
    match fields.iter().find(|field| !names.insert(*field)) {
        Some(twice) => refuse(format!("expected distinct field names; found {twice:?} twice")),
        None => Ok(format),
    }
}

fn check_values(path: &Path, fields: &[String], rows: &[Vec<Value>]) -> Result<(), WriteError> {
    for (row, values) in (1..).zip(rows) {
        let (expected, found) = (fields.len(), values.len());
        if found != expected {
            return Err(WriteError::Width { path: path.into(), row, expected, found });
        }
        if let Some((field, file)) =
            fields.iter().zip(values).find_map(|(field, value)| Some((field, file_of(value)?)))
        {
            let found = file.describe();
            return Err(WriteError::Value { path: path.into(), row, field: field.clone(), found });
        }
    }
    Ok(())
}

/// The first file in a series.
fn file_of(value: &Value) -> Option<&Value> {
    let Value::Series(steps) = value else { return None };
    steps.iter().find_map(|step| if let Value::File(_) = step { Some(step) } else { file_of(step) })
}

/// The names of fields, with `.path` after that of a field of files.
fn written_names(fields: &[String], rows: &[Vec<Value>]) -> Vec<String> {
    let has_files = |field: usize| rows.iter().any(|row| matches!(row[field], Value::File(_)));
    let name = |(number, field): (usize, &String)| match has_files(number) {
        true => format!("{field}.path"),
        false => field.clone(),
    };
    fields.iter().enumerate().map(name).collect()
}

/// Files to write, with their bytes.
type Files = Vec<(PathBuf, Vec<u8>)>;

/// The rows with each file replaced by its path relative to the table; and the files with their bytes.
fn with_paths<'a>(path: &Path, fields: &[String], rows: &'a [Vec<Value>]) -> (Cow<'a, [Vec<Value>]>, Files) {
    if !rows.iter().flatten().any(|value| matches!(value, Value::File(_))) {
        return (Cow::Borrowed(rows), vec![]);
    }
    let folder = path.with_extension("files");
    let below = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (mut rows, mut files) = (rows.to_vec(), vec![]);
    for (row, values) in (1..).zip(&mut rows) {
        for (field, value) in fields.iter().zip(values) {
            let Value::File(file) = value else { continue };
            let field = field.replace(['/', '\\'], "_");
            let name = match Path::new(&file.name).extension() {
                Some(extension) => format!("{row}-{field}.{}", extension.to_string_lossy()),
                None => format!("{row}-{field}"),
            };
            files.push((folder.join(&name), std::mem::take(&mut file.bytes)));
            *value = Value::Text(format!("{below}/{name}"));
        }
    }
    (Cow::Owned(rows), files)
}

fn are_numbers(field: usize, rows: &[Vec<Value>]) -> bool {
    rows.iter().all(|values| matches!(values[field], Value::Number(_) | Value::Missing))
}

/// A value as the text of one field; `None` if it is missing.
fn text(value: &Value) -> Result<Option<String>, serde_json::Error> {
    Ok(match value {
        Value::Missing => None,
        Value::Text(text) => Some(text.clone()),
        Value::Number(number) if is_whole(*number) => Some(number.to_string()),
        // `Debug` has an exponent for large and small numbers, and as few digits as read back to the same number.
        Value::Number(number) => Some(format!("{number:?}")),
        other => Some(serde_json::to_string(&Json(other))?),
    })
}

/// True for a whole number below 2⁵³ in magnitude, which an `i64` holds exactly; false for -0.
fn is_whole(number: f64) -> bool {
    let exact = number.abs() < (1_u64 << f64::MANTISSA_DIGITS) as f64;
    exact && (number as i64 as f64).to_bits() == number.to_bits()
}

fn csv(fields: &[String], rows: &[Vec<Value>]) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(fields)?;
    for values in rows {
        for value in values {
            writer.write_field(text(value)?.unwrap_or_default())?;
        }
        writer.write_record(None::<&[u8]>)?;
    }
    Ok(writer.into_inner()?)
}

fn json_lines(
    fields: &[String],
    are_numbers: &[bool],
    rows: &[Vec<Value>],
) -> Result<Vec<u8>, serde_json::Error> {
    let mut lines = Vec::new();
    for values in rows {
        serde_json::to_writer(&mut lines, &JsonRow { fields, are_numbers, values })?;
        lines.push(b'\n');
    }
    Ok(lines)
}

/// A row as a JSON object.
struct JsonRow<'a> {
    fields: &'a [String],
    are_numbers: &'a [bool],
    values: &'a [Value],
}

impl Serialize for JsonRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(Some(self.fields.len()))?;
        for ((field, value), are_numbers) in self.fields.iter().zip(self.values).zip(self.are_numbers) {
            match value {
                // Readers of JSON Lines expect one type in a field.
                Value::Number(_) if !are_numbers => {
                    object.serialize_entry(field, &text(value).map_err(serde::ser::Error::custom)?)?;
                }
                value => object.serialize_entry(field, &Json(value))?,
            }
        }
        object.end()
    }
}

/// A value as JSON: arrays are nested by their shape, and numbers that are not finite are null.
pub(crate) struct Json<'a>(pub &'a Value);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Missing => serializer.serialize_none(),
            Value::Text(text) => serializer.serialize_str(text),
            Value::Number(number) if is_whole(*number) => serializer.serialize_i64(*number as i64),
            Value::Number(number) => serializer.serialize_f64(*number),
            Value::Array(array) => JsonArray { array, dimension: 0, start: 0 }.serialize(serializer),
            Value::Series(steps) | Value::Several { values: steps, .. } => {
                serializer.collect_seq(steps.iter().map(Json))
            }
            Value::File(_) => Err(serde::ser::Error::custom("a file has no JSON form")),
        }
    }
}

/// A part of an array: it begins at number `start` and has the shape `shape[dimension..]`.
struct JsonArray<'a> {
    array: &'a Array,
    dimension: usize,
    start: usize,
}

impl Serialize for JsonArray<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(&length) = self.array.shape.get(self.dimension) else {
            return match &self.array.numbers {
                Numbers::U8(numbers) => numbers.get(self.start).serialize(serializer),
                Numbers::F32(numbers) => numbers.get(self.start).serialize(serializer),
            };
        };
        let dimension = self.dimension + 1;
        let stride: usize = self.array.shape[dimension..].iter().product();
        let mut list = serializer.serialize_seq(Some(length))?;
        for index in 0..length {
            let start = self.start + index * stride;
            list.serialize_element(&JsonArray { array: self.array, dimension, start })?;
        }
        list.end()
    }
}

fn parquet(fields: &[String], are_numbers: &[bool], rows: &[Vec<Value>]) -> Result<Vec<u8>, ParquetError> {
    let types = fields.iter().zip(are_numbers).map(|(field, &are_numbers)| field_type(field, are_numbers));
    let types = types.collect::<Result<_, _>>()?;
    let schema = Arc::new(Type::group_type_builder("schema").with_fields(types).build()?);
    let properties = Arc::new(WriterProperties::builder().set_compression(Compression::SNAPPY).build());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties)?;
    for rows in rows.chunks(ROWS_PER_GROUP) {
        let mut group = writer.next_row_group()?;
        for (field, &are_numbers) in are_numbers.iter().enumerate() {
            let column = group
                .next_column()?
                .ok_or_else(|| ParquetError::EOF("the schema has fewer fields than the rows".into()))?;
            write_column(column, are_numbers, rows.iter().map(|values| &values[field]))?;
        }
        group.close()?;
    }
    writer.into_inner()
}

fn field_type(field: &str, are_numbers: bool) -> Result<Arc<Type>, ParquetError> {
    let builder = if are_numbers {
        Type::primitive_type_builder(field, Physical::DOUBLE)
    } else {
        Type::primitive_type_builder(field, Physical::BYTE_ARRAY)
            .with_logical_type(Some(LogicalType::String))
            .with_converted_type(ConvertedType::UTF8)
    };
    Ok(Arc::new(builder.with_repetition(Repetition::OPTIONAL).build()?))
}

fn write_column<'a>(
    mut column: SerializedColumnWriter<'_>,
    are_numbers: bool,
    values: impl Iterator<Item = &'a Value> + Clone,
) -> Result<(), ParquetError> {
    // Definition levels: 1 where there is a value, 0 for null.
    let levels: Vec<i16> = values.clone().map(|value| i16::from(!value.is_missing())).collect();
    if are_numbers {
        let number = |value: &Value| if let Value::Number(number) = value { Some(*number) } else { None };
        let numbers: Vec<f64> = values.filter_map(number).collect();
        column.typed::<DoubleType>().write_batch(&numbers, Some(&levels), None)?;
    } else {
        let texts = values.filter_map(|value| text(value).transpose());
        let texts = texts.map(|text| text.map(|text| ByteArray::from(text.into_bytes())));
        let texts: Vec<ByteArray> =
            texts.collect::<Result<_, _>>().map_err(|e| ParquetError::External(Box::new(e)))?;
        column.typed::<ByteArrayType>().write_batch(&texts, Some(&levels), None)?;
    }
    column.close()
}

#[cfg(test)]
mod tests;
