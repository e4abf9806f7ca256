//! A file server for tests, with ranges and faults, and the part of S3's interface that reading needs (GET, HEAD and
//! ListObjectsV2, by path).

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// The fault of a server's answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// No fault.
    None,
    /// The first requests, as many as this, get status 503.
    Busy(usize),
    /// The connection closes after this many bytes of a GET's body.
    Cut(usize),
    /// Ranges are ignored.
    NoRanges,
    /// Every request gets status 403.
    Forbidden,
}

/// A server on a local port; it ends with the process.
pub struct Server {
    /// `http://127.0.0.1:PORT`
    pub address: String,
    /// The requests so far: method, path and range.
    pub requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Serve these files by their paths.
    pub fn start(files: &[(&str, &[u8])], fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let files: BTreeMap<String, Vec<u8>> =
            files.iter().map(|(path, bytes)| (path.to_string(), bytes.to_vec())).collect();
        let (files, requests) = (Arc::new(files), Arc::new(Mutex::new(Vec::new())));
        let seen = requests.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (files, seen) = (files.clone(), seen.clone());
                std::thread::spawn(move || answer_all(stream.unwrap(), &files, &seen, fault));
            }
        });
        Self { address, requests }
    }

    /// The number of requests with this method.
    pub fn count(&self, method: &str) -> usize {
        self.requests.lock().unwrap().iter().filter(|request| request.starts_with(method)).count()
    }
}

/// Answer the requests of one connection.
fn answer_all(stream: TcpStream, files: &BTreeMap<String, Vec<u8>>, seen: &Mutex<Vec<String>>, fault: Fault) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let mut stream = stream;
    while let Some(Ok(request)) = lines.next() {
        let mut range = None;
        for header in lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty()) {
            if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("range")
            {
                range = value.trim().strip_prefix("bytes=").map(str::to_string);
            }
        }
        let number = {
            let mut seen = seen.lock().unwrap();
            seen.push(format!("{request} {}", range.as_deref().unwrap_or("whole")));
            seen.len()
        };
        let range = range.filter(|_| fault != Fault::NoRanges);
        let mut words = request.split(' ');
        let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        // Google Cloud Storage percent-encodes every character that is not a letter or digit.
        let path = path.trim_start_matches('/').replace("%2F", "/").replace("%2D", "-").replace("%2E", ".");
        let path = path.as_str();
        let answer = match fault {
            Fault::Busy(first) if number <= first => status("503 Service Unavailable"),
            Fault::Forbidden => status("403 Forbidden"),
            _ if query.contains("list-type=2") => listing(path, query, files),
            _ => file(files.get(path), range.as_deref()),
        };
        let (head, body) = answer;
        let end = if let Fault::Cut(at) = fault { at.min(body.len()) } else { body.len() };
        let sent = if method == "HEAD" { &[][..] } else { &body[..end] };
        if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(sent)).is_err() {
            return;
        }
        if sent.len() < body.len() && method != "HEAD" {
            let _ = stream.shutdown(std::net::Shutdown::Both);
            return;
        }
    }
}

type Answer = (String, Vec<u8>);

fn status(status: &str) -> Answer {
    (format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"), vec![])
}

const DATE: &str = "Wed, 01 Jan 2025 00:00:00 GMT";

fn file(bytes: Option<&Vec<u8>>, range: Option<&str>) -> Answer {
    let Some(bytes) = bytes else { return status("404 Not Found") };
    let ends = range.and_then(|range| range.split_once('-'));
    let Some((first, last)) = ends else { return whole("200 OK", "", bytes.clone()) };
    let first: usize = first.parse().unwrap();
    let end = last.parse::<usize>().map_or(bytes.len(), |last| (last + 1).min(bytes.len()));
    if first >= bytes.len() {
        return status("416 Range Not Satisfiable");
    }
    let range = format!("Content-Range: bytes {first}-{}/{}\r\n", end - 1, bytes.len());
    whole("206 Partial Content", &range, bytes[first..end].to_vec())
}

fn whole(status: &str, headers: &str, body: Vec<u8>) -> Answer {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nLast-Modified: {DATE}\r\nETag: \"1\"\r\n\
         Accept-Ranges: bytes\r\n{headers}\r\n"
    );
    (head, body)
}

/// The answer of S3 to ListObjectsV2: all objects of a bucket below a prefix.
fn listing(bucket: &str, query: &str, files: &BTreeMap<String, Vec<u8>>) -> Answer {
    let prefix = query.split('&').find_map(|pair| pair.strip_prefix("prefix=")).unwrap_or("");
    let prefix = prefix.replace("%2F", "/");
    let bucket = bucket.trim_end_matches('/');
    let objects: String = files
        .iter()
        .filter_map(|(path, bytes)| Some((path.strip_prefix(bucket)?.strip_prefix('/')?, bytes)))
        .filter(|(key, _)| key.starts_with(&prefix))
        .map(|(key, bytes)| {
            format!(
                "<Contents><Key>{key}</Key><LastModified>2025-01-01T00:00:00.000Z</LastModified>\
                 <ETag>\"1\"</ETag><Size>{}</Size></Contents>",
                bytes.len()
            )
        })
        .collect();
    let xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult><Name>{bucket}</Name>\
         <IsTruncated>false</IsTruncated>{objects}</ListBucketResult>"
    );
    whole("200 OK", "", xml.into_bytes())
}
