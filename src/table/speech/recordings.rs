//! Recordings that a file names by their paths.

use crate::data::DataError;
use crate::data::files::is_remote;
use crate::table::rows::RelativeFiles;

/// The most folders above a file in which its recordings are searched for: Kaldi's recipes write paths relative to the folder
/// of the recipe.
const LEVELS: usize = 4;

/// The recordings at paths relative to a folder or to one of the folders above it.
pub(super) struct Recordings {
    nearest: RelativeFiles,
    /// The nearest first.
    above: Vec<RelativeFiles>,
}

impl Recordings {
    /// The recordings below a folder.
    pub fn below(folder: &str) -> Self {
        Self { nearest: RelativeFiles::below(folder), above: vec![] }
    }

    /// The recordings below a folder or up to four folders above it.
    pub fn around(folder: &str) -> Self {
        let above = above(folder).iter().map(|folder| RelativeFiles::below(folder)).collect();
        Self { above, ..Self::below(folder) }
    }

    /// The same recordings, and if allowed those at absolute paths and above the folders, on disk.
    pub fn allow_outside(self, allow: bool) -> Self {
        Self { nearest: self.nearest.allow_outside(allow), ..self }
    }

    /// The bytes of the recording that a row names.
    ///
    /// # Errors
    /// [`DataError::Missing`] if no folder has it; [`DataError::Path`] for a path out of all folders; the errors of reading it.
    pub fn read(&self, path: &str, row: &str) -> Result<Vec<u8>, DataError> {
        if let Some((top, path)) = self.below_top(path) {
            return top.read(path, row);
        }
        let first = self.nearest.read(path, row);
        for folder in &self.above {
            if !matches!(first, Err(DataError::Missing { .. })) {
                break;
            }
            match folder.read(path, row) {
                Err(DataError::Missing { .. }) => {}
                found => return found,
            }
        }
        first.map_err(|error| match error {
            DataError::Missing { location, expected } if !self.above.is_empty() => {
                let expected = format!("{expected}, there or in one of {} folders above", self.above.len());
                DataError::Missing { location, expected }
            }
            other => other,
        })
    }

    /// The location of a recording, its size and its time of change; `None` if that is not known.
    pub fn origin(&self, path: &str) -> Option<String> {
        if let Some((top, path)) = self.below_top(path) {
            return top.origin(path);
        }
        std::iter::once(&self.nearest).chain(&self.above).find_map(|folder| folder.origin(path))
    }

    /// An absolute path below the topmost folder, relative to it.
    fn below_top<'a>(&self, path: &'a str) -> Option<(&RelativeFiles, &'a str)> {
        let top = self.above.last()?;
        Some((top, path.strip_prefix(top.folder())?))
    }
}

/// The folders above a folder, the nearest first.
fn above(folder: &str) -> Vec<String> {
    let on_disk = !is_remote(folder) && !folder.starts_with("builtin:");
    let absolute = match on_disk {
        true => std::path::absolute(if folder.is_empty() { "." } else { folder }).ok(),
        false => None,
    };
    let folder = absolute.as_deref().and_then(|path| path.to_str()).unwrap_or(folder);
    let start = folder.find("://").map_or(0, |at| at + "://".len());
    let (mut rest, mut found) = (folder.trim_end_matches('/'), vec![]);
    while let Some(end) =
        rest.get(start..).and_then(|below| below.rfind('/')).filter(|_| found.len() < LEVELS)
    {
        rest = &rest[..start + end];
        found.push(format!("{rest}/"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folders_above_are_listed_from_the_nearest() {
        assert_eq!(above("/a/b/c.tar/d/e/"), ["/a/b/c.tar/d/", "/a/b/c.tar/", "/a/b/", "/a/"]);
        assert_eq!(above("/a"), ["/"]);
        assert_eq!(above("s3://bucket/a/b/"), ["s3://bucket/a/", "s3://bucket/"]);
        assert_eq!(above("builtin:a/b/"), ["builtin:a/"]);
        assert!(above("/").is_empty() && above("builtin:").is_empty() && above("s3://").is_empty());
        assert!(!above("").is_empty());
    }
}
