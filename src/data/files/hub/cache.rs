//! The cache of Hugging Face's tools: `datasets--OWNER--NAME/snapshots/COMMIT/PATH` below its folder.
//!
//! `refs/REVISION` has the commit of a branch or tag. `listings/COMMIT.json` is ours: the listing of a commit, so that the
//! files that were never downloaded are known without the Hub too.

use super::{Address, Listing};
use crate::data::files::Files;
use std::path::{Path, PathBuf};
use std::{fs, io, process};

/// The folder of a repository in the cache.
pub(super) struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// The folder of a repository in the cache at `root`.
    pub fn new(root: &Path, address: &Address) -> Self {
        let parts = [address.kind.plural(), address.owner.as_str(), address.name.as_str()];
        let name: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        Self { folder: root.join(name.join("--")) }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of a commit's files.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    fn reference(&self, revision: &str) -> PathBuf {
        self.folder.join("refs").join(revision)
    }

    fn listing(&self, commit: &str) -> PathBuf {
        self.folder.join("listings").join(format!("{commit}.json"))
    }

    /// Writes the commit of a revision, and the listing of the commit.
    pub fn save(&self, revision: &str, commit: &str, listing: &Listing) -> io::Result<()> {
        if !is_commit(revision) {
            write(&self.reference(revision), commit.as_bytes())?;
        }
        let path = self.listing(commit);
        if path.exists() { Ok(()) } else { write(&path, &serde_json::to_vec(listing)?) }
    }

    /// The commit of a revision and its listing; `None` if they are not in the cache. If another tool has downloaded the
    /// commit, the listing has the downloaded files alone.
    pub fn load(&self, revision: &str) -> Option<(String, Listing)> {
        let commit = match is_commit(revision) {
            true => revision.to_string(),
            false => fs::read_to_string(self.reference(revision)).ok()?.trim().to_string(),
        };
        if !is_commit(&commit) {
            return None;
        }
        let listed = fs::read(self.listing(&commit)).ok();
        let listed = listed.and_then(|json| serde_json::from_slice(&json).ok());
        let downloaded = || {
            let files = Files::folder(self.snapshot(&commit).to_str()?).ok()?.paths;
            (!files.is_empty()).then_some(Listing { files, configs: serde_json::Value::Null })
        };
        let listing = listed.or_else(downloaded)?;
        Some((commit, listing))
    }
}

/// Whether a revision is a commit: 40 hexadecimal digits.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Writes a file as a whole.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let incomplete = path.with_extension(format!("{}.incomplete", process::id()));
    fs::write(&incomplete, bytes)?;
    fs::rename(&incomplete, path)
}
