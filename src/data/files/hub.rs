//! Repositories of the Hugging Face Hub: `hf:OWNER/NAME`, `hf:OWNER/NAME@REVISION`, `hf:OWNER/NAME:PATH`.
//!
//! A location names a dataset, or with `hf:models/OWNER/NAME` a model. A process lists a repository once, at one commit. A
//! file is downloaded when it is first read, into the cache that Hugging Face's own tools use (`HF_HOME`, `HF_HUB_CACHE`).
//! If the Hub cannot be reached, or `HF_HUB_OFFLINE` is set, the cache alone is read. `HF_ENDPOINT` and `HF_TOKEN` are those
//! of these tools too.

mod cache;
mod client;
mod data_files;
#[cfg(test)]
mod tests;

use super::extent::Extent;
use super::place::Place;
use super::{Files, HUB};
use crate::data::error::{DataError, contained};
use crate::metrics::edits;
use crate::notice::{Notice, notify};
use cache::Cache;
use client::Failure;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// The revision of a location that names none.
const MAIN: &str = "main";
/// The number of similar names in an error, and the most names that are compared for them.
const SIMILAR: usize = 3;
const COMPARED: usize = 10_000;

/// The kind of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Dataset,
    Model,
}

impl Kind {
    /// The name in addresses and in the cache.
    fn plural(self) -> &'static str {
        match self {
            Kind::Dataset => "datasets",
            Kind::Model => "models",
        }
    }
}

/// A revision of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Address {
    kind: Kind,
    /// Empty for the few repositories without an owner.
    owner: String,
    name: String,
    /// A branch, a tag or a commit.
    revision: String,
}

/// A location, taken apart.
#[derive(Debug, PartialEq)]
struct Parsed<'a> {
    address: Address,
    /// The location without the path.
    repository: &'a str,
    path: Option<&'a str>,
}

impl<'a> Parsed<'a> {
    /// Parses a location; `kind` is that of a location that names none.
    fn new(location: &'a str, kind: Kind) -> Result<Self, DataError> {
        let refuse = || {
            let problem = "expected hf:OWNER/NAME or hf:OWNER/NAME@REVISION; a path in the repository comes after a \
                           colon, as in hf:OWNER/NAME:data/train.parquet";
            DataError::layout(location, problem)
        };
        let rest = location.strip_prefix(HUB).ok_or_else(refuse)?;
        let (repository, path) = match rest.split_once(':') {
            Some((repository, path)) => (repository, Some(path)),
            None => (rest.trim_end_matches('/'), None),
        };
        let (id, revision) = repository.split_once('@').unwrap_or((repository, MAIN));
        let of_kind = |kind: Kind| Some((kind, id.strip_prefix(kind.plural())?.strip_prefix('/')?));
        let (kind, id) = [Kind::Dataset, Kind::Model].into_iter().find_map(of_kind).unwrap_or((kind, id));
        let (owner, name) = id.split_once('/').unwrap_or(("", id));
        if id.starts_with('/') || !is_name(name) || !(owner.is_empty() || is_name(owner)) {
            return Err(refuse());
        }
        // The revision is the name of a file in the cache.
        let revision = contained(location, revision)?;
        let address = Address { kind, owner: owner.into(), name: name.into(), revision };
        Ok(Self { address, repository: &location[..HUB.len() + repository.len()], path })
    }
}

/// The files of a repository at one commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Listing {
    /// The paths of all files, sorted.
    files: Vec<String>,
    /// `configs` in the header of README.md, as JSON; null if it has none.
    #[serde(default)]
    configs: serde_json::Value,
}

impl Listing {
    /// The listing, if each path stays below the folder of the repository.
    fn checked(self, repository: &str) -> Result<Self, DataError> {
        let files = self.files.iter().map(|path| contained(repository, path));
        let mut files = files.collect::<Result<Vec<_>, _>>()?;
        files.sort_unstable();
        Ok(Self { files, ..self })
    }
}

/// A repository at one commit.
#[derive(Debug)]
pub struct Repository {
    /// The location without a path, as in its first use.
    name: String,
    address: Address,
    commit: String,
    listing: Listing,
    /// The folder of the commit in the cache.
    snapshot: PathBuf,
    /// The reason why nothing is downloaded.
    offline: Option<String>,
}

impl Repository {
    /// Opens the repository of a model: `hf:OWNER/NAME` or `hf:OWNER/NAME@REVISION`.
    ///
    /// # Errors
    /// [`DataError::Layout`] for another location; [`DataError::Download`] if the repository or the revision does not exist, if
    /// it is gated, or if neither the Hub nor the cache has it.
    pub fn model(location: &str) -> Result<Arc<Self>, DataError> {
        let parsed = Parsed::new(location, Kind::Model)?;
        if parsed.path.is_some() || parsed.address.kind != Kind::Model {
            let problem = "expected the whole repository of a model: hf:OWNER/NAME or hf:OWNER/NAME@REVISION";
            return Err(DataError::layout(location, problem));
        }
        Self::open(parsed)
    }

    /// The paths of all files, sorted.
    pub fn list(&self) -> &[String] {
        &self.listing.files
    }

    /// Whether there is a file at this path.
    pub fn contains(&self, path: &str) -> bool {
        self.listing.files.binary_search_by(|known| known.as_str().cmp(path)).is_ok()
    }

    /// The folder in the cache below which the files are.
    pub fn snapshot(&self) -> &Path {
        &self.snapshot
    }

    /// The path of a file on disk; downloads the file if it is not in the cache.
    ///
    /// # Errors
    /// [`DataError::Missing`] if the repository has no such file; [`DataError::Download`] if it cannot be downloaded.
    pub fn file(&self, path: &str) -> Result<PathBuf, DataError> {
        let location = format!("{}:{path}", self.name);
        if !self.contains(path) {
            let expected = format!("a file{}", self.similar(path));
            return Err(DataError::Missing { location, expected });
        }
        let cached = self.snapshot.join(path);
        if cached.is_file() {
            return Ok(cached);
        }
        let problem = match &self.offline {
            Some(reason) => format!("not in the cache {}; {reason}", self.snapshot.display()),
            None => match client::download(&self.address, &self.commit, path, &location) {
                Ok(found) => return Ok(found),
                Err(failure) => failure.problem(),
            },
        };
        Err(DataError::Download { location, problem })
    }

    /// Opens a repository, once in a process.
    fn open(parsed: Parsed<'_>) -> Result<Arc<Self>, DataError> {
        static OPENED: LazyLock<Mutex<HashMap<Address, Arc<Repository>>>> = LazyLock::new(Mutex::default);
        // Locked during the request too, so that threads do not repeat it.
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(repository) = opened.get(&parsed.address) {
            return Ok(repository.clone());
        }
        let repository = Arc::new(Self::resolve(parsed.repository, parsed.address.clone())?);
        opened.insert(parsed.address, repository.clone());
        Ok(repository)
    }

    /// Lists a repository on the Hub; if the Hub cannot be reached, in the cache.
    fn resolve(name: &str, address: Address) -> Result<Self, DataError> {
        let failed = |problem| DataError::Download { location: name.to_string(), problem };
        let cache = Cache::new(&cache::root(), &address);
        let of = |commit: String, listing: Listing, offline| -> Result<Self, DataError> {
            let snapshot = cache.snapshot(&commit);
            let listing = listing.checked(name)?;
            let address = address.clone();
            Ok(Self { name: name.to_string(), address, commit, listing, snapshot, offline })
        };
        let reason = match is_set("HF_HUB_OFFLINE") {
            true => "HF_HUB_OFFLINE is set".to_string(),
            false => match client::list(&address) {
                Ok((commit, listing)) => {
                    let found = of(commit, listing, None)?;
                    // A cache that cannot be written is an error when a file is downloaded into it.
                    let _ = cache.save(&address.revision, &found.commit, &found.listing);
                    return Ok(found);
                }
                Err(failure @ Failure::Unreachable(_)) => failure.problem(),
                Err(failure) => return Err(failed(failure.problem())),
            },
        };
        let Some((commit, listing)) = cache.load(&address.revision) else {
            let folder = cache.folder().display();
            return Err(failed(format!("{reason}; no revision {} of it is in {folder}", address.revision)));
        };
        notify(Notice::Note(&format!("{name}: {reason}; files are read from the cache, commit {commit}")));
        of(commit, listing, Some(reason))
    }

    /// The names that are most like a path that does not exist, for an error; empty if there is no file at all.
    fn similar(&self, path: &str) -> String {
        let mut names: Vec<&str> = self.listing.files.iter().take(COMPARED).map(String::as_str).collect();
        names.sort_by_cached_key(|name| edits(name.as_bytes(), path.as_bytes()));
        names.truncate(SIMILAR);
        if names.is_empty() { String::new() } else { format!(" (similar: {})", names.join(", ")) }
    }

    /// Whether a path leads into a file, such as a tar archive.
    fn is_below_file(&self, path: &str) -> bool {
        path.match_indices('/').any(|(end, _)| self.contains(&path[..end]))
    }
}

/// Whether a text names an owner, a repository or a content, and nothing in another folder.
fn is_name(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !text.is_empty() && !text.starts_with('.') && text.chars().all(is_part)
}

/// The value of a variable of the environment, unless it is empty.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether a variable of the environment has a true value, as Hugging Face's tools read it.
fn is_set(name: &str) -> bool {
    variable(name).is_some_and(|value| ["1", "ON", "TRUE", "YES"].contains(&value.to_uppercase().as_str()))
}

/// A folder of a repository, whose files are downloaded when they are opened.
#[derive(Debug)]
pub(super) struct Folder {
    repository: Arc<Repository>,
    /// The path of the folder with a slash at its end; empty for the whole repository.
    prefix: String,
}

impl Folder {
    /// The file at a path in the folder.
    pub fn extent(&self, path: &str) -> Result<Extent, DataError> {
        let file = self.repository.file(&format!("{}{path}", self.prefix))?;
        Extent::open(&file).map_err(|e| DataError::io(file.display().to_string(), "a file", e))
    }

    /// A folder in the folder.
    pub fn below(&self, folder: &str) -> Self {
        Self { repository: self.repository.clone(), prefix: format!("{}{folder}/", self.prefix) }
    }
}

/// Finds the file or folder at a location: without a path, the data files of the repository.
pub(super) fn locate(location: &str, expected: &str) -> Result<Place, DataError> {
    let parsed = Parsed::new(location, Kind::Dataset)?;
    let (name, path) = (format!("{}:", parsed.repository), parsed.path);
    let repository = Repository::open(parsed)?;
    let root = Folder { repository: repository.clone(), prefix: String::new() };
    if let Some(path) = path.filter(|path| repository.contains(path)) {
        return root.extent(path).map(Place::File);
    }
    let tree = |paths| Files::on_hub(name, paths, root);
    let Some(path) = path else {
        return Ok(Place::Tree(tree(data_files::of(location, &repository.listing)?)));
    };
    let files = tree(repository.listing.files.clone());
    files.enter(path.trim_end_matches('/'), expected).map_err(|error| match error {
        DataError::Missing { location, expected } if !repository.is_below_file(path) => {
            DataError::Missing { location, expected: format!("{expected}{}", repository.similar(path)) }
        }
        other => other,
    })
}

/// The commit of a location on the Hub; `None` for any other location.
pub(super) fn commit(location: &str) -> Option<String> {
    if !super::is_hub(location) {
        return None;
    }
    let parsed = Parsed::new(location, Kind::Dataset).ok()?;
    Some(Repository::open(parsed).ok()?.commit.clone())
}
