//! Checking every file of a run folder.

use super::{Checksum, Checksums, inside, own_files};
use crate::train::SaveError;
use serde::Serialize;
use std::path::Path;

/// What the check of a file found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// The file is as the run wrote it.
    Ok,
    /// The file is not as the run wrote it.
    Differs,
    /// The run wrote such a file, but it is not there.
    Missing,
    /// The run lists no checksum of the file.
    NoChecksum,
}

/// A file of a run folder, and its check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifiedFile {
    /// The path in the folder.
    pub file: String,
    /// What the check found.
    pub finding: Finding,
    /// The checksum of the version that the run wrote last.
    pub expected: Option<Checksum>,
    /// The checksum of the file.
    pub found: Option<Checksum>,
}

/// Checks every file of a run folder, in the order of their paths, but for metrics, which grow.
///
/// # Errors
/// If a file cannot be read, or the listed checksums are damaged.
pub fn verify(folder: &Path) -> Result<Vec<VerifiedFile>, SaveError> {
    let listed = Checksums::read(folder)?.unwrap_or_default().0;
    let mut names = own_files(folder)?;
    names.extend(listed.keys().cloned());
    names.sort();
    names.dedup();
    let file = |file: String| {
        let path = inside(folder, &file)?;
        let found = path.is_file().then(|| Checksum::of_path(&path)).transpose()?;
        let versions = listed.get(&file).map_or(&[][..], Vec::as_slice);
        let finding = match &found {
            None => Finding::Missing,
            Some(_) if versions.is_empty() => Finding::NoChecksum,
            Some(found) if versions.contains(found) => Finding::Ok,
            Some(_) => Finding::Differs,
        };
        Ok(VerifiedFile { file, finding, expected: versions.first().cloned(), found })
    };
    names.into_iter().map(file).collect()
}
