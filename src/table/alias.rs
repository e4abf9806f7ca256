//! Aliases of fields.

use super::{Table, unknown_field};
use crate::data::DataError;
use smalti_contract::Value;
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

/// A table with aliases of fields.
struct Aliased {
    table: Arc<dyn Table>,
    fields: Vec<String>,
    /// Pairs of alias and field.
    aliases: Vec<(String, String)>,
}

/// Adds aliases of fields to a table: pairs `(alias, field)`.
///
/// # Errors
/// [`DataError`] for a field that the table does not have.
pub fn alias(table: Arc<dyn Table>, aliases: Vec<(String, String)>) -> Result<Arc<dyn Table>, DataError> {
    if aliases.is_empty() {
        return Ok(table);
    }
    if let Some((_, field)) = aliases.iter().find(|(_, field)| !table.fields().contains(field)) {
        return Err(unknown_field(table.as_ref(), field));
    }
    let fields = table.fields().iter().chain(aliases.iter().map(|(name, _)| name)).cloned().collect();
    Ok(Arc::new(Aliased { table, fields, aliases }))
}

impl Aliased {
    /// The name in the inner table of a field or alias.
    fn inner<'a>(&'a self, field: &'a str) -> &'a str {
        self.aliases.iter().find(|(name, _)| name == field).map_or(field, |(_, inner)| inner)
    }
}

impl Table for Aliased {
    fn name(&self) -> &str {
        self.table.name()
    }

    fn fields(&self) -> &[String] {
        &self.fields
    }

    fn len(&self) -> usize {
        self.table.len()
    }

    fn value(&self, row: usize, field: &str) -> Result<Value, DataError> {
        self.table.value(row, self.inner(field))
    }

    fn peek(&self, row: usize, field: &str) -> Result<Value, DataError> {
        self.table.peek(row, self.inner(field))
    }

    fn window(&self, row: usize, field: &str, steps: Range<usize>) -> Result<Value, DataError> {
        self.table.window(row, self.inner(field), steps)
    }

    fn stream(&self, row: usize, field: &str) -> Result<Box<dyn Read + Send>, DataError> {
        self.table.stream(row, self.inner(field))
    }

    fn streams(&self, field: &str) -> bool {
        self.table.streams(self.inner(field))
    }

    fn steps(&self, row: usize) -> usize {
        self.table.steps(row)
    }

    fn location(&self, row: usize) -> String {
        self.table.location(row)
    }

    fn origin(&self, row: usize) -> Option<String> {
        self.table.origin(row)
    }

    fn classes(&self, field: &str) -> Option<&[String]> {
        self.table.classes(self.inner(field))
    }

    fn skipped(&self) -> &[(String, &'static str)] {
        self.table.skipped()
    }
}
