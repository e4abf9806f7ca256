//! Class folders: `cat/1.png`, or below the folder of a split, `train/cat/1.png`. Images and clips without classes: `1.png`, or
//! `train/1.png`. Folders that hold all others, as in `pets/data/cat/1.png`, are passed over.

use super::place::{CLASSES, class_names, extension, split_word};
use super::rows::{is_table, names_none};
use super::{Modality, Place, Table, unknown_field};
use crate::data::{DataError, Files};
use smalti_contract::{File, Value, listed};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The layout's name.
pub const NAME: &str = "folders";

/// Files, each labelled by its folder.
struct Folders {
    files: Arc<Files>,
    fields: Vec<String>,
    paths: Vec<String>,
    /// The number of folders above the class folder; `None` without classes.
    label_depth: Option<usize>,
    /// The number of folders above the folder of the split.
    split_depth: usize,
    classes: Option<Vec<String>>,
    skipped: Vec<(String, &'static str)>,
}

/// Opens a folder or archive of class folders: the fields `file`, `label` and, if the class folders are in folders of splits in
/// any spelling, `split`. A `classes.txt` in it or beside it sets the order of the classes. Among images and audio clips, files
/// with other endings are skipped. Images and clips that are in no class folder have no `label`.
///
/// # Errors
/// [`DataError`] for a class that is not in `classes.txt`.
pub fn open(place: &Place) -> Result<Option<Arc<dyn Table>>, DataError> {
    let none = |reason: &str| match place.is_requested(NAME) {
        true => {
            let problem =
                "expected class folders (class/name.png, split/class/name.png); found no file in one";
            Err(DataError::layout(&place.path, problem))
        }
        false => place.decline(reason),
    };
    let Some(files) = place.files()? else { return none("it is no folder and no archive") };
    let tree = Tree::of(&files);
    let has_classes = files.list().iter().any(|path| tree.is_sample(path) && tree.label(path).is_some());
    if !has_classes && !tree.holds_media {
        return none("no file is in a class folder, such as cat/1.png");
    }
    // Texts beside images are a source of another layout.
    if !has_classes && files.list().iter().any(|path| extension(path) == "txt" && path != CLASSES) {
        return none("it has texts beside images, and no class folder");
    }
    let is_tabular = |path: &String| is_table(path) || ["parquet", "arrow"].contains(&extension(path));
    let mut sorted = files.list().iter().filter(|path| tree.is_sample(path) && tree.label(path).is_some());
    if !tree.holds_media && sorted.all(is_tabular) && !place.is_requested(NAME) {
        return none("the files in its folders are tables");
    }
    let table = Folders::new(files, &tree, has_classes)?;
    let Some(example) = table.paths.first() else { return none("it has no file") };
    place.refuse_columns(NAME)?;
    place.because(match has_classes {
        true => format!("it is a folder of class folders, such as {example}"),
        false => format!("it holds images or clips without classes, such as {example}"),
    });
    Ok(Some(Arc::new(table)))
}

fn is_media(path: &str) -> bool {
    matches!(Modality::by_name(path), Some(Modality::Image | Modality::Audio))
}

/// The classes in `classes.txt`, if there is one, which must name every class folder.
fn listed_classes(files: &Files, paths: &[String], tree: &Tree) -> Result<Option<Vec<String>>, DataError> {
    let Some(classes) = class_names(files)? else { return Ok(None) };
    let known = |label: &str| classes.iter().any(|class| class == label);
    for path in paths {
        let label = tree.label(path).unwrap_or_default();
        if !known(label) {
            let problem =
                format!("its folder {label:?} is not in {CLASSES}, which lists {}", listed(&classes, ", "));
            return Err(DataError::layout(&files.location(path), problem));
        }
    }
    Ok(Some(classes))
}

/// The meaning of the folders of a tree.
struct Tree {
    /// Whether some file is an image or audio clip.
    holds_media: bool,
    /// The number of folders that hold all samples and are no class.
    depth: usize,
    /// The folders below these that are splits with class folders in them.
    splits: BTreeSet<String>,
}

impl Tree {
    fn of(files: &Files) -> Self {
        let holds_media = files.list().iter().any(|path| is_media(path));
        let samples = files.list().iter().filter(|path| is_media(path) || !holds_media);
        let samples: Vec<Vec<&str>> =
            samples.map(|path| folders(path)).filter(|folders| !folders.is_empty()).collect();
        let depth = (0..=common_folders(&samples)).rev().find(|depth| are_sorted(&samples, *depth));
        let depth = depth.unwrap_or_default();
        let deep = samples.iter().filter(|folders| folders.len() >= depth + 2);
        let splits = deep.map(|folders| folders[depth]).filter(|top| split_word(top).is_some());
        Self { holds_media, depth, splits: splits.map(String::from).collect() }
    }

    /// Whether a file may be a sample: among images and audio clips, no file with another ending.
    fn is_sample(&self, path: &str) -> bool {
        path != CLASSES && (!self.holds_media || is_media(path) || extension(path).is_empty())
    }

    /// The class folder of a path. If there are splits, a file outside them has no class; a folder of a split is no class.
    fn label<'a>(&self, path: &'a str) -> Option<&'a str> {
        let folders = folders(path);
        let top = *folders.get(self.depth)?;
        match self.splits.contains(top) {
            true => folders.get(self.depth + 1).copied(),
            false => (self.splits.is_empty() && split_word(top).is_none()).then_some(top),
        }
    }

    fn split(&self, path: &str) -> Option<&'static str> {
        folders(path).get(self.depth).and_then(|top| split_word(top))
    }
}

/// The folders of a path, the topmost first.
fn folders(path: &str) -> Vec<&str> {
    path.split('/').rev().skip(1).collect::<Vec<_>>().into_iter().rev().collect()
}

/// The number of folders that all samples are in and that are no splits.
fn common_folders(samples: &[Vec<&str>]) -> usize {
    let Some((first, rest)) = samples.split_first() else { return 0 };
    let same = |other: &Vec<&str>| first.iter().zip(other).take_while(|(one, other)| one == other).count();
    let common = rest.iter().map(same).min().unwrap_or(first.len());
    first[..common].iter().take_while(|folder| split_word(folder).is_none()).count()
}

/// Whether folders at this depth sort the samples: there are folders of splits, or several that hold all samples.
fn are_sorted(samples: &[Vec<&str>], depth: usize) -> bool {
    let tops: BTreeSet<&str> = samples.iter().filter_map(|folders| folders.get(depth).copied()).collect();
    let all = samples.iter().all(|folders| folders.len() > depth);
    all && tops.len() > 1 || tops.iter().any(|top| split_word(top).is_some())
}

/// The class folder of a path, with or without the folder of a split above it.
pub(super) fn class_folder(path: &str) -> Option<&str> {
    let (first, rest) = path.split_once('/')?;
    match (split_word(first), rest.split_once('/')) {
        (Some(_), Some((class, _))) => Some(class),
        (Some(_), None) => None,
        (None, _) => Some(first),
    }
}

impl Folders {
    fn new(files: Arc<Files>, tree: &Tree, has_classes: bool) -> Result<Self, DataError> {
        let mut skipped: Vec<_> =
            files.skipped().iter().map(|(path, why)| (files.location(path), *why)).collect();
        let mut paths = vec![];
        for path in files.list().iter().filter(|path| *path != CLASSES) {
            let is_sample = if has_classes { tree.is_sample(path) } else { is_media(path) };
            let why = |other: &'static str| names_none(path).filter(|_| tree.holds_media).unwrap_or(other);
            match !has_classes || tree.label(path).is_some() {
                true if is_sample => paths.push(path.clone()),
                true => skipped.push((files.location(path), why("not an image or audio clip"))),
                false => skipped.push((files.location(path), why("in no class folder"))),
            }
        }
        let classes = if has_classes { listed_classes(&files, &paths, tree)? } else { None };
        let has_splits = match has_classes {
            true => !tree.splits.is_empty(),
            false => paths.iter().all(|path| tree.split(path).is_some()),
        };
        let mut fields = vec!["file".to_string()];
        fields.extend(has_classes.then(|| "label".into()));
        fields.extend(has_splits.then(|| "split".into()));
        let label_depth = has_classes.then_some(tree.depth + usize::from(!tree.splits.is_empty()));
        Ok(Self { files, fields, paths, label_depth, split_depth: tree.depth, classes, skipped })
    }

    fn get(&self, row: usize, field: &str, bytes: bool) -> Result<Value, DataError> {
        let path = &self.paths[row];
        match field {
            "file" => {
                let bytes = if bytes { self.files.read(path)? } else { vec![] };
                Ok(Value::File(File { name: path.clone(), bytes }))
            }
            _ if !self.fields.iter().any(|known| known == field) => Err(unknown_field(self, field)),
            "label" => Ok(text(self.label_depth.and_then(|depth| folders(path).get(depth).copied()))),
            _ => Ok(text(folders(path).get(self.split_depth).and_then(|folder| split_word(folder)))),
        }
    }
}

fn text(text: Option<&str>) -> Value {
    text.map_or(Value::Missing, |text| Value::Text(text.into()))
}

impl Table for Folders {
    fn name(&self) -> &str {
        self.files.name()
    }

    fn fields(&self) -> &[String] {
        &self.fields
    }

    fn len(&self) -> usize {
        self.paths.len()
    }

    fn value(&self, row: usize, field: &str) -> Result<Value, DataError> {
        self.get(row, field, true)
    }

    fn peek(&self, row: usize, field: &str) -> Result<Value, DataError> {
        self.get(row, field, false)
    }

    fn location(&self, row: usize) -> String {
        self.files.location(&self.paths[row])
    }

    fn origin(&self, row: usize) -> Option<String> {
        self.files.origin(&self.paths[row])
    }

    fn classes(&self, field: &str) -> Option<&[String]> {
        self.classes.as_deref().filter(|_| field == "label")
    }

    fn skipped(&self) -> &[(String, &'static str)] {
        &self.skipped
    }
}
