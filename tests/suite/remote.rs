//! Data over HTTP and S3, from a server on this machine.

#![cfg(feature = "remote")]

use crate::server;
use crate::support;

use serde_json::Value;
use server::{Fault, Server};
use smalti::data::{DataError, Files, glob, read, read_text};
use smalti::table::{Source, SourceRegistry, Table};
use smalti_contract::Value as Field;
use std::process::Command;
use std::sync::Arc;
use support::{ran, smalti};

fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, *bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

/// Two shards with an image each, and a file of class names.
fn shards() -> Vec<(String, Vec<u8>)> {
    let shard = |label: &[u8]| tar(&[("a.jpg", b"pixels"), ("a.cls", label)]);
    vec![
        ("d/train-000.tar".into(), shard(b"0")),
        ("d/train-001.tar".into(), shard(b"1")),
        ("d/classes.txt".into(), b"cat\ndog\n".to_vec()),
    ]
}

fn serve(files: &[(String, Vec<u8>)], fault: Fault) -> Server {
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (path.as_str(), &bytes[..])).collect();
    Server::start(&files, fault)
}

fn table(location: String) -> Result<Arc<dyn Table>, DataError> {
    SourceRegistry::builtin().open(&Source::new(location))
}

/// The bytes of a file in a field.
fn bytes(table: &dyn Table, row: usize, field: &str) -> Vec<u8> {
    match table.value(row, field).unwrap() {
        Field::File(file) => file.bytes,
        other => panic!("{}", other.describe()),
    }
}

fn message<T>(result: Result<T, DataError>) -> String {
    result.err().expect("an error").to_string()
}

#[test]
fn files_and_members_of_archives_are_read_over_http() {
    let large: Vec<u8> = (0..3_000_000_u32).map(|i| (i * i / 7) as u8).collect();
    let files = [
        ("text.txt".to_string(), b"hello".to_vec()),
        ("with space.txt".to_string(), b"space".to_vec()),
        ("x.tar".to_string(), tar(&[("large", &large), ("in/small.txt", b"small"), ("last", b"last")])),
    ];
    let files = files.map(|(path, bytes)| (path.replace(' ', "%20"), bytes));
    let server = serve(&files, Fault::None);
    let at = |path: &str| format!("{}/{path}", server.address);
    assert_eq!(read_text(&at("text.txt")).unwrap(), "hello");
    assert_eq!(read_text(&at("with%20space.txt")).unwrap(), "space");
    assert_eq!(read_text(&at("x.tar/in/small.txt")).unwrap(), "small");
    let archive = Files::open(&at("x.tar")).unwrap();
    assert_eq!(archive.list(), ["in/small.txt", "large", "last"]);
    assert!(archive.read("large").unwrap() == large);
    assert_eq!(archive.read("last").unwrap(), b"last");
    assert!(server.count("GET") < 20, "{:?}", server.requests.lock().unwrap());
    let whole = server
        .requests
        .lock()
        .unwrap()
        .iter()
        .filter(|r| r.starts_with("GET") && r.ends_with("whole"))
        .count();
    assert_eq!(whole, 0, "only ranges are requested");
}

#[test]
fn shards_over_http_are_found_by_a_brace_pattern() {
    let server = serve(&shards(), Fault::None);
    let shards = table(format!("{}/d/train-{{000..001}}.tar", server.address)).unwrap();
    assert_eq!(shards.len(), 2);
    assert_eq!(shards.classes("cls").unwrap(), ["cat", "dog"]);
    assert_eq!(bytes(&*shards, 1, "jpg"), b"pixels");
    let folder = message(table(format!("{}/d", server.address)));
    assert!(folder.contains("not found") && folder.contains("{000..127}"), "{folder}");
    assert!(glob::expand(&format!("{}/d/*.tar", server.address)).is_err());
}

#[test]
fn a_manifest_over_http_refers_to_files_beside_it() {
    let files = [
        ("m/manifest.csv".to_string(), b"path,label\na/1.png,x\nb/2.png,y\n".to_vec()),
        ("m/a/1.png".to_string(), b"one".to_vec()),
        ("m/b.tar".to_string(), tar(&[("2.png", b"two")])),
    ];
    let server = serve(&files, Fault::None);
    let rows = table(format!("{}/m/manifest.csv", server.address)).unwrap();
    let read = |row| bytes(&*rows, row, "path");
    assert_eq!((read(0), read(1)), (b"one".to_vec(), b"two".to_vec()));
    assert!(matches!(table(format!("{}/m/none.tsv", server.address)), Err(DataError::Missing { .. })));
}

#[test]
fn a_request_to_a_busy_server_is_retried() {
    let server = serve(&shards(), Fault::Busy(2));
    assert_eq!(read_text(&format!("{}/d/classes.txt", server.address)).unwrap(), "cat\ndog\n");
    assert!(server.requests.lock().unwrap().len() >= 4);
}

#[test]
fn faults_of_a_server_are_named() {
    let of = |fault| format!("{}/d/train-000.tar", serve(&shards(), fault).address);
    let forbidden = message(read(&of(Fault::Forbidden)));
    assert!(forbidden.contains("train-000.tar: ") && forbidden.contains("403"), "{forbidden}");
    let ranges = message(Files::open(&of(Fault::NoRanges)));
    assert!(ranges.contains("train-000.tar") && ranges.to_lowercase().contains("range"), "{ranges}");
    let cut = message(read(&of(Fault::Cut(0))));
    assert!(cut.contains("train-000.tar: "), "{cut}");
    assert_eq!(read(&of(Fault::Cut(1000))).unwrap().len(), 3072, "the rest of a cut answer is requested");
    let missing = message(read(&format!("{}/none", serve(&shards(), Fault::None).address)));
    assert!(missing.contains("/none: not found; expected a file"), "{missing}");
    // A port without a listener.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = format!("http://{}/x", listener.local_addr().unwrap());
    drop(listener);
    let refused = message(read(&closed));
    assert!(refused.contains(&closed) && refused.contains("refused"), "{refused}");
}

/// A `smalti` command with this server as S3 and Google Cloud Storage.
fn with_s3(server: &Server, folder: &std::path::Path) -> Command {
    let mut command = smalti(folder);
    command.envs([
        ("GOOGLE_BASE_URL", &*server.address),
        ("GOOGLE_SKIP_SIGNATURE", "true"),
        ("AWS_ENDPOINT_URL", &*server.address),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", "us-east-1"),
    ]);
    command
}

#[test]
#[cfg(feature = "text")]
fn a_run_trains_on_text_on_s3() {
    let text = support::text().into_bytes();
    let server = serve(
        &[("bucket/texts/a.txt".into(), text.clone()), ("bucket/texts/b/c.txt".into(), text)],
        Fault::None,
    );
    let folder = tempfile::tempdir().unwrap();
    let line = format!(
        "train text {} --set data.source=s3://bucket/texts/**/*.txt --set outputs.text.context=16 --set train.max_steps=3 --json",
        support::TINY
    );
    let trained = ran(with_s3(&server, folder.path()), &line);
    assert_eq!(trained.code, Some(0), "{}", trained.err);
    let said: Value = serde_json::from_str(&trained.out).unwrap();
    assert_eq!(said["step"], 3);
}

#[test]
#[cfg(feature = "text")]
fn a_published_vocabulary_is_read_over_http() {
    use smalti::registry::Modalities;
    use smalti::sample::{Composition, Start};
    let words = b"[PAD]\n[UNK]\n[CLS]\n[SEP]\nthe\nlow\n##er\n".to_vec();
    let files = [
        ("v/vocab.txt".to_string(), words.clone()),
        ("v/model.tar".to_string(), tar(&[("in/vocab.txt", &words)])),
        ("v/encoder.json".to_string(), b"{}".to_vec()),
    ];
    let server = serve(&files, Fault::None);
    let open = |location: &str| {
        let settings = serde_json::json!({
            "data": { "source": "builtin:touchtone.tar" },
            "outputs": { "text": {
                "head": "generate", "modality": "text",
                "vocabulary": { "file": format!("{}/{location}", server.address) },
            } },
        });
        let settings = serde_json::from_value(settings).unwrap();
        let opened = Composition::open(("", 1.0), &settings, &Modalities::builtin(), Start::New);
        opened.map(|opened| opened.task.parts()[0].base_vocabulary).map_err(|e| e.to_string())
    };
    for location in ["v/vocab.txt", "v/model.tar/in", "v/model.tar/in/vocab.txt"] {
        assert_eq!(open(location), Ok(7), "{location}");
    }
    let missing = open("v/encoder.json").unwrap_err();
    assert!(missing.contains("encoder.json: not found; expected vocab.bpe or merges.txt"), "{missing}");
    let none = open("none").unwrap_err();
    assert!(none.contains("/none: not found; expected a vocabulary: tokenizer.json"), "{none}");
}

#[test]
#[cfg(feature = "image")]
fn shards_on_s3_are_found_by_pattern_and_folder() {
    use smalti_image::{Image, write_jpeg};
    let image = |grey| write_jpeg(&Image::new(8, 8, 3, vec![grey; 192]).unwrap(), 90).unwrap();
    let shard = |label: &[u8]| tar(&[("a.jpg", &image(label[0])), ("a.cls", label)]);
    let files = [
        ("bucket/d/train-000.tar".to_string(), shard(b"0")),
        ("bucket/d/train-001.tar".to_string(), shard(b"1")),
    ];
    let server = serve(&files, Fault::None);
    let folder = tempfile::tempdir().unwrap();
    let on_s3 = ["s3://bucket/d/train-*.tar", "s3://bucket/d/train-{000..001}.tar", "s3://bucket/d"];
    for location in on_s3.into_iter().chain(["gs://bucket/d/train-*.tar", "gs://bucket/d"]) {
        let checked = ran(with_s3(&server, folder.path()), &format!("data check {location} --json"));
        assert_eq!(checked.code, Some(0), "{location}: {}", checked.err);
        let said: Value = serde_json::from_str(&checked.out).unwrap();
        assert_eq!(said["splits"][0]["rows"], 2, "{location}");
    }
    let missing = ran(with_s3(&server, folder.path()), "data check s3://bucket/none.txt");
    assert!(
        missing.code == Some(1) && missing.err.contains("s3://bucket/none.txt: not found"),
        "{}",
        missing.err
    );
}
