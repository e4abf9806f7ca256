//! Where data lie, and what they are: `{data}/…` of the user, `{NAME}/…` that were made, and a digest of their bytes.

use super::ReproduceError;
use crate::config::RunConfig;
use crate::train::SaveError;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use toml::Value;

/// The name of the user's folder.
pub(super) const USERS: &str = "data";

/// The folders that names in braces stand for.
pub(super) struct Places {
    /// The folder of --data.
    pub users: Option<PathBuf>,
    /// The folders of the data that were made, by name.
    pub made: BTreeMap<String, PathBuf>,
}

impl Places {
    /// The settings with a path for each name in braces.
    pub fn resolve(&self, settings: &[(String, Value)]) -> Result<Vec<(String, Value)>, ReproduceError> {
        let resolved = |(path, value): &(String, Value)| Ok((path.clone(), self.value(value)?));
        settings.iter().map(resolved).collect()
    }

    fn value(&self, value: &Value) -> Result<Value, ReproduceError> {
        Ok(match value {
            Value::String(text) if text.starts_with('{') => Value::String(self.path(text)?),
            Value::Array(items) => {
                Value::Array(items.iter().map(|item| self.value(item)).collect::<Result<_, _>>()?)
            }
            Value::Table(table) => {
                let inner = table.iter().map(|(key, value)| Ok((key.clone(), self.value(value)?)));
                Value::Table(inner.collect::<Result<_, ReproduceError>>()?)
            }
            other => other.clone(),
        })
    }

    /// The first alternative that exists.
    fn path(&self, text: &str) -> Result<String, ReproduceError> {
        let missing = |advice: String| Err(ReproduceError::NoData { place: text.into(), advice });
        for alternative in text.split('|').map(str::trim) {
            let Some((name, rest)) = alternative.strip_prefix('{').and_then(|rest| rest.split_once('}'))
            else {
                return missing("expected {data}/…, or {NAME}/… with a NAME of [data.make]".into());
            };
            let folder = match name {
                USERS => self.users.as_ref(),
                name => self.made.get(name),
            };
            // What was made may be one file, which has no place below it.
            let below = |folder: &PathBuf| match rest.trim_start_matches('/') {
                "" => folder.clone(),
                rest => folder.join(rest),
            };
            match folder.map(below) {
                Some(path) if is_there(&path) => return Ok(path.to_string_lossy().into_owned()),
                None if name != USERS => return missing(format!("[data.make] has no {name}")),
                _ => {}
            }
        }
        missing(match &self.users {
            Some(folder) => format!(
                "{} has none of these; `smalti data list` names the data sets that `smalti data get NAME --out {0}` fetches",
                folder.display()
            ),
            None => "name the folder of your data with --data DIR or SMALTI_DATA".into(),
        })
    }
}

/// Whether there is something at a path, or at the folder of a pattern.
fn is_there(path: &Path) -> bool {
    folder_of_pattern(path).exists()
}

fn folder_of_pattern(path: &Path) -> &Path {
    let is_pattern = |path: &Path| path.to_string_lossy().contains(['*', '?', '{', '[']);
    match path.parent() {
        Some(parent) if is_pattern(path) && !path.exists() => folder_of_pattern(parent),
        _ => path,
    }
}

/// A digest of the sources of a run that lie on this machine: names and bytes of their files.
pub(super) fn digest(config: &RunConfig, known: &mut BTreeMap<PathBuf, String>) -> Result<String, SaveError> {
    let mut all = Sha256::new();
    for task in config.tasks() {
        let data = &task.settings.data;
        let sources =
            data.validation_source.iter().chain([&data.source]).flat_map(|sources| sources.as_slice());
        for source in sources {
            let path = folder_of_pattern(Path::new(&source.path)).to_path_buf();
            if !path.exists() {
                continue; // shipped, or on another machine: the path is part of the settings
            }
            let digest = match known.get(&path) {
                Some(digest) => digest.clone(),
                None => digest_of(&path)?,
            };
            all.update(&digest);
            known.insert(path, digest);
        }
    }
    Ok(hex(&all.finalize()))
}

fn digest_of(path: &Path) -> Result<String, SaveError> {
    let (mut files, mut hash) = (vec![], Sha256::new());
    let read = |path: &Path, source| SaveError::Read { path: path.into(), source };
    list(path, &mut files).map_err(|error| read(path, error))?;
    files.sort();
    for file in files {
        hash.update(file.strip_prefix(path).unwrap_or(&file).to_string_lossy().as_bytes());
        let copied = File::open(&file).and_then(|mut opened| io::copy(&mut opened, &mut hash));
        copied.map_err(|error| read(&file, error))?;
    }
    Ok(hex(&hash.finalize()))
}

/// The regular files at and below a path.
fn list(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if path.is_file() {
        files.push(path.into());
        return Ok(());
    }
    for entry in std::fs::read_dir(path)? {
        let path = entry?.path();
        // A link to a folder may lead in a circle.
        match path.symlink_metadata()?.is_symlink() && path.is_dir() {
            true => {}
            false if path.is_dir() || path.is_file() => list(&path, files)?,
            false => {
                return Err(io::Error::new(
                    ErrorKind::InvalidInput,
                    format!("{} is no file", path.display()),
                ));
            }
        }
    }
    Ok(())
}

/// The first 64 bits of a hash.
pub(super) fn hex(hash: &[u8]) -> String {
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
