//! WebDataset shards: tar archives whose members belong together by name, `000123.jpg` with `000123.cls`.

use super::{CLASSES, Entry, Labelled, class_names, is_picture, listed};
use crate::data::error::DataError;
use crate::data::files::Files;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Extension of the member that holds a label, a decimal number.
pub(super) const LABEL: &str = "cls";
/// The most classes that may go without names: a corrupt label must not make as many names.
const MAX_UNNAMED: u32 = 1 << 16;

/// The pictures in shards, in the order of the shards.
pub(super) fn labelled(location: &str, shards: Vec<Arc<Files>>) -> Result<Labelled, DataError> {
    let (mut entries, mut skipped) = (Vec::new(), Vec::new());
    for (source, shard) in shards.iter().enumerate() {
        samples(source, shard, &mut entries, &mut skipped)?;
    }
    let Some(highest) = entries.iter().map(|entry: &Entry| entry.label).max() else {
        let problem =
            format!("no picture has a .{LABEL} beside it; {} files are something else", skipped.len());
        return Err(DataError::layout(location, problem));
    };
    let names = shards.first().map(|shard| class_names(shard)).transpose()?.flatten();
    let classes = match names {
        Some(names) if (highest as usize) < names.len() => names,
        Some(names) => {
            let problem = format!("a label is {highest}, but {CLASSES} names {} classes", names.len());
            return Err(DataError::layout(location, problem));
        }
        None if highest < MAX_UNNAMED => (0..=highest).map(|label| label.to_string()).collect(),
        None => {
            let problem = format!("a label is {highest}; without {CLASSES} it must be below {MAX_UNNAMED}");
            return Err(DataError::layout(location, problem));
        }
    };
    Ok(Labelled::Files { sources: shards, entries, classes, skipped })
}

/// The samples of one shard; what belongs to none is skipped.
fn samples(
    source: usize,
    shard: &Files,
    entries: &mut Vec<Entry>,
    skipped: &mut Vec<(String, &'static str)>,
) -> Result<(), DataError> {
    let skip = |path: &str, why: &'static str| (shard.location(path), why);
    skipped.extend(shard.skipped().iter().map(|(path, why)| skip(path, why)));
    let mut by_key: BTreeMap<&str, (Option<&str>, Option<&str>)> = BTreeMap::new();
    for path in shard.list().iter().filter(|path| *path != CLASSES) {
        let (key, extension) = key_and_extension(path);
        let (picture, label) = by_key.entry(key).or_default();
        if extension == LABEL {
            *label = Some(path);
        } else if !is_picture(path) {
            skipped.push(skip(path, "neither a picture nor a label"));
        } else if picture.is_some() {
            skipped.push(skip(path, "a second picture of the same sample"));
        } else {
            *picture = Some(path);
        }
    }
    for sample in by_key.into_values() {
        match sample {
            (Some(picture), Some(label)) => {
                entries.push(Entry { source, path: picture.to_string(), label: number(shard, label)? });
            }
            (Some(picture), None) => skipped.push(skip(picture, "a picture without a label")),
            (None, Some(label)) => skipped.push(skip(label, "a label without a picture")),
            (None, None) => {}
        }
    }
    Ok(())
}

fn number(shard: &Files, path: &str) -> Result<u32, DataError> {
    let bytes = shard.read(path)?;
    let text = String::from_utf8_lossy(&bytes);
    text.trim().parse().map_err(|_| {
        let found: String = text.chars().take(20).collect();
        DataError::format(
            &shard.location(path),
            "a label",
            format!("expected a number of 0 or more; found {found:?}"),
        )
    })
}

/// A member's sample and what it is of it: the file name up to its first dot, and what follows the dot.
pub(super) fn key_and_extension(path: &str) -> (&str, &str) {
    let name = path.rfind('/').map_or(0, |slash| slash + 1);
    match path.get(name..).and_then(|name| name.find('.')) {
        Some(dot) => path
            .split_at_checked(name + dot)
            .map_or((path, ""), |(key, rest)| (key, rest.get(1..).unwrap_or(""))),
        None => (path, ""),
    }
}

/// The archives of a split: those named `split.tar` or `split-….tar`; without a split, all of them, which
/// must then be of one.
pub(super) fn of_split(
    location: &str,
    archives: Vec<String>,
    split: Option<&str>,
) -> Result<Vec<String>, DataError> {
    let found: BTreeSet<&str> = archives.iter().map(|name| split_of(name)).collect();
    let known = listed(found.iter().copied());
    match split {
        None if found.len() > 1 => {
            Err(DataError::layout(location, format!("holds several splits; choose one of {known}")))
        }
        // A single archive may hold the split as a folder of its own.
        Some(split) if !found.contains(split) && archives.len() > 1 => Err(DataError::Unknown {
            location: location.to_string(),
            what: "split",
            name: split.to_string(),
            known,
        }),
        Some(split) if found.contains(split) => {
            Ok(archives.iter().filter(|name| split_of(name) == split).cloned().collect())
        }
        _ => Ok(archives),
    }
}

/// `train` of `shards/train-0003.tar`; of `0003.tar`, an empty name.
fn split_of(archive: &str) -> &str {
    let name = archive.rsplit('/').next().unwrap_or(archive).trim_end_matches(".tar");
    name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches(['-', '_', '.'])
}
