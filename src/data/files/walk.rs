//! The files of a folder on disk.

use super::names::HIDDEN;
use super::{Files, Store, is_hidden};
use crate::data::DataError;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The maximum depth of folders, which ends a cycle of links.
const MAX_DEPTH: usize = 64;

impl Files {
    /// The files of a folder on disk.
    pub(super) fn folder(location: &str) -> Result<Self, DataError> {
        let root = PathBuf::from(location);
        let mut files = Self {
            name: location.to_string(),
            paths: vec![],
            n_listed: 0,
            store: Store::Folder(root.clone()),
            skipped: vec![],
        };
        files.walk(&root, "", 0)?;
        files.n_listed = files.paths.len();
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
            if is_hidden(&name) {
                self.skipped.push((path, HIDDEN));
                continue;
            }
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
}
