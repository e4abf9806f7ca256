//! Tables whose values name images or clips in a folder beside them, as on Kaggle: `train.csv` with the column `id`, and
//! `train/ID.jpg`.

use super::delimited::COLUMNS;
use super::kind::names_files;
use super::records::Contents;
use crate::data::files::{is_archive, is_hidden, is_hub, is_remote, join, split_word};
use crate::data::{DataError, Files};
use crate::table::Modality;
use crate::table::place::{file_name, split_of};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

/// The field that is added.
pub const FILE: &str = "file";
/// The first values of a column, which tell whether it names files.
const PROBED: usize = 100;
/// The most folders beside a table that are searched; beside more, none is.
const MAX_FOLDERS: usize = 256;

/// The images and clips in the folders beside tables, listed once.
#[derive(Default)]
pub struct Beside {
    /// By the folder of the table.
    folders: HashMap<String, Vec<Arc<Folder>>>,
}

/// The images and clips of one folder.
#[derive(Debug)]
pub struct Folder {
    /// Its name; empty for the folder of the table.
    name: String,
    /// The names of the files, by these names and by these names without the ending.
    files: HashMap<String, String>,
}

impl Beside {
    /// The number of the field of a table of cells without a field of files, whose values name images or clips, and their folder:
    /// if [most](names_most) values are names, with or without the ending, in one folder: that of the table or one beside it. The
    /// column with the most different values counts, and among folders the one of the table's split.
    ///
    /// # Errors
    /// [`DataError::Format`] if the column's name is the name of a file too: then the first line is no header.
    pub fn find(
        &mut self,
        location: &str,
        contents: &Contents,
    ) -> Result<Option<(usize, Arc<Folder>)>, DataError> {
        let is_taken = |field: &String| field == FILE || names_files(field);
        if contents.head.is_empty() || contents.fields.keys().any(is_taken) {
            return Ok(None);
        }
        let split = split_word(split_of(location));
        let own = location.strip_suffix(file_name(location)).unwrap_or_default();
        let folders = self.folders.entry(own.to_string()).or_insert_with(|| listed(own));
        if folders.is_empty() {
            return Ok(None);
        }
        folders.sort_by_cached_key(|folder| {
            (!folder.name.is_empty(), split_word(&folder.name) != split, folder.name.clone())
        });
        let naming = (0..contents.fields.len()).filter_map(|number| {
            let cells = column(contents, number);
            folders
                .iter()
                .find(|folder| folder.holds(&cells))
                .map(|folder| (number, n_different(&cells), folder))
        });
        // Of equal columns, the first.
        let found = naming.rev().max_by_key(|(_, different, _)| *different);
        let Some((number, _, folder)) = found else { return Ok(None) };
        if let Some((field, _)) = contents.fields.get_index(number)
            && folder.files.values().any(|file| file == field)
        {
            let problem = format!("line 1 names the file {field}; {COLUMNS}");
            return Err(DataError::format(location, "a table", problem));
        }
        Ok(Some((number, folder.clone())))
    }
}

impl Folder {
    /// The images and clips among these files; `None` if there is none.
    fn new(name: &str, mut names: Vec<String>) -> Option<Self> {
        names.retain(|name| is_media(name));
        names.sort_unstable();
        let mut files = HashMap::with_capacity(2 * names.len());
        for file in names {
            if let Some((stem, _)) = file.rsplit_once('.') {
                files.entry(stem.to_string()).or_insert_with(|| file.clone());
            }
            files.insert(file.clone(), file);
        }
        (!files.is_empty()).then(|| Self { name: name.into(), files })
    }

    /// The name of the file that a value stands for.
    fn find(&self, value: &str) -> Option<&String> {
        let below = value.strip_prefix(&self.name).and_then(|rest| rest.strip_prefix('/'));
        self.files.get(below.unwrap_or(value))
    }

    /// Whether most values of a column name files of this folder. Values without an ending must differ, unless they repeat as
    /// ids do: a column of a few classes or counts names no files, even beside `0.png` and `1.png`.
    fn holds(&self, values: &[&str]) -> bool {
        let is_id = |value: &&str| self.find(value).is_some_and(|file| !value.ends_with(file.as_str()));
        let differ = || 10 * n_different(values) > values.len();
        names_most(values, |value| self.find(value).is_some()) && (differ() || !values.iter().any(is_id))
    }

    /// The path of the file that a value names, relative to the table; empty for an empty value.
    pub fn path(&self, value: &str) -> String {
        let value = value.trim();
        match self.find(value) {
            Some(name) => join(&self.name, name),
            None if value.is_empty() => String::new(),
            None => join(&self.name, value),
        }
    }
}

/// Whether at least 9 of 10 of the first values of a column name files.
pub fn names_most(values: &[&str], is_file: impl Fn(&str) -> bool) -> bool {
    let named = values.iter().filter(|value| is_file(value)).count();
    named > 0 && 10 * named >= 9 * values.len()
}

/// The first cells of a field that are not empty.
pub fn column(contents: &Contents, field: usize) -> Vec<&str> {
    let cells = contents.head.iter().map(|record| record.cell(contents.first + field).trim());
    cells.filter(|cell| !cell.is_empty()).take(PROBED).collect()
}

fn n_different(values: &[&str]) -> usize {
    values.iter().collect::<HashSet<_>>().len()
}

fn is_media(name: &str) -> bool {
    matches!(Modality::by_name(name), Some(Modality::Image | Modality::Audio))
}

/// The folders with images or clips in a folder, which may lie in an archive, and this folder itself. None on other machines,
/// where a list takes long.
fn listed(folder: &str) -> Vec<Arc<Folder>> {
    let on_disk = Path::new(if folder.is_empty() { "." } else { folder });
    let folders = match on_disk.is_dir() {
        true => on_disk_beside(on_disk),
        false if is_remote(folder) || is_hub(folder) => vec![],
        false => Files::open(folder.trim_end_matches('/')).map_or(vec![], |files| in_tree(&files)),
    };
    folders.into_iter().map(Arc::new).collect()
}

fn in_tree(files: &Files) -> Vec<Folder> {
    let mut names: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for path in files.list() {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        if !folder.contains('/') {
            names.entry(folder).or_default().push(name.to_string());
        }
    }
    names.into_iter().filter_map(|(folder, names)| Folder::new(folder, names)).collect()
}

/// The folders of a folder on disk. Those that cannot be read are left out: they are beside a table that may not need them.
fn on_disk_beside(own: &Path) -> Vec<Folder> {
    let (below, files): (Vec<_>, Vec<_>) = entries(own).into_iter().partition(|(_, is_folder)| *is_folder);
    let names = |entries: Vec<(String, bool)>| entries.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let (below, files) = (names(below), names(files));
    let mut folders = vec![];
    if below.len() <= MAX_FOLDERS {
        folders.extend(below.iter().filter_map(|name| Folder::new(name, names(entries(&own.join(name))))));
    }
    folders.extend(files.iter().filter_map(|name| packed(own, name)));
    folders.extend(Folder::new("", files));
    folders
}

/// The name of the folder of images that an archive replaces: `train` of `train.zip`, `images` of `images.tar`.
pub fn packed_folder(name: &str) -> Option<&str> {
    let stem = name.split('.').next().filter(|_| is_archive(name));
    stem.filter(|stem| *stem == "images" || split_word(stem).is_some())
}

/// The files of an archive that replaces a folder of images. The index of any other archive may be large.
fn packed(own: &Path, name: &str) -> Option<Folder> {
    let stem = packed_folder(name)?;
    let files = Files::open(own.join(name).to_str()?).ok()?;
    let inside =
        |path: &String| path.strip_prefix(stem).and_then(|rest| rest.strip_prefix('/')).map(String::from);
    Folder::new(stem, files.list().iter().map(|path| inside(path).unwrap_or_else(|| path.clone())).collect())
}

/// The names in a folder on disk that are not hidden, and whether each is a folder.
fn entries(folder: &Path) -> Vec<(String, bool)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let named = entries.filter_map(|entry| {
        let kind = entry.file_type().ok()?;
        let is_folder = kind.is_dir() || kind.is_symlink() && entry.path().is_dir();
        Some((entry.file_name().into_string().ok()?, is_folder))
    });
    named.filter(|(name, _)| !is_hidden(name)).collect()
}
