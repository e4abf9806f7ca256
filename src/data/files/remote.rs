//! Files on other machines: `s3://bucket/key`, `gs://bucket/key`, `http://` and `https://`.
//!
//! Credentials, region and endpoint of S3 and Google come from the environment, as in their own tools (`AWS_ACCESS_KEY_ID`,
//! `AWS_ENDPOINT_URL`, `GOOGLE_APPLICATION_CREDENTIALS`, …). Ranges of bytes are read on demand; small ones are read as
//! larger pieces, which are cached.

mod download;
mod timeouts;

pub(crate) use download::download;
pub(super) use download::{chunk, get};

use self::timeouts::Timeouts;
use super::extent::Extent;
use crate::data::error::DataError;
use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::http::HttpBuilder;
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientConfigKey, ClientOptions, GetOptions, GetRange, ObjectStore, RetryConfig,
};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Range;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// An object that exists, and its length.
#[derive(Debug)]
pub(super) struct Object {
    store: Arc<dyn ObjectStore>,
    path: Path,
    location: String,
    len: u64,
    /// The version that was opened, if the server gives one; later reads must be of the same.
    version: Option<String>,
}

/// Bytes that a smaller read fetches.
const PIECE: u64 = 512 << 10;
/// Cached pieces of all objects: 128 MiB.
const CACHED: usize = 256;
/// Requests for a range whose answer is too short.
const ATTEMPTS: usize = 3;

/// The object at a location; `None` if there is none.
///
/// # Errors
/// [`DataError::Download`] if the server reports an error or does not answer.
pub(super) fn open(location: &str) -> Result<Option<Extent>, DataError> {
    let (store, path) = store(location)?;
    if path.as_ref().is_empty() {
        return Ok(None);
    }
    let options = GetOptions { head: true, ..GetOptions::default() };
    match runtime()?.block_on(store.get_opts(&path, options)) {
        Ok(found) => {
            let (len, version) = (found.meta.size, found.meta.e_tag);
            let object = Object { store, path, location: location.to_string(), len, version };
            Ok(Some(Extent::remote(Arc::new(object))))
        }
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(download_error(location, error)),
    }
}

/// The objects below a location by their relative paths; none over HTTP, which has no lists.
///
/// # Errors
/// [`DataError::Download`] if the server reports an error or does not answer.
pub(super) fn list(location: &str) -> Result<BTreeMap<String, Extent>, DataError> {
    if location.starts_with("http") {
        return Ok(BTreeMap::new());
    }
    let (store, prefix) = store(location)?;
    let found: Vec<_> = runtime()?
        .block_on(store.list(Some(&prefix)).try_collect())
        .map_err(|error| download_error(location, error))?;
    let member = |meta: object_store::ObjectMeta| {
        let below = meta.location.prefix_match(&prefix)?;
        let below = below.map(|part| part.as_ref().to_string()).collect::<Vec<_>>().join("/");
        let object = Object {
            store: store.clone(),
            location: super::join(location, &below),
            path: meta.location,
            len: meta.size,
            version: meta.e_tag,
        };
        (!below.is_empty()).then(|| (below, Extent::remote(Arc::new(object))))
    };
    Ok(found.into_iter().filter_map(member).collect())
}

impl Object {
    /// The size in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The size and version, if the server gives a version.
    pub fn stamp(&self) -> Option<String> {
        Some(format!("{} {}", self.len, self.version.as_ref()?))
    }

    /// Reads from `offset` on: all of the buffer, or to the end of the object.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let wanted = self.len.saturating_sub(offset).min(buffer.len() as u64);
        if wanted == 0 {
            return Ok(0);
        }
        if wanted >= PIECE {
            let bytes = self.fetch(offset..offset + wanted)?;
            buffer[..bytes.len()].copy_from_slice(&bytes);
            return Ok(bytes.len());
        }
        let number = offset / PIECE;
        let start = number * PIECE;
        let key = (self.location.clone(), self.version.clone(), number);
        let cached = pieces().get(&key);
        let piece = match cached {
            Some(piece) => piece,
            None => {
                let piece = self.fetch(start..(start + PIECE).min(self.len))?;
                pieces().put(key, piece.clone());
                piece
            }
        };
        // The rest in the next piece is left to the next read.
        let rest = piece.get((offset - start) as usize..).unwrap_or_default();
        let n = rest.len().min(wanted as usize);
        buffer[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    /// Requests exactly these bytes.
    fn fetch(&self, range: Range<u64>) -> io::Result<Bytes> {
        let wanted = range.end - range.start;
        let mut found = 0;
        for _ in 0..ATTEMPTS {
            let options = GetOptions {
                range: Some(GetRange::Bounded(range.clone())),
                if_match: self.version.clone(),
                ..GetOptions::default()
            };
            let get = async { self.store.get_opts(&self.path, options).await?.bytes().await };
            let bytes =
                runtime().map_err(io::Error::other)?.block_on(get).map_err(|error| self.failed(error))?;
            if bytes.len() as u64 == wanted {
                return Ok(bytes);
            }
            found = bytes.len();
        }
        let problem = format!("truncated: expected {wanted} bytes from {} on; found {found}", range.start);
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, problem))
    }

    fn failed(&self, error: object_store::Error) -> io::Error {
        match error {
            object_store::Error::NotFound { .. } => io::ErrorKind::NotFound.into(),
            object_store::Error::Precondition { .. } => {
                io::Error::other("changed on the server while in use")
            }
            error => io::Error::other(with_causes(&error)),
        }
    }
}

/// A piece's object, that object's version, and the piece's number.
type Key = (String, Option<String>, u64);

/// A cache of the pieces that were read last.
#[derive(Default)]
struct Pieces {
    pieces: HashMap<Key, (u64, Bytes)>,
    /// The number of uses so far.
    clock: u64,
}

impl Pieces {
    fn get(&mut self, key: &Key) -> Option<Bytes> {
        self.clock += 1;
        let (used, bytes) = self.pieces.get_mut(key)?;
        *used = self.clock;
        Some(bytes.clone())
    }

    fn put(&mut self, key: Key, bytes: Bytes) {
        if self.pieces.len() >= CACHED {
            let oldest = self.pieces.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| key.clone());
            oldest.map(|key| self.pieces.remove(&key));
        }
        self.clock += 1;
        self.pieces.insert(key, (self.clock, bytes));
    }
}

fn pieces() -> std::sync::MutexGuard<'static, Pieces> {
    static PIECES: LazyLock<Mutex<Pieces>> = LazyLock::new(Mutex::default);
    // A panic of a holder leaves the map consistent.
    PIECES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The runtime whose thread waits for servers.
fn runtime() -> Result<&'static Runtime, DataError> {
    static RUNTIME: LazyLock<io::Result<Runtime>> =
        LazyLock::new(|| Builder::new_multi_thread().worker_threads(1).enable_all().build());
    RUNTIME.as_ref().map_err(|error| DataError::Download {
        location: "the network".into(),
        problem: format!("its thread cannot be started: {error}"),
    })
}

/// The store of a location, and the path in it.
fn store(location: &str) -> Result<(Arc<dyn ObjectStore>, Path), DataError> {
    static STORES: LazyLock<Mutex<HashMap<String, Arc<dyn ObjectStore>>>> = LazyLock::new(Mutex::default);
    let (scheme, rest) = location.split_once("://").unwrap_or(("", location));
    let (host, key) = rest.split_once('/').unwrap_or((rest, ""));
    let key = key.trim_matches('/');
    // A path of a URL may be percent-encoded; a key is not.
    let path = if scheme.starts_with("http") { Path::from_url_path(key) } else { Path::parse(key) };
    let path = path.map_err(|error| download_error(location, error.into()))?;
    let name = format!("{scheme}://{host}");
    let mut stores = STORES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(store) = stores.get(&name) {
        return Ok((store.clone(), path));
    }
    let failed = |problem| DataError::Download { location: location.to_string(), problem };
    let timeouts = Timeouts::of_environment().map_err(failed)?;
    let store = connect(scheme, host, &timeouts).map_err(|error| download_error(location, error))?;
    stores.insert(name, store.clone());
    Ok((store, path))
}

/// Sets the process's cryptography for TLS, unless it has one.
fn install_cryptography() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn connect(scheme: &str, host: &str, timeouts: &Timeouts) -> object_store::Result<Arc<dyn ObjectStore>> {
    install_cryptography();
    // Bridges an outage of seconds; a server that stays silent is not waited for again.
    let retry = RetryConfig {
        max_retries: 5,
        retry_timeout: timeouts.read,
        backoff: BackoffConfig { max_backoff: Duration::from_secs(5), ..BackoffConfig::default() },
    };
    let times = [
        (ClientConfigKey::ConnectTimeout, timeouts.connect),
        (ClientConfigKey::ReadTimeout, timeouts.read),
        (ClientConfigKey::Timeout, timeouts.total),
    ];
    let times = times.map(|(key, time)| (key, format!("{} ms", time.as_millis())));
    Ok(match scheme {
        "s3" => {
            let s3 = AmazonS3Builder::from_env().with_bucket_name(host).with_retry(retry);
            let timed =
                |s3: AmazonS3Builder, (key, time)| s3.with_config(AmazonS3ConfigKey::Client(key), time);
            let s3 = times.into_iter().fold(s3, timed);
            Arc::new(if unencrypted("AWS_ENDPOINT_URL") { s3.with_allow_http(true) } else { s3 }.build()?)
        }
        "gs" => {
            let google = GoogleCloudStorageBuilder::from_env().with_bucket_name(host).with_retry(retry);
            let http = (ClientConfigKey::AllowHttp, unencrypted("GOOGLE_BASE_URL").to_string());
            let set = |google: GoogleCloudStorageBuilder, (key, value)| {
                google.with_config(GoogleConfigKey::Client(key), value)
            };
            Arc::new(times.into_iter().chain([http]).fold(google, set).build()?)
        }
        _ => {
            let options = ClientOptions::new().with_allow_http(scheme == "http");
            let options =
                times.into_iter().fold(options, |options, (key, time)| options.with_config(key, time));
            let http = HttpBuilder::new().with_url(format!("{scheme}://{host}"));
            Arc::new(http.with_client_options(options).with_retry(retry).build()?)
        }
    })
}

/// Whether the environment names an endpoint without encryption, which is then allowed.
fn unencrypted(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|address| address.starts_with("http://"))
}

fn download_error(location: &str, error: object_store::Error) -> DataError {
    DataError::Download { location: location.to_string(), problem: with_causes(&error) }
}

/// An error's message, with those of its causes that it does not include.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
