//! Results by content: the name of each file is a hash of everything on which the result depends.

use super::data::hex;
use crate::train::SaveError;
use crate::train::checkpoint::write_atomically;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The folder of the results.
pub(super) struct Store(pub PathBuf);

/// The hash of everything on which a result depends, with the versions of this library and of its run folders.
pub(super) fn key(of: &Value) -> String {
    let version = (env!("CARGO_PKG_VERSION"), crate::config::VERSION);
    hex(&Sha256::digest(format!("{version:?} {of}")))
}

impl Store {
    /// The folder of a kind of results: `runs`, `data`.
    pub fn folder(&self, kind: &str, key: &str) -> PathBuf {
        self.0.join(kind).join(key)
    }

    /// A result; `None` if there is none, or it is not readable, so that it is computed again.
    pub fn read<T: DeserializeOwned>(&self, kind: &str, key: &str) -> Option<T> {
        serde_json::from_slice(&std::fs::read(self.file(kind, key)).ok()?).ok()
    }

    /// Keeps a result.
    pub fn write<T: Serialize>(&self, kind: &str, key: &str, result: &T) -> Result<(), SaveError> {
        let json = serde_json::to_vec_pretty(result).unwrap_or_default(); // numbers and names
        write(&self.file(kind, key), &json)
    }

    fn file(&self, kind: &str, key: &str) -> PathBuf {
        self.folder(kind, key).with_extension("json")
    }
}

/// Writes a file whole, and its folder before.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), SaveError> {
    path.parent().map_or(Ok(()), create)?;
    write_atomically(path, bytes)
}

/// Creates a folder, if there is none.
pub(super) fn create(folder: &Path) -> Result<(), SaveError> {
    std::fs::create_dir_all(folder).map_err(|source| SaveError::Write { path: folder.into(), source })
}

/// Removes a folder or a file, if there is one.
pub(super) fn remove(path: &Path) -> Result<(), SaveError> {
    let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    match removed {
        Err(source) if source.kind() != ErrorKind::NotFound => {
            Err(SaveError::Write { path: path.into(), source })
        }
        _ => Ok(()),
    }
}
