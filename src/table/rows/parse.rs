//! Parsing of tables, before the type of each field is determined.

use super::delimited;
use crate::data::DataError;
use crate::data::files;
use crate::table::place::extension;
use smalti_contract::Value;

/// The extensions of tables.
pub const EXTENSIONS: [&str; 4] = ["tsv", "csv", "jsonl", "ndjson"];

/// The content of one file.
#[derive(Debug, Default)]
pub struct Parsed {
    /// The names of the fields, in the file's order.
    pub fields: Vec<String>,
    /// The values of each field.
    pub columns: Vec<Raw>,
    /// The number of rows.
    pub rows: usize,
    /// Class names that the file declares, by field.
    pub classes: Vec<(String, Vec<String>)>,
    /// Columns that are not read, with the reason.
    pub skipped: Vec<(String, &'static str)>,
}

/// A file that is parsed.
#[derive(Debug)]
pub struct ParsedFile {
    /// Its location, for messages.
    pub location: String,
    /// Its location, size and time of change; `None` if that is not known.
    pub origin: Option<String>,
    /// Its content.
    pub table: Parsed,
}

/// The values of one field.
#[derive(Debug)]
pub enum Raw {
    /// Texts that may be numbers or lists; empty ones are missing.
    Cells(Vec<String>),
    /// Values.
    Values(Vec<Value>),
    /// Paths of files relative to the table; empty ones are missing.
    Paths(Vec<String>),
}

impl Parsed {
    /// A table of cells.
    pub fn cells(fields: Vec<String>, cells: Vec<Vec<String>>) -> Self {
        let rows = cells.first().map_or(0, Vec::len);
        let columns = cells.into_iter().map(Raw::Cells).collect();
        Self { fields, columns, rows, ..Self::default() }
    }
}

/// Whether a location has the extension of a table.
pub fn is_table(location: &str) -> bool {
    EXTENSIONS.contains(&extension(location))
}

/// Parses a table in the format of its extension; `columns` names the fields of a file without a header.
///
/// # Errors
/// [`DataError::Format`] with the line or row; [`DataError::Layout`] for `columns` in a format with field names.
pub fn parse(location: &str, columns: Option<&[String]>) -> Result<Parsed, DataError> {
    let bytes = files::read(location)?;
    let format = extension(location);
    if columns.is_some() && !["tsv", "csv"].contains(&format) {
        let problem =
            format!("`columns` names the fields of .tsv and .csv files; .{format} names its own; remove it");
        return Err(DataError::layout(location, problem));
    }
    let table = match format {
        "jsonl" | "ndjson" => delimited::json_lines(location, &files::text(location, bytes)?)?,
        _ => delimited::delimited(location, &files::text(location, bytes)?, columns)?,
    };
    for (number, field) in table.fields.iter().enumerate() {
        let refuse = |problem: String| Err(DataError::format(location, "a table", problem));
        if field.trim().is_empty() {
            return refuse(format!("field {} has no name", number + 1));
        }
        if table.fields[..number].contains(field) {
            return refuse(format!("the field {field:?} occurs twice"));
        }
    }
    Ok(table)
}
