//! Files that a table names by paths relative to it.

use crate::data::DataError;
use crate::data::error::contained;
use crate::data::files::{self, Files, is_remote, join};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// The files at paths relative to a table. A file of `recordings/` that is not in that folder is read from the archive
/// `recordings.tar` beside the table, in which its path has the folder or not.
#[derive(Debug)]
pub struct RelativeFiles {
    table: String,
    folder: String,
    /// The files of the archive that the table is in.
    archive: Option<Arc<Files>>,
    /// The archives beside the table by the folder that each replaces, once searched for; `None` if there is none.
    archives: Mutex<HashMap<String, Option<Arc<Files>>>>,
}

/// A file: its tree and its path in the tree.
type Found = (Arc<Files>, String);

impl RelativeFiles {
    /// The files relative to the table at this location.
    ///
    /// # Errors
    /// [`DataError`] if the table is in an archive that cannot be read.
    pub fn new(table: &str) -> Result<Self, DataError> {
        let start = table.rfind(['/', ':']).map_or(0, |end| end + 1);
        let folder = table.get(..start).unwrap_or_default();
        let on_disk = if folder.is_empty() { "." } else { folder };
        let archive = match Path::new(on_disk).is_dir() || is_remote(folder) {
            true => None,
            false => Some(Arc::new(Files::open(folder.trim_end_matches('/'))?)),
        };
        Ok(Self { table: table.into(), folder: folder.into(), archive, archives: Mutex::default() })
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
        let found = match &self.archive {
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

    /// The location of the file, its size and its time of change; `None` if that is not known.
    pub fn origin(&self, path: &str) -> Option<String> {
        let path = contained(&self.table, path).ok()?;
        match (self.in_archive(&path).ok()?, &self.archive) {
            (Some((tree, path)), _) => tree.origin(&path),
            (None, Some(archive)) => archive.origin(&path),
            (None, None) => Files::named(&self.folder, std::iter::once(path.clone())).origin(&path),
        }
    }

    /// The file in the archive that replaces the path's folder, unless it is in the folder itself.
    fn in_archive(&self, path: &str) -> Result<Option<Found>, DataError> {
        let Some((folder, rest)) = path.split_once('/') else { return Ok(None) };
        let in_folder = match &self.archive {
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
        let found = match &self.archive {
            Some(tree) if tree.contains(&name) => Some(tree.open_member(&name)?),
            None if files::is_file(&location)? => Some(Files::open(&location)?),
            _ => None,
        };
        let found = found.map(Arc::new);
        archives.insert(folder.into(), found.clone());
        Ok(found)
    }
}
