//! Duplicates: rows with the same content.

use super::field::is_label;
use super::rows::Content;
use crate::data::files::canonical_split;
use crate::table::Table;
use serde::Serialize;
use std::collections::BTreeSet;

/// Rows with the same content.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Duplicates {
    /// The rows.
    pub rows: Vec<LabelledRow>,
    /// Whether their labels differ, so that at least one label is wrong.
    pub labels_differ: bool,
    /// Whether they are in different splits, so that a test row may be a training row.
    pub across_splits: bool,
}

/// A row with its split and label.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LabelledRow {
    /// Its location.
    pub row: String,
    /// Its split, if it has one.
    pub split: Option<String>,
    /// Its class or text, if it has one.
    pub label: Option<String>,
}

/// Names of fields that are labels of the file in the same row.
const TEXTS: [&str; 5] = ["text", "txt", "transcript", "transcription", "sentence"];

/// The duplicates, ordered by their first row. `raw` are the fields of files, arrays and series.
pub(super) fn find(
    table: &dyn Table,
    mut contents: Vec<(Content, u32)>,
    raw: &BTreeSet<&str>,
) -> Vec<Duplicates> {
    contents.sort_unstable();
    let mut groups: Vec<&[(Content, u32)]> =
        contents.chunk_by(|one, next| one.0 == next.0).filter(|group| group.len() > 1).collect();
    groups.sort_unstable_by_key(|group| group[0].1);
    let labels = table.fields().iter().filter(|field| {
        let text = !raw.is_empty() && TEXTS.contains(&field.as_str());
        (is_label(field) || text) && !raw.contains(field.as_str())
    });
    let labels: Vec<&String> = labels.collect();
    groups.into_iter().map(|group| duplicates(table, group, &labels)).collect()
}

fn duplicates(table: &dyn Table, group: &[(Content, u32)], labels: &[&String]) -> Duplicates {
    let labelled = |(_, row): &(Content, u32)| {
        let row = *row as usize;
        let label = |field: &str| table.peek(row, field).ok()?.into_label().ok();
        let of_labels: Vec<String> = labels.iter().filter_map(|field| label(field)).collect();
        LabelledRow {
            row: table.location(row),
            split: label("split").map(|split| canonical_split(&split).to_string()),
            label: (!of_labels.is_empty()).then(|| smalti_contract::listed(of_labels, ", ")),
        }
    };
    let rows: Vec<LabelledRow> = group.iter().map(labelled).collect();
    let differ = |of: fn(&LabelledRow) -> &Option<String>| rows.iter().any(|one| of(one) != of(&rows[0]));
    let (labels_differ, across_splits) = (differ(|row| &row.label), differ(|row| &row.split));
    Duplicates { rows, labels_differ, across_splits }
}
