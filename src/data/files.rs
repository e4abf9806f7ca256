//! Files in a folder, in a tar archive that is not unpacked, inside the binary or on another machine.
//!
//! A *location* is a path on disk; a path into a tar archive (`prompts.tar/hello.wav`), which may lie in another archive;
//! `builtin:` and the path of a shipped file; an address: `s3://`, `gs://`, `http://` or `https://`; or a repository of the
//! Hugging Face Hub: `hf:OWNER/NAME:PATH`. A tar archive is indexed once and its members are read in place; one in gzip
//! (`.tar.gz`, `.tgz`) is unpacked once. A file whose name ends in `.gz` is unpacked when read.

mod archive;
mod contents;
mod extent;
pub mod glob;
#[cfg(feature = "remote")]
pub mod hub;
mod names;
mod packed;
mod place;
#[cfg(feature = "remote")]
mod remote;
#[cfg(test)]
mod tests;

use crate::data::error::{DataError, contained};
use contents::contents;
pub(crate) use contents::text;
pub(crate) use extent::Extent;
pub(crate) use names::{is_hidden, split_word};
pub(crate) use place::is_remote;
use place::{Place, locate};
#[cfg(feature = "remote")]
pub(crate) use remote::download;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// The bytes of a file over HTTP.
#[cfg(not(feature = "remote"))]
pub(crate) fn download(url: &str) -> Result<Box<dyn Read>, DataError> {
    Err(place::without_remote(url))
}

/// The prefix of locations on the Hugging Face Hub.
const HUB: &str = "hf:";
/// Names of folders and files that are splits, never classes.
pub(crate) const SPLITS: [&str; 7] = ["dev", "test", "train", "training", "val", "valid", "validation"];
/// The maximum depth of folders, which ends a cycle of links.
const MAX_DEPTH: usize = 64;

/// A read-only tree of files.
#[derive(Debug)]
pub struct Files {
    name: String,
    paths: Vec<String>,
    store: Store,
    skipped: Vec<(String, &'static str)>,
}

#[derive(Debug)]
enum Store {
    Folder(PathBuf),
    /// Each file is located when it is read.
    Named,
    /// The bytes of each of `paths`.
    Members(Vec<Extent>),
    #[cfg(feature = "remote")]
    Hub(hub::Folder),
}

impl Files {
    /// The files of a folder, of a tar archive, of a folder within one, or of `builtin:`.
    ///
    /// # Errors
    /// [`DataError::Missing`]; [`DataError::Empty`] if there is no file; [`DataError::Format`] for a truncated tar archive;
    /// [`DataError::IsFile`] for a file that is no archive.
    pub fn open(location: &str) -> Result<Self, DataError> {
        let expected = "a folder or a tar archive";
        let files = match locate(location, expected)? {
            Place::Tree(files) => files,
            // A file named .tar that is no archive is reported as a corrupt archive.
            Place::File(file) if !location.ends_with(".tar") && archive::is_other(location, &file)? => {
                return Err(DataError::IsFile { location: location.to_string(), expected });
            }
            Place::File(archive) => Self::archive(location, &archive)?,
        };
        if files.paths.is_empty() {
            return Err(DataError::Empty { location: location.to_string(), expected: "files" });
        }
        Ok(files)
    }

    /// A tree of files in memory. If a path occurs twice, the last one counts.
    pub fn from_memory(name: &str, files: Vec<(String, Cow<'static, [u8]>)>) -> Self {
        Self::members(name, files.into_iter().map(|(path, bytes)| (path, Extent::memory(bytes))).collect())
    }

    /// A tree of files with these paths, each located when it is read.
    pub(crate) fn named(location: &str, paths: impl Iterator<Item = String>) -> Self {
        let paths = paths.collect::<BTreeSet<_>>().into_iter().collect();
        Self { name: location.to_string(), paths, store: Store::Named, skipped: vec![] }
    }

    /// The paths of all files, joined by `/`, sorted.
    pub fn list(&self) -> &[String] {
        &self.paths
    }

    /// The location of the tree.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Entries that cannot be read as files, such as links and devices, with the reason.
    pub fn skipped(&self) -> &[(String, &'static str)] {
        &self.skipped
    }

    /// The location of one of the files, for [`read`].
    pub fn location(&self, path: &str) -> String {
        join(&self.name, path)
    }

    /// Whether there is a file of this path.
    pub fn contains(&self, path: &str) -> bool {
        self.find(path).is_some()
    }

    /// The bytes of one file of [`list`](Self::list); unpacked if its name ends in `.gz`.
    ///
    /// # Errors
    /// [`DataError::Missing`], [`DataError::Empty`], [`DataError::Io`]; [`DataError::Format`] if a `.gz` is corrupt or
    /// truncated.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, DataError> {
        contents(&self.location(path), &self.extent(path)?)
    }

    /// The location of a file, its size, and its time of change or version; `None` if they are not known, as for files in
    /// memory.
    pub fn origin(&self, path: &str) -> Option<String> {
        let location = self.location(path);
        // Without the file, which may not be downloaded yet.
        #[cfg(feature = "remote")]
        if let Some(commit) = hub::commit(&location) {
            return Some(format!("{location}, {commit}"));
        }
        let stamp = self.extent(path).ok()?.stamp()?;
        Some(format!("{location}, {stamp}"))
    }

    /// The files of a tar archive that is one of these files.
    pub(crate) fn open_member(&self, path: &str) -> Result<Self, DataError> {
        Self::archive(&self.location(path), &self.extent(path)?)
    }

    fn find(&self, path: &str) -> Option<usize> {
        self.paths.binary_search_by(|known| known.as_str().cmp(path)).ok()
    }

    /// The bytes of one of the files, to be read in ranges; not unpacked.
    pub(crate) fn extent(&self, path: &str) -> Result<Extent, DataError> {
        let missing = || DataError::Missing {
            location: self.location(path),
            expected: format!("a file of {}", self.name),
        };
        let at = self.find(path).ok_or_else(missing)?;
        match &self.store {
            Store::Folder(root) => {
                Extent::open(&root.join(path)).map_err(|e| DataError::io(self.location(path), "a file", e))
            }
            Store::Named => match locate(&self.location(path), "a file")? {
                Place::File(file) => Ok(file),
                Place::Tree(tree) => Err(DataError::IsFolder { location: tree.name }),
            },
            Store::Members(members) => members.get(at).cloned().ok_or_else(missing),
            #[cfg(feature = "remote")]
            Store::Hub(folder) => folder.extent(path),
        }
    }

    fn members(name: &str, members: BTreeMap<String, Extent>) -> Self {
        let (paths, extents) = members.into_iter().unzip();
        Self { name: name.to_string(), paths, store: Store::Members(extents), skipped: Vec::new() }
    }

    fn archive(location: &str, archive: &Extent) -> Result<Self, DataError> {
        let index = archive::index(location, &packed::unpacked(location, archive)?)?;
        Ok(Self { skipped: index.skipped, ..Self::members(location, index.members) })
    }

    fn folder(location: &str) -> Result<Self, DataError> {
        let root = PathBuf::from(location);
        let mut files = Self {
            name: location.to_string(),
            paths: vec![],
            store: Store::Folder(root.clone()),
            skipped: vec![],
        };
        files.walk(&root, "", 0)?;
        files.paths.sort_unstable();
        files.skipped.sort_unstable();
        Ok(files)
    }

    /// Lists the files of a folder and of those below it, following links.
    fn walk(&mut self, folder: &Path, prefix: &str, depth: usize) -> Result<(), DataError> {
        let shown = folder.display().to_string();
        if depth > MAX_DEPTH {
            let problem = format!("folders nest deeper than {MAX_DEPTH}: is there a link to a folder above?");
            return Err(DataError::layout(&shown, problem));
        }
        let io_error = |e| DataError::io(shown.clone(), "a folder", e);
        for entry in fs::read_dir(folder).map_err(io_error)? {
            let entry = entry.map_err(io_error)?;
            let name = entry.file_name().into_string().map_err(|name| {
                DataError::layout(&shown, format!("the file name {name:?} is not valid Unicode"))
            })?;
            let path = format!("{prefix}{name}");
            match fs::metadata(entry.path()) {
                Ok(metadata) if metadata.is_dir() => {
                    self.walk(&entry.path(), &format!("{path}/"), depth + 1)?
                }
                Ok(metadata) if metadata.is_file() => self.paths.push(path),
                Ok(_) => self.skipped.push((path, "neither a file nor a folder")),
                Err(e) if e.kind() == ErrorKind::NotFound => self.skipped.push((path, "a link to nothing")),
                Err(e) => return Err(DataError::io(entry.path().display().to_string(), "a file", e)),
            }
        }
        Ok(())
    }

    /// The file or folder at the path `rest` in a tree of members.
    fn enter(self, rest: &str, expected: &str) -> Result<Place, DataError> {
        if rest.is_empty() {
            return Ok(Place::Tree(self));
        }
        let rest = contained(&self.name, rest)?;
        if self.contains(&rest) {
            return self.extent(&rest).map(Place::File);
        }
        if let Some(below) = self.subfolder(&rest) {
            return Ok(Place::Tree(below));
        }
        let mut archive = rest.as_str();
        while let Some((above, _)) = archive.rsplit_once('/') {
            archive = above;
            if let Some(inside) = rest.strip_prefix(archive).filter(|_| self.contains(archive)) {
                return self.open_member(archive)?.enter(inside.trim_start_matches('/'), expected);
            }
        }
        Err(DataError::Missing { location: self.location(&rest), expected: expected.to_string() })
    }

    fn subfolder(&self, folder: &str) -> Option<Self> {
        let below = |path: &str| Some(path.strip_prefix(folder)?.strip_prefix('/')?.to_string());
        let name = self.location(folder);
        let files = match &self.store {
            Store::Members(members) => {
                let files = self.paths.iter().zip(members);
                let files = files.filter_map(|(path, at)| Some((below(path)?, at.clone())));
                Self::members(&name, files.collect())
            }
            #[cfg(feature = "remote")]
            Store::Hub(tree) => {
                let paths = self.paths.iter().filter_map(|path| below(path)).collect();
                Self { name, paths, store: Store::Hub(tree.below(folder)), skipped: vec![] }
            }
            Store::Folder(_) | Store::Named => return None,
        };
        let skipped = self.skipped.iter().filter_map(|(path, why)| Some((below(path)?, *why))).collect();
        (!files.paths.is_empty()).then_some(Self { skipped, ..files })
    }
}

/// The bytes of the file at a location; unpacked if its name ends in `.gz`.
///
/// # Errors
/// [`DataError::Missing`], [`DataError::IsFolder`], [`DataError::Empty`], [`DataError::Io`];
/// [`DataError::Format`] for a `.gz` or an archive that is corrupt or truncated.
pub fn read(location: &str) -> Result<Vec<u8>, DataError> {
    match locate(location, "a file")? {
        Place::File(file) => contents(location, &file),
        Place::Tree(_) => Err(DataError::IsFolder { location: location.to_string() }),
    }
}

/// The bytes of one file, as of [`read`]; `None` if there is no file at the location.
///
/// # Errors
/// The errors of [`read`] for a file that exists.
pub fn read_if_found(location: &str) -> Result<Option<Vec<u8>>, DataError> {
    match read(location) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(DataError::Missing { .. } | DataError::IsFolder { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a location is a repository of the Hugging Face Hub, or a path in one.
pub fn is_hub(location: &str) -> bool {
    location.starts_with(HUB)
}

/// Whether there is a file at this location.
pub(crate) fn is_file(location: &str) -> Result<bool, DataError> {
    match locate(location, "a file") {
        Ok(place) => Ok(matches!(place, Place::File(_))),
        Err(DataError::Missing { .. }) => Ok(false),
        Err(e) => Err(e),
    }
}

/// The bytes of the file at a location, to be read in any order. A file in gzip is unpacked once, and a file on another machine
/// is read once.
///
/// # Errors
/// As of [`read`].
pub(crate) fn extent(location: &str) -> Result<Extent, DataError> {
    let file = match locate(location, "a file")? {
        Place::File(file) => file,
        Place::Tree(_) => return Err(DataError::IsFolder { location: location.to_string() }),
    };
    let file = match is_remote(location) {
        true => Extent::memory(file.read().map_err(|e| DataError::io(location, "a file", e))?.into()),
        false => file,
    };
    let file = if location.ends_with(".gz") { packed::unpacked(location, &file)? } else { file };
    match file.len() {
        0 => Err(DataError::Empty { location: location.to_string(), expected: "data" }),
        _ => Ok(file),
    }
}

/// The number of bytes of the file at a location, not unpacked.
///
/// # Errors
/// As of [`read`].
pub(crate) fn stored_len(location: &str) -> Result<u64, DataError> {
    match locate(location, "a file")? {
        Place::File(file) => Ok(file.len()),
        Place::Tree(_) => Err(DataError::IsFolder { location: location.to_string() }),
    }
}

/// The text of one file, which must be UTF-8.
///
/// # Errors
/// The errors of [`read`]; [`DataError::Format`] with the offset of the first byte that is not UTF-8.
pub fn read_text(location: &str) -> Result<String, DataError> {
    text(location, read(location)?)
}

/// A reader of a text that may be larger than memory: of one file, or of all files of a pattern (see [`glob::expand`]),
/// concatenated, each from the start of a line. A file whose name ends in `.gz` is unpacked; a byte-order mark is left out.
///
/// # Errors
/// The errors of [`read`]; [`DataError::Missing`] if no file matches. Corruption inside a `.gz` and errors of later files of
/// a pattern are returned by the reader.
pub fn open_text(location: &str) -> Result<Box<dyn Read + Send>, DataError> {
    if !glob::is_pattern(location) {
        return open_one(location);
    }
    let mut files = glob::expand(location)?.into_iter();
    let Some(first) = files.next() else {
        return Err(DataError::Missing { location: location.into(), expected: "files that match".into() });
    };
    Ok(Box::new(Lined { file: open_one(&first)?, last: b'\n', rest: files }))
}

fn open_one(location: &str) -> Result<Box<dyn Read + Send>, DataError> {
    let file = match locate(location, "a file")? {
        Place::File(file) => file,
        Place::Tree(_) => return Err(DataError::IsFolder { location: location.to_string() }),
    };
    if file.len() == 0 {
        return Err(DataError::Empty { location: location.to_string(), expected: "data" });
    }
    let bytes: Box<dyn Read + Send> = match location.ends_with(".gz") {
        true => Box::new(flate2::read::MultiGzDecoder::new(file.reader())),
        false => Box::new(file.reader()),
    };
    let mut text = BufReader::new(bytes);
    let begins = text.fill_buf().map_err(|e| DataError::io(location, "a file", e))?;
    let mark = if begins.starts_with("\u{feff}".as_bytes()) { 3 } else { 0 };
    text.consume(mark);
    Ok(Box::new(text))
}

/// Concatenated text files; a last line without an end is ended before the next file.
struct Lined {
    file: Box<dyn Read + Send>,
    /// The last byte that was read.
    last: u8,
    rest: std::vec::IntoIter<String>,
}

impl Read for Lined {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            let n = self.file.read(buffer)?;
            if n > 0 || buffer.is_empty() {
                self.last = buffer[..n].last().copied().unwrap_or(self.last);
                return Ok(n);
            }
            let Some(next) = self.rest.next() else { return Ok(0) };
            self.file = open_one(&next).map_err(std::io::Error::other)?;
            if std::mem::replace(&mut self.last, b'\n') != b'\n' {
                buffer[0] = b'\n';
                return Ok(1);
            }
        }
    }
}

/// The start of a location that ends before the name of the file: `a/b/`, `builtin:`; empty if there is none.
#[cfg(feature = "trajectory")]
pub(crate) fn folder(location: &str) -> &str {
    location.rfind(['/', ':']).map_or("", |end| &location[..=end])
}

/// A path below a location.
pub(crate) fn join(location: &str, path: &str) -> String {
    if location.is_empty() || location.ends_with([':', '/']) {
        return format!("{location}{path}");
    }
    format!("{location}/{path}")
}
