//! `checksums.json`: the checksums of the other files of a run folder.
//!
//! A file that training replaces has the checksums of its last versions, the newest first: a version is listed before its file
//! is renamed into place, so a run that is killed between the two, and a reader of a run that trains, finds the checksum of the
//! file that is there. A run without this file is of an earlier version of this library, and is read unchecked.

mod checksum;
mod verify;

pub use checksum::Checksum;
pub use verify::{Finding, VerifiedFile, verify};

use super::SaveError;
use super::checkpoint::{finish, unfinished, write_atomically};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Component, Path, PathBuf};
use tempfile::NamedTempFile;

/// The file of all settings, including defaults.
pub const CONFIG_FILE: &str = "run.toml";
/// The file of checksums of a run folder.
pub const CHECKSUMS_FILE: &str = "checksums.json";
/// The folder of files that an imported run keeps from its published checkpoint; runs that start from it get a copy.
pub const PUBLISHED_FOLDER: &str = "published";

/// The checks of a run's files when they are read; by default all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checks {
    /// Whether the checksums of weights, state and tokenizers must be those that the run wrote.
    pub checksums: bool,
    /// Whether weights must be finite.
    pub finite: bool,
}

impl Default for Checks {
    fn default() -> Self {
        Self { checksums: true, finite: true }
    }
}

/// Versions of a file whose checksums are kept.
const VERSIONS: usize = 8;
/// Most bytes of the file of checksums: those of some ten thousand files.
const MOST_BYTES: u64 = 1 << 22;
/// The endings of the files that a run writes into its folder; metrics grow, so they have no checksum.
const ENDINGS: [&str; 3] = ["json", "safetensors", "toml"];

/// The checksums of a run folder: of each file by its path in the folder, parted by `/`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Checksums(BTreeMap<String, Vec<Checksum>>);

impl Checksums {
    /// Reads the checksums of a folder; `None` if it has no such file.
    fn read(folder: &Path) -> Result<Option<Self>, SaveError> {
        let path = folder.join(CHECKSUMS_FILE);
        let malformed = |problem: String| SaveError::Format {
            path: path.clone(),
            expected: "file of checksums",
            problem: format!("{problem}; restore it from a copy, or read the run as it is with --no-verify"),
        };
        let mut bytes = vec![];
        let read = File::open(&path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) if bytes.len() as u64 > MOST_BYTES => {
                Err(malformed(format!("expected at most {MOST_BYTES} bytes; found more")))
            }
            Ok(_) => serde_json::from_slice(&bytes).map(Some).map_err(|e| malformed(e.to_string())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(SaveError::Read { path: path.clone(), source }),
        }
    }

    /// Reads the checksums of a folder, or those of the files that it has if they are not listed yet.
    fn read_or_compute(folder: &Path) -> Result<Self, SaveError> {
        match Self::read(folder)? {
            Some(listed) => Ok(listed),
            None => {
                let mut computed = Self::default();
                own_files(folder)?.iter().try_for_each(|name| computed.add_file(folder, name))?;
                Ok(computed)
            }
        }
    }

    fn add(&mut self, name: &str, checksum: Checksum) {
        let versions = self.0.entry(name.into()).or_default();
        versions.retain(|version| *version != checksum);
        versions.insert(0, checksum);
        versions.truncate(VERSIONS);
    }

    fn add_file(&mut self, folder: &Path, name: &str) -> Result<(), SaveError> {
        let checksum = Checksum::of_path(&folder.join(name))?;
        self.add(name, checksum);
        Ok(())
    }

    fn write(&self, folder: &Path) -> Result<(), SaveError> {
        let json = serde_json::to_vec_pretty(self).unwrap_or_default(); // names and texts
        write_atomically(&folder.join(CHECKSUMS_FILE), &json)
    }
}

/// Renames a complete file to `name` in a run folder, once its checksum is listed.
pub(crate) fn finish_in(
    folder: &Path,
    name: &str,
    file: NamedTempFile,
    checksum: Checksum,
) -> Result<(), SaveError> {
    let mut checksums = Checksums::read_or_compute(folder)?;
    checksums.add(name, checksum);
    checksums.write(folder)?;
    let path = folder.join(name);
    finish(file, &path).map_err(|source| SaveError::Write { path, source })
}

/// Writes a file of a run folder atomically, with its checksum.
pub(crate) fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), SaveError> {
    let path = folder.join(name);
    let write = || {
        let mut file = unfinished(&path)?;
        file.write_all(bytes)?;
        Ok(file)
    };
    let file = write().map_err(|source| SaveError::Write { path: path.clone(), source })?;
    finish_in(folder, name, file, Checksum::of_bytes(bytes))
}

/// Lists the checksums of all files below a folder of a run, which are complete.
pub(crate) fn add_below(run: &Path, below: &str) -> Result<(), SaveError> {
    let mut checksums = Checksums::read_or_compute(run)?;
    let mut names = vec![];
    files_below(run, below, &mut names)?;
    names.iter().try_for_each(|name| checksums.add_file(run, name))?;
    checksums.write(run)
}

/// Lists the checksums of another run's files below a folder, which were copied: damage there is found here too.
pub(crate) fn inherit(from: &Path, to: &Path, below: &str) -> Result<(), SaveError> {
    let Some(others) = Checksums::read(from)? else { return add_below(to, below) };
    let mut checksums = Checksums::read_or_compute(to)?;
    let copied = others.0.into_iter().filter(|(name, _)| is_below(name, below));
    checksums.0.extend(copied);
    checksums.write(to)
}

/// Checks a file of a run folder against its listed checksum, if the run lists any.
///
/// Open the file before: a version that is renamed into place later is listed too.
///
/// # Errors
/// [`SaveError::Checksum`] if it has another one, or none is listed.
pub(crate) fn check(
    folder: &Path,
    name: &str,
    found: impl FnOnce() -> io::Result<Checksum>,
) -> Result<(), SaveError> {
    let Some(checksums) = Checksums::read(folder)? else { return Ok(()) };
    let path = folder.join(name);
    let found = found().map_err(|source| SaveError::Read { path: path.clone(), source })?;
    let versions = checksums.0.get(name).map_or(&[][..], Vec::as_slice);
    if versions.contains(&found) {
        return Ok(());
    }
    let expected = versions.first().map_or("a checksum".to_string(), Checksum::to_string);
    Err(SaveError::Checksum { path, expected, found: found.to_string() })
}

/// Checks all listed files below a folder of a run.
///
/// # Errors
/// As for a file alone, and if a file is missing.
pub fn check_below(run: &Path, below: &str) -> Result<(), SaveError> {
    let listed = Checksums::read(run)?.unwrap_or_default().0;
    listed.keys().filter(|name| is_below(name, below)).try_for_each(|name| {
        let path = inside(run, name)?;
        let file = File::open(&path).map_err(|source| SaveError::Read { path, source })?;
        check(run, name, || Checksum::of(&file))
    })
}

/// The path of a listed file, which must lie in the folder.
fn inside(folder: &Path, name: &str) -> Result<PathBuf, SaveError> {
    let is_plain = |part: Component| matches!(part, Component::Normal(_));
    match !name.is_empty() && Path::new(name).components().all(is_plain) {
        true => Ok(folder.join(name)),
        false => Err(SaveError::Format {
            path: folder.join(CHECKSUMS_FILE),
            expected: "file of checksums",
            problem: format!("expected paths in the run's folder; found {name:?}"),
        }),
    }
}

fn is_below(name: &str, folder: &str) -> bool {
    name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// The files that a run has written into its folder: settings, tokenizers, weights, and those of its published checkpoint.
fn own_files(folder: &Path) -> Result<Vec<String>, SaveError> {
    let mut names = vec![];
    for path in entries(folder)? {
        let ends =
            path.extension().is_some_and(|extension| ENDINGS.iter().any(|ending| extension == *ending));
        match path.file_name().and_then(|name| name.to_str()) {
            Some(name) if ends && path.is_file() && !name.starts_with('.') => names.push(name.to_string()),
            _ => {}
        }
    }
    files_below(folder, PUBLISHED_FOLDER, &mut names)?;
    names.retain(|name| name != CHECKSUMS_FILE);
    names.sort();
    Ok(names)
}

/// Adds the paths of all files below a folder of a run, if there is one.
fn files_below(run: &Path, below: &str, names: &mut Vec<String>) -> Result<(), SaveError> {
    if !run.join(below).is_dir() {
        return Ok(());
    }
    for path in entries(&run.join(below))? {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let name = format!("{below}/{name}");
        match path.is_dir() {
            true => files_below(run, &name, names)?,
            false => names.push(name),
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, SaveError> {
    let paths =
        std::fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    paths.map_err(|source| SaveError::Read { path: folder.into(), source })
}

#[cfg(test)]
mod tests;
