//! CIFAR-10 as it is published: `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`, with the names of
//! the classes in `batches.meta.txt`.

use super::{Labelled, listed, read_names};
use crate::data::error::DataError;
use crate::data::files::Files;
use std::collections::BTreeSet;

const NAMES: &str = "batches.meta.txt";

/// The batches of a split, where the tree is CIFAR-10.
pub(super) fn of_tree(tree: &Files, split: Option<&str>) -> Result<Option<Labelled>, DataError> {
    let batches: Vec<(&String, &str)> =
        tree.list().iter().filter_map(|path| split_of(path).map(|split| (path, split))).collect();
    let splits: BTreeSet<&str> = batches.iter().map(|(_, split)| *split).collect();
    if splits.is_empty() {
        return Ok(None);
    }
    let known = listed(splits.iter().copied());
    let wanted = match split {
        Some(name) if !splits.contains(name) => {
            let (location, name) = (tree.name().to_string(), name.to_string());
            return Err(DataError::Unknown { location, what: "split", name, known });
        }
        None if splits.len() > 1 => {
            return Err(DataError::layout(
                tree.name(),
                format!("holds several splits; choose one of {known}"),
            ));
        }
        split => split,
    };
    let batches = batches.iter().filter(|(_, split)| wanted.is_none_or(|wanted| wanted == *split));
    let batches = batches.map(|(path, _)| tree.location(path)).collect();
    let folder = tree.list().iter().find(|path| file_name(path) == NAMES);
    let classes = match folder {
        Some(path) => read_names(&tree.location(path), true)?,
        None => None,
    };
    Ok(Some(Labelled::Cifar {
        batches,
        classes: classes.unwrap_or((0..10).map(|i| i.to_string()).collect()),
    }))
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn split_of(path: &str) -> Option<&'static str> {
    let name = file_name(path).strip_suffix(".bin")?;
    match name {
        "test_batch" => Some("test"),
        _ => name.strip_prefix("data_batch_").map(|_| "train"),
    }
}
