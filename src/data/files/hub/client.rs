//! Requests to the Hub. No other file names the crate `hf-hub`.

use super::cache::is_commit;
use super::{Address, Kind, Listing};
use crate::data::files::remote::{install_cryptography, with_causes};
use crate::data::notice::{Notice, notify};
use hf_hub::progress::{DownloadEvent, FileStatus, ProgressEvent, ProgressHandler};
use hf_hub::repository::{RepoSibling, RepoTreeEntry};
use hf_hub::{HFClient, HFClientSync, HFError, RepoTypeAny};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

/// Time-out of a connection, and of the next bytes of an answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Repetitions of a request that failed for a reason that may pass.
const RETRIES: usize = 2;
/// Files from which on the short list of a repository may be cut.
const MANY: usize = 50_000;

/// Why a request failed.
pub(super) enum Failure {
    /// There is no answer, or the server reports a fault of its own.
    Unreachable(String),
    /// The answer is an error.
    Refused(String),
}

impl Failure {
    /// The problem, for a message.
    pub fn problem(self) -> String {
        match self {
            Failure::Unreachable(problem) => format!("the Hub cannot be reached: {problem}"),
            Failure::Refused(problem) => problem,
        }
    }
}

struct Client {
    hub: HFClientSync,
    cache: PathBuf,
}

/// The client of this process.
fn client() -> Result<&'static Client, Failure> {
    static CLIENT: LazyLock<Result<Client, String>> =
        LazyLock::new(|| connect().map_err(|error| with_causes(&error)));
    CLIENT.as_ref().map_err(|problem| Failure::Refused(problem.clone()))
}

fn connect() -> Result<Client, HFError> {
    install_cryptography();
    let http = reqwest::Client::builder()
        .user_agent(concat!("smalti/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .build()?;
    let hub = HFClient::builder().client(http).retry_max_attempts(RETRIES).build()?;
    let cache = hub.cache_dir().to_path_buf();
    Ok(Client { hub: HFClientSync::from_inner(hub)?, cache })
}

/// The folder of the cache.
pub(super) fn cache() -> Result<&'static Path, Failure> {
    Ok(&client()?.cache)
}

/// The commit of a revision, and its files.
pub(super) fn list(address: &Address) -> Result<(String, Listing), Failure> {
    let hub = &client()?.hub;
    let Address { kind, owner, name, revision } = address;
    let failed = |error| failure(address, error);
    let (commit, siblings, card) = match kind {
        Kind::Dataset => {
            let info = hub.dataset(owner, name).info().revision(revision).send().map_err(failed)?;
            (info.sha, info.siblings, info.card_data)
        }
        Kind::Model => {
            let info = hub.model(owner, name).info().revision(revision).send().map_err(failed)?;
            (info.sha, info.siblings, info.card_data)
        }
    };
    let commit = commit.filter(|commit| is_commit(commit));
    let commit = commit.ok_or_else(|| Failure::Refused("the answer of the Hub names no commit".into()))?;
    let files = match siblings.unwrap_or_default() {
        siblings if siblings.len() < MANY => {
            siblings.into_iter().map(|RepoSibling { rfilename, .. }| rfilename).collect()
        }
        _ => {
            let repository = hub.repository(of_kind(*kind), owner, name);
            let entries = repository.list_tree().revision(&commit).recursive(true).send().map_err(failed)?;
            let path = |entry: RepoTreeEntry| match entry {
                RepoTreeEntry::File { path, .. } => Some(path),
                RepoTreeEntry::Directory { .. } => None,
            };
            entries.into_iter().filter_map(path).collect()
        }
    };
    // The Hub has parsed the header of README.md.
    let configs = card.map_or(Value::Null, |card| card["configs"].clone());
    Ok((commit, Listing { files, configs }))
}

/// Downloads a file into the cache; returns its path on disk.
pub(super) fn download(
    address: &Address,
    commit: &str,
    path: &str,
    location: &str,
) -> Result<PathBuf, Failure> {
    // One at a time, so that a file that several threads read is downloaded once.
    static DOWNLOADS: Mutex<()> = Mutex::new(());
    let _one = DOWNLOADS.lock().unwrap_or_else(PoisonError::into_inner);
    let repository = client()?.hub.repository(of_kind(address.kind), &address.owner, &address.name);
    loop {
        let watch = Arc::new(Watch { location: location.to_string(), total: AtomicU64::new(0) });
        let request = repository.download_file().filename(path).revision(commit).progress(watch.clone());
        match request.send() {
            Ok(found) => return watch.checked(found),
            // Another process downloads the file.
            Err(HFError::CacheLockTimeout { .. }) => {}
            Err(error) => return Err(failure(address, error)),
        }
    }
}

fn of_kind(kind: Kind) -> RepoTypeAny {
    match kind {
        Kind::Dataset => RepoTypeAny::Dataset,
        Kind::Model => RepoTypeAny::Model,
    }
}

/// Follows the download of one file.
struct Watch {
    location: String,
    /// The file's size in bytes; 0 if it is not known, or nothing is downloaded.
    total: AtomicU64,
}

impl ProgressHandler for Watch {
    fn on_progress(&self, event: &ProgressEvent) {
        match event {
            ProgressEvent::Download(DownloadEvent::Start { total_bytes, .. }) => {
                self.total.store(*total_bytes, Ordering::Relaxed);
            }
            ProgressEvent::Download(DownloadEvent::Progress { files }) => {
                let total = self.total.load(Ordering::Relaxed);
                for file in files {
                    let done = if file.status == FileStatus::Complete { total } else { file.bytes_completed };
                    notify(Notice::Download { location: &self.location, done, total });
                }
            }
            _ => {}
        }
    }
}

impl Watch {
    /// The downloaded file, if it has the expected size. `hf-hub` also stores the text of an error that the server sends in
    /// place of the file.
    fn checked(&self, found: PathBuf) -> Result<PathBuf, Failure> {
        let refused = |error: std::io::Error| Failure::Refused(error.to_string());
        let (expected, size) =
            (self.total.load(Ordering::Relaxed), fs::metadata(&found).map_err(refused)?.len());
        if expected == 0 || expected == size {
            return Ok(found);
        }
        // The file is a link to its content.
        fs::canonicalize(&found).and_then(fs::remove_file).map_err(refused)?;
        let _ = fs::remove_file(&found);
        let problem = format!("expected {expected} bytes, found {size}; the file was not kept; try again");
        Err(Failure::Refused(problem))
    }
}

fn failure(address: &Address, error: HFError) -> Failure {
    let kind = match address.kind {
        Kind::Dataset => "dataset",
        Kind::Model => "model",
    };
    let unknown = format!(
        "the {kind} was not found, or is gated: check the name; for a gated or private {kind}, accept its terms on the \
         Hub and log in with HF_TOKEN"
    );
    match &error {
        HFError::Request { source, .. } if !source.is_decode() => Failure::Unreachable(with_causes(&error)),
        HFError::Http { context } if context.status.is_server_error() => {
            Failure::Unreachable(with_causes(&error))
        }
        HFError::AuthRequired { .. } | HFError::Forbidden { .. } | HFError::RepoNotFound { .. } => {
            Failure::Refused(unknown)
        }
        // The answer to a request for a revision of a repository that does not exist is the same but for its code.
        HFError::RevisionNotFound { context, .. } => {
            let code = context.as_ref().and_then(|context| context.error_code.as_deref());
            Failure::Refused(match code {
                Some("RevisionNotFound") => {
                    format!("no revision {:?}; expected a branch, a tag or a commit", address.revision)
                }
                _ => unknown,
            })
        }
        _ => Failure::Refused(with_causes(&error)),
    }
}
