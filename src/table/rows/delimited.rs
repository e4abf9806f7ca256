//! Rows in text files: `.tsv`, `.csv` and JSON lines.

use super::json;
use super::parse::{Parsed, Raw};
use crate::data::DataError;
use indexmap::IndexMap;
use smalti_contract::Value;

/// Parses fields separated by tabs, without quoting. The first line is a header unless `columns` names the fields.
pub fn tsv(location: &str, text: &str, columns: Option<&[String]>) -> Result<Parsed, DataError> {
    let mut lines = (1..).zip(text.trim_end_matches(['\n', '\r']).lines());
    let split = |line: &str| line.split('\t').map(str::to_string).collect::<Vec<String>>();
    let fields = match columns {
        Some(columns) => columns.to_vec(),
        None => lines.next().map(|(_, line)| split(line)).unwrap_or_default(),
    };
    let mut cells = vec![vec![]; fields.len()];
    for (number, line) in lines {
        add(location, number, split(line), &mut cells, columns.is_some())?;
    }
    Ok(Parsed::cells(fields, cells))
}

/// Parses fields separated by commas, with quoting (RFC 4180). The first line is a header unless `columns` names the fields.
pub fn csv(location: &str, text: &str, columns: Option<&[String]>) -> Result<Parsed, DataError> {
    let refuse = |e: csv::Error| DataError::format(location, "CSV", e);
    let mut reader =
        csv::ReaderBuilder::new().has_headers(columns.is_none()).flexible(true).from_reader(text.as_bytes());
    let texts = |row: &csv::StringRecord| row.iter().map(str::to_string).collect::<Vec<_>>();
    let fields = match columns {
        Some(columns) => columns.to_vec(),
        None => texts(reader.headers().map_err(refuse)?),
    };
    let mut cells = vec![vec![]; fields.len()];
    for row in reader.records() {
        let row = row.map_err(refuse)?;
        let line = row.position().map_or(0, |position| position.line() as usize);
        add(location, line, texts(&row), &mut cells, columns.is_some())?;
    }
    Ok(Parsed::cells(fields, cells))
}

/// Adds a row to the cells of each field.
fn add(
    location: &str,
    line: usize,
    row: Vec<String>,
    cells: &mut [Vec<String>],
    named: bool,
) -> Result<(), DataError> {
    if row.len() != cells.len() {
        let by = if named { "`columns`" } else { "the header" };
        let problem =
            format!("line {line}: expected {} fields, as {by} names; found {}", cells.len(), row.len());
        return Err(DataError::format(location, "a table", problem));
    }
    cells.iter_mut().zip(row).for_each(|(cells, cell)| cells.push(cell));
    Ok(())
}

/// Parses one JSON object per line. A key that a line does not have is missing in its row; blank lines are skipped.
pub fn json_lines(location: &str, text: &str) -> Result<Parsed, DataError> {
    let mut fields: IndexMap<String, Vec<Value>> = IndexMap::new();
    let mut rows = 0;
    for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
        let refuse =
            |problem: String| DataError::format(location, "JSON lines", format!("line {line}: {problem}"));
        let object = json::object(text.as_bytes()).map_err(refuse)?;
        for (name, value) in json::fields("", object).map_err(refuse)? {
            let values = fields.entry(name).or_default();
            values.resize(rows, Value::Missing);
            values.push(value);
        }
        rows += 1;
    }
    fields.values_mut().for_each(|values| values.resize(rows, Value::Missing));
    let (fields, columns) = fields.into_iter().map(|(name, values)| (name, Raw::Values(values))).unzip();
    Ok(Parsed { fields, columns, rows, ..Parsed::default() })
}
