//! Selecting rows: by a filter of fields, or at random.

use super::{Filter, Table, unknown_field};
use crate::data::DataError;
use crate::random;
use smalti_contract::{Value, listed};
use std::collections::BTreeSet;

/// The numbers of the rows that pass a filter such as `split = train & index >= 5`; ascending. `None` for a filter of optional
/// fields (`split? = train`) that the table does not have.
///
/// # Errors
/// [`DataError`] for a filter that cannot be read, an unknown field, and a field that is neither a text nor a number.
pub fn select(table: &dyn Table, filter: &str) -> Result<Option<Vec<u32>>, DataError> {
    let Some(filter) = Filter::parse(filter)?.over(table.fields()) else { return Ok(None) };
    let fields: Vec<String> = filter.fields().map(String::from).collect();
    if let Some(field) = fields.iter().find(|field| !table.fields().contains(field)) {
        return Err(unknown_field(table, field));
    }
    let mut rows = vec![];
    for row in 0..table.len() {
        let mut labels = Vec::with_capacity(fields.len());
        for field in &fields {
            labels.push((field.as_str(), label(table, row, field)?));
        }
        let get =
            |name: &str| labels.iter().find(|(field, _)| *field == name).map(|(_, label)| label.as_str());
        if filter.passes(get) {
            rows.push(row as u32);
        }
    }
    Ok(Some(rows))
}

/// The value of a field, as a filter compares it.
pub(super) fn label(table: &dyn Table, row: usize, field: &str) -> Result<String, DataError> {
    match table.peek(row, field)? {
        Value::Missing => Ok(String::new()),
        Value::File(file) => Ok(file.name),
        other => other.into_label().map_err(|e| DataError::tokenize(&table.location(row), e)),
    }
}

/// The values of a filter's fields in a table, for a message: `split is test, train`.
pub fn compared_values(table: &dyn Table, filter: &str) -> String {
    let filter = Filter::parse(filter).ok().and_then(|filter| filter.over(table.fields()));
    let fields: BTreeSet<&str> = filter.iter().flat_map(Filter::fields).collect();
    let values = |field: &&str| {
        let found: BTreeSet<String> =
            (0..table.len()).filter_map(|row| label(table, row, field).ok()).collect();
        format!("{field} is {}", listed(found, ", "))
    };
    fields.iter().map(values).collect::<Vec<_>>().join("; ")
}

/// Splits the numbers `0..n` into a training split and a validation split, a `share` of them; the same at each call.
///
/// # Errors
/// If the share is not between 0 and 1, or there are fewer than 2 rows.
pub fn hold_out(n: usize, share: f64) -> Result<(Vec<u32>, Vec<u32>), String> {
    if !(share > 0.0 && share < 1.0) {
        return Err(format!("must be between 0 and 1; found {share}"));
    }
    if n < 2 {
        return Err(format!("needs at least 2 rows to hold one out; found {n}"));
    }
    let held = ((n as f64 * share).round() as usize).clamp(1, n - 1);
    let mut order = random::permutation(0, n);
    let train = order.split_off(held);
    Ok((train, order))
}
