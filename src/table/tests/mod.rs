//! Every layout on small files and on real data.

mod combined;
mod detect;
mod files;
mod layouts;
mod real;
mod speech;
mod texts;

use super::{Source, SourceRegistry, Table};
use crate::data::{DataError, testing::at};
use smalti_contract::Value;
use std::sync::Arc;

/// The table at a location, of detected layout.
fn opened(location: &str) -> Result<Arc<dyn Table>, DataError> {
    SourceRegistry::builtin().open(&Source::new(location))
}

/// The table at a location in the layout of this name.
fn opened_as(layout: &str, location: &str) -> Result<Arc<dyn Table>, DataError> {
    SourceRegistry::builtin().open(&Source { layout: Some(layout.into()), ..Source::new(location) })
}

/// The table at a path in a folder.
fn table(folder: &tempfile::TempDir, path: &str) -> Arc<dyn Table> {
    opened(&at(folder, path)).unwrap()
}

/// The error of opening a path in a folder, without the folder's name.
fn refusal(folder: &tempfile::TempDir, path: &str) -> String {
    let error = opened(&at(folder, path)).map(|table| table.name().to_string()).unwrap_err();
    without(folder, &error)
}

/// The error of a layout that the settings name.
fn refusal_as(folder: &tempfile::TempDir, layout: &str, path: &str) -> String {
    without(folder, &opened_as(layout, &at(folder, path)).map(|table| table.name().to_string()).unwrap_err())
}

fn without(folder: &tempfile::TempDir, error: &DataError) -> String {
    error.to_string().replace(&at(folder, ""), "")
}

/// The values of a field in all rows.
fn all(table: &dyn Table, field: &str) -> Vec<Value> {
    (0..table.len()).map(|row| table.value(row, field).unwrap()).collect()
}

/// The values of a field that are not missing, without the bytes of files.
fn present(table: &dyn Table, field: &str) -> Vec<Value> {
    let values = (0..table.len()).map(|row| table.peek(row, field).unwrap());
    values.filter(|value| !value.is_missing()).collect()
}

fn texts(values: &[&str]) -> Vec<Value> {
    values
        .iter()
        .map(|text| if text.is_empty() { Value::Missing } else { Value::Text(text.to_string()) })
        .collect()
}

fn numbers(values: &[f64]) -> Vec<Value> {
    values
        .iter()
        .map(|&number| if number.is_nan() { Value::Missing } else { Value::Number(number) })
        .collect()
}

/// The name and the bytes of a file.
fn file(value: Value) -> (String, Vec<u8>) {
    match value {
        Value::File(file) => (file.name, file.bytes),
        other => panic!("{}", other.describe()),
    }
}
