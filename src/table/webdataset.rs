//! WebDataset: tar archives in which members of the same name are one row, such as `000123.jpg` and `000123.cls`.
//!
//! | members that end in | value |
//! | --- | --- |
//! | `txt`, `text`, `transcript` | text, trimmed |
//! | `cls`, `class`, `count`, `id`, `index`, `inx` | the same; `cls` is a class name if `classes.txt` lists them |
//! | `json` | a field for each key, `json.KEY` |
//! | anything else | the file |

use super::folders::class_folder;
use super::place::{CLASSES, class_names, file_name, is_archive, split_of, split_word};
use super::rows::json;
use super::{Place, Table, unknown_field};
use crate::data::{DataError, Files};
use smalti_contract::{File, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The layout's name.
pub const NAME: &str = "webdataset";
/// The field of the class.
const CLASS: &str = "cls";
/// Endings of members that are short texts.
const TEXTS: [&str; 9] = ["class", CLASS, "count", "id", "index", "inx", "text", "transcript", "txt"];
/// The most rows whose JSON is read to find the keys.
const PROBED: usize = 1_000;
/// A member that a row does not have.
const ABSENT: u32 = u32::MAX;

struct WebDataset {
    name: String,
    fields: Vec<String>,
    /// The site of each field.
    sites: Vec<Site>,
    shards: Vec<Shard>,
    /// The number of different endings.
    endings: usize,
    /// `[n_rows, endings]`: each member's number in its shard's list of files.
    members: Vec<u32>,
    classes: Option<Vec<String>>,
    skipped: Vec<(String, &'static str)>,
}

/// An archive, or a folder with the files of one.
struct Shard {
    files: Arc<Files>,
    split: String,
    /// The number of its first row.
    start: usize,
}

/// The place of a field's value.
enum Site {
    /// A member of this ending.
    Member(usize),
    /// A key in a member of this ending.
    Key(usize, String),
    /// The name of the archive, or the top folder of the row.
    Split,
}

/// Opens an archive, a pattern or a folder of archives, or a folder of files in which files of the same name are one row: a
/// field for each ending. The field `split` is the start of the archives' names. In an archive of class folders, the class is
/// the field `cls`.
///
/// # Errors
/// [`DataError`] for a corrupt archive and for a list of classes with blank or duplicate lines.
pub fn open(place: &Place) -> Result<Option<Arc<dyn Table>>, DataError> {
    let requested = place.is_requested(NAME);
    let (shards, skipped) = match place.files()? {
        Some(files) => {
            let (archives, others): (Vec<&String>, Vec<&String>) =
                files.list().iter().partition(|path| is_archive(path) && !is_archive(files.name()));
            match archives.is_empty() {
                true if requested || belong_together(&files) => (vec![files.clone()], vec![]),
                true => return Ok(None),
                false => {
                    let others = others.into_iter().filter(|path| *path != CLASSES);
                    let skipped = others.map(|path| (files.location(path), "beside the archives")).collect();
                    let archives =
                        archives.iter().map(|path| Files::open(&files.location(path)).map(Arc::new));
                    (archives.collect::<Result<_, _>>()?, skipped)
                }
            }
        }
        None => {
            let locations = place.locations()?;
            if !locations.iter().all(|location| is_archive(location)) {
                return Ok(None);
            }
            let archives = locations.iter().map(|location| Files::open(location).map(Arc::new));
            (archives.collect::<Result<_, _>>()?, vec![])
        }
    };
    place.refuse_columns(NAME)?;
    WebDataset::new(&place.path, shards, skipped).map(|table| Some(Arc::new(table) as _))
}

/// Whether some rows of a tree have several members, or it is an archive without class folders.
fn belong_together(files: &Files) -> bool {
    let names = || files.list().iter().filter(|path| *path != CLASSES).map(|path| split_name(path));
    let pairs = names().zip(names().skip(1)).any(|((key, _), (next, _))| key == next);
    pairs || is_archive(files.name()) && files.list().iter().all(|path| class_folder(path).is_none())
}

/// The row and the ending of a member: the path before the first dot of the file name, and the rest after the dot.
fn split_name(path: &str) -> (&str, &str) {
    let name = path.len() - file_name(path).len();
    match path[name..].find('.') {
        Some(dot) => (&path[..name + dot], &path[name + dot + 1..]),
        None => (path, ""),
    }
}

fn is_json(ending: &str) -> bool {
    ["json", "jsn"].contains(&ending.rsplit('.').next().unwrap_or(ending))
}

fn is_text(ending: &str) -> bool {
    TEXTS.contains(&ending.rsplit('.').next().unwrap_or(ending))
}

impl WebDataset {
    fn new(
        name: &str,
        files: Vec<Arc<Files>>,
        mut skipped: Vec<(String, &'static str)>,
    ) -> Result<Self, DataError> {
        let mut endings: Vec<String> = vec![];
        let mut rows: Vec<Vec<(usize, u32)>> = vec![];
        let mut shards = vec![];
        for files in files {
            let start = rows.len();
            let mut by_key: BTreeMap<&str, Vec<(usize, u32)>> = BTreeMap::new();
            for (number, path) in (0..).zip(files.list()).filter(|(_, path)| *path != CLASSES) {
                let (key, ending) = split_name(path);
                if ending.is_empty() || file_name(path).starts_with('.') {
                    skipped.push((files.location(path), "no name with an ending"));
                    continue;
                }
                let ending = ending.to_lowercase();
                let at = endings.iter().position(|known| *known == ending).unwrap_or(endings.len());
                if at == endings.len() {
                    endings.push(ending);
                }
                by_key.entry(key).or_default().push((at, number));
            }
            rows.extend(by_key.into_values());
            skipped.extend(files.skipped().iter().map(|(path, why)| (files.location(path), *why)));
            let split = split_of(files.name()).to_string();
            shards.push(Shard { files, split, start });
        }
        if rows.is_empty() {
            return Err(DataError::Empty { location: name.into(), expected: "files such as 000123.png" });
        }
        let mut members = vec![ABSENT; rows.len() * endings.len()];
        for (row, row_members) in rows.iter().enumerate() {
            for (ending, number) in row_members {
                members[row * endings.len() + ending] = *number;
            }
        }
        let classes = shards.iter().find_map(|shard| class_names(&shard.files).transpose()).transpose()?;
        let table = Self {
            name: name.into(),
            fields: vec![],
            sites: vec![],
            shards,
            endings: endings.len(),
            members,
            classes,
            skipped,
        };
        table.with_fields(endings)
    }

    /// Adds the fields: one for each ending or key in JSON, `cls` of class folders, and `split`.
    fn with_fields(mut self, endings: Vec<String>) -> Result<Self, DataError> {
        let mut has_class = false;
        for (at, ending) in endings.into_iter().enumerate() {
            has_class |= ending == CLASS;
            if is_json(&ending) {
                for key in self.keys(at, &ending)? {
                    self.add(key.clone(), Site::Key(at, key));
                }
            } else {
                self.add(ending, Site::Member(at));
            }
        }
        let row_of = |shard: &Shard| shard.start;
        if !has_class && self.shards.iter().any(|shard| self.class(row_of(shard)).is_some()) {
            self.add(CLASS.into(), Site::Member(usize::MAX));
        }
        if self.shards.iter().any(|shard| !self.split(shard, shard.start).is_empty()) {
            self.add("split".into(), Site::Split);
        }
        Ok(self)
    }

    fn add(&mut self, field: String, site: Site) {
        if !self.fields.contains(&field) {
            self.fields.push(field);
            self.sites.push(site);
        }
    }

    /// The number of rows.
    fn rows(&self) -> usize {
        self.members.len() / self.endings
    }

    /// The fields in the JSON of rows that are spread over the table.
    fn keys(&self, ending: usize, prefix: &str) -> Result<Vec<String>, DataError> {
        let mut keys: Vec<String> = vec![];
        for row in (0..self.rows()).step_by(self.rows().div_ceil(PROBED)) {
            for (key, _) in self.json(row, ending, prefix)? {
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
        }
        Ok(keys)
    }

    fn find(&self, row: usize) -> &Shard {
        &self.shards[self.shards.partition_point(|shard| shard.start <= row).saturating_sub(1)]
    }

    /// The path of a row's member.
    fn path(&self, row: usize, ending: usize) -> Option<&str> {
        let number = self.members[row * self.endings..][..self.endings].get(ending)?;
        self.find(row).files.list().get(*number as usize).map(String::as_str)
    }

    /// The paths of a row's members.
    fn paths(&self, row: usize) -> impl Iterator<Item = &str> {
        (0..self.endings).filter_map(move |ending| self.path(row, ending))
    }

    /// The class folder of a row whose archive has no member `cls`.
    fn class(&self, row: usize) -> Option<&str> {
        self.paths(row).find_map(class_folder)
    }

    fn split<'a>(&'a self, shard: &'a Shard, row: usize) -> &'a str {
        let folder = || self.paths(row).find_map(|path| path.split_once('/')).map(|(folder, _)| folder);
        match shard.split.as_str() {
            named if split_word(named).is_some() => named,
            named => folder().and_then(split_word).unwrap_or(named),
        }
    }

    /// The location and the bytes of a member; `None` if it is absent or empty.
    fn bytes(&self, row: usize, ending: usize) -> Result<Option<(String, Vec<u8>)>, DataError> {
        let Some(path) = self.path(row, ending) else { return Ok(None) };
        let files = &self.find(row).files;
        match files.read(path) {
            Ok(bytes) => Ok(Some((files.location(path), bytes))),
            Err(DataError::Empty { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn json(&self, row: usize, ending: usize, prefix: &str) -> Result<Vec<(String, Value)>, DataError> {
        let Some((location, bytes)) = self.bytes(row, ending)? else { return Ok(vec![]) };
        let refuse = |problem: String| DataError::format(&location, "JSON", problem);
        match serde_json::from_slice(&bytes).map_err(|e| refuse(e.to_string()))? {
            serde_json::Value::Object(object) => {
                json::fields(prefix, object.into_iter().collect()).map_err(refuse)
            }
            other => Ok(vec![(prefix.into(), json::value(&other).map_err(refuse)?)]),
        }
    }

    fn text(&self, row: usize, ending: usize, field: &str) -> Result<Value, DataError> {
        if self.path(row, ending).is_none() && field == CLASS {
            return Ok(self.class(row).map_or(Value::Missing, |class| Value::Text(class.into())));
        }
        let Some((location, bytes)) = self.bytes(row, ending)? else { return Ok(Value::Missing) };
        let text = crate::data::files::text(&location, bytes)?.trim().to_string();
        if text.is_empty() {
            return Ok(Value::Missing);
        }
        let Some(classes) = self.classes(field) else { return Ok(Value::Text(text)) };
        let named = text.parse().ok().and_then(|number: usize| classes.get(number));
        match named.or(classes.iter().find(|class| **class == text)) {
            Some(class) => Ok(Value::Text(class.clone())),
            None => {
                let problem =
                    format!("expected a number below {}, as {CLASSES} lists; found {text:?}", classes.len());
                Err(DataError::format(&location, "a class", problem))
            }
        }
    }

    fn get(&self, row: usize, field: &str, with_bytes: bool) -> Result<Value, DataError> {
        let number = self.fields.iter().position(|known| known == field);
        let number = number.ok_or_else(|| unknown_field(self, field))?;
        match &self.sites[number] {
            Site::Member(ending) if is_text(field) => self.text(row, *ending, field),
            Site::Member(ending) => {
                let Some(path) = self.path(row, *ending) else { return Ok(Value::Missing) };
                let bytes = if with_bytes { self.find(row).files.read(path)? } else { vec![] };
                Ok(Value::File(File { name: path.into(), bytes }))
            }
            Site::Key(ending, key) => {
                let prefix = self.path(row, *ending).map_or("", |path| split_name(path).1).to_lowercase();
                let fields = self.json(row, *ending, &prefix)?;
                let found = fields.into_iter().find(|(known, _)| known == key);
                Ok(found.map_or(Value::Missing, |(_, value)| value))
            }
            Site::Split => {
                let split = self.split(self.find(row), row);
                Ok(if split.is_empty() { Value::Missing } else { Value::Text(split.into()) })
            }
        }
    }
}

impl Table for WebDataset {
    fn name(&self) -> &str {
        &self.name
    }

    fn fields(&self) -> &[String] {
        &self.fields
    }

    fn len(&self) -> usize {
        self.rows()
    }

    fn value(&self, row: usize, field: &str) -> Result<Value, DataError> {
        self.get(row, field, true)
    }

    fn peek(&self, row: usize, field: &str) -> Result<Value, DataError> {
        self.get(row, field, false)
    }

    fn location(&self, row: usize) -> String {
        let key = self.paths(row).next().map_or("", |path| split_name(path).0);
        format!("{}.*", self.find(row).files.location(key))
    }

    fn origin(&self, row: usize) -> Option<String> {
        let files = &self.find(row).files;
        let origins: Option<Vec<String>> = self.paths(row).map(|path| files.origin(path)).collect();
        Some(origins?.join(", "))
    }

    fn classes(&self, field: &str) -> Option<&[String]> {
        self.classes.as_deref().filter(|_| field == CLASS)
    }

    fn skipped(&self) -> &[(String, &'static str)] {
        &self.skipped
    }
}
