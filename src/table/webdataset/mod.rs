//! WebDataset: tar archives in which members of the same name are one row, such as `000123.jpg` and `000123.cls`.
//!
//! | members that end in | value |
//! | --- | --- |
//! | `txt`, `text`, `transcript` | text, trimmed |
//! | `cls`, `cls2`, `class`, `count`, `id`, `index`, `inx` | the same; `cls` is a class name if `classes.txt` lists them |
//! | `json`, `jsn` | a field for each key, `json.KEY` |
//! | `mp`, `msg`, `msgpack` | the same, `mp.KEY` |
//! | `npy` | an array |
//! | `NAME.series.npy` | the field `NAME`: a series with a step for each element of the first axis |
//! | `npz` | an array for each name, `npz.NAME` |
//! | `pickle`, `pkl`, `pyd`, `pth`, `pt` | not read, because a pickle may run code |
//! | anything else | the file |
//!
//! The row of a member is its path before the first dot of the file name, and the field is the rest in lower case: `left.png`.

mod decode;
mod index;
mod msgpack;

use super::folders::class_folder;
use super::place::{CLASSES, RECORD, file_name, is_archive};
use super::{Place, Table, unknown_field};
use crate::data::files::split_word;
use crate::data::{DataError, Files};
use decode::Decoder;
use smalti_contract::{File, Value};
use std::sync::Arc;

/// The layout's name.
pub const NAME: &str = "webdataset";
/// The field of the class.
const CLASS: &str = "cls";
/// A member that a row does not have.
const ABSENT: u32 = u32::MAX;

struct WebDataset {
    name: String,
    fields: Vec<String>,
    /// The site of each field.
    sites: Vec<Site>,
    shards: Vec<Shard>,
    /// The different endings, in lower case.
    endings: Vec<Ending>,
    /// `[n_rows, endings]`: each member's number in its shard's list of files.
    members: Vec<u32>,
    classes: Option<Vec<String>>,
    skipped: Vec<(String, &'static str)>,
}

/// An ending of members, such as `png`.
struct Ending {
    name: String,
    decoder: Decoder,
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
    Key(usize),
    /// The class folder of the row.
    Class,
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
                true => return place.decline("no two of its files have the same name before the first dot"),
                false => {
                    let others =
                        others.into_iter().filter(|path| ![CLASSES, RECORD].contains(&path.as_str()));
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
                return place.decline("it is no archive, such as .tar or .tgz");
            }
            let archives = locations.iter().map(|location| Files::open(location).map(Arc::new));
            (archives.collect::<Result<_, _>>()?, vec![])
        }
    };
    place.refuse_columns(NAME)?;
    let table = WebDataset::new(&place.path, shards, skipped)?;
    let members: Vec<&str> = table.paths(0).take(2).map(file_name).collect();
    place.because(format!("its files of the same name are one row, such as {}", members.join(" and ")));
    Ok(Some(Arc::new(table)))
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

impl WebDataset {
    /// The number of rows.
    fn rows(&self) -> usize {
        self.members.len() / self.endings.len()
    }

    fn find(&self, row: usize) -> &Shard {
        &self.shards[self.shards.partition_point(|shard| shard.start <= row).saturating_sub(1)]
    }

    /// The path of a row's member.
    fn path(&self, row: usize, ending: usize) -> Option<&str> {
        let n = self.endings.len();
        let number = self.members.get(row * n..)?.get(..n)?.get(ending)?;
        self.find(row).files.list().get(*number as usize).map(String::as_str)
    }

    /// The paths of a row's members.
    fn paths(&self, row: usize) -> impl Iterator<Item = &str> {
        (0..self.endings.len()).filter_map(move |ending| self.path(row, ending))
    }

    /// The class folder of a row whose archive has no member `cls`.
    fn class(&self, row: usize) -> Option<&str> {
        self.paths(row).find_map(class_folder)
    }

    fn class_folder(&self, row: usize) -> Value {
        self.class(row).map_or(Value::Missing, |class| Value::Text(class.into()))
    }

    fn split<'a>(&'a self, shard: &'a Shard, row: usize) -> &'a str {
        let folder = || self.paths(row).find_map(|path| path.split_once('/')).map(|(folder, _)| folder);
        let named = shard.split.as_str();
        split_word(named).or_else(|| split_word(folder()?)).unwrap_or(named)
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

    fn text(&self, row: usize, ending: usize, field: &str) -> Result<Value, DataError> {
        if self.path(row, ending).is_none() && field == CLASS {
            return Ok(self.class_folder(row));
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
        match self.sites[number] {
            Site::Member(at) => self.member(row, at, field, with_bytes),
            Site::Key(at) => {
                let Ending { name, decoder } = &self.endings[at];
                match self.bytes(row, at)? {
                    Some((location, bytes)) => decoder.key(&location, &bytes, name, field),
                    None => Ok(Value::Missing),
                }
            }
            Site::Class => Ok(self.class_folder(row)),
            Site::Split => {
                let split = self.split(self.find(row), row);
                Ok(if split.is_empty() { Value::Missing } else { Value::Text(split.into()) })
            }
        }
    }
}

impl WebDataset {
    /// The value of a member without keys.
    fn member(&self, row: usize, at: usize, field: &str, with_bytes: bool) -> Result<Value, DataError> {
        let decoder = self.endings[at].decoder;
        if decoder == Decoder::Text {
            return self.text(row, at, field);
        }
        let Some(path) = self.path(row, at) else { return Ok(Value::Missing) };
        let files = &self.find(row).files;
        match decoder {
            Decoder::File if !with_bytes => Ok(Value::File(File { name: path.into(), bytes: vec![] })),
            decoder => decoder.whole(&files.location(path), path, files.read(path)?),
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

    fn steps(&self, row: usize) -> usize {
        let of_series = |(field, site): (&String, &Site)| match site {
            Site::Member(at) if self.endings[*at].decoder == Decoder::Series => {
                self.get(row, field, true).ok()?.steps()
            }
            _ => None,
        };
        self.fields.iter().zip(&self.sites).find_map(of_series).unwrap_or(0)
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
