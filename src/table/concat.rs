//! Several sources as one table.

use super::{Source, SourceRegistry, Table, unknown_field};
use crate::data::DataError;
use smalti_contract::Value;
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

/// The concatenated rows of several tables.
pub struct ConcatTable {
    name: String,
    tables: Vec<(Arc<dyn Table>, f64)>,
    fields: Vec<String>,
    skipped: Vec<(String, &'static str)>,
}

/// Opens sources and concatenates their rows.
///
/// # Errors
/// [`DataError`] for a source that cannot be opened or whose weight is not a positive number.
pub fn open_all(sources: &[Source], registry: &SourceRegistry) -> Result<ConcatTable, DataError> {
    let one = |source: &Source| {
        if !(source.weight > 0.0 && source.weight.is_finite()) {
            let problem = format!("expected a positive weight; found {}", source.weight);
            return Err(DataError::layout(&source.path, problem));
        }
        Ok((registry.open(source)?, source.weight))
    };
    Ok(ConcatTable::new(sources.iter().map(one).collect::<Result<_, _>>()?))
}

impl ConcatTable {
    /// The rows of these tables, each table with its weight in the draws.
    pub fn new(tables: Vec<(Arc<dyn Table>, f64)>) -> Self {
        let mut fields: Vec<String> = vec![];
        for field in tables.iter().flat_map(|(table, _)| table.fields()) {
            if !fields.contains(field) {
                fields.push(field.clone());
            }
        }
        let names: Vec<&str> = tables.iter().map(|(table, _)| table.name()).collect();
        let skipped = tables.iter().flat_map(|(table, _)| table.skipped().iter().cloned()).collect();
        Self { name: names.join(" and "), fields, skipped, tables }
    }

    /// The number of rows of each table, and its weight.
    pub fn lanes(&self) -> Vec<(usize, f64)> {
        self.tables.iter().map(|(table, weight)| (table.len(), *weight)).collect()
    }

    /// The table of a row, and the row's number in it.
    fn find(&self, mut row: usize) -> (&dyn Table, usize) {
        let last = self.tables.len() - 1;
        for (table, _) in &self.tables[..last] {
            match row.checked_sub(table.len()) {
                None => return (table.as_ref(), row),
                Some(rest) => row = rest,
            }
        }
        (self.tables[last].0.as_ref(), row)
    }

    /// Whether only other tables have the field.
    fn lacks(&self, table: &dyn Table, field: &str) -> Result<bool, DataError> {
        let has = |fields: &[String]| fields.iter().any(|known| known == field);
        match (has(table.fields()), has(&self.fields)) {
            (true, _) => Ok(false),
            (false, true) => Ok(true),
            (false, false) => Err(unknown_field(self, field)),
        }
    }
}

impl Table for ConcatTable {
    fn name(&self) -> &str {
        &self.name
    }

    fn fields(&self) -> &[String] {
        &self.fields
    }

    fn len(&self) -> usize {
        self.tables.iter().map(|(table, _)| table.len()).sum()
    }

    fn value(&self, row: usize, field: &str) -> Result<Value, DataError> {
        let (table, row) = self.find(row);
        if self.lacks(table, field)? { Ok(Value::Missing) } else { table.value(row, field) }
    }

    fn peek(&self, row: usize, field: &str) -> Result<Value, DataError> {
        let (table, row) = self.find(row);
        if self.lacks(table, field)? { Ok(Value::Missing) } else { table.peek(row, field) }
    }

    fn window(&self, row: usize, field: &str, steps: Range<usize>) -> Result<Value, DataError> {
        let (table, row) = self.find(row);
        if self.lacks(table, field)? { Ok(Value::Missing) } else { table.window(row, field, steps) }
    }

    fn stream(&self, row: usize, field: &str) -> Result<Box<dyn Read + Send>, DataError> {
        let (table, row) = self.find(row);
        table.stream(row, field)
    }

    fn streams(&self, field: &str) -> bool {
        self.tables.iter().all(|(table, ..)| table.streams(field))
    }

    fn steps(&self, row: usize) -> usize {
        let (table, row) = self.find(row);
        table.steps(row)
    }

    fn location(&self, row: usize) -> String {
        let (table, row) = self.find(row);
        table.location(row)
    }

    fn origin(&self, row: usize) -> Option<String> {
        let (table, row) = self.find(row);
        table.origin(row)
    }

    fn classes(&self, field: &str) -> Option<&[String]> {
        let mut declared = self.tables.iter().map(|(table, _)| table.classes(field));
        let first = declared.next()??;
        declared.all(|other| other == Some(first)).then_some(first)
    }

    fn skipped(&self) -> &[(String, &'static str)] {
        &self.skipped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::MemoryTable;
    use smalti_contract::Row;

    #[test]
    fn rows_are_concatenated_and_fields_of_other_tables_are_missing() {
        let table = |field: &str, n: usize| -> Arc<dyn Table> {
            let row = |i: usize| Row { fields: [(field.to_string(), Value::Number(i as f64))].into() };
            Arc::new(MemoryTable::new(field, (0..n).map(row).collect()))
        };
        let several = ConcatTable::new(vec![(table("a", 2), 1.0), (table("b", 3), 4.0)]);
        assert_eq!((several.len(), several.lanes()), (5, vec![(2, 1.0), (3, 4.0)]));
        assert_eq!(several.fields(), ["a", "b"]);
        assert_eq!(several.value(1, "a").unwrap(), Value::Number(1.0));
        assert_eq!(several.value(1, "b").unwrap(), Value::Missing);
        assert_eq!(several.value(4, "b").unwrap(), Value::Number(2.0));
        assert_eq!(several.location(4), "b row 3");
        assert!(several.value(0, "c").unwrap_err().to_string().contains("a, b"));
    }
}
