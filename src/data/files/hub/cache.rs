//! The cache of Hugging Face's tools. Each repository has a folder, such as `datasets--OWNER--NAME`:
//!
//! - `blobs/ETAG`: the content of a file.
//! - `snapshots/COMMIT/PATH`: a file of a commit, a link to its content.
//! - `refs/REVISION`: the commit of a branch or tag.
//! - `listings/COMMIT.json`: ours, the listing of a commit, so that the files that were never downloaded are known without the
//!   Hub too.
//! - `download.lock`: ours, locked while a file is downloaded.

use super::{Address, Listing, variable};
use crate::data::files::Files;
use std::fs::{self, File};
use std::io::{self, Write};
#[cfg(unix)]
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// The folder of Hugging Face's tools: `HF_HOME`, or `huggingface` in the user's folder of caches.
pub(super) fn home() -> PathBuf {
    let caches = || match variable("XDG_CACHE_HOME") {
        Some(folder) => PathBuf::from(folder),
        None => std::env::home_dir().unwrap_or_else(std::env::temp_dir).join(".cache"),
    };
    variable("HF_HOME").map_or_else(|| caches().join("huggingface"), PathBuf::from)
}

/// The folder of the cache: `HF_HUB_CACHE`, or `hub` in the folder of Hugging Face's tools.
pub(super) fn root() -> PathBuf {
    let named = variable("HF_HUB_CACHE").or_else(|| variable("HUGGINGFACE_HUB_CACHE"));
    named.map_or_else(|| home().join("hub"), PathBuf::from)
}

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

    /// The content of a file.
    pub fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    fn reference(&self, revision: &str) -> PathBuf {
        self.folder.join("refs").join(revision)
    }

    fn listing(&self, commit: &str) -> PathBuf {
        self.folder.join("listings").join(format!("{commit}.json"))
    }

    /// Waits until no other process downloads a file of the repository; others wait until the result is dropped.
    pub fn lock(&self) -> io::Result<File> {
        fs::create_dir_all(&self.folder)?;
        let file = File::create(self.folder.join("download.lock"))?;
        // On a file system without locks, several processes may download the same file.
        let _ = file.lock();
        Ok(file)
    }

    /// Creates a file that is removed when it is dropped, unless it is kept.
    pub fn incomplete<T>(&self, create: impl FnMut(&Path) -> io::Result<T>) -> io::Result<NamedTempFile<T>> {
        let folder = self.folder.join("blobs");
        fs::create_dir_all(&folder)?;
        tempfile::Builder::new().suffix(".incomplete").make_in(folder, create)
    }

    /// Makes a content the file of a commit: a link, or a copy on a file system without links. Returns the file.
    pub fn link(&self, etag: &str, commit: &str, path: &str) -> io::Result<PathBuf> {
        let target = format!("{}blobs/{etag}", "../".repeat(path.matches('/').count() + 2));
        let link = self.incomplete(|link| match symlink(&target, link) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                fs::copy(self.blob(etag), link).map(drop)
            }
            linked => linked,
        })?;
        let file = self.snapshot(commit).join(path);
        keep(link, &file)?;
        Ok(file)
    }

    /// Writes the commit of a revision, and the listing of the commit.
    pub fn save(&self, revision: &str, commit: &str, listing: &Listing) -> io::Result<()> {
        if !is_commit(revision) {
            self.write(&self.reference(revision), commit.as_bytes())?;
        }
        let path = self.listing(commit);
        if path.exists() { Ok(()) } else { self.write(&path, &serde_json::to_vec(listing)?) }
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.incomplete(|path| File::create_new(path))?;
        file.write_all(bytes)?;
        keep(file, path)
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

/// Gives a new file its name, in place of a file that has it.
pub(super) fn keep<T>(file: NamedTempFile<T>, path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    file.persist(path)?;
    Ok(())
}

/// Whether a revision is a commit: 40 hexadecimal digits.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(not(unix))]
fn symlink(_: &str, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
