//! Requests to the Hub.

use super::cache::{self, Cache, is_commit};
use super::{Address, Kind, Listing, is_name, is_set, variable};
use crate::data::files::remote;
use crate::notice::{Notice, notify};
use reqwest::header::{ETAG, HeaderMap, LINK};
use reqwest::{Response, StatusCode, Url};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The Hub, unless `HF_ENDPOINT` names another server.
const ENDPOINT: &str = "https://huggingface.co";
/// Pauses before the repetitions of a request to a Hub that cannot be reached.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];
/// Time after which a request is not repeated.
const PATIENCE: Duration = Duration::from_secs(5);
/// Files from which on the short list of a repository may be cut.
const MANY: usize = 50_000;

/// Why a request failed.
#[derive(Debug)]
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

/// The commit of a revision, and its files.
pub(super) fn list(address: &Address) -> Result<(String, Listing), Failure> {
    let api = format!("api/{}", address.kind.plural());
    let (info, _) = json(address, &url_of(address, &api, ["revision", address.revision.as_str()])?)?;
    let commit = info["sha"].as_str().filter(|commit| is_commit(commit));
    let commit = commit.ok_or_else(|| Failure::Refused("the answer of the Hub names no commit".into()))?;
    let mut files = paths(&info["siblings"], "rfilename");
    if files.len() >= MANY {
        files.clear();
        let mut page = url_of(address, &api, ["tree", commit])?;
        let mut query = Some("recursive=true".to_string());
        while let Some(next) = query {
            page.set_query(Some(&next));
            let (entries, headers) = json(address, &page)?;
            files.append(&mut paths(&entries, "path"));
            query = next_page(&headers);
        }
    }
    // The Hub has parsed the header of README.md.
    Ok((commit.to_string(), Listing { files, configs: info["cardData"]["configs"].clone() }))
}

/// The paths of a list's files.
fn paths(entries: &Value, field: &str) -> Vec<String> {
    let files = entries.as_array().into_iter().flatten().filter(|entry| entry["type"] != "directory");
    files.filter_map(|file| file[field].as_str()).map(str::to_string).collect()
}

/// The query of the next page of a list; `None` on the last page.
pub(super) fn next_page(headers: &HeaderMap) -> Option<String> {
    let mut links = headers.get(LINK)?.to_str().ok()?.split(',');
    let (next, _) = links.find(|link| link.contains("rel=\"next\""))?.split_once('>')?;
    Some(next.split_once('?')?.1.to_string())
}

/// Downloads a file into the cache; returns its path on disk.
pub(super) fn download(
    address: &Address,
    commit: &str,
    path: &str,
    location: &str,
) -> Result<PathBuf, Failure> {
    // One at a time in this process, and one of a repository in all processes: what several read is downloaded once.
    static DOWNLOADS: Mutex<()> = Mutex::new(());
    let _one = DOWNLOADS.lock().unwrap_or_else(PoisonError::into_inner);
    let cache = Cache::new(&cache::root(), address);
    let failed = |error: io::Error| Failure::Refused(format!("{}: {error}", cache.folder().display()));
    let _lock = cache.lock().map_err(failed)?;
    let found = cache.snapshot(commit).join(path);
    if found.is_file() {
        return Ok(found);
    }
    // The addresses of models' files have no `models/`.
    let prefix = if address.kind == Kind::Model { "" } else { address.kind.plural() };
    let url = url_of(address, prefix, ["resolve", commit].into_iter().chain(path.split('/')))?;
    let (response, headers) = get(address, &url)?;
    let etag = etag(&headers)?;
    if !cache.blob(etag).is_file() {
        let mut file = cache.incomplete(|path| File::create_new(path)).map_err(failed)?;
        receive(response, &headers, &mut file, location).map_err(|e| Failure::Refused(e.to_string()))?;
        cache::keep(file, &cache.blob(etag)).map_err(failed)?;
    }
    cache.link(etag, commit, path).map_err(failed)
}

/// The name of a file's content in the cache: its ETag on the Hub.
pub(super) fn etag(headers: &HeaderMap) -> Result<&str, Failure> {
    let tag = headers.get("x-linked-etag").or_else(|| headers.get(ETAG));
    let tag = tag.and_then(|tag| tag.to_str().ok()).unwrap_or_default();
    let name = tag.trim_start_matches("W/").trim_matches('"');
    let wrong = || Failure::Refused(format!("expected an answer of the Hub with an ETag, found {tag:?}"));
    is_name(name).then_some(name).ok_or_else(wrong)
}

/// Writes a file as its bytes arrive.
fn receive(
    mut response: Response,
    headers: &HeaderMap,
    file: &mut impl Write,
    location: &str,
) -> io::Result<()> {
    let linked = headers.get("x-linked-size").and_then(|size| size.to_str().ok()?.parse::<u64>().ok());
    let (size, mut done) = (linked.or(response.content_length()), 0);
    while let Some(bytes) = remote::chunk(&mut response)? {
        file.write_all(&bytes)?;
        done += bytes.len() as u64;
        notify(Notice::Download { location, done, total: size.unwrap_or(0) });
    }
    if let Some(size) = size.filter(|&size| size != done) {
        let problem = format!("expected {size} bytes, found {done}; the file was not kept; try again");
        return Err(io::Error::other(problem));
    }
    Ok(())
}

/// An address on the Hub: `ENDPOINT/PREFIX/OWNER/NAME/REST`.
fn url_of<'a>(
    address: &'a Address,
    prefix: &'a str,
    rest: impl IntoIterator<Item = &'a str>,
) -> Result<Url, Failure> {
    let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.into());
    let expected = format!("HF_ENDPOINT: expected an address like {ENDPOINT}, found {endpoint:?}");
    let mut url = Url::parse(&endpoint).map_err(|_| Failure::Refused(expected.clone()))?;
    let parts = prefix.split('/').chain([address.owner.as_str(), address.name.as_str()]).chain(rest);
    let parts = parts.filter(|part| !part.is_empty());
    url.path_segments_mut().map_err(|()| Failure::Refused(expected))?.pop_if_empty().extend(parts);
    Ok(url)
}

/// An answer in JSON, and its headers.
fn json(address: &Address, url: &Url) -> Result<(Value, HeaderMap), Failure> {
    let (mut response, headers) = get(address, url)?;
    let mut json = vec![];
    while let Some(bytes) = remote::chunk(&mut response).map_err(|e| Failure::Unreachable(e.to_string()))? {
        json.extend_from_slice(&bytes);
    }
    let wrong = |e: serde_json::Error| Failure::Refused(format!("the answer of the Hub cannot be read: {e}"));
    Ok((serde_json::from_slice(&json).map_err(wrong)?, headers))
}

/// A successful answer, and the headers of the Hub.
fn get(address: &Address, url: &Url) -> Result<(Response, HeaderMap), Failure> {
    let attempt = || {
        let found = remote::get(url, token().as_deref()).map_err(Failure::Unreachable)?;
        let status = found.0.status();
        if status.is_success() { Ok(found) } else { Err(failure(address, status, &found.1)) }
    };
    let started = Instant::now();
    for pause in PAUSES {
        match attempt() {
            // A server that has stayed silent is not waited for again.
            Err(Failure::Unreachable(_)) if started.elapsed() < PATIENCE => thread::sleep(pause),
            found => return found,
        }
    }
    attempt()
}

/// The user's token: `HF_TOKEN`, or the content of the file at `HF_TOKEN_PATH`.
fn token() -> Option<String> {
    if is_set("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
        return None;
    }
    let path = || variable("HF_TOKEN_PATH").map_or_else(|| cache::home().join("token"), PathBuf::from);
    let token = variable("HF_TOKEN").or_else(|| fs::read_to_string(path()).ok())?;
    Some(token.trim().to_string()).filter(|token| !token.is_empty())
}

/// The reason for an answer that is an error.
fn failure(address: &Address, status: StatusCode, headers: &HeaderMap) -> Failure {
    let kind = match address.kind {
        Kind::Dataset => "dataset",
        Kind::Model => "model",
    };
    let code = headers.get("x-error-code").and_then(|code| code.to_str().ok()).unwrap_or_default();
    let problem = match status.as_u16() {
        _ if code == "RevisionNotFound" => {
            format!("no revision {:?}; expected a branch, a tag or a commit", address.revision)
        }
        401 | 403 | 404 if code != "EntryNotFound" => format!(
            "the {kind} was not found, or is gated: check the name; for a gated or private {kind}, accept its terms on \
             the Hub and log in with HF_TOKEN"
        ),
        number => format!("the server answered with status {number}; expected 200"),
    };
    if status.is_server_error() { Failure::Unreachable(problem) } else { Failure::Refused(problem) }
}
