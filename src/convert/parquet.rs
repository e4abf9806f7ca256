//! Rows as Parquet in the form of Hugging Face's `datasets`: image and audio files in columns of `{bytes, path}`, and the
//! features in the metadata.

use super::ConvertError;
use super::field::Field;
use super::kind::Kind;
use crate::table::SERIES;
use ::parquet::arrow::ArrowWriter;
use ::parquet::arrow::arrow_writer::ArrowWriterOptions;
use ::parquet::basic::{Compression, ZstdLevel};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::WriterProperties;
use ::parquet::schema::types::ColumnPath;
use arrow_array::builder::{
    ArrayBuilder, BinaryBuilder, Float32Builder, Float64Builder, Int64Builder, ListBuilder, StringBuilder,
    StructBuilder, UInt8Builder, make_builder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field as Column, Fields, Schema};
use indexmap::IndexMap;
use serde_json::{Value as Json, json};
use smalti_contract::{Array, File as FileValue, Numbers, Value};
use std::fs::File;
use std::io;
use std::sync::Arc;

/// The most rows of a row group: of a table with files, as on the Hub, and of another.
const ROWS_WITH_FILES: usize = 100;
const ROWS: usize = 10_000;
/// A row group ends after this many bytes, before compression.
const BYTES: u64 = 64 << 20;
/// The most bytes of a value: offsets of 32 bits must reach the end of a row group.
const MAX_VALUE: u64 = 1 << 30;

/// The columns of a file.
pub(super) struct Columns {
    schema: Arc<Schema>,
    properties: WriterProperties,
    rows: usize,
}

/// A file that is being written, and the rows of its next row group.
pub(super) struct Groups<'a> {
    writer: ArrowWriter<&'a File>,
    schema: Arc<Schema>,
    rows: Vec<Vec<Value>>,
    max_rows: usize,
    bytes: u64,
}

impl Columns {
    /// The columns of these fields.
    ///
    /// # Errors
    /// [`ConvertError::Field`] if the features cannot be written as JSON.
    pub fn new(fields: &[Field]) -> Result<Self, ConvertError> {
        let columns = fields.iter().map(|field| Column::new(&field.name, data_type(&field.kind), true));
        let schema = Arc::new(Schema::new(columns.collect::<Vec<_>>()));
        let features: IndexMap<&str, Json> =
            fields.iter().map(|field| (field.name.as_str(), feature(&field.kind))).collect();
        let features = serde_json::to_string(&features).map_err(|e| ConvertError::setting("features", e))?;
        let metadata = format!("{{\"info\": {{\"features\": {features}}}}}");
        let has_files = fields.iter().any(|field| field.kind.step().is_file());
        let series = fields.iter().filter(|field| matches!(field.kind, Kind::Series(_)));
        let series: Vec<&str> = series.map(|field| field.name.as_str()).collect();
        let mut metadata = vec![KeyValue::new("huggingface".into(), metadata)];
        if !series.is_empty() {
            metadata.push(KeyValue::new(SERIES.into(), json!(series).to_string()));
        }
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(None)
            .set_key_value_metadata(Some(metadata));
        for field in fields.iter().filter(|field| field.kind.is_file()) {
            // Encoded images and clips are compressed already, and no two are the same.
            let column = ColumnPath::new(vec![field.name.clone(), "bytes".into()]);
            properties = properties
                .set_column_compression(column.clone(), Compression::SNAPPY)
                .set_column_dictionary_enabled(column, false);
        }
        let rows = if has_files { ROWS_WITH_FILES } else { ROWS };
        Ok(Self { schema, properties: properties.build(), rows })
    }

    /// Begins a file.
    pub fn begin<'a>(&self, file: &'a File) -> io::Result<Groups<'a>> {
        // Beside a copy of Arrow's own schema, pyarrow would not read the features.
        let options =
            ArrowWriterOptions::new().with_properties(self.properties.clone()).with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(file, self.schema.clone(), options).map_err(failed)?;
        Ok(Groups { writer, schema: self.schema.clone(), rows: vec![], max_rows: self.rows, bytes: 0 })
    }
}

impl Groups<'_> {
    /// Adds a row; a full row group is written.
    pub fn push(&mut self, values: Vec<Value>) -> io::Result<()> {
        self.bytes += values.iter().map(size).sum::<u64>();
        self.rows.push(values);
        match self.rows.len() >= self.max_rows || self.bytes >= BYTES {
            true => self.write(),
            false => Ok(()),
        }
    }

    /// Ends the file.
    pub fn finish(mut self) -> io::Result<()> {
        self.write()?;
        self.writer.close().map(drop).map_err(failed)
    }

    fn write(&mut self) -> io::Result<()> {
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        if rows.is_empty() {
            return Ok(());
        }
        let mut columns: Vec<ArrayRef> = vec![];
        for (at, column) in self.schema.fields().iter().enumerate() {
            let mut builder = make_builder(column.data_type(), rows.len());
            for values in &rows {
                append(builder.as_mut(), column.data_type(), values.get(at).unwrap_or(&Value::Missing))?;
            }
            columns.push(builder.finish());
        }
        let batch = RecordBatch::try_new(self.schema.clone(), columns).map_err(io::Error::other)?;
        self.writer.write(&batch).map_err(failed)?;
        self.writer.flush().map_err(failed)
    }
}

fn failed(error: ParquetError) -> io::Error {
    match error {
        // The system's error, such as a full disk.
        ParquetError::External(inner) => match inner.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(other) => io::Error::other(other),
        },
        other => io::Error::other(other),
    }
}

/// The type of a column.
pub(super) fn data_type(kind: &Kind) -> DataType {
    let list = |inner: DataType| DataType::List(Arc::new(Column::new("element", inner, true)));
    match kind {
        Kind::Class(_) | Kind::Integer => DataType::Int64,
        Kind::Text => DataType::Utf8,
        Kind::Number => DataType::Float64,
        Kind::Array { rank, bytes } => {
            let number = if *bytes { DataType::UInt8 } else { DataType::Float32 };
            (0..*rank).fold(number, |inner, _| list(inner))
        }
        Kind::Image | Kind::Audio | Kind::File => DataType::Struct(Fields::from(vec![
            Column::new("bytes", DataType::Binary, true),
            Column::new("path", DataType::Utf8, true),
        ])),
        Kind::Series(step) => list(data_type(step)),
    }
}

/// The feature of `datasets`. `Sequence` is read by all versions; version 4 converts it to its `List`.
fn feature(kind: &Kind) -> Json {
    let value = |dtype: &str| json!({ "dtype": dtype, "_type": "Value" });
    let list = |inner: Json| json!({ "feature": inner, "_type": "Sequence" });
    match kind {
        Kind::Class(names) => json!({ "names": names, "_type": "ClassLabel" }),
        Kind::Text => value("string"),
        Kind::Integer => value("int64"),
        Kind::Number => value("float64"),
        Kind::Array { rank, bytes } => {
            let number = value(if *bytes { "uint8" } else { "float32" });
            (0..*rank).fold(number, |inner, _| list(inner))
        }
        Kind::Image => json!({ "_type": "Image" }),
        Kind::Audio => json!({ "_type": "Audio" }),
        Kind::File => json!({ "bytes": value("binary"), "path": value("string") }),
        // A `Sequence` of a struct is a struct of lists; a list in JSON is a list of structs.
        Kind::Series(step) if **step == Kind::File => json!([feature(step)]),
        Kind::Series(step) => list(feature(step)),
    }
}

/// The size of a value in bytes, before compression.
pub(super) fn size(value: &Value) -> u64 {
    match value {
        Value::Missing => 0,
        Value::Text(text) => text.len() as u64,
        Value::Number(_) => 8,
        Value::Array(Array { numbers: Numbers::U8(bytes), .. }) => bytes.len() as u64,
        Value::Array(Array { numbers: Numbers::F32(numbers), .. }) => 4 * numbers.len() as u64,
        Value::File(file) => (file.bytes.len() + file.name.len()) as u64,
        Value::Series(steps) | Value::Several { values: steps, .. } => steps.iter().map(size).sum(),
    }
}

/// Checks that the values fit into a row group.
///
/// # Errors
/// The number of the field whose value does not, and the reason.
pub(super) fn check(values: &[Value]) -> Result<(), (usize, String)> {
    match values.iter().map(size).enumerate().find(|(_, size)| *size > MAX_VALUE) {
        Some((field, size)) => {
            Err((field, format!("it has {size} bytes; at most {MAX_VALUE} are written as Parquet")))
        }
        None => Ok(()),
    }
}

/// Appends a value to a column.
fn append(builder: &mut dyn ArrayBuilder, of: &DataType, value: &Value) -> io::Result<()> {
    match of {
        DataType::Utf8 => text(of_type::<StringBuilder>(builder)?, value),
        DataType::Int64 => {
            let number = if let Value::Number(number) = value { Some(*number as i64) } else { None };
            of_type::<Int64Builder>(builder)?.append_option(number);
        }
        DataType::Float64 => {
            let number = if let Value::Number(number) = value { Some(*number) } else { None };
            of_type::<Float64Builder>(builder)?.append_option(number);
        }
        DataType::Struct(_) => append_file(of_type(builder)?, value)?,
        DataType::List(inner) => {
            let list: &mut ListBuilder<Box<dyn ArrayBuilder>> = of_type(builder)?;
            match value {
                Value::Series(steps) => {
                    for step in steps {
                        append(list.values().as_mut(), inner.data_type(), step)?;
                    }
                }
                Value::Array(array) => numbers(list.values().as_mut(), inner.data_type(), array, 1, 0)?,
                _ => {}
            }
            list.append(!value.is_missing());
        }
        // A number without an axis.
        _ => match value {
            Value::Array(array) => numbers(builder, of, array, 0, 0)?,
            _ => no_number(builder, of)?,
        },
    }
    Ok(())
}

fn text(builder: &mut StringBuilder, value: &Value) {
    match value {
        Value::Text(text) => builder.append_value(text),
        _ => builder.append_null(),
    }
}

fn no_number(builder: &mut dyn ArrayBuilder, of: &DataType) -> io::Result<()> {
    match of {
        DataType::UInt8 => of_type::<UInt8Builder>(builder)?.append_null(),
        _ => of_type::<Float32Builder>(builder)?.append_null(),
    }
    Ok(())
}

/// Appends the numbers of a part of an array: the part begins at number `start` and has the shape `shape[axis - 1..]`, of which
/// the elements of the first axis are appended one by one.
fn numbers(
    builder: &mut dyn ArrayBuilder,
    of: &DataType,
    array: &Array,
    axis: usize,
    start: usize,
) -> io::Result<()> {
    let length = axis.checked_sub(1).map_or(1, |axis| array.shape.get(axis).copied().unwrap_or(1));
    let stride: usize = array.shape.get(axis..).unwrap_or_default().iter().product();
    if let DataType::List(inner) = of {
        let list: &mut ListBuilder<Box<dyn ArrayBuilder>> = of_type(builder)?;
        for index in 0..length {
            numbers(list.values().as_mut(), inner.data_type(), array, axis + 1, start + index * stride)?;
            list.append(true);
        }
        return Ok(());
    }
    let short = || io::Error::other("an array has fewer numbers than its shape");
    match &array.numbers {
        Numbers::U8(bytes) => {
            let part = bytes.get(start..start + length).ok_or_else(short)?;
            of_type::<UInt8Builder>(builder)?.append_slice(part);
        }
        Numbers::F32(floats) => {
            let part = floats.get(start..start + length).ok_or_else(short)?;
            of_type::<Float32Builder>(builder)?.append_slice(part);
        }
    }
    Ok(())
}

/// Appends a file with the last part of its path.
fn append_file(builder: &mut StructBuilder, value: &Value) -> io::Result<()> {
    let other = || io::Error::other("a file has other columns than bytes and path");
    let file = if let Value::File(file) = value { Some(file) } else { None };
    let bytes = builder.field_builder::<BinaryBuilder>(0).ok_or_else(other)?;
    bytes.append_option(file.map(|file| &file.bytes));
    let path = builder.field_builder::<StringBuilder>(1).ok_or_else(other)?;
    let name = |file: &FileValue| file.name.rsplit(['/', '\\', ':']).next().unwrap_or_default().to_string();
    path.append_option(file.map(name).filter(|name| !name.is_empty()));
    builder.append(file.is_some());
    Ok(())
}

/// A builder of the type that the column has.
fn of_type<T: ArrayBuilder>(builder: &mut dyn ArrayBuilder) -> io::Result<&mut T> {
    builder.as_any_mut().downcast_mut().ok_or_else(|| io::Error::other("a column has another type"))
}
