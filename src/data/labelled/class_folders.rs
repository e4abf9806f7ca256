//! One folder a class.

use super::{CLASSES, Entry, Labelled, class_names, is_picture, listed};
use crate::data::error::DataError;
use crate::data::files::Files;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Folder names that mean a part of the data, never a class.
const SPLITS: [&str; 6] = ["test", "train", "training", "val", "valid", "validation"];

/// A picture's path, taken apart. Folders below the class folder are allowed.
struct Picture<'a> {
    path: &'a str,
    split: Option<&'a str>,
    class: &'a str,
}

/// The pictures below a tree, labelled by the folder they lie in.
///
/// Classes are sorted by name, over all splits, so that a split without some class keeps the labels; a
/// `classes.txt` gives another order.
pub(super) fn labelled(tree: Arc<Files>, split: Option<&str>) -> Result<Labelled, DataError> {
    let skip = |path: &String, why: &'static str| (tree.location(path), why);
    let mut skipped: Vec<_> = tree.skipped().iter().map(|(path, why)| skip(path, why)).collect();
    let splits = splits(tree.list(), split);
    let mut pictures = Vec::new();
    for path in tree.list().iter().filter(|path| *path != CLASSES) {
        match picture(path, &splits) {
            Some(picture) if is_picture(path) => pictures.push(picture),
            Some(_) => skipped.push(skip(path, "not a picture")),
            None => skipped.push(skip(path, "in no class folder")),
        }
    }
    if pictures.is_empty() {
        let problem =
            format!("no picture in a class folder (class/name.png) among {} files", tree.list().len());
        return Err(DataError::layout(tree.name(), problem));
    }
    let wanted = wanted(&tree, &splits, split)?;
    let found: BTreeSet<&str> = pictures.iter().map(|picture| picture.class).collect();
    let classes = match class_names(&tree)? {
        Some(classes) => classes,
        None => found.iter().map(|class| class.to_string()).collect(),
    };
    let labels: BTreeMap<&str, u32> = classes.iter().map(String::as_str).zip(0..).collect();
    let mut entries = Vec::new();
    for Picture { path, split, class } in &pictures {
        let label = *labels.get(class).ok_or_else(|| {
            let problem = format!(
                "{path} lies in {class:?}, which is not in {CLASSES}: {}",
                listed(labels.keys().copied())
            );
            DataError::layout(tree.name(), problem)
        })?;
        if *split == wanted {
            entries.push(Entry { source: 0, path: path.to_string(), label });
        }
    }
    Ok(Labelled::Files { sources: vec![tree.clone()], entries, classes, skipped })
}

/// The top folders that are splits: known names, or the one that was asked for.
fn splits<'a>(paths: &'a [String], asked: Option<&str>) -> BTreeSet<&'a str> {
    let deep = paths.iter().filter(|path| is_picture(path) && path.matches('/').count() >= 2);
    let top = deep.filter_map(|path| path.split('/').next());
    top.filter(|top| SPLITS.contains(top) || Some(*top) == asked).collect()
}

fn picture<'a>(path: &'a str, splits: &BTreeSet<&'a str>) -> Option<Picture<'a>> {
    let (first, rest) = path.split_once('/')?;
    if splits.contains(first) {
        let (class, _) = rest.split_once('/')?;
        return Some(Picture { path, split: Some(first), class });
    }
    // Where there are splits, what is in none of them is not part of the data.
    splits.is_empty().then_some(Picture { path, split: None, class: first })
}

/// The split to take: the one asked for, or the only one.
fn wanted<'a>(
    tree: &Files,
    splits: &BTreeSet<&'a str>,
    asked: Option<&str>,
) -> Result<Option<&'a str>, DataError> {
    let unknown = |name: &str, known: String| DataError::Unknown {
        location: tree.name().to_string(),
        what: "split",
        name: name.to_string(),
        known,
    };
    match asked {
        Some(name) => match splits.get(name) {
            Some(split) => Ok(Some(split)),
            None if splits.is_empty() => Err(unknown(name, "no folder above the class folders".to_string())),
            None => Err(unknown(name, listed(splits.iter().copied()))),
        },
        None if splits.len() > 1 => {
            let problem = format!("holds several splits; choose one of {}", listed(splits.iter().copied()));
            Err(DataError::layout(tree.name(), problem))
        }
        None => Ok(splits.first().copied()),
    }
}
