//! Class folders: `cat/1.png`, or below the folder of a split, `train/cat/1.png`. Images and clips without classes: `1.png`, or
//! `train/1.png`.

use super::place::{CLASSES, SPLITS, class_names, extension, file_name};
use super::{Modality, Place, Table, unknown_field};
use crate::data::error::listed;
use crate::data::{DataError, Files};
use smalti_contract::{File, Value};
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
    classes: Option<Vec<String>>,
    skipped: Vec<(String, &'static str)>,
}

/// Opens a folder or archive of class folders: the fields `file`, `label` and, if the class folders are in folders of splits,
/// `split`. A `classes.txt` in it or beside it sets the order of the classes. Among images and audio clips, files with other
/// endings are skipped. Images and clips that are in no class folder have no `label`.
///
/// # Errors
/// [`DataError`] for a class that is not in `classes.txt`.
pub fn open(place: &Place) -> Result<Option<Arc<dyn Table>>, DataError> {
    let none = || match place.is_requested(NAME) {
        true => {
            let problem =
                "expected class folders (class/name.png, split/class/name.png); found no file in one";
            Err(DataError::layout(&place.path, problem))
        }
        false => Ok(None),
    };
    let Some(files) = place.files()? else { return none() };
    let splits = splits(files.list());
    let holds_media = files.list().iter().any(|path| is_media(path));
    let is_other = |path: &str| holds_media && !extension(path).is_empty() && !is_media(path);
    // Without a class folder, the folders of splits hold the files themselves.
    let is_class = |label: &str| !splits.is_empty() || !SPLITS.contains(&label) || !holds_media;
    let is_sorted =
        |path: &String| !is_hidden(path) && !is_other(path) && label(path, &splits).is_some_and(is_class);
    let has_classes = files.list().iter().any(is_sorted);
    // Texts beside images are a source of another layout.
    let is_text = |path: &String| extension(path) == "txt" && path != CLASSES;
    if !has_classes && (!holds_media || files.list().iter().any(is_text)) {
        return none();
    }
    let mut skipped: Vec<_> =
        files.skipped().iter().map(|(path, why)| (files.location(path), *why)).collect();
    let mut paths = vec![];
    for path in files.list().iter().filter(|path| *path != CLASSES) {
        match !has_classes || label(path, &splits).is_some() {
            _ if is_hidden(path) => skipped.push((files.location(path), "hidden")),
            true if is_other(path) || !has_classes && !is_media(path) => {
                skipped.push((files.location(path), "not an image or audio clip"))
            }
            true => paths.push(path.clone()),
            false => skipped.push((files.location(path), "in no class folder")),
        }
    }
    if paths.is_empty() {
        return none();
    }
    place.refuse_columns(NAME)?;
    let classes = if has_classes { listed_classes(&files, &paths, &splits)? } else { None };
    let mut fields = vec!["file".to_string()];
    let has_splits = !splits.is_empty() || !has_classes && paths.iter().all(|path| path.contains('/'));
    fields.extend(has_classes.then(|| "label".into()));
    fields.extend(has_splits.then(|| "split".into()));
    let label_depth = has_classes.then_some(usize::from(!splits.is_empty()));
    Ok(Some(Arc::new(Folders { files, fields, paths, label_depth, classes, skipped })))
}

fn is_media(path: &str) -> bool {
    matches!(Modality::by_name(path), Some(Modality::Image | Modality::Audio))
}

fn is_hidden(path: &str) -> bool {
    file_name(path).starts_with('.')
}

/// The classes in `classes.txt`, if there is one, which must name every class folder.
fn listed_classes(
    files: &Files,
    paths: &[String],
    splits: &BTreeSet<&str>,
) -> Result<Option<Vec<String>>, DataError> {
    let Some(classes) = class_names(files)? else { return Ok(None) };
    let known = |label: &str| classes.iter().any(|class| class == label);
    for path in paths {
        let label = label(path, splits).unwrap_or_default();
        if !known(label) {
            let problem = format!(
                "its folder {label:?} is not in {CLASSES}, which lists {}",
                listed(classes.iter().map(String::as_str))
            );
            return Err(DataError::layout(&files.location(path), problem));
        }
    }
    Ok(Some(classes))
}

/// The top folders with names of splits.
fn splits(paths: &[String]) -> BTreeSet<&str> {
    let deep = paths.iter().filter(|path| path.matches('/').count() >= 2);
    deep.filter_map(|path| path.split('/').next()).filter(|top| SPLITS.contains(top)).collect()
}

/// The class folder of a path. If there are splits, a file outside them has no class.
fn label<'a>(path: &'a str, splits: &BTreeSet<&str>) -> Option<&'a str> {
    let (first, rest) = path.split_once('/')?;
    match splits.contains(first) {
        true => Some(rest.split_once('/')?.0),
        false => splits.is_empty().then_some(first),
    }
}

/// The class folder of a path, with or without the folder of a split above it.
pub(super) fn class_folder(path: &str) -> Option<&str> {
    let (first, rest) = path.split_once('/')?;
    match (SPLITS.contains(&first), rest.split_once('/')) {
        (true, Some((class, _))) => Some(class),
        (true, None) => None,
        (false, _) => Some(first),
    }
}

impl Folders {
    fn get(&self, row: usize, field: &str, bytes: bool) -> Result<Value, DataError> {
        let path = &self.paths[row];
        match field {
            "file" => {
                let bytes = if bytes { self.files.read(path)? } else { vec![] };
                Ok(Value::File(File { name: path.clone(), bytes }))
            }
            _ if !self.fields.iter().any(|known| known == field) => Err(unknown_field(self, field)),
            "label" => Ok(folder(path, self.label_depth.unwrap_or_default())),
            _ => Ok(folder(path, 0)),
        }
    }
}

/// The folder at this depth of a path.
fn folder(path: &str, depth: usize) -> Value {
    path.split('/').nth(depth).map_or(Value::Missing, |folder| Value::Text(folder.into()))
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
