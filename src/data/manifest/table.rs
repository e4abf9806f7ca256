//! Tables in the formats that manifests come in: columns by name, and rows of texts.

use crate::data::error::DataError;
use crate::data::files;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use serde_json::Value;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The endings that manifests have.
pub(super) const EXTENSIONS: [&str; 5] = ["tsv", "csv", "jsonl", "ndjson", "parquet"];
/// The most rows that a table may have, and the most bytes that the row groups of a Parquet file may say that they
/// unpack to: a damaged file must not ask for more than the machine has.
const MAX_ROWS: usize = 100_000_000;
const MAX_UNPACKED: i64 = 8 << 30;

/// Columns, and rows with a field for each of them.
#[derive(Debug, PartialEq)]
pub(super) struct Parsed {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

/// Reads a table in the format that its name ends in.
///
/// # Errors
/// [`DataError::Format`], with the line where there are lines.
pub(super) fn parse(location: &str, bytes: Vec<u8>) -> Result<Parsed, DataError> {
    let table = match extension(location) {
        Some("parquet") => of_parquet(location, bytes)?,
        Some("csv") => of_csv(location, &files::text(location, bytes)?)?,
        Some("jsonl" | "ndjson") => of_json_lines(location, &files::text(location, bytes)?)?,
        _ => of_tsv(location, &files::text(location, bytes)?)?,
    };
    let column = |name: &str| table.columns.iter().position(|column| column == name);
    if let Some((_, twice)) = table.columns.iter().enumerate().find(|(i, name)| column(name) != Some(*i)) {
        return Err(damaged(location, format!("the column {twice:?} is there twice")));
    }
    Ok(table)
}

/// The ending of a manifest's name, where it is one; that of what `.gz` packs.
pub(super) fn extension(location: &str) -> Option<&'static str> {
    let name = location.strip_suffix(".gz").unwrap_or(location);
    let (_, found) = name.rsplit('/').next()?.rsplit_once('.')?;
    EXTENSIONS.into_iter().find(|extension| *extension == found)
}

fn damaged(location: &str, problem: impl ToString) -> DataError {
    DataError::format(location, "a manifest", problem)
}

/// A header, then a row a line, fields parted by tabs, without quoting.
fn of_tsv(location: &str, text: &str) -> Result<Parsed, DataError> {
    let mut lines = text.lines();
    let columns: Vec<String> = fields(lines.next().unwrap_or_default());
    let mut rows = Vec::new();
    for (line, text) in (2..).zip(lines) {
        let fields = fields(text);
        if fields.len() != columns.len() {
            let (found, expected) = (fields.len(), columns.len());
            return Err(damaged(
                location,
                format!("line {line} has {found} fields; the header has {expected}"),
            ));
        }
        rows.push(fields);
    }
    Ok(Parsed { columns, rows })
}

fn fields(line: &str) -> Vec<String> {
    line.split('\t').map(str::to_string).collect()
}

/// A header, then a row a record, fields parted by commas and quoted where they hold one (RFC 4180).
fn of_csv(location: &str, text: &str) -> Result<Parsed, DataError> {
    let mut reader = csv::ReaderBuilder::new().from_reader(text.as_bytes());
    let texts = |record: &csv::StringRecord| record.iter().map(str::to_string).collect::<Vec<_>>();
    let columns = texts(reader.headers().map_err(|e| damaged(location, e))?);
    let rows = reader.records().map(|record| record.map(|record| texts(&record)));
    Ok(Parsed { columns, rows: rows.collect::<Result<_, _>>().map_err(|e| damaged(location, e))? })
}

/// A JSON object a line, all with the keys of the first. Values are texts, numbers, true and false; null is empty.
fn of_json_lines(location: &str, text: &str) -> Result<Parsed, DataError> {
    let (mut columns, mut rows) = (Vec::new(), Vec::new());
    for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
        let refuse = |problem: String| damaged(location, format!("line {line}: {problem}"));
        let object: serde_json::Map<String, Value> =
            serde_json::from_str(text).map_err(|e| refuse(e.to_string()))?;
        if rows.is_empty() {
            columns = object.keys().cloned().collect();
        }
        if object.len() != columns.len() {
            return Err(refuse(format!("{} keys; the first line has {}", object.len(), columns.len())));
        }
        let field = |column: &String| match object.get(column) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(Value::Null) => Ok(String::new()),
            Some(value @ (Value::Bool(_) | Value::Number(_))) => Ok(value.to_string()),
            Some(_) => Err(refuse(format!("{column:?} is neither a text nor a number"))),
            None => Err(refuse(format!("no {column:?}, which the first line has"))),
        };
        rows.push(columns.iter().map(field).collect::<Result<_, _>>()?);
    }
    Ok(Parsed { columns, rows })
}

/// Columns that are texts, numbers or truths; others are an error only where they hold something.
fn of_parquet(location: &str, bytes: Vec<u8>) -> Result<Parsed, DataError> {
    // The crate has panics on damaged pages and schemas for which no check beforehand would do: it would have to be a
    // second Parquet reader.
    let read = catch_unwind(AssertUnwindSafe(|| read_parquet(bytes)));
    let read = read.unwrap_or_else(|_| Err("it is damaged; the reader gave up".into()));
    read.map_err(|problem| DataError::format(location, "Parquet", problem))
}

fn read_parquet(bytes: Vec<u8>) -> Result<Parsed, String> {
    let text = |e: parquet::errors::ParquetError| e.to_string();
    let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).map_err(text)?;
    let metadata = reader.metadata();
    let rows = metadata.file_metadata().num_rows();
    let rows = usize::try_from(rows).ok().filter(|rows| *rows <= MAX_ROWS);
    let rows =
        rows.ok_or_else(|| format!("it says that it has {} rows", metadata.file_metadata().num_rows()))?;
    let unpacked: i64 = metadata.row_groups().iter().map(|group| group.total_byte_size().max(0)).sum();
    if unpacked > MAX_UNPACKED {
        return Err(format!("it says that it unpacks to {unpacked} bytes; at most {MAX_UNPACKED} are read"));
    }
    let columns = metadata.file_metadata().schema().get_fields().iter().map(|field| field.name().to_string());
    let mut table = Parsed { columns: columns.collect(), rows: Vec::new() };
    for row in reader.get_row_iter(None).map_err(text)? {
        let row = row.map_err(text)?;
        let fields = row.get_column_iter().map(|(name, field)| of_field(name, field));
        table.rows.push(fields.collect::<Result<_, _>>()?);
    }
    if table.rows.len() != rows {
        return Err(format!("it says that it has {rows} rows; {} can be read", table.rows.len()));
    }
    Ok(table)
}

fn of_field(name: &str, field: &Field) -> Result<String, String> {
    match field {
        Field::Null => Ok(String::new()),
        Field::Str(text) => Ok(text.clone()),
        Field::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
            Ok(text) => Ok(text.to_string()),
            Err(_) => Err(format!("the column {name:?} holds bytes that are not UTF-8")),
        },
        Field::Group(_) | Field::ListInternal(_) | Field::MapInternal(_) => {
            Err(format!("the column {name:?} is nested; a manifest's columns are texts and numbers"))
        }
        plain => Ok(plain.to_string()),
    }
}
