//! IDX pairs by their names: `train-images-idx3-ubyte.gz` belongs to `train-labels-idx1-ubyte.gz`.

use super::{Labelled, listed};
use crate::data::error::DataError;
use crate::data::files::{self, Files};

const IMAGES: [&str; 2] = ["-images-idx3-ubyte", "-images.idx3-ubyte"];
const LABELS: [&str; 2] = ["-labels-idx1-ubyte", "-labels.idx1-ubyte"];

/// The pair that an images file belongs to; `None` for a location that is named otherwise.
pub(super) fn of_file(location: &str, split: Option<&str>) -> Result<Option<Labelled>, DataError> {
    match prefix(location) {
        Some(prefix) if split.is_none_or(|split| split_of(prefix) == split) => {
            pair(location, prefix).map(Some)
        }
        Some(prefix) => Err(unknown(location, split.unwrap_or_default(), split_of(prefix).to_string())),
        None => Ok(None),
    }
}

/// The pair of a split in a tree; `None` where the tree holds no IDX pictures.
pub(super) fn of_tree(tree: &Files, split: Option<&str>) -> Result<Option<Labelled>, DataError> {
    let images: Vec<&String> = tree.list().iter().filter(|path| prefix(path).is_some()).collect();
    let splits: Vec<&str> = images.iter().filter_map(|path| prefix(path)).map(split_of).collect();
    let mut wanted =
        images.iter().zip(&splits).filter(|(_, found)| split.is_none_or(|split| **found == split));
    match (wanted.next(), wanted.next(), split) {
        _ if images.is_empty() => Ok(None),
        (Some((path, _)), None, _) => of_file(&tree.location(path), split),
        (None, _, Some(split)) => Err(unknown(tree.name(), split, listed(splits))),
        _ => {
            let problem = format!("holds several IDX files; choose one split of {}", listed(splits));
            Err(DataError::layout(tree.name(), problem))
        }
    }
}

/// The images file with the labels file beside it; either may be packed.
fn pair(images: &str, prefix: &str) -> Result<Labelled, DataError> {
    if !files::is_file(images)? {
        return Err(DataError::Missing {
            location: images.to_string(),
            expected: "IDX pictures".to_string(),
        });
    }
    for labels in LABELS.iter().flat_map(|name| [format!("{prefix}{name}"), format!("{prefix}{name}.gz")]) {
        if files::is_file(&labels)? {
            return Ok(Labelled::Idx { images: images.to_string(), labels });
        }
    }
    let [name, _] = LABELS;
    Err(DataError::Missing {
        location: format!("{prefix}{name}"),
        expected: format!("the labels (packed as .gz or not) of {images}"),
    })
}

/// A location without the part that makes it an images file: `mnist/train`.
fn prefix(location: &str) -> Option<&str> {
    let unpacked = location.strip_suffix(".gz").unwrap_or(location);
    IMAGES.iter().find_map(|name| unpacked.strip_suffix(name))
}

/// The split's name: the last word of the prefix, `t10k` being MNIST's name for `test`.
fn split_of(prefix: &str) -> &str {
    match prefix.rsplit(['/', ':', '-']).next().unwrap_or(prefix) {
        "t10k" => "test",
        name => name,
    }
}

fn unknown(location: &str, split: &str, known: String) -> DataError {
    DataError::Unknown { location: location.to_string(), what: "split", name: split.to_string(), known }
}
