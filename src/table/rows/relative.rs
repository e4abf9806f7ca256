//! Files that a table names by paths relative to it.

use crate::data::DataError;
use crate::data::error::contained;
use crate::data::files::{self, Extent, Files, is_remote, join};
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

/// The files at paths relative to a folder. A file of `recordings/` that is not in that folder is read from the archive
/// `recordings.tar` or `recordings.zip` beside it, in which its path has the folder or not.
#[derive(Debug)]
pub struct RelativeFiles {
    folder: String,
    /// Whether paths may lead out of the folder.
    allow_outside: bool,
    /// The files of the archive that the folder is in, once opened; `None` if it is in none.
    archive: OnceLock<Option<Arc<Files>>>,
    /// The archives in the folder by the folder that each replaces, once searched for; `None` if there is none.
    archives: Mutex<HashMap<String, Option<Arc<Files>>>>,
}

/// The reasons why a path is refused.
const ABSOLUTE: &str = "it is absolute; data.source = { path = \"…\", allow_outside = true } allows files outside the table's folder";
const ABOVE: &str = "it leads out of its folder; data.source = { path = \"…\", allow_outside = true } allows files outside the \
                     table's folder";
const NOT_ON_DISK: &str =
    "it leads out of its folder; `allow_outside` is for tables on disk, not in archives or on other machines";

/// A file: its tree and its path in the tree.
type Found = (Arc<Files>, String);

impl RelativeFiles {
    /// The files relative to the table at this location.
    pub fn new(table: &str) -> Self {
        let start = table.rfind(['/', ':']).map_or(0, |end| end + 1);
        Self::below(table.get(..start).unwrap_or_default())
    }

    /// The files below a folder, which may lie in an archive. Nothing is read.
    pub fn below(folder: &str) -> Self {
        let (archive, archives) = (OnceLock::new(), Mutex::default());
        Self { folder: folder.into(), allow_outside: false, archive, archives }
    }

    /// The same files, and if allowed those at absolute paths and above the folder, on disk.
    pub fn allow_outside(self, allow: bool) -> Self {
        Self { allow_outside: allow, ..self }
    }

    /// The folder.
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// The bytes of the file that a row names.
    ///
    /// # Errors
    /// [`DataError::Path`] for a path out of the table's folder, unless that is allowed; [`DataError::Missing`] if the file does
    /// not exist; the errors of reading it.
    pub fn read(&self, path: &str, row: &str) -> Result<Vec<u8>, DataError> {
        let found = match self.outside(path, row)? {
            Some(location) => files::read(&location),
            None => {
                let path = contained(row, path)?;
                match (self.in_archive(&path)?, self.tree()?) {
                    (Some((tree, path)), _) => return tree.read(&path),
                    (None, Some(archive)) => archive.read(&path),
                    (None, None) => files::read(&join(&self.folder, &path)),
                }
            }
        };
        found.map_err(|error| match error {
            DataError::Missing { location, .. } => {
                DataError::Missing { location, expected: format!("a file that {row} names") }
            }
            other => other,
        })
    }

    /// The file that a row names, to read a part of it.
    ///
    /// # Errors
    /// As of [`read`](Self::read).
    pub fn extent(&self, path: &str, row: &str) -> Result<Extent, DataError> {
        if let Some(location) = self.outside(path, row)? {
            let location = location.into_owned();
            return Files::named("", std::iter::once(location.clone())).extent(&location);
        }
        let path = contained(row, path)?;
        match (self.in_archive(&path)?, self.tree()?) {
            (Some((tree, path)), _) => tree.extent(&path),
            (None, Some(archive)) => archive.extent(&path),
            (None, None) => Files::named(&self.folder, std::iter::once(path.clone())).extent(&path),
        }
    }

    /// The location of the file, its size and its time of change; `None` if that is not known.
    pub fn origin(&self, path: &str) -> Option<String> {
        if let Some(location) = self.outside(path, &self.folder).ok()? {
            return Files::named("", std::iter::once(location.to_string())).origin(&location);
        }
        let path = contained(&self.folder, path).ok()?;
        match (self.in_archive(&path).ok()?, self.tree().ok()?) {
            (Some((tree, path)), _) => tree.origin(&path),
            (None, Some(archive)) => archive.origin(&path),
            (None, None) => Files::named(&self.folder, std::iter::once(path.clone())).origin(&path),
        }
    }

    /// The location of a file whose path is absolute or leads out of the folder; `None` for any other path.
    fn outside<'a>(&self, path: &'a str, row: &str) -> Result<Option<Cow<'a, str>>, DataError> {
        let absolute = path.starts_with('/') || Path::new(path).is_absolute();
        if !absolute && !path.split('/').any(|part| part == "..") {
            return Ok(None);
        }
        let problem = match (self.allow_outside, absolute) {
            (true, _) if is_remote(&self.folder) || self.tree()?.is_some() => NOT_ON_DISK,
            (true, true) => return Ok(Some(path.into())),
            (true, false) => return Ok(Some(join(&self.folder, path).into())),
            (false, true) => ABSOLUTE,
            (false, false) => ABOVE,
        };
        Err(DataError::Path { location: row.into(), path: path.into(), problem })
    }

    /// The files of the archive that the folder is in.
    fn tree(&self) -> Result<Option<&Arc<Files>>, DataError> {
        if let Some(known) = self.archive.get() {
            return Ok(known.as_ref());
        }
        let on_disk = if self.folder.is_empty() { "." } else { self.folder.as_str() };
        let found = match Path::new(on_disk).is_dir() || is_remote(&self.folder) {
            true => None,
            false => Some(Arc::new(Files::open(self.folder.trim_end_matches('/'))?)),
        };
        Ok(self.archive.get_or_init(|| found).as_ref())
    }

    /// The file in the archive that replaces the path's folder, unless it is in the folder itself.
    fn in_archive(&self, path: &str) -> Result<Option<Found>, DataError> {
        let Some((folder, rest)) = path.split_once('/') else { return Ok(None) };
        let in_folder = match self.tree()? {
            Some(archive) => archive.contains(path),
            None => Path::new(&join(&self.folder, path)).exists(),
        };
        if in_folder {
            return Ok(None);
        }
        let Some(archive) = self.archive(folder)? else { return Ok(None) };
        let path = [rest, path].into_iter().find(|path| archive.contains(path)).map(str::to_string);
        Ok(path.map(|path| (archive, path)))
    }

    /// The archive `folder.tar` or `folder.zip`, if it exists.
    fn archive(&self, folder: &str) -> Result<Option<Arc<Files>>, DataError> {
        let mut archives = self.archives.lock().map_err(|_| DataError::Worker)?;
        if let Some(known) = archives.get(folder) {
            return Ok(known.clone());
        }
        let mut found = None;
        for name in ["tar", "zip"].map(|ending| format!("{folder}.{ending}")) {
            let location = join(&self.folder, &name);
            found = match self.tree()? {
                _ if found.is_some() => found,
                Some(tree) if tree.contains(&name) => Some(tree.open_member(&name)?),
                None if files::is_file(&location)? => Some(Files::open(&location)?),
                _ => None,
            };
        }
        let found = found.map(Arc::new);
        archives.insert(folder.into(), found.clone());
        Ok(found)
    }
}
