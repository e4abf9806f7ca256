//! Files that are written whole or not at all.

use super::SaveError;
use crate::train::target::check_target;
use std::io::{self, Write};
use std::path::Path;
use tempfile::NamedTempFile;

/// The prefix of the name of a file that is being written.
const UNFINISHED: &str = ".unfinished-";

/// Writes a file atomically: a new file in the same folder, renamed once it is complete. It may replace a regular file.
///
/// # Errors
/// As for [`check_target`], and [`SaveError::Write`]; an earlier file of that name is unchanged.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), SaveError> {
    check_target(path)?;
    let attempt = || {
        let mut file = unfinished(path)?;
        file.write_all(bytes)?;
        finish(file, path)
    };
    attempt().map_err(|source| SaveError::Write { path: path.into(), source })
}

/// A new, incomplete file in the folder of `path`, which [`finish`] renames.
pub(crate) fn unfinished(path: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)] // the default mode of a new file, before the user's mask
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.prefix(UNFINISHED).tempfile_in(folder_of(path))
}

/// Renames a complete file to `path`, so that it survives a power cut. It replaces nothing but a regular file.
pub(crate) fn finish(file: NamedTempFile, path: &Path) -> io::Result<()> {
    check_target(path).map_err(io::Error::other)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    // The new name survives a power cut only once the folder itself is synced.
    std::fs::File::open(folder_of(path))?.sync_all()
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Removes the incomplete files that a killed process left in a folder.
///
/// # Errors
/// [`SaveError::Read`] if the folder cannot be listed or a file cannot be removed.
pub fn remove_unfinished(folder: &Path) -> Result<(), SaveError> {
    let failed = |source| SaveError::Read { path: folder.into(), source };
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            std::fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}
