//! Several sources as one table.

use super::{Source, SourceRegistry, Table, unknown_field};
use crate::data::DataError;
use smalti_contract::Value;
use std::collections::HashMap;
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

/// The concatenated rows of several tables.
pub struct ConcatTable {
    name: String,
    tables: Vec<(Arc<dyn Table>, f64)>,
    fields: Vec<String>,
    /// For each field, whether each table has it.
    known: HashMap<String, Vec<bool>>,
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
        let (mut fields, mut known) = (vec![], HashMap::<String, Vec<bool>>::new());
        for (number, (table, _)) in tables.iter().enumerate() {
            for field in table.fields() {
                let have = known.entry(field.clone()).or_insert_with(|| {
                    fields.push(field.clone());
                    vec![false; tables.len()]
                });
                have[number] = true;
            }
        }
        let names: Vec<&str> = tables.iter().map(|(table, _)| table.name()).collect();
        let skipped = tables.iter().flat_map(|(table, _)| table.skipped().iter().cloned()).collect();
        Self { name: names.join(" and "), fields, known, skipped, tables }
    }

    /// The number of rows of each table, and its weight.
    pub fn lanes(&self) -> Vec<(usize, f64)> {
        self.tables.iter().map(|(table, weight)| (table.len(), *weight)).collect()
    }

    /// The number of a row's table, and the row's number in it.
    fn find(&self, mut row: usize) -> (usize, usize) {
        let last = self.tables.len() - 1;
        for (number, (table, _)) in self.tables[..last].iter().enumerate() {
            match row.checked_sub(table.len()) {
                None => return (number, row),
                Some(rest) => row = rest,
            }
        }
        (last, row)
    }

    /// The table of a row, and the row's number in it.
    fn at(&self, row: usize) -> (&dyn Table, usize) {
        let (number, row) = self.find(row);
        (self.tables[number].0.as_ref(), row)
    }

    /// The table of a row, and the row's number in it, for a field; `None` if only other tables have the field.
    fn with(&self, row: usize, field: &str) -> Result<Option<(&dyn Table, usize)>, DataError> {
        let have = self.known.get(field).ok_or_else(|| unknown_field(self, field))?;
        let (number, row) = self.find(row);
        Ok(have[number].then(|| (self.tables[number].0.as_ref(), row)))
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
        self.with(row, field)?.map_or(Ok(Value::Missing), |(table, row)| table.value(row, field))
    }

    fn peek(&self, row: usize, field: &str) -> Result<Value, DataError> {
        self.with(row, field)?.map_or(Ok(Value::Missing), |(table, row)| table.peek(row, field))
    }

    fn window(&self, row: usize, field: &str, steps: Range<usize>) -> Result<Value, DataError> {
        self.with(row, field)?.map_or(Ok(Value::Missing), |(table, row)| table.window(row, field, steps))
    }

    fn stream(&self, row: usize, field: &str) -> Result<Box<dyn Read + Send>, DataError> {
        let (table, row) = self.at(row);
        table.stream(row, field)
    }

    fn streams(&self, field: &str) -> bool {
        self.tables.iter().all(|(table, ..)| table.streams(field))
    }

    fn steps(&self, row: usize) -> usize {
        let (table, row) = self.at(row);
        table.steps(row)
    }

    fn location(&self, row: usize) -> String {
        let (table, row) = self.at(row);
        table.location(row)
    }

    fn origin(&self, row: usize) -> Option<String> {
        let (table, row) = self.at(row);
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
