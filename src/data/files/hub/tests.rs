use super::*;
use proptest::prelude::*;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use std::io::Write;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn address(kind: Kind, owner: &str, name: &str, revision: &str) -> Address {
    Address { kind, owner: owner.into(), name: name.into(), revision: revision.into() }
}

fn listing(files: &[&str], configs: Value) -> Listing {
    let mut files: Vec<String> = files.iter().map(|path| path.to_string()).collect();
    files.sort_unstable();
    Listing { files, configs }
}

#[test]
fn a_location_has_a_kind_a_revision_and_a_path() {
    let (data, model) = (Kind::Dataset, Kind::Model);
    for (location, expected, repository, path) in [
        ("hf:a/b", address(data, "a", "b", "main"), "hf:a/b", None),
        ("hf:a/b/", address(data, "a", "b", "main"), "hf:a/b", None),
        ("hf:a/b:", address(data, "a", "b", "main"), "hf:a/b", Some("")),
        ("hf:datasets/a/b@v1.0", address(data, "a", "b", "v1.0"), "hf:datasets/a/b@v1.0", None),
        ("hf:models/a/b:c/d.json", address(model, "a", "b", "main"), "hf:models/a/b", Some("c/d.json")),
        ("hf:b@refs/pr/1:*", address(data, "", "b", "refs/pr/1"), "hf:b@refs/pr/1", Some("*")),
    ] {
        let found = Parsed::new(location, Kind::Dataset).unwrap();
        assert_eq!(found, Parsed { address: expected, repository, path }, "{location}");
    }
    for wrong in
        ["hf:", "hf:/b", "hf:a/b/c", "hf:a/../b", "hf:a b/c", "hf:a/b@", "hf:a/b@../c", "a/b", "hf://a/b"]
    {
        assert!(Parsed::new(wrong, Kind::Dataset).is_err(), "{wrong}");
    }
}

#[test]
fn parquet_files_are_preferred_where_datasets_expects_them() {
    let of = |files: &[&str]| data_files::of("hf:a/b", &listing(files, Value::Null)).unwrap();
    let others = [".gitattributes", "LICENSE", "README.md", "load.py"];
    let with = |files: &[&str]| of(&[&others[..], files].concat());
    assert_eq!(with(&["data/train-0.parquet", "x.csv", "y.parquet"]), ["data/train-0.parquet"]);
    assert_eq!(
        with(&["test/0.parquet", "train/0.parquet", "de/0.parquet"]),
        ["test/0.parquet", "train/0.parquet"]
    );
    assert_eq!(with(&["a.parquet", "de/0.parquet"]), ["a.parquet"]);
    assert_eq!(with(&["cat/1.png", "dog/.hidden", "dog/2.png"]), ["cat/1.png", "dog/2.png"]);
    let robot = ["data/chunk-000/episode_000000.parquet", "meta/info.json"];
    assert_eq!(with(&robot), robot);
    assert!(with(&[]).is_empty());
}

#[test]
fn a_configuration_names_the_data_files() {
    let files = ["README.md", "de/a.csv", "en/a.csv", "en/old/b.csv", "raw/data/x.parquet", "raw/y.txt"];
    let of = |configs: Value| data_files::of("hf:a/b", &listing(&files, configs));
    let one = |data_files: Value| of(json!([{ "config_name": "one", "data_files": data_files }])).unwrap();
    assert_eq!(one(json!("./en/*.csv")), ["en/a.csv"]);
    assert_eq!(one(json!(["{de,en}/a.csv"])), ["de/a.csv", "en/a.csv"]);
    let splits =
        json!([{ "split": "train", "path": ["en/**", "de/*"] }, { "split": "test", "path": "en/a.csv" }]);
    assert_eq!(one(splits), ["de/a.csv", "en/a.csv", "en/old/b.csv"]);
    assert_eq!(of(json!([{ "config_name": "one", "data_dir": "raw" }])).unwrap(), ["raw/data/x.parquet"]);
    let several = |default: Value| {
        of(json!([
            { "config_name": "en", "data_files": "*.csv", "data_dir": "en" },
            { "config_name": "de", "data_files": "de/*", "default": default },
        ]))
    };
    assert_eq!(several(json!(true)).unwrap(), ["de/a.csv"]);
    let message = several(Value::Null).unwrap_err().to_string();
    assert!(message.contains("found en, de;") && message.ends_with("hf:a/b:en/*.csv"), "{message}");
    let none = of(json!([{ "config_name": "one", "data_files": "fr/*" }])).unwrap_err().to_string();
    assert!(none.contains("names the data files fr/*; no file matches"), "{none}");
}

#[test]
fn a_listing_may_not_lead_out_of_its_repository() {
    assert!(listing(&["a/b", "c"], Value::Null).checked("hf:a/b").is_ok());
    for path in ["../a", "/a", "a/../../b", "a\\b", "c:d"] {
        assert!(listing(&[path], Value::Null).checked("hf:a/b").is_err(), "{path}");
    }
}

#[test]
fn the_cache_keeps_a_listing() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::new(root.path(), &address(Kind::Model, "a", "b", "refs/pr/1"));
    assert_eq!(cache.folder(), root.path().join("models--a--b"));
    let listing = listing(&["a.csv"], json!([{ "config_name": "one" }]));
    assert!(cache.load("refs/pr/1").is_none());
    cache.save("refs/pr/1", COMMIT, &listing).unwrap();
    for revision in ["refs/pr/1", COMMIT] {
        assert_eq!(cache.load(revision), Some((COMMIT.to_string(), listing.clone())), "{revision}");
    }
    assert!(cache.load("main").is_none());
    // A damaged listing is that of the downloaded files, of which there are none.
    std::fs::write(cache.folder().join(format!("listings/{COMMIT}.json")), b"{").unwrap();
    assert!(cache.load(COMMIT).is_none());
    std::fs::write(cache.folder().join("refs/refs/pr/1"), b"../../x").unwrap();
    assert!(cache.load("refs/pr/1").is_none());
}

#[test]
fn a_file_of_a_commit_is_a_link_to_its_content() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::new(root.path(), &address(Kind::Dataset, "a", "b", "main"));
    let mut content = cache.incomplete(|path| std::fs::File::create_new(path)).unwrap();
    content.write_all(b"content").unwrap();
    cache::keep(content, &cache.blob("etag")).unwrap();
    // The second time in place of the first.
    for path in ["a", "b/c/d", "a"] {
        let file = cache.link("etag", COMMIT, path).unwrap();
        assert_eq!(file, cache.snapshot(COMMIT).join(path));
        assert_eq!(std::fs::read(&file).unwrap(), b"content");
        #[cfg(unix)]
        assert!(std::fs::read_link(&file).unwrap().ends_with("../../blobs/etag"), "{path}");
    }
    drop(cache.incomplete(|path| std::fs::File::create_new(path)).unwrap());
    assert_eq!(std::fs::read_dir(cache.folder().join("blobs")).unwrap().count(), 1);
}

#[test]
fn headers_name_a_content_and_the_next_page() {
    let headers = |name: &'static str, value: &'static str| {
        HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))])
    };
    let mut both = headers("etag", "W/\"a-1\"");
    assert_eq!(client::etag(&both).unwrap(), "a-1");
    both.extend(headers("x-linked-etag", "\"b\""));
    assert_eq!(client::etag(&both).unwrap(), "b");
    for wrong in ["", "\"\"", "\"../a\"", "\"a/b\"", "\".\""] {
        assert!(client::etag(&headers("etag", wrong)).is_err(), "{wrong}");
    }
    let links =
        "<https://huggingface.co/a?c=0>; rel=\"first\", <https://huggingface.co/a?r=1&c=%3D>; rel=\"next\"";
    assert_eq!(client::next_page(&headers("link", links)).as_deref(), Some("r=1&c=%3D"));
    assert_eq!(client::next_page(&headers("link", "<https://huggingface.co/a?c=0>; rel=\"first\"")), None);
    assert_eq!(client::next_page(&both), None);
}

/// Any JSON of a few levels, with the names that a header has.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z*{},./]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        let key =
            prop::sample::select(vec!["config_name", "data_dir", "data_files", "default", "path", "split"]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..4).prop_map(|fields| {
                Value::Object(fields.into_iter().map(|(key, value)| (key.to_string(), value)).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn random_locations_cause_no_panic(location in "hf:[a-zü@:/.*]{0,16}") {
        if let Ok(parsed) = Parsed::new(&location, Kind::Dataset) {
            prop_assert!(location.starts_with(parsed.repository));
        }
    }

    #[test]
    fn random_headers_cause_no_panic(configs in any_json()) {
        let listing = listing(&["README.md", "a/b.parquet", "c.csv", "data/train-0.parquet"], configs);
        if let Ok(found) = data_files::of("hf:a/b", &listing) {
            prop_assert!(found.iter().all(|path| listing.files.contains(path)));
        }
    }
}
