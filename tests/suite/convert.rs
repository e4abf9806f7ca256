//! `smalti data convert`: its output, messages and exit codes.
#![cfg(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]

use crate::commands;

use crate::files::wav;
use commands::{at, bmp, folder, json, printed, refusal, smalti};
use serde_json::json;
use std::fs;

#[test]
fn digits_become_shards_that_are_read_again() {
    let place = folder(&[]);
    let shards = at(&place, "shards");
    let line = ["data", "convert", "builtin:digits", &shards, "--rows-per-shard", "1000"];
    let shown = printed(&line);
    assert!(shown.contains("1797 rows in 3 shards"), "{shown}");
    assert!(fs::exists(place.path().join("shards/train-000001.tar")).unwrap());
    let again = json(&line);
    assert_eq!(again["conversion"]["kept"], 3);
    let found = json(&["data", "check", &at(&place, "shards/*.tar")]);
    let rows: Vec<_> =
        found["splits"].as_array().unwrap().iter().map(|split| split["rows"].clone()).collect();
    assert_eq!(rows, [json!(1437), json!(360)]);
    let file = at(&place, "test.parquet");
    assert!(
        printed(&["data", "convert", "builtin:digits", &file, "--split", "test"])
            .contains("360 rows in 1 shard")
    );
    assert_eq!(json(&["data", "check", &file])["splits"][0]["rows"], 360);
}

/// The names of the fields of a table, in order.
fn fields(path: &str) -> Vec<String> {
    let found = json(&["data", "check", path]);
    let fields = found["splits"][0]["fields"].as_array().unwrap().iter();
    let mut names: Vec<String> = fields.map(|field| field["field"].as_str().unwrap().to_string()).collect();
    names.sort();
    names
}

#[test]
fn fields_keep_their_names_from_webdataset_to_webdataset() {
    let clip = wav(8000, 8, 1, 16);
    let image = bmp();
    let row: [(&str, &[u8]); 8] = [
        ("bmp", &image),
        ("left.bmp", &image),
        ("wav", &clip),
        ("cls", b"1"),
        ("count", b"12"),
        ("transcript", b"a red square"),
        ("caption.txt", b"red"),
        ("json", br#"{"ink": 0.5, "label": "a"}"#),
    ];
    let names: Vec<String> = row.iter().map(|(ending, _)| format!("in/0001.{ending}")).collect();
    let files: Vec<(&str, &[u8])> =
        names.iter().zip(row).map(|(name, (_, bytes))| (name.as_str(), bytes)).collect();
    let place = folder(&files);
    let (source, tars) = (at(&place, "in"), at(&place, "tars"));
    let (table, again) = (at(&place, "table.parquet"), at(&place, "again"));
    for (source, dest) in [(&source, &tars), (&tars, &table), (&table, &again)] {
        printed(&["data", "convert", source, dest]);
    }
    let mut expected: Vec<String> = row[..7].iter().map(|(ending, _)| ending.to_string()).collect();
    expected.extend(["json.ink", "json.label"].map(String::from));
    expected.sort();
    for path in [&source, &tars, &table, &again] {
        let found: Vec<String> = fields(path).into_iter().filter(|field| field != "split").collect();
        assert_eq!(found, expected, "{path}");
    }
    let shown = json(&["data", "convert", &table, &again]);
    assert!(shown["conversion"]["fields"].as_array().unwrap().contains(&json!(["wav", "wav"])), "{shown}");
}

#[test]
fn a_log_becomes_parquet() {
    let place = folder(&[]);
    let file = at(&place, "log.parquet");
    let fields = "observations,actions,rewards";
    printed(&["data", "convert", "builtin:cartpole-mixed.npz", &file, "--fields", fields]);
    let [of_log, of_file] =
        ["builtin:cartpole-mixed.npz", &file].map(|path| json(&["data", "check", path])["splits"][0].clone());
    assert_eq!((&of_log["rows"], &of_log["steps"]), (&of_file["rows"], &of_file["steps"]));
}

#[test]
fn a_converted_log_trains() {
    let place = folder(&[]);
    let (file, tars) = (at(&place, "log.parquet"), at(&place, "tars"));
    for dest in [&file, &tars] {
        printed(&[
            "data",
            "convert",
            "builtin:cartpole-mixed.npz",
            dest,
            "--to",
            if dest == &file { "parquet" } else { "webdataset" },
        ]);
        let source = format!("data.source={dest}");
        let out = format!("{dest}-run");
        printed(
            &[
                &["train", "trajectory", "--out", &out][..],
                &["--set", &source, "--set", "train.max_steps=1", "--set", "train.eval_samples=8"],
                &["--set", "model.d_model=8", "--set", "model.n_layers=1", "--set", "train.batch_size=2"],
            ]
            .concat(),
        );
    }
    assert!(!printed(&["data", "check", &tars]).contains("skipped"), "convert.json is known");
}

#[test]
fn corrupt_rows_are_left_out_and_named() {
    let place = folder(&[("images/cat/good.bmp", &bmp()), ("images/dog/cut.bmp", &bmp()[..50])]);
    let (source, dest) = (at(&place, "images"), at(&place, "out"));
    let output = smalti(&["data", "convert", &source, &dest, "--image-format", "png"]);
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(out.contains("corrupt: ") && out.contains("cut.bmp, field file: "), "{out}");
    assert!(err.contains("1 of 2 rows cannot be converted and are left out"), "{err}");
    assert!(fs::exists(place.path().join("out/train-000000.tar")).unwrap());
}

#[test]
fn wrong_arguments_are_refused() {
    let place =
        folder(&[("words.csv", b"word,n\na,1\n"), ("empty.csv", b"word,n\n"), ("full/notes.md", b"mine")]);
    let (words, dest) = (at(&place, "words.csv"), at(&place, "out"));
    let refused = |code, options: &[&str], message: &str| {
        let line = [&["data", "convert", &words, &dest][..], options].concat();
        let error = refusal(code, &line);
        assert!(error.contains(message), "{options:?}: expected {message:?} in: {error}");
    };
    refused(1, &["--fields", "word,sound"], "no field \"sound\"; there is word, n");
    refused(1, &["--split", "test"], "no field \"split\"");
    refused(1, &["--image-size", "8"], "image_size: no field holds images");
    refused(1, &["--sampling-rate", "8000"], "sampling_rate: no field holds audio clips");
    refused(1, &["--sampling-rate", "8"], "sampling_rate: expected 1000 to 384000 Hz; found 8");
    refused(1, &["--quality", "0"], "quality: expected 1 to 100; found 0");
    refused(1, &["--rows-per-shard", "0"], "--rows-per-shard: expected 1 or more; found 0");
    refused(1, &["--threads", "0"], "threads: expected 1 or more; found 0");
    refused(2, &["--image-size", "0x4"], "expected a shorter side or HEIGHTxWIDTH");
    refused(2, &["--shard-size", "big"], "expected a size, such as 256MB or 1GB; found \"big\"");
    refused(1, &["--layout", "nothing"], "no layout is named \"nothing\"");
    let empty = refusal(1, &["data", "convert", &at(&place, "empty.csv"), &dest]);
    assert!(empty.contains("empty.csv: empty; expected rows below the header"), "{empty}");
    assert!(!fs::exists(&dest).unwrap(), "a refused conversion leaves nothing");
    let full = refusal(1, &["data", "convert", &words, &at(&place, "full")]);
    assert!(full.contains("the folder has files, but no convert.json"), "{full}");
    printed(&["data", "convert", &words, &dest]);
    refused(1, &["--to", "parquet"], "other settings: format was \"webdataset\" and is \"parquet\"");
    refused(1, &["--fields", "n"], "other settings: fields was null and is [\"n\"]");
    printed(&["data", "convert", &words, &dest, "--to", "parquet", "--overwrite"]);
    assert!(
        !fs::exists(place.path().join("out/train-000000.tar")).unwrap(),
        "the earlier shards are removed"
    );
    assert!(fs::exists(place.path().join("out/data/train-00000-of-00001.parquet")).unwrap());
}
