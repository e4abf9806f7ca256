//! The rows of a table, split by split.

use super::FieldReport;
use super::duplicates::{self, Duplicates};
use super::numbers::{Total, total};
use super::rows::{self, Corrupt};
use super::value::{Readers, Slicing};
use crate::data::DataError;
use crate::data::files::canonical_split;
use crate::random;
use crate::table::{Table, unknown_field};
use indexmap::IndexMap;
use serde::Serialize;
use std::collections::BTreeSet;

/// The report of a table.
#[derive(Clone, Debug, Serialize)]
pub struct TableReport {
    /// Its splits, by the field `split`; without this field, one split without a name.
    pub splits: Vec<TableSplit>,
    /// Rows with the same content.
    pub duplicates: Vec<Duplicates>,
    /// Skipped files and fields, each with the reason.
    pub skipped: Vec<(String, &'static str)>,
}

/// The rows of one split.
#[derive(Clone, Debug, Serialize)]
pub struct TableSplit {
    /// Its name.
    pub split: Option<String>,
    /// The number of rows.
    pub rows: usize,
    /// The number of rows that were inspected.
    pub inspected: usize,
    /// The numbers of time steps of the rows that have series.
    pub steps: Option<Total>,
    /// The fields other than the split.
    pub fields: Vec<FieldReport>,
    /// Rows that cannot be used.
    pub corrupt: Vec<Corrupt>,
}

/// The field of the split.
const SPLIT: &str = "split";

/// Inspects `limit` rows of each split, spread over all (0 for all), or of one split alone. Calls `progress` with the number of
/// inspected rows and the number of all rows to inspect.
///
/// # Errors
/// [`DataError`] if the table does not have the split, or the slicing is impossible.
pub fn inspect_table(
    table: &dyn Table,
    split: Option<&str>,
    slicing: &Slicing,
    limit: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<TableReport, DataError> {
    let readers = Readers::new(slicing).map_err(|e| DataError::tokenize(table.name(), e))?;
    let splits = splits(table, split)?;
    let fields: Vec<String> = table.fields().iter().filter(|field| *field != SPLIT).cloned().collect();
    let chosen: Vec<_> =
        splits.into_iter().map(|(name, rows)| (name, rows.len(), spread(rows, limit))).collect();
    let (all, mut done) = (chosen.iter().map(|(.., rows)| rows.len()).sum(), 0);
    let (mut report, mut contents) = (vec![], vec![]);
    for (split, n, rows) in chosen {
        let found = rows::inspect(table, &rows, &fields, &readers, &mut |more| {
            done += more;
            progress(done, all);
        });
        contents.extend(found.contents);
        let (steps, inspected) = (total(found.steps), rows.len());
        let (fields, corrupt) = (found.fields, found.corrupt);
        report.push(TableSplit { split, rows: n, inspected, steps, fields, corrupt });
    }
    let is_raw = |field: &&FieldReport| !["text", "number", "missing"].contains(&field.holds.as_str());
    let raw: BTreeSet<&str> = report
        .iter()
        .flat_map(|split| split.fields.iter().filter(is_raw))
        .map(|field| field.field.as_str())
        .collect();
    let duplicates = duplicates::find(table, contents, &raw);
    Ok(TableReport { splits: report, duplicates, skipped: table.skipped().to_vec() })
}

/// The rows of each split, or of the wanted one.
fn splits(table: &dyn Table, wanted: Option<&str>) -> Result<IndexMap<Option<String>, Vec<u32>>, DataError> {
    let mut splits: IndexMap<Option<String>, Vec<u32>> = IndexMap::new();
    let has_splits = table.fields().iter().any(|field| field == SPLIT);
    if wanted.is_some() && !has_splits {
        return Err(unknown_field(table, SPLIT));
    }
    for row in 0..table.len() {
        let name = if has_splits { table.peek(row, SPLIT)?.into_label().ok() } else { None };
        let split = name.map(|name| canonical_split(&name).to_string());
        splits.entry(split).or_default().push(row as u32);
    }
    splits.sort_by_key(|split, _| split.as_deref() != Some("train"));
    let Some(wanted) = wanted else { return Ok(splits) };
    let known = smalti_contract::listed(splits.keys().flatten(), ", ");
    let word = canonical_split(wanted);
    splits.retain(|split, _| split.as_deref() == Some(word));
    match splits.is_empty() {
        true => {
            Err(DataError::Unknown { location: table.name().into(), what: SPLIT, name: wanted.into(), known })
        }
        false => Ok(splits),
    }
}

/// At most `limit` rows, spread over all of them; all for 0.
pub(super) fn spread(rows: Vec<u32>, limit: usize) -> Vec<u32> {
    let n = rows.len();
    match limit {
        0 => rows,
        limit => (0..limit.min(n)).map(|i| rows[random::spread(i, limit.min(n), n)]).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::MemoryTable;
    use smalti_contract::{Row, Value};

    #[test]
    fn duplicates_report_different_labels_and_splits() {
        let rows = [
            ("a", "cat", "train"),
            ("b", "cat", "TRAIN"),
            ("c", "dog", "train"),
            ("b", "dog", "train"),
            ("a", "cat", "train"),
            ("d", "cat", "test"),
            ("c", "dog", "test"),
        ];
        let row = |(content, label, split): (&str, &str, &str)| {
            let text = |text: &str| Value::Text(text.into());
            let fields = [("content", content), ("label", label), ("split", split)];
            Row { fields: fields.map(|(field, value)| (field.to_string(), text(value))).into() }
        };
        let table = MemoryTable::new("rows", rows.map(row).to_vec());
        let inspect = |split| inspect_table(&table, split, &Slicing::default(), 0, &mut |_, _| {});
        let report = inspect(None).unwrap();
        let found = report.duplicates.iter().map(|one| {
            let rows: Vec<&str> = one.rows.iter().map(|row| row.row.as_str()).collect();
            (rows.join(", "), one.labels_differ, one.across_splits)
        });
        let expected = [
            ("rows row 1, rows row 5", false, false),
            ("rows row 2, rows row 4", true, false),
            ("rows row 3, rows row 7", false, true),
        ];
        let expected = expected.map(|(rows, labels, splits)| (rows.to_string(), labels, splits));
        assert_eq!(found.collect::<Vec<_>>(), expected);
        assert_eq!(report.splits.iter().map(|split| split.rows).collect::<Vec<_>>(), [5, 2]);
        assert!(inspect(Some("Testing")).unwrap().duplicates.is_empty());
        assert!(
            inspect(Some("dev")).unwrap_err().to_string().contains("no split \"dev\"; there is train, test")
        );
    }
}
