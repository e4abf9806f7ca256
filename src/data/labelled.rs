//! Pictures and their labels, in the layouts in which they are published.
//!
//! - One folder a class: `cat/1.png`, also below a split's folder: `test/cat/1.png`.
//! - WebDataset shards: tar archives with `000123.jpg` beside `000123.cls`.
//! - IDX pairs, as MNIST has them: `train-images-idx3-ubyte.gz` beside `train-labels-idx1-ubyte.gz`.
//! - CIFAR-10's binary batches: `data_batch_1.bin` … and `test_batch.bin`.
//! - A manifest with the columns `path` and `label`, in any of the formats that [`manifest`](super::manifest) reads.

mod cifar;
mod class_folders;
mod idx;
mod shards;
mod table;
#[cfg(test)]
mod tests;

use crate::data::error::DataError;
pub(crate) use crate::data::error::listed;
use crate::data::files::{self, Files, glob};
use crate::data::manifest::Manifest;
use std::sync::Arc;

/// The file names that list class names, one a line, in the order of their labels.
const CLASSES: &str = "classes.txt";
/// Extensions of pictures, in lower case: of what `read` of the image crate reads.
const PICTURES: [&str; 8] = ["bmp", "gif", "jpeg", "jpg", "png", "tif", "tiff", "webp"];

/// A labelled source, opened but not read.
#[derive(Debug)]
pub enum Labelled {
    /// One file a picture.
    Files {
        /// The trees in which the pictures lie.
        sources: Vec<Arc<Files>>,
        /// The pictures; sorted by source, then by path.
        entries: Vec<Entry>,
        /// Class names: label `i` is `classes[i]`.
        classes: Vec<String>,
        /// The locations of files that are not used, and why.
        skipped: Vec<(String, &'static str)>,
    },
    /// All pictures in one IDX file and all labels in another.
    Idx {
        /// Location of the pictures, as [`files::read`] takes it.
        images: String,
        /// Location of the labels.
        labels: String,
    },
    /// Pictures and labels in the batches of CIFAR-10.
    Cifar {
        /// Locations of the batches.
        batches: Vec<String>,
        /// Class names: label `i` is `classes[i]`.
        classes: Vec<String>,
    },
}

/// One labelled picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its tree: an index into the sources.
    pub source: usize,
    /// Its path there.
    pub path: String,
    /// Its class: an index into the classes.
    pub label: u32,
}

/// Opens a labelled source: a folder, a tar archive, a folder of archives, a pattern of archives
/// (`train-*.tar`, `train-{000..127}.tar`: see [`glob::expand`]), an IDX file, a manifest, or `builtin:`.
///
/// `split` picks a part by name: the folder `test/`, the archives `test*.tar`, the IDX pair `t10k` (or
/// `test`), the rows that have it in the column `split`. It must be given where there is more than one.
///
/// # Errors
/// [`DataError::Unknown`] for a split that is not there, [`DataError::Layout`] for files that are arranged
/// in none of these ways or of which not one is a labelled picture, and those of [`Files::open`].
pub fn open(location: &str, split: Option<&str>) -> Result<Labelled, DataError> {
    if let Some(pair) = idx::of_file(location, split)? {
        return Ok(pair);
    }
    if glob::is_pattern(location) {
        return of_archives(location, glob::expand(location)?, split);
    }
    if Manifest::is_one(location) {
        return table::labelled(location, split);
    }
    let tree = Files::open(location)?;
    if let Some(pair) = idx::of_tree(&tree, split)? {
        return Ok(pair);
    }
    if let Some(batches) = cifar::of_tree(&tree, split)? {
        return Ok(batches);
    }
    if Manifest::is_in(&tree) {
        return table::labelled(location, split);
    }
    let (archives, rest): (Vec<_>, Vec<_>) =
        tree.list().iter().cloned().partition(|path| path.ends_with(".tar"));
    if archives.is_empty() {
        return of_tree(Arc::new(tree), split);
    }
    let archives = archives.iter().map(|path| tree.location(path)).collect();
    let mut found = of_archives(location, archives, split)?;
    if let Labelled::Files { skipped, .. } = &mut found {
        let rest = rest.into_iter().filter(|path| path != CLASSES);
        skipped.extend(rest.map(|path| (tree.location(&path), "beside the archives, not in one")));
        skipped.extend(tree.skipped().iter().map(|(path, why)| (tree.location(path), *why)));
    }
    Ok(found)
}

/// The archives of a split: shards, or a single archive with one folder a class.
fn of_archives(location: &str, archives: Vec<String>, split: Option<&str>) -> Result<Labelled, DataError> {
    let archives = shards::of_split(location, archives, split)?;
    let open = |archive: &String| Files::open(archive).map(Arc::new);
    match archives.as_slice() {
        [] => {
            Err(DataError::Missing { location: location.to_string(), expected: "tar archives".to_string() })
        }
        [only] => of_tree(open(only)?, split),
        several => shards::labelled(location, several.iter().map(open).collect::<Result<_, _>>()?),
    }
}

/// One tree: shards where it holds `.cls` members, else one folder a class.
fn of_tree(tree: Arc<Files>, split: Option<&str>) -> Result<Labelled, DataError> {
    if tree.list().iter().any(|path| shards::key_and_extension(path).1 == shards::LABEL) {
        let name = tree.name().to_string();
        return shards::labelled(&name, vec![tree]);
    }
    class_folders::labelled(tree, split)
}

/// The class names in the `classes.txt` of this tree or beside it, if there is one.
fn class_names(tree: &Files) -> Result<Option<Vec<String>>, DataError> {
    if tree.contains(CLASSES) {
        return read_names(&tree.location(CLASSES), false);
    }
    class_list(tree.name())
}

/// The class names in the `classes.txt` beside a file, if there is one.
fn class_list(beside: &str) -> Result<Option<Vec<String>>, DataError> {
    let folder = beside.rfind(['/', ':']).map_or("", |end| beside.get(..=end).unwrap_or_default());
    read_names(&files::join(folder, CLASSES), false)
}

/// The class names in a file, one a line; `None` where there is no file. Blank lines at the end may be allowed.
fn read_names(location: &str, blank_end: bool) -> Result<Option<Vec<String>>, DataError> {
    let text = match files::read_text(location) {
        Ok(text) => text,
        Err(DataError::Missing { .. }) => return Ok(None),
        Err(e) => return Err(e),
    };
    let text = if blank_end { text.trim_end() } else { &text };
    let names: Vec<String> = text.lines().map(|line| line.trim().to_string()).collect();
    if let Some(blank) = names.iter().position(String::is_empty) {
        return Err(DataError::layout(
            location,
            format!("line {} is blank; expected a class name", blank + 1),
        ));
    }
    if let Some(twice) =
        names.iter().enumerate().find_map(|(i, name)| names.get(..i)?.contains(name).then_some(name))
    {
        return Err(DataError::layout(location, format!("the class {twice:?} is listed twice")));
    }
    Ok(Some(names))
}

/// Whether a path is that of a picture that can be read, by its extension.
fn is_picture(path: &str) -> bool {
    let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
    PICTURES.iter().any(|known| known.eq_ignore_ascii_case(extension))
}
