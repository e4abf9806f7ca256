//! The files at a source's path, listed once for all layouts that are tried.

use super::{Source, Table};
use crate::data::files::{self, Files, glob};
pub(super) use crate::data::files::{canonical_split, is_archive, split_word};
use crate::data::{DataError, read_text};
use std::collections::HashSet;
use std::ops::Deref;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

/// The file of class names, one per line, in the order of their numbers.
pub(super) const CLASSES: &str = "classes.txt";
/// The record of a conversion, which lies beside the shards.
pub(crate) const RECORD: &str = "convert.json";

/// A source and the files at its path. It dereferences to the [`Source`].
pub struct Place<'a> {
    source: &'a Source,
    files: OnceLock<Option<Arc<Files>>>,
    /// The reason that the layout which was tried last gave.
    reason: Mutex<Option<String>>,
}

impl Deref for Place<'_> {
    type Target = Source;

    fn deref(&self) -> &Source {
        self.source
    }
}

impl<'a> Place<'a> {
    /// The place of a source; nothing is read.
    pub fn new(source: &'a Source) -> Self {
        Self { source, files: OnceLock::new(), reason: Mutex::default() }
    }

    /// Whether the settings of the source name this layout.
    pub fn is_requested(&self, layout: &str) -> bool {
        self.layout.as_deref() == Some(layout)
    }

    /// States why the layout that is being tried fits: "it is a folder of class folders, such as cat/1.png".
    pub fn because(&self, reason: impl Into<String>) {
        if let Ok(mut current) = self.reason.lock() {
            *current = Some(reason.into());
        }
    }

    /// Declines the source for the layout that is being tried, and states why: "it has no file named info.json".
    ///
    /// # Errors
    /// None; the type is that of an [`Opener`](super::Opener).
    pub fn decline(&self, reason: impl Into<String>) -> Result<Option<Arc<dyn Table>>, DataError> {
        self.because(reason);
        Ok(None)
    }

    /// The reason that the last layout gave, if it gave one; the next layout starts without one.
    pub(super) fn take_reason(&self) -> Option<String> {
        self.reason.lock().ok()?.take()
    }

    /// Whether the path is a pattern such as `train-*.tar`.
    pub fn is_pattern(&self) -> bool {
        glob::is_pattern(&self.path)
    }

    /// The locations that match the pattern, or the path itself.
    ///
    /// # Errors
    /// [`DataError::Missing`] if nothing matches the pattern.
    pub fn locations(&self) -> Result<Vec<String>, DataError> {
        if !self.is_pattern() {
            return Ok(vec![self.path.clone()]);
        }
        let found = glob::expand(&self.path)?;
        match found.is_empty() {
            true => Err(DataError::Missing {
                location: self.path.clone(),
                expected: "files that match the pattern".into(),
            }),
            false => Ok(found),
        }
    }

    /// The files of the folder or archive at the path; `None` for any other file and for a pattern.
    ///
    /// # Errors
    /// [`DataError::Missing`] if the path does not exist, [`DataError::Empty`] for a folder without a file, and
    /// [`DataError::Format`] for a corrupt archive.
    pub fn files(&self) -> Result<Option<Arc<Files>>, DataError> {
        if let Some(found) = self.files.get() {
            return Ok(found.clone());
        }
        let is_tree = || Ok(is_archive(&self.path) || is_folder(&self.path) || !files::is_file(&self.path)?);
        let found = match !self.is_pattern() && is_tree()? {
            true => Some(Arc::new(Files::open(&self.path)?)),
            false => None,
        };
        Ok(self.files.get_or_init(|| found).clone())
    }

    /// Checks that the setting `columns` is absent, in a layout that does not use it.
    ///
    /// # Errors
    /// [`DataError::Layout`] if the setting is present.
    pub fn refuse_columns(&self, layout: &str) -> Result<(), DataError> {
        match self.columns {
            Some(_) => Err(DataError::layout(
                &self.path,
                format!(
                    "`columns` names the fields of .csv and .tsv files without a header and of parallel texts; the \
                     layout {layout} names its own; remove `columns`"
                ),
            )),
            None => Ok(()),
        }
    }
}

fn is_folder(location: &str) -> bool {
    Path::new(location).is_dir()
}

/// The last part of a location.
pub(super) fn file_name(location: &str) -> &str {
    location.rsplit(['/', ':']).next().unwrap_or(location)
}

/// The extension of a file's name before `.gz`: `csv` of `train.csv.gz`; empty if there is no dot.
pub(super) fn extension(location: &str) -> &str {
    let name = file_name(location);
    let name = name.strip_suffix(".gz").unwrap_or(name);
    name.rsplit_once('.').map_or("", |(_, extension)| extension)
}

/// Whether a file describes data and has no rows, by its name: `README.md`, `LICENSE`, `dataset_infos.json`.
pub(super) fn describes(path: &str) -> bool {
    const ENDINGS: [&str; 8] = ["json", "md", "txt", "yaml", "yml", "html", "rst", "bib"];
    !file_name(path).contains('.') || ENDINGS.contains(&extension(path))
}

/// The folder that all these files are in, with its final `/`: `kg/` of `kg/train.csv` and `kg/test/1.png`; empty if there is
/// none.
pub(super) fn top_folder<'a>(mut paths: impl Iterator<Item = &'a str>) -> &'a str {
    let folder = |path: &'a str| path.rfind('/').map_or("", |end| &path[..=end]);
    let first = paths.next().map_or("", folder);
    paths.fold(first, |mut top, path| {
        while !path.starts_with(top) {
            top = folder(&top[..top.len() - 1]);
        }
        top
    })
}

/// Whether several files of a tree have the same name before the first dot, as the files of a row in a shard of WebDataset.
pub(super) fn has_rows_of_files(files: &Files) -> bool {
    let stem = |path: &'_ str| {
        let name = file_name(path);
        path.len() - name.len() + name.find('.').unwrap_or(name.len())
    };
    let mut stems = HashSet::new();
    !files.list().iter().all(|path| stems.insert(&path[..stem(path)]))
}

/// The split at the start of a file's name: `train` of `train-0003.tar` and of `training-00000-of-00002.parquet`; empty for
/// `0003.tar`. A name that is no word for a split stays as it is: `test_2016_flickr`.
pub(super) fn split_of(location: &str) -> &str {
    let name = file_name(location);
    let name = name.split_once('.').map_or(name, |(name, _)| name);
    let shard = without_number(name);
    let start = without_number(shard.strip_suffix("-of").unwrap_or(shard));
    canonical_split(start)
}

/// The split at the start or the end of a table's name: `train` of `reviews_train.csv`. A name that ends in one word for a
/// split and has another stays as it is: `train_test`.
pub(super) fn split_at_end(location: &str) -> &str {
    let start = split_of(location);
    let mut words = start.split(['-', '_', ' ']).filter_map(split_word);
    let last = start.rsplit(['-', '_', ' ']).next().and_then(split_word);
    match (words.next(), words.next()) {
        (Some(_), None) => last.unwrap_or(start),
        _ => start,
    }
}

/// The split of a table among others: the word for a split in its name, or that of its folder, as in `train/0000.parquet`, or
/// else the start of its name, unless all tables have this name, as `metadata.csv`.
pub(super) fn split_of_table(location: &str) -> &str {
    let named = split_at_end(location);
    if split_word(named).is_some() {
        return named;
    }
    let folder = location.rsplit(['/', ':']).nth(1).and_then(split_word);
    folder.unwrap_or(if ["manifest", "metadata"].contains(&named) { "" } else { named })
}

/// The split of a file in a tree, by its name or else by the nearest folder that is one.
pub(super) fn split_in_tree(path: &str) -> Option<&'static str> {
    split_word(split_of(path)).or_else(|| path.rsplit('/').skip(1).find_map(split_word))
}

/// A name without its final number. A single digit is part of the name, unless separated.
fn without_number(name: &str) -> &str {
    let start = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let apart = start.is_empty() || start.ends_with(['-', '_']);
    match apart || name.len() - start.len() > 2 {
        true => start.trim_end_matches(['-', '_']),
        false => name,
    }
}

/// The location of a file, its size and its time of change; `None` if that is not known.
pub(super) fn origin(location: &str) -> Option<String> {
    let name = file_name(location);
    let folder = location.strip_suffix(name)?;
    Files::named(folder, std::iter::once(name.to_string())).origin(name)
}

/// The class names in the `classes.txt` among these files or beside the archive or folder, if there is one.
pub(super) fn class_names(files: &Files) -> Result<Option<Vec<String>>, DataError> {
    if files.contains(CLASSES) {
        return read_classes(&files.location(CLASSES)).map(Some);
    }
    let above = files.name().strip_suffix(file_name(files.name())).unwrap_or_default();
    let beside = files::join(above, CLASSES);
    match files::is_file(&beside)? {
        true => read_classes(&beside).map(Some),
        false => Ok(None),
    }
}

/// The class names in a file, one per line.
pub(super) fn read_classes(location: &str) -> Result<Vec<String>, DataError> {
    let text = read_text(location)?;
    let names: Vec<String> = text.trim_end().lines().map(|line| line.trim().to_string()).collect();
    for (number, name) in names.iter().enumerate() {
        if name.is_empty() {
            let problem = format!("line {} is blank; expected a class name", number + 1);
            return Err(DataError::layout(location, problem));
        }
        if names[..number].contains(name) {
            let problem = format!("line {}: the class {name:?} is listed twice", number + 1);
            return Err(DataError::layout(location, problem));
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_folder_holds_all_files() {
        let of = |paths: &[&'static str]| top_folder(paths.iter().copied());
        assert_eq!(of(&["kg/train.csv", "kg/test/1.png"]), "kg/");
        assert_eq!(of(&["a/b/1.csv", "a/b/2.csv"]), "a/b/");
        assert_eq!(of(&["ab/1.csv", "a/1.csv"]), "");
        assert_eq!((of(&["1.csv"]), of(&[])), ("", ""));
    }

    #[test]
    fn the_split_is_the_start_of_the_file_name() {
        for (location, split) in [
            ("a/train-0003.tar", "train"),
            ("train-00000-of-00002.parquet", "train"),
            ("test_2016_flickr.de.gz", "test_2016_flickr"),
            ("valid.tar", "validation"),
            ("Testing_set-01.csv", "test"),
            ("builtin:digits/0003.tar", ""),
            ("fold1.csv", "fold1"),
            ("test2017.csv", "test"),
            ("train_01.csv", "train"),
        ] {
            assert_eq!(split_of(location), split, "{location}");
        }
        for (location, split) in [
            ("hf:a/b:train/0.parquet", "train"),
            ("x/0.csv", ""),
            ("test/train-1.csv", "train"),
            ("Training/metadata.csv", "train"),
            ("x/metadata.csv", ""),
            ("val/part.csv", "validation"),
            ("x/part.csv", "part"),
            ("x/reviews_train.csv", "train"),
            ("reviews-test-00001.csv", "test"),
            ("train_test.csv", "train_test"),
            ("test_2016_flickr.csv", "test_2016_flickr"),
        ] {
            assert_eq!(split_of_table(location), split, "{location}");
        }
        for (path, split) in [
            ("Training/books/a.txt", Some("train")),
            ("train/dev.txt", Some("validation")),
            ("books/a.txt", None),
        ] {
            assert_eq!(split_in_tree(path), split, "{path}");
        }
        assert_eq!(split_in_tree("how_to_train.txt"), None, "a text is no table");
        assert_eq!([extension("a.b/c.csv.gz"), extension("a.b/c"), extension("x.de.gz")], ["csv", "", "de"]);
    }
}
