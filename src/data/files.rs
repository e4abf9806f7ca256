//! Files in a folder, in a tar or zip archive that is not unpacked, inside the binary or on another machine.
//!
//! A *location* is a path on disk; a path into an archive (`prompts.tar/hello.wav`, `photos.zip/cat/1.png`), which may lie in
//! another archive; `builtin:` and the path of a shipped file; an address: `s3://`, `gs://`, `http://` or `https://`; or a
//! repository of the Hugging Face Hub: `hf:OWNER/NAME:PATH`. An archive is indexed once and its members are read in place; a tar
//! in gzip (`.tar.gz`, `.tgz`) is unpacked once. A file whose name ends in `.gz` is unpacked when read.
//!
//! A tree does not list hidden files, such as `.git/config` and `__MACOSX/._a.png`: they are [skipped](Files::skipped). They
//! are read when named.

mod archive;
mod contents;
mod extent;
pub mod glob;
mod gzip;
#[cfg(feature = "remote")]
pub mod hub;
mod names;
mod packed;
mod place;
#[cfg(feature = "remote")]
mod remote;
mod streamed;
#[cfg(test)]
mod tests;
mod walk;
mod zip;

use crate::data::error::{DataError, contained};
use archive::Member;
use contents::contents;
pub(crate) use contents::text;
pub(crate) use extent::{Cursor, Extent};
pub(crate) use names::{canonical_split, is_archive, is_hidden, split_word};
pub(crate) use place::is_remote;
use place::{Place, locate};
#[cfg(feature = "remote")]
pub(crate) use remote::download;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
#[cfg(not(feature = "remote"))]
use std::io::Read;
use std::path::PathBuf;
pub(crate) use streamed::blocks;
pub use streamed::open_text;

/// The bytes of a file over HTTP.
#[cfg(not(feature = "remote"))]
pub(crate) fn download(url: &str) -> Result<Box<dyn Read>, DataError> {
    Err(place::without_remote(url))
}

/// The prefix of locations on the Hugging Face Hub.
const HUB: &str = "hf:";

/// A read-only tree of files.
#[derive(Debug)]
pub struct Files {
    name: String,
    /// Sorted; the hidden ones after all others. Those of a folder on disk are left out.
    paths: Vec<String>,
    /// The number of paths that are not hidden.
    n_listed: usize,
    store: Store,
    skipped: Vec<(String, &'static str)>,
}

#[derive(Debug)]
enum Store {
    Folder(PathBuf),
    /// Each file is located when it is read.
    Named,
    /// The bytes of each of `paths`.
    Members(Vec<Member>),
    #[cfg(feature = "remote")]
    Hub(hub::Folder),
}

impl Files {
    /// The files of a folder, of an archive, of a folder within one, or of `builtin:`.
    ///
    /// # Errors
    /// [`DataError::Missing`]; [`DataError::Empty`] if there is no file; [`DataError::Format`] for a truncated archive;
    /// [`DataError::IsFile`] for a file that is no archive.
    pub fn open(location: &str) -> Result<Self, DataError> {
        let expected = "a folder or an archive";
        let files = match locate(location, expected)? {
            Place::Tree(files) => files,
            // A file with the name of an archive that is none is reported as a corrupt archive.
            Place::File(file) if !is_archive(location) && archive::is_other(location, &file)? => {
                return Err(DataError::IsFile { location: location.to_string(), expected });
            }
            Place::File(archive) => Self::archive(location, &archive)?,
        };
        if files.list().is_empty() {
            return Err(DataError::Empty { location: location.to_string(), expected: "files" });
        }
        Ok(files)
    }

    /// A tree of files in memory. If a path occurs twice, the last one counts.
    pub fn from_memory(name: &str, files: Vec<(String, Cow<'static, [u8]>)>) -> Self {
        let member = |(path, bytes)| (path, Extent::memory(bytes).into());
        Self::members(name, files.into_iter().map(member).collect())
    }

    /// A tree of files with these paths, each located when it is read.
    pub(crate) fn named(location: &str, paths: impl Iterator<Item = String>) -> Self {
        let paths: Vec<String> = paths.collect::<BTreeSet<_>>().into_iter().collect();
        let n_listed = paths.len();
        Self { name: location.to_string(), paths, n_listed, store: Store::Named, skipped: vec![] }
    }

    /// The paths of all files that are not hidden, joined by `/`, sorted.
    pub fn list(&self) -> &[String] {
        &self.paths[..self.n_listed]
    }

    /// The location of the tree.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Entries that are not listed, with the reason: hidden files and folders, links, devices.
    pub fn skipped(&self) -> &[(String, &'static str)] {
        &self.skipped
    }

    /// The location of one of the files, for [`read`].
    pub fn location(&self, path: &str) -> String {
        join(&self.name, path)
    }

    /// Whether there is a file of this path, also a hidden one.
    pub fn contains(&self, path: &str) -> bool {
        self.find(path).is_some() || self.hidden_on_disk(path).is_some()
    }

    /// The bytes of one file; unpacked if its name ends in `.gz`.
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
        let stamp = match &self.store {
            // Without unpacking the member.
            Store::Members(members) => members.get(self.find(path)?)?.stamp()?,
            _ => self.extent(path).ok()?.stamp()?,
        };
        Some(format!("{location}, {stamp}"))
    }

    /// The files of an archive that is one of these files.
    pub(crate) fn open_member(&self, path: &str) -> Result<Self, DataError> {
        Self::archive(&self.location(path), &self.extent(path)?)
    }

    fn find(&self, path: &str) -> Option<usize> {
        let (listed, hidden) = self.paths.split_at(self.n_listed);
        let at = |paths: &[String]| paths.binary_search_by(|known| known.as_str().cmp(path)).ok();
        at(listed).or_else(|| Some(self.n_listed + at(hidden)?))
    }

    /// The path on disk of a hidden file, which a folder does not list.
    fn hidden_on_disk(&self, path: &str) -> Option<PathBuf> {
        let Store::Folder(root) = &self.store else { return None };
        let path = contained(&self.name, path).ok().filter(|path| is_hidden(path))?;
        Some(root.join(path)).filter(|path| path.is_file())
    }

    /// The bytes of one of the files, to be read in ranges; not unpacked.
    pub(crate) fn extent(&self, path: &str) -> Result<Extent, DataError> {
        let missing = || DataError::Missing {
            location: self.location(path),
            expected: format!("a file of {}", self.name),
        };
        let on_disk = |found: PathBuf| {
            Extent::open(&found).map_err(|e| DataError::io(self.location(path), "a file", e))
        };
        let Some(at) = self.find(path) else {
            return on_disk(self.hidden_on_disk(path).ok_or_else(missing)?);
        };
        match &self.store {
            Store::Folder(root) => on_disk(root.join(path)),
            Store::Named => match locate(&self.location(path), "a file")? {
                Place::File(file) => Ok(file),
                Place::Tree(tree) => Err(DataError::IsFolder { location: tree.name }),
            },
            Store::Members(members) => members.get(at).ok_or_else(missing)?.open(&self.location(path)),
            #[cfg(feature = "remote")]
            Store::Hub(folder) => folder.extent(path),
        }
    }

    /// A tree of members; the hidden ones are not listed.
    fn members(name: &str, members: BTreeMap<String, Member>) -> Self {
        let (hidden, listed): (Vec<_>, Vec<_>) = members.into_iter().partition(|(path, _)| is_hidden(path));
        let skipped = names::hidden_tops(hidden.iter().map(|(path, _)| path.as_str()));
        let n_listed = listed.len();
        let (paths, members) = listed.into_iter().chain(hidden).unzip();
        Self { name: name.to_string(), paths, n_listed, store: Store::Members(members), skipped }
    }

    /// A tree of files on the Hub; the hidden ones are not listed.
    #[cfg(feature = "remote")]
    fn on_hub(name: String, paths: Vec<String>, folder: hub::Folder) -> Self {
        let (hidden, mut paths): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| is_hidden(path));
        let skipped = names::hidden_tops(hidden.iter().map(String::as_str));
        let n_listed = paths.len();
        paths.extend(hidden);
        Self { name, paths, n_listed, store: Store::Hub(folder), skipped }
    }

    fn archive(location: &str, archive: &Extent) -> Result<Self, DataError> {
        let index = match zip::is_zip(location) {
            true => zip::index(location, archive)?,
            false => archive::index(location, &packed::unpacked(location, archive)?)?,
        };
        let mut files = Self::members(location, index.members);
        files.skipped.extend(index.skipped);
        Ok(files)
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
                Self::on_hub(name, paths, tree.below(folder))
            }
            Store::Folder(_) | Store::Named => return None,
        };
        let skipped = self.skipped.iter().filter(|(_, why)| *why != names::HIDDEN);
        let skipped: Vec<_> = skipped.filter_map(|(path, why)| Some((below(path)?, *why))).collect();
        (!files.paths.is_empty())
            .then(|| Self { skipped: [files.skipped.clone(), skipped].concat(), ..files })
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

/// The text of one file, which must be UTF-8.
///
/// # Errors
/// The errors of [`read`]; [`DataError::Format`] with the offset of the first byte that is not UTF-8.
pub fn read_text(location: &str) -> Result<String, DataError> {
    text(location, read(location)?)
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
