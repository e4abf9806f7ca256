//! A table of rows in memory.

use super::{Table, unknown_field};
use crate::data::DataError;
use smalti_contract::{Row, Value};
use std::collections::HashSet;
use std::ops::Range;

/// A table of rows in memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MemoryTable {
    name: String,
    fields: Vec<String>,
    known: HashSet<String>,
    rows: Vec<Row>,
}

impl MemoryTable {
    /// A table of these rows; its fields are the fields of all rows.
    pub fn new(name: impl Into<String>, rows: Vec<Row>) -> Self {
        let (mut fields, mut known) = (vec![], HashSet::new());
        for field in rows.iter().flat_map(|row| row.fields.keys()) {
            if !known.contains(field) {
                known.insert(field.clone());
                fields.push(field.clone());
            }
        }
        Self { name: name.into(), fields, known, rows }
    }

    fn get(&self, row: usize, field: &str) -> Result<&Value, DataError> {
        match self.known.contains(field) {
            true => Ok(self.rows.get(row).map_or(&Value::Missing, |row| row.get(field))),
            false => Err(unknown_field(self, field)),
        }
    }
}

impl Table for MemoryTable {
    fn name(&self) -> &str {
        &self.name
    }

    fn fields(&self) -> &[String] {
        &self.fields
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn value(&self, row: usize, field: &str) -> Result<Value, DataError> {
        self.get(row, field).cloned()
    }

    fn window(&self, row: usize, field: &str, steps: Range<usize>) -> Result<Value, DataError> {
        Ok(match self.get(row, field)? {
            Value::Series(values) => {
                Value::Series(values.iter().skip(steps.start).take(steps.len()).cloned().collect())
            }
            other => other.clone(),
        })
    }

    fn steps(&self, row: usize) -> usize {
        let steps = self.rows.get(row).map(|row| row.fields.values().filter_map(Value::steps).max());
        steps.flatten().unwrap_or(0)
    }
}
