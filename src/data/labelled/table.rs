//! Manifests with a class for each picture: the columns `path` and `label`.

use super::{CLASSES, Entry, Labelled, class_list, listed};
use crate::data::error::DataError;
use crate::data::manifest::{Manifest, Row};
use crate::table::Filter;
use std::collections::{BTreeMap, BTreeSet};

const LABEL: &str = "label";
const SPLIT: &str = "split";

/// The pictures that a manifest names. `split` is a value of the column `split`, or a filter such as `fold<9`.
///
/// Classes are sorted, numbers as numbers, over all rows, so that a split without some class keeps the labels; a
/// `classes.txt` beside the manifest gives another order.
pub(super) fn labelled(location: &str, split: Option<&str>) -> Result<Labelled, DataError> {
    let manifest = Manifest::with(location, &[LABEL])?;
    let classes = match class_list(manifest.name())? {
        Some(classes) => classes,
        None => sorted(manifest.rows().iter().filter_map(|row| row.get(LABEL)).collect()),
    };
    let labels: BTreeMap<&str, u32> = classes.iter().map(String::as_str).zip(0..).collect();
    let rows = rows(&manifest, split)?;
    let (sources, places) = manifest.places(&rows);
    let mut entries = Vec::with_capacity(rows.len());
    for (row, (source, path)) in rows.iter().zip(places) {
        let class = row.get(LABEL).unwrap_or_default();
        let label = *labels.get(class).ok_or_else(|| {
            let known = listed(labels.keys().copied());
            DataError::layout(
                manifest.name(),
                format!("{path} is of class {class:?}, which is not in {CLASSES}: {known}"),
            )
        })?;
        entries.push(Entry { source, path, label });
    }
    Ok(Labelled::Files { sources, entries, classes, skipped: vec![] })
}

fn rows<'a>(manifest: &'a Manifest, split: Option<&str>) -> Result<Vec<&'a Row>, DataError> {
    let splits: BTreeSet<&str> = manifest.rows().iter().filter_map(|row| row.get(SPLIT)).collect();
    match split {
        Some(filter) if filter.contains(['=', '<', '>']) => manifest.select(&Filter::parse(filter)?),
        Some(name) if splits.contains(name) => {
            Ok(manifest.rows().iter().filter(|row| row.get(SPLIT) == Some(name)).collect())
        }
        Some(name) => Err(DataError::Unknown {
            location: manifest.name().to_string(),
            what: "split",
            name: name.to_string(),
            known: match splits.is_empty() {
                true => format!("no column {SPLIT:?}, but a filter of other columns can be given"),
                false => listed(splits),
            },
        }),
        None if splits.len() > 1 => {
            let problem = format!("holds several splits; choose one of {}", listed(splits));
            Err(DataError::layout(manifest.name(), problem))
        }
        None => Ok(manifest.rows().iter().collect()),
    }
}

fn sorted(classes: BTreeSet<&str>) -> Vec<String> {
    let numbers: Option<BTreeMap<i64, &str>> =
        classes.iter().map(|class| Some((class.parse().ok()?, *class))).collect();
    match numbers.filter(|numbers| numbers.len() == classes.len()) {
        Some(numbers) => numbers.into_values().map(str::to_string).collect(),
        None => classes.into_iter().map(str::to_string).collect(),
    }
}
