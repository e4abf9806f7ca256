//! Rows in memory, from lists of recordings and transcripts.

use crate::data::DataError;
use crate::table::{Table, unknown_field};
use indexmap::IndexMap;
use smalti_contract::Value;
use std::sync::Arc;

/// The rows of one list.
#[derive(Debug)]
pub(super) struct List {
    /// Its location, for messages.
    pub location: String,
    /// Its location, size and time of change; `None` if that is not known.
    pub origin: Option<String>,
    /// The values of each field.
    pub fields: IndexMap<&'static str, Vec<Value>>,
    /// The number of rows.
    pub rows: usize,
}

/// The rows of several lists.
struct Lists {
    name: String,
    fields: Vec<String>,
    /// With the number of its first row.
    lists: Vec<(usize, List)>,
    len: usize,
}

impl List {
    /// A list of rows without fields.
    pub fn new(location: String, origin: Option<String>, rows: usize) -> Self {
        Self { location, origin, fields: IndexMap::new(), rows }
    }

    /// Adds a field.
    pub fn add(&mut self, field: &'static str, values: impl Iterator<Item = Value>) {
        self.fields.insert(field, values.collect());
    }

    /// Adds a field of texts, of which empty ones are missing.
    pub fn add_texts<'a>(&mut self, field: &'static str, texts: impl Iterator<Item = &'a str>) {
        let value = |text: &str| if text.is_empty() { Value::Missing } else { Value::Text(text.into()) };
        self.add(field, texts.map(value));
    }
}

/// The table of some lists.
///
/// # Errors
/// [`DataError::Empty`] without a row.
pub(super) fn table(name: &str, lists: Vec<List>) -> Result<Arc<dyn Table>, DataError> {
    let mut fields: Vec<String> = vec![];
    for field in lists.iter().flat_map(|list| list.fields.keys()) {
        if !fields.iter().any(|known| known == field) {
            fields.push(field.to_string());
        }
    }
    let mut len = 0;
    let lists = lists.into_iter().map(|list| {
        len += list.rows;
        (len - list.rows, list)
    });
    let table = Lists { lists: lists.collect(), name: name.into(), fields, len };
    match table.len {
        0 => Err(DataError::Empty { location: name.into(), expected: "clips and their texts" }),
        _ => Ok(Arc::new(table)),
    }
}

impl Lists {
    fn find(&self, row: usize) -> (&List, usize) {
        let (start, list) =
            &self.lists[self.lists.partition_point(|(start, _)| *start <= row).saturating_sub(1)];
        (list, row - start)
    }
}

impl Table for Lists {
    fn name(&self) -> &str {
        &self.name
    }

    fn fields(&self) -> &[String] {
        &self.fields
    }

    fn len(&self) -> usize {
        self.len
    }

    fn value(&self, row: usize, field: &str) -> Result<Value, DataError> {
        let (list, row) = self.find(row);
        match list.fields.get(field) {
            Some(values) => Ok(values.get(row).cloned().unwrap_or_default()),
            None if self.fields.iter().any(|known| known == field) => Ok(Value::Missing),
            None => Err(unknown_field(self, field)),
        }
    }

    fn location(&self, row: usize) -> String {
        let (list, row) = self.find(row);
        format!("{} row {}", list.location, row + 1)
    }

    fn origin(&self, row: usize) -> Option<String> {
        let (list, row) = self.find(row);
        Some(format!("{} row {row}", list.origin.as_ref()?))
    }
}
