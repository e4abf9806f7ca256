//! A server for tests that speaks the part of the Hugging Face Hub's interface that reading needs.

#![allow(dead_code, reason = "not every set of features has the tests")]

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// The commit of every repository; its names are `main`, `v1` and itself.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// Files of this many bytes or more are redirected to another server, as large files are on the Hub.
const LARGE: usize = 1000;

/// A repository.
#[derive(Clone, Default)]
pub struct Repository {
    /// `datasets/OWNER/NAME` or `models/OWNER/NAME`.
    pub id: &'static str,
    /// The files by their paths.
    pub files: Vec<(String, Vec<u8>)>,
    /// The header of README.md.
    pub card: Value,
    /// The token that a request must have, if the repository is gated.
    pub token: Option<&'static str>,
    /// A file in place of which the server sends an error; if the file is large, as a success.
    pub broken: Option<&'static str>,
}

/// A server on a local port; it ends with the process.
pub struct Hub {
    /// `http://127.0.0.1:PORT`
    pub address: String,
    /// The requests so far: method, path and token.
    requests: Arc<Mutex<Vec<String>>>,
}

impl Hub {
    /// Serve these repositories.
    pub fn start(repositories: Vec<Repository>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (repositories, requests) = (Arc::new(repositories), Arc::new(Mutex::new(Vec::new())));
        let (seen, cdn) = (requests.clone(), address.replace("127.0.0.1", "localhost"));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (repositories, seen, cdn) = (repositories.clone(), seen.clone(), cdn.clone());
                std::thread::spawn(move || serve(stream.unwrap(), &repositories, &seen, &cdn));
            }
        });
        Self { address, requests }
    }

    /// The requests so far, which are forgotten.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }
}

/// The names of the files that some requests read.
pub fn read_files(requests: &[String]) -> Vec<String> {
    let file = |request: &String| {
        let path = request.strip_prefix("GET ")?.split(' ').next()?;
        Some(path.split_once(&format!("/resolve/{COMMIT}/"))?.1.to_string())
    };
    let mut files: Vec<String> = requests.iter().filter_map(file).collect();
    files.sort();
    files
}

/// Answer the one request of a connection.
fn serve(stream: TcpStream, repositories: &[Repository], seen: &Mutex<Vec<String>>, cdn: &str) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(request) = lines.next() else { return };
    let mut token = String::new();
    for header in lines.take_while(|line| !line.is_empty()) {
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("authorization")
        {
            token = value.trim().trim_start_matches("Bearer ").to_string();
        }
    }
    let mut words = request.split(' ');
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let path = target.split('?').next().unwrap_or("");
    seen.lock().unwrap().push(format!("{method} {path} {token}"));
    let Answer { status, headers, body } = answer(path, &token, repositories, cdn);
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n", body.len());
    let body = if method == "HEAD" { &[][..] } else { &body[..] };
    let mut stream = stream;
    // The client may have closed the connection.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
}

struct Answer {
    status: &'static str,
    headers: String,
    body: Vec<u8>,
}

impl Answer {
    fn error(status: &'static str, code: &str) -> Self {
        let headers = format!("X-Error-Code: {code}\r\nX-Error-Message: {code}\r\n");
        Self { status, headers, body: json!({ "error": code }).to_string().into_bytes() }
    }
}

fn answer(path: &str, token: &str, repositories: &[Repository], cdn: &str) -> Answer {
    // The server of large files redirects once more.
    if let Some(found) = path.strip_prefix("/cdn/moved/") {
        let headers = format!("Location: /cdn/{found}\r\n");
        return Answer { status: "302 Found", headers, body: vec![] };
    }
    if let Some(found) = path.strip_prefix("/cdn/") {
        let body = |repository: &Repository| {
            let path = found.strip_prefix(repository.id)?.strip_prefix('/')?;
            let body = file(repository, path)?;
            Some(if repository.broken == Some(path) { b"an error".to_vec() } else { body })
        };
        return match repositories.iter().find_map(body) {
            Some(body) => Answer { status: "200 OK", headers: String::new(), body },
            None => Answer::error("404 Not Found", "EntryNotFound"),
        };
    }
    // The addresses of models' files have no `models/`.
    let (id, rest) = match path.strip_prefix("/api/") {
        Some(api) => split(api, "/revision/"),
        None if path.starts_with("/datasets/") => split(&path[1..], "/resolve/"),
        None => split(&format!("models{path}"), "/resolve/"),
    };
    let Some(repository) = repositories.iter().find(|repository| repository.id == id) else {
        return Answer::error("401 Unauthorized", "RepoNotFound");
    };
    if repository.token.is_some_and(|expected| token != expected) {
        return Answer::error("401 Unauthorized", "GatedRepo");
    }
    let (revision, file_path) = rest.split_once('/').unwrap_or((rest.as_str(), ""));
    if !["main", "v1", COMMIT].contains(&revision) {
        return Answer::error("404 Not Found", "RevisionNotFound");
    }
    if path.starts_with("/api/") {
        return listing(repository);
    }
    let Some(body) = file(repository, file_path) else {
        return Answer::error("404 Not Found", "EntryNotFound");
    };
    if repository.broken == Some(file_path) && body.len() < LARGE {
        return Answer::error("500 Internal Server Error", "broken");
    }
    let etag = body.iter().fold(14_695_981_039_346_656_037_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(1_099_511_628_211)
    });
    let headers = format!("X-Repo-Commit: {COMMIT}\r\nETag: \"{etag:016x}\"\r\n");
    match body.len() {
        size if size >= LARGE => Answer {
            status: "302 Found",
            headers: format!(
                "{headers}X-Linked-Size: {size}\r\nX-Linked-Etag: \"{etag:016x}\"\r\nLocation: {cdn}/cdn/moved/{id}/{file_path}\r\n"
            ),
            body: vec![],
        },
        _ => Answer { status: "200 OK", headers, body },
    }
}

/// A path before and after a part of it.
fn split(path: &str, at: &str) -> (String, String) {
    let (before, after) = path.split_once(at).unwrap_or((path, ""));
    (before.to_string(), after.to_string())
}

fn file(repository: &Repository, path: &str) -> Option<Vec<u8>> {
    repository.files.iter().find(|(known, _)| known == path).map(|(_, bytes)| bytes.clone())
}

fn listing(repository: &Repository) -> Answer {
    let siblings: Vec<Value> =
        repository.files.iter().map(|(path, _)| json!({ "rfilename": path })).collect();
    let id = repository.id.split_once('/').map_or("", |(_, id)| id);
    let info = json!({ "id": id, "sha": COMMIT, "siblings": siblings, "cardData": repository.card });
    let headers = "Content-Type: application/json\r\n".to_string();
    Answer { status: "200 OK", headers, body: info.to_string().into_bytes() }
}
