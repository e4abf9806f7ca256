//! The files that a table names, relative to the table.

use crate::data::DataError;
use crate::data::error::contained;
use crate::data::files::{self, Files, is_remote, join};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// The files beside a table. Where a path begins with a folder `recordings/` and `recordings.tar` lies beside the
/// table, a file that is not in the folder is looked for in the archive, under its whole path or without the folder.
#[derive(Debug)]
pub struct Beside {
    table: String,
    folder: String,
    /// The files of the archive that the table lies in.
    archive: Option<Arc<Files>>,
    /// The archives beside the table by the folder that each stands for, as far as they were looked for.
    archives: Mutex<HashMap<String, Option<Arc<Files>>>>,
}

/// The file that a path names: its tree and its path there.
type Found = (Arc<Files>, String);

impl Beside {
    /// The files beside a table.
    ///
    /// # Errors
    /// [`DataError`] if the table lies in an archive that cannot be read.
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
    /// [`DataError::Path`] for a path out of the table's folder; [`DataError::Missing`] if there is no such file; those
    /// of reading.
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

    /// Where the file lies, its size and its time of change; `None` if that is not known.
    pub fn origin(&self, path: &str) -> Option<String> {
        let path = contained(&self.table, path).ok()?;
        match (self.in_archive(&path).ok()?, &self.archive) {
            (Some((tree, path)), _) => tree.origin(&path),
            (None, Some(archive)) => archive.origin(&path),
            (None, None) => Files::named(&self.folder, std::iter::once(path.clone())).origin(&path),
        }
    }

    /// The file in an archive that stands for the path's folder, unless it lies in the folder itself.
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

    /// The archive `folder.tar`, if it is there.
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
