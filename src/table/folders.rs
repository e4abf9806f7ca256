//! Class folders: `cat/1.png`, also below a split's folder, `train/cat/1.png`.

use super::place::{CLASSES, SPLITS, class_names, file_name};
use super::{Place, Table, unknown_field};
use crate::data::{DataError, Files};
use smalti_contract::{File, Value};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The layout's name.
pub const NAME: &str = "folders";

/// Files of any sort, each labelled by its folder.
struct Folders {
    files: Arc<Files>,
    fields: Vec<String>,
    paths: Vec<String>,
    classes: Option<Vec<String>>,
    skipped: Vec<(String, &'static str)>,
}

/// Opens a folder or archive of class folders: the fields `file`, `label` and, if there are folders of splits above,
/// `split`. A `classes.txt` in it or beside it gives the order of the classes.
///
/// # Errors
/// [`DataError`] for a class that is not in `classes.txt`.
pub fn open(place: &Place) -> Result<Option<Arc<dyn Table>>, DataError> {
    let none = || match place.is_asked_for(NAME) {
        true => {
            let problem =
                "expected class folders (class/name.png, split/class/name.png); found no file in one";
            Err(DataError::layout(&place.path, problem))
        }
        false => Ok(None),
    };
    let Some(files) = place.files()? else { return none() };
    let splits = splits(files.list());
    let mut skipped: Vec<_> =
        files.skipped().iter().map(|(path, why)| (files.location(path), *why)).collect();
    let kind = kind(files.list().iter().filter(|path| label(path, &splits).is_some()));
    let mut paths = vec![];
    for path in files.list().iter().filter(|path| *path != CLASSES) {
        match label(path, &splits) {
            _ if file_name(path).starts_with('.') => skipped.push((files.location(path), "hidden")),
            Some(_) if kind.is_some_and(|(known, _)| !known.contains(&extension(path).as_str())) => {
                skipped.push((files.location(path), kind.map_or("", |(_, why)| why)));
            }
            Some(_) => paths.push(path.clone()),
            None => skipped.push((files.location(path), "in no class folder")),
        }
    }
    if paths.is_empty() {
        return none();
    }
    place.refuse_columns(NAME)?;
    let classes = class_names(&files)?;
    if let Some(classes) = &classes {
        let known = |path: &&String| {
            label(path, &splits).is_some_and(|label| classes.iter().any(|class| class == label))
        };
        if let Some(path) = paths.iter().find(|path| !known(path)) {
            let problem = format!(
                "its folder {:?} is not in {CLASSES}, which lists {}",
                label(path, &splits).unwrap_or_default(),
                crate::data::labelled::listed(classes.iter().map(String::as_str))
            );
            return Err(DataError::layout(&files.location(path), problem));
        }
    }
    let mut fields = vec!["file".to_string(), "label".into()];
    if !splits.is_empty() {
        fields.push("split".into());
    }
    Ok(Some(Arc::new(Folders { files, fields, paths, classes, skipped })))
}

/// What images are named, and what clips are.
const IMAGES: [&str; 8] = ["bmp", "gif", "jpeg", "jpg", "png", "tif", "tiff", "webp"];
const CLIPS: [&str; 8] = ["aac", "flac", "m4a", "mp3", "mp4", "oga", "ogg", "wav"];

/// The endings of the files that are labelled, and why another is not: where there are images, a note beside them is none.
fn kind<'a>(paths: impl Iterator<Item = &'a String> + Clone) -> Option<(&'static [&'static str], &'static str)> {
    let has = |known: &[&str]| paths.clone().any(|path| known.contains(&extension(path).as_str()));
    match (has(&IMAGES), has(&CLIPS)) {
        (true, false) => Some((&IMAGES, "not an image")),
        (false, true) => Some((&CLIPS, "not an audio clip")),
        _ => None,
    }
}

fn extension(path: &str) -> String {
    super::place::extension(path).trim_start_matches('.').to_lowercase()
}

/// The top folders that are splits.
fn splits(paths: &[String]) -> BTreeSet<&str> {
    let deep = paths.iter().filter(|path| path.matches('/').count() >= 2);
    deep.filter_map(|path| path.split('/').next()).filter(|top| SPLITS.contains(top)).collect()
}

/// The class folder of a path. If there are splits, what is in none of them has no class.
fn label<'a>(path: &'a str, splits: &BTreeSet<&str>) -> Option<&'a str> {
    let (first, rest) = path.split_once('/')?;
    match splits.contains(first) {
        true => Some(rest.split_once('/')?.0),
        false => splits.is_empty().then_some(first),
    }
}

/// The class folder of a path, below a folder that is a split or none.
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
            "label" => Ok(folder(path, self.fields.len() - 2)),
            "split" if self.fields.len() > 2 => Ok(folder(path, 0)),
            _ => Err(unknown_field(self, field)),
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
