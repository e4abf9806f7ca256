//! Data and models of the Hugging Face Hub, from a server on this machine. Each command is a process of its own, because the
//! environment names the server and the cache.

#![cfg(all(
    feature = "remote",
    feature = "text",
    feature = "image",
    feature = "audio",
    feature = "trajectory"
))]

use crate::hub::{COMMIT, Hub, Repository, read_files};
use crate::support::{Ran, ran, smalti};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A folder with a cache, and a server.
struct Place {
    folder: TempDir,
    hub: Hub,
}

impl Place {
    fn new(repositories: Vec<Repository>) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), hub: Hub::start(repositories) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Run a command with more variables.
    fn run_with(&self, variables: &[(&str, &str)], line: &str) -> Ran {
        let mut command = smalti(self.folder.path());
        for name in [
            "HF_HUB_CACHE",
            "HF_HUB_DISABLE_IMPLICIT_TOKEN",
            "HF_HUB_OFFLINE",
            "HF_TOKEN",
            "HF_TOKEN_PATH",
            "HUGGINGFACE_HUB_CACHE",
        ] {
            command.env_remove(name);
        }
        command.env("HF_ENDPOINT", &self.hub.address).env("HF_HOME", self.path("hf"));
        command.env("NO_PROXY", "127.0.0.1,localhost").env("no_proxy", "127.0.0.1,localhost");
        command.envs(variables.iter().copied());
        ran(command, line)
    }

    fn run(&self, line: &str) -> Ran {
        self.run_with(&[], line)
    }

    fn offline(&self, line: &str) -> Ran {
        self.run_with(&[("HF_HUB_OFFLINE", "1")], line)
    }

    /// The message of a command that must fail.
    fn error(&self, line: &str) -> String {
        let ran = self.run(line);
        assert_eq!(ran.code, Some(1), "smalti {line}\n{}", ran.err);
        assert!(!ran.err.contains("panicked"), "smalti {line}\n{}", ran.err);
        ran.err
    }

    /// The folder of a commit in the cache.
    fn snapshot(&self, repository: &str) -> PathBuf {
        self.path("hf/hub").join(repository).join("snapshots").join(COMMIT)
    }
}

/// The rows of each split, as `data check --json` prints them.
fn rows(ran: &Ran) -> Vec<(String, u64)> {
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    let split =
        |split: &Value| (split["split"].as_str().unwrap_or("").to_string(), split["rows"].as_u64().unwrap());
    report["splits"].as_array().unwrap().iter().map(split).collect()
}

fn files(files: &[(&str, &[u8])]) -> Vec<(String, Vec<u8>)> {
    files.iter().map(|(path, bytes)| (path.to_string(), bytes.to_vec())).collect()
}

/// A data set of two tables; that of the training rows is large.
fn words() -> Repository {
    let train: String = (0..100).map(|i| format!("train number {i},{}\n", ["a", "b"][i % 2])).collect();
    Repository {
        id: "datasets/owner/words",
        files: files(&[
            (".gitattributes", b"*.csv text\n"),
            ("README.md", b"# Words\n"),
            ("test.csv", b"text,label\none,a\ntwo,b\n"),
            ("train.csv", format!("text,label\n{train}").as_bytes()),
        ]),
        ..Repository::default()
    }
}

/// A data set of two configurations.
fn languages() -> Repository {
    Repository {
        id: "datasets/owner/languages",
        files: files(&[
            ("README.md", b"---\n---\n"),
            ("de/train.csv", b"text,label\neins,a\nzwei,b\n"),
            ("en/train.csv", b"text,label\none,a\ntwo,b\nthree,a\n"),
        ]),
        card: json!({ "configs": [
            { "config_name": "en", "data_files": "en/*.csv" },
            { "config_name": "de", "data_files": [{ "split": "train", "path": "de/*.csv" }] },
        ]}),
        ..Repository::default()
    }
}

#[test]
fn a_file_of_a_data_set_is_downloaded_once() {
    let place = Place::new(vec![words()]);
    let line = "data check hf:owner/words:train.csv --json";
    assert_eq!(rows(&place.run(line)), [("".to_string(), 100)]);
    assert_eq!(read_files(&place.hub.take()), ["train.csv"]);
    let found = std::fs::read(place.snapshot("datasets--owner--words").join("train.csv")).unwrap();
    assert_eq!(found, words().files[3].1);
    assert_eq!(rows(&place.run(&line.replace("hf:", "hf:datasets/"))), [("".to_string(), 100)]);
    assert!(read_files(&place.hub.take()).is_empty(), "the file is in the cache");
    let reference = place.path("hf/hub/datasets--owner--words/refs/main");
    assert_eq!(std::fs::read_to_string(reference).unwrap(), COMMIT);
}

#[test]
fn the_data_files_of_a_repository_are_found() {
    let place = Place::new(vec![words()]);
    let mut found = rows(&place.run("data check hf:owner/words --json"));
    found.sort();
    assert_eq!(found, [("test".to_string(), 2), ("train".to_string(), 100)]);
    assert_eq!(read_files(&place.hub.take()), ["test.csv", "train.csv"]);
    let tagged = place.run("data check hf:owner/words@v1:t*.csv --json");
    assert_eq!(rows(&tagged).len(), 2, "{}", tagged.out);
}

#[test]
fn members_of_an_archive_on_the_hub_are_rows() {
    let shard = |name: &str| {
        let mut tar = tar::Builder::new(Vec::new());
        for (ending, bytes) in [("txt", format!("text {name}")), ("cls", "1".into())] {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, format!("{name}.{ending}"), bytes.as_bytes()).unwrap();
        }
        tar.into_inner().unwrap()
    };
    let shards = Repository {
        id: "datasets/owner/shards",
        files: files(&[
            ("README.md", b"# Shards\n"),
            ("shards/test-000.tar", &shard("c")),
            ("shards/train-000.tar", &shard("a")),
            ("shards/train-001.tar", &shard("b")),
        ]),
        ..Repository::default()
    };
    let place = Place::new(vec![shards]);
    let mut found = rows(&place.run("data check hf:owner/shards --json"));
    found.sort();
    assert_eq!(found, [("test".to_string(), 1), ("train".to_string(), 2)]);
    let one = place.run("tokenize hf:owner/shards:shards/test-000.tar/c.txt");
    assert_eq!(one.code, Some(0), "{}", one.err);
    let pattern = place.run("data check hf:owner/shards:shards/train-*.tar --json");
    assert_eq!(rows(&pattern), [("train".to_string(), 2)]);
}

#[test]
fn one_of_several_configurations_must_be_named() {
    let place = Place::new(vec![languages()]);
    let several = place.error("data check hf:owner/languages");
    for part in ["hf:owner/languages: ", "found en, de", "hf:owner/languages:en/*.csv"] {
        assert!(several.contains(part), "{several}");
    }
    assert_eq!(rows(&place.run("data check hf:owner/languages:de/*.csv --json")), [("train".to_string(), 2)]);
    assert_eq!(read_files(&place.hub.take()), ["de/train.csv"]);
}

#[test]
fn the_cache_is_read_without_the_hub() {
    let place = Place::new(vec![words()]);
    let (one, all) = ("data check hf:owner/words:train.csv --json", "data check hf:owner/words --json");
    let nothing = place.offline(one);
    assert_eq!(nothing.code, Some(1));
    assert!(nothing.err.contains("HF_HUB_OFFLINE is set; no revision main of it is in "), "{}", nothing.err);
    rows(&place.run(one));
    place.hub.take();
    let again = place.offline(one);
    assert_eq!(rows(&again), [("".to_string(), 100)]);
    assert!(place.hub.take().is_empty(), "no request is sent");
    assert_eq!(again.err.matches("note: hf:owner/words: HF_HUB_OFFLINE is set").count(), 1, "{}", again.err);
    // The listing is in the cache too, so a file that was never downloaded is an error.
    let part = place.offline(all);
    assert!(
        part.code == Some(1) && part.err.contains("hf:owner/words:test.csv: not in the cache"),
        "{}",
        part.err
    );
    rows(&place.run(all));
    // A port without a listener.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let unreachable = place.run_with(&[("HF_ENDPOINT", &closed)], all);
    assert_eq!(rows(&unreachable).len(), 2);
    assert!(
        unreachable.err.contains("note: hf:owner/words: the Hub cannot be reached"),
        "{}",
        unreachable.err
    );
    // Other tools write no listing.
    std::fs::remove_dir_all(place.path("hf/hub/datasets--owner--words/listings")).unwrap();
    assert_eq!(rows(&place.offline(all)).len(), 2);
}

#[test]
fn a_token_is_sent() {
    let gated = Repository { token: Some("secret"), ..words() };
    let place = Place::new(vec![gated]);
    let line = "data check hf:owner/words:test.csv --json";
    let refused = place.error(line);
    assert!(
        refused.contains("the dataset was not found, or is gated") && refused.contains("HF_TOKEN"),
        "{refused}"
    );
    let wrong = place.run_with(&[("HF_TOKEN", "wrong")], line);
    assert_eq!(wrong.code, Some(1), "{}", wrong.err);
    place.hub.take();
    assert_eq!(rows(&place.run_with(&[("HF_TOKEN", "secret")], line)), [("".to_string(), 2)]);
    let requests = place.hub.take();
    assert!(
        requests.len() >= 2 && requests.iter().all(|request| request.ends_with(" secret")),
        "{requests:?}"
    );
    std::fs::write(place.path("hf/token"), "secret\n").unwrap();
    assert_eq!(rows(&place.run("data check hf:owner/words:train.csv --json")), [("".to_string(), 100)]);
    // The server of large files does not get the token.
    let requests = place.hub.take();
    let (cdn, hub): (Vec<&String>, Vec<_>) = requests.iter().partition(|request| request.contains(" /cdn/"));
    assert_eq!(cdn.len(), 2, "{requests:?}");
    assert!(!cdn.iter().any(|request| request.contains("secret")), "{requests:?}");
    assert!(hub.iter().all(|request| request.ends_with(" secret")), "{requests:?}");
}

#[test]
fn what_the_hub_does_not_have_is_named() {
    let unsafe_paths = Repository {
        id: "datasets/owner/unsafe",
        files: files(&[("../train.csv", b"text\na\n")]),
        ..Repository::default()
    };
    let place = Place::new(vec![words(), unsafe_paths]);
    for (line, parts) in [
        (
            "data check hf:owner/none",
            &["hf:owner/none: the dataset was not found, or is gated", "HF_TOKEN"][..],
        ),
        ("data check hf:owner/words@v9", &["hf:owner/words@v9: no revision \"v9\""]),
        ("data check hf:owner/words:trian.csv", &["hf:owner/words:trian.csv: not found", "train.csv"]),
        ("data check hf:owner/words:none/*.csv", &["hf:owner/words:none: not found"]),
        ("data check hf:owner/words/train.csv", &["expected hf:OWNER/NAME", "after a colon"]),
        ("data check hf:", &["expected hf:OWNER/NAME"]),
        ("data check hf:owner/words@../x", &["leads out of its folder"]),
        ("data check hf:owner/unsafe", &["../train.csv", "leads out of its folder"]),
        ("import hf:owner/words --out run", &["hf:owner/words: the model was not found, or is gated"]),
        ("import hf:datasets/owner/words --out run", &["expected the whole repository of a model"]),
    ] {
        let error = place.error(line);
        parts
            .iter()
            .for_each(|part| assert!(error.contains(part), "smalti {line}\nexpected {part:?} in: {error}"));
    }
    assert!(!place.path("run").exists());
}

#[test]
fn an_error_in_place_of_a_file_is_not_kept() {
    let size = format!("expected {} bytes, found 8;", words().files[3].1.len());
    for (broken, expected, n_rows) in [
        ("test.csv", "the Hub cannot be reached: the server answered with status 500;", 2),
        ("train.csv", size.as_str(), 100),
    ] {
        let place = Place::new(vec![Repository { broken: Some(broken), ..words() }]);
        let line = &format!("data check hf:owner/words:{broken} --json");
        let error = place.error(line);
        assert!(error.contains(&format!("hf:owner/words:{broken}: {expected}")), "{error}");
        assert!(!place.snapshot("datasets--owner--words").join(broken).exists());
        let blobs = std::fs::read_dir(place.path("hf/hub/datasets--owner--words/blobs"));
        assert_eq!(blobs.unwrap().count(), 0);
        let healthy = Hub::start(vec![words()]);
        let again = place.run_with(&[("HF_ENDPOINT", &healthy.address)], line);
        assert_eq!(rows(&again), [("".to_string(), n_rows)]);
    }
}

#[test]
fn a_file_that_several_processes_need_is_downloaded_once() {
    let place = Place::new(vec![words()]);
    let run = || rows(&place.run("data check hf:owner/words:train.csv --json"));
    std::thread::scope(|scope| {
        for process in [run; 4].map(|run| scope.spawn(run)) {
            assert_eq!(process.join().unwrap(), [("".to_string(), 100)]);
        }
    });
    assert_eq!(read_files(&place.hub.take()), ["train.csv"]);
}

/// A model with weights in formats that are not needed too.
fn model() -> Repository {
    let file = |name: &str| std::fs::read(Path::new("tests/checkpoints/gpt2-untied").join(name)).unwrap();
    Repository {
        id: "models/owner/tiny",
        files: files(&[
            ("README.md", b"# Tiny\n"),
            ("config.json", &file("config.json")),
            ("model.safetensors", &file("model.safetensors")),
            ("onnx/config.json", b"{}"),
            ("onnx/model.onnx", b"onnx"),
            ("pytorch_model.bin", b"pickle"),
            ("tf_model.h5", b"tensorflow"),
        ]),
        ..Repository::default()
    }
}

#[test]
fn a_model_is_imported() {
    let place = Place::new(vec![model()]);
    let imported = place.run("import hf:owner/tiny --out run");
    assert_eq!(imported.code, Some(0), "{}", imported.err);
    assert_eq!(read_files(&place.hub.take()), ["config.json", "model.safetensors"]);
    assert_eq!(place.run("info run").code, Some(0));
    let again = place.offline("import hf:owner/tiny@main --out again");
    assert_eq!(again.code, Some(0), "{}", again.err);
    assert!(again.err.contains("note: hf:owner/tiny@main: HF_HUB_OFFLINE is set"), "{}", again.err);
    assert!(place.hub.take().is_empty());
}

#[test]
fn weights_in_several_files_are_downloaded_by_their_index() {
    let weights = model().files.remove(2).1;
    let index = json!({ "weight_map": { "every": "model-00001-of-00001.safetensors" } }).to_string();
    let mut sharded = model();
    sharded.files.retain(|(path, _)| path != "model.safetensors");
    sharded.files.push(("model-00001-of-00001.safetensors".into(), weights));
    sharded.files.push(("model.safetensors.index.json".into(), index.into_bytes()));
    let place = Place::new(vec![sharded]);
    let imported = place.run("import hf:owner/tiny --out run");
    assert_eq!(imported.code, Some(0), "{}", imported.err);
    let expected = ["config.json", "model-00001-of-00001.safetensors", "model.safetensors.index.json"];
    assert_eq!(read_files(&place.hub.take()), expected);
}
