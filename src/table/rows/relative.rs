//! Files that a table names by paths relative to it.

use crate::data::DataError;
use crate::data::error::contained;
use crate::data::files::{self, Extent, Files, is_remote, join};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

/// The files at paths relative to a folder. A file of `recordings/` that is not in that folder is read from the archive
/// `recordings.tar` beside it, in which its path has the folder or not.
#[derive(Debug)]
pub struct RelativeFiles {
    folder: String,
    /// The files of the archive that the folder is in, once opened; `None` if it is in none.
    archive: OnceLock<Option<Arc<Files>>>,
    /// The archives in the folder by the folder that each replaces, once searched for; `None` if there is none.
    archives: Mutex<HashMap<String, Option<Arc<Files>>>>,
}

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
        Self { folder: folder.into(), archive: OnceLock::new(), archives: Mutex::default() }
    }

    /// The folder.
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// The bytes of the file that a row names.
    ///
    /// # Errors
    /// [`DataError::Path`] for a path out of the table's folder; [`DataError::Missing`] if the file does not exist; the errors
    /// of reading it.
    pub fn read(&self, path: &str, row: &str) -> Result<Vec<u8>, DataError> {
        let path = contained(row, path)?;
        if let Some((tree, path)) = self.in_archive(&path)? {
            return tree.read(&path);
        }
        let found = match self.tree()? {
            Some(archive) => archive.read(&path),
            None => files::read(&join(&self.folder, &path)),
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
        let path = contained(row, path)?;
        match (self.in_archive(&path)?, self.tree()?) {
            (Some((tree, path)), _) => tree.extent(&path),
            (None, Some(archive)) => archive.extent(&path),
            (None, None) => Files::named(&self.folder, std::iter::once(path.clone())).extent(&path),
        }
    }

    /// The location of the file, its size and its time of change; `None` if that is not known.
    pub fn origin(&self, path: &str) -> Option<String> {
        let path = contained(&self.folder, path).ok()?;
        match (self.in_archive(&path).ok()?, self.tree().ok()?) {
            (Some((tree, path)), _) => tree.origin(&path),
            (None, Some(archive)) => archive.origin(&path),
            (None, None) => Files::named(&self.folder, std::iter::once(path.clone())).origin(&path),
        }
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

    /// The archive `folder.tar`, if it exists.
    fn archive(&self, folder: &str) -> Result<Option<Arc<Files>>, DataError> {
        let mut archives = self.archives.lock().map_err(|_| DataError::Worker)?;
        if let Some(known) = archives.get(folder) {
            return Ok(known.clone());
        }
        let name = format!("{folder}.tar");
        let location = join(&self.folder, &name);
        let found = match self.tree()? {
            Some(tree) if tree.contains(&name) => Some(tree.open_member(&name)?),
            None if files::is_file(&location)? => Some(Files::open(&location)?),
            _ => None,
        };
        let found = found.map(Arc::new);
        archives.insert(folder.into(), found.clone());
        Ok(found)
    }
}
