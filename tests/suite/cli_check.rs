//! `smalti data check`: statistics of data, and their faults.
#![cfg(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]

use crate::commands;
use crate::files;

use ::smalti::data::read;
use ::smalti::modalities::image::{Image, write_jpeg};
use commands::{IDX, LOG, TEXT, WAV, at, bmp, folder, json, printed, refusal, smalti};
use files::{log_with, npz};
use serde_json::{Value, json};
use std::fs;
use tempfile::TempDir;

/// A field of a split.
fn field<'a>(split: &'a Value, name: &str) -> &'a Value {
    let fields = split["fields"].as_array().unwrap();
    fields.iter().find(|field| field["field"] == name).unwrap_or_else(|| panic!("{name} in {split}"))
}

#[test]
fn built_in_data_have_no_faults() {
    let found = |path: &str| json(&["data", "check", path])["splits"].clone();
    let digits = found("builtin:digits");
    assert_eq!((&digits[0]["split"], &digits[0]["rows"]), (&"train".into(), &1437.into()));
    assert_eq!((&digits[1]["split"], &digits[1]["rows"]), (&"test".into(), &360.into()));
    assert_eq!(field(&digits[1], "image")["found"]["height_x_width"], json!({ "8×8": 360 }));
    let test = found(IDX);
    assert_eq!(test[0]["fields"], digits[1]["fields"], "an images file comes with its labels");
    assert_eq!(field(&test[0], "label")["classes"].as_object().unwrap().len(), 10);
    assert_eq!(field(&test[0], "image")["tokens"]["total"], 360 * 4, "of 2×2 patches");
    let keys = found("builtin:touchtone.tar");
    assert_eq!(field(&keys[0], "path")["holds"], "audio");
    assert_eq!(field(&keys[0], "text")["missing"], 0);
    let steps = found(LOG);
    let actions = field(&steps[0], "actions");
    assert_eq!((&actions["found"]["ids"], actions["classes"].as_object().unwrap().len()), (&json!(2), 2));
    assert!(field(&found(TEXT)[0], "text")["found"]["lines"]["total"].as_f64().unwrap() > 1000.0);
    let clip = &found(WAV)[0];
    assert_eq!(field(clip, "audio")["found"]["sample_rate"], json!({ "4000": 1 }));
    assert!(printed(&["data", "check", "builtin:digits"]).contains("train: 1437 rows of builtin:digits"));
}

#[test]
fn a_file_in_another_form_is_no_text() {
    let data =
        folder(&[("doc.pdf", b"%PDF-1.7\n1 0 obj\n"), ("list.json", b"[{\"a\": 1}]"), ("notes", b"a text")]);
    let pdf = refusal(1, &["data", "check", &at(&data, "doc.pdf")]);
    assert!(pdf.contains("it is a PDF document; write its text to .txt files"), "{pdf}");
    let list = refusal(1, &["data", "check", &at(&data, "list.json")]);
    assert!(list.contains("write one object on each line, and name the file .jsonl"), "{list}");
    assert_eq!(checked(&[&at(&data, "notes")]).1, 0);
}

#[test]
fn a_table_without_files_is_checked() {
    let data =
        folder(&[("words.csv", b"word,length,kind\ncat,3,noun\nhorse,5,noun\nrun,3,verb\nrun,3,noun\n")]);
    let (found, code, errors) = checked(&[&at(&data, "words.csv")]);
    assert_eq!(code, 0, "{errors}");
    let split = &found["splits"][0];
    assert_eq!((&split["rows"], &field(split, "length")["range"]), (&json!(4), &json!([3.0, 5.0])));
    assert_eq!(field(split, "kind")["classes"], json!({ "noun": 3, "verb": 1 }));
    assert_eq!(field(split, "word")["found"]["characters"]["total"], 14.0);
    let some = checked(&[&at(&data, "words.csv"), "--samples", "2"]).0;
    assert_eq!((&some["splits"][0]["rows"], &some["splits"][0]["inspected"]), (&json!(4), &json!(2)));
    assert!(
        refusal(1, &["data", "check", &at(&data, "words.csv"), "--patch-size", "4"])
            .contains("--patch-size is for image")
    );
}

#[test]
fn corrupt_rows_are_named() {
    let wav = read(WAV).unwrap();
    let log = "{\"observations\": [[1]], \"actions\": [0], \"rewards\": [1]}\n{\"observations\":\n";
    let data = folder(&[
        ("images/cat/good.bmp", &bmp()),
        ("images/dog/cut.bmp", &bmp()[..50]),
        ("images/dog/notes.txt", b"a dog"),
        ("clips/manifest.tsv", b"path\ttext\ngood.wav\tone\ncut.wav\ttwo\nmissing.wav\tthree\n"),
        ("clips/good.wav", &wav),
        ("clips/cut.wav", &wav[..wav.len() / 2]),
        ("log.jsonl", log.as_bytes()),
        ("cut.wav", &wav[..30]),
        ("latin.txt", b"caf\xe9"),
        ("cut.tar", &read("builtin:touchtone.tar").unwrap()[..5000]),
    ]);
    let check = |path: &str, bad: &[&str]| {
        let path = at(&data, path);
        let output = smalti(&["data", "check", &path, "--json"]);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{path}: {errors}");
        assert!(errors.contains(&format!("{path}: {} of ", bad.len())), "{errors}");
        let value: Value = serde_json::from_slice(&output.stdout).unwrap();
        let named = value["splits"][0]["corrupt"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| format!("{} {}", one["row"], one["problem"]));
        assert_eq!(named.clone().count(), bad.len(), "{value}");
        for (name, expected) in named.zip(bad) {
            assert!(name.contains(expected), "{name}");
        }
        value
    };
    let images = check("images", &["images/dog/cut.bmp"]);
    assert_eq!(images["skipped"][0][1], "not an image or audio clip");
    assert_eq!(field(&images["splits"][0], "label")["classes"], json!({ "cat": 1, "dog": 1 }));
    check("clips", &["manifest.tsv row 2", "missing.wav"]);
    check("clips/manifest.tsv", &["manifest.tsv row 2", "missing.wav"]);
    check("log.jsonl", &["episode 1"]);
    check("cut.wav", &["cut.wav"]);
    for path in ["latin.txt", "cut.tar", "nowhere"] {
        let message = refusal(1, &["data", "check", &at(&data, path)]);
        assert!(message.contains(path), "{message}");
    }
    assert!(refusal(1, &["data", "check", WAV, "--split", "test"]).contains("no field \"split\""));
    assert!(refusal(1, &["data", "check", "builtin:digits", "--split", "dev"]).contains("no split \"dev\""));
    assert!(printed(&["data", "check", &at(&data, "clips/good.wav")]).contains("1 row of "));
}

/// The report on a path, and the exit code.
fn checked(args: &[&str]) -> (Value, i32, String) {
    let output = smalti(&[&["data", "check"], args, &["--json"]].concat());
    let errors = String::from_utf8(output.stderr).unwrap();
    let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{args:?}: {errors}"));
    (value, output.status.code().unwrap(), errors)
}

/// A JPEG with a distinct pattern.
fn jpeg(seed: usize) -> Vec<u8> {
    let pixels = (0..16 * 24 * 3).map(|i| ((i / 48 + seed) * 29 % 256) as u8).collect();
    write_jpeg(&Image::new(16, 24, 3, pixels).unwrap(), 90).unwrap()
}

/// The paths of rows in a list of objects, relative to the folder.
fn names(list: &Value, folder: &TempDir) -> Vec<String> {
    let root = at(folder, "");
    let name = |one: &Value| one["row"].as_str().unwrap().trim_start_matches(&root).to_string();
    list.as_array().unwrap().iter().map(name).collect()
}

#[test]
fn exactly_the_planted_faults_are_found() {
    let (cat, dog, cow) = (jpeg(1), jpeg(2), jpeg(3));
    let data = folder(&[
        ("cat/1.jpg", &cat),
        ("cat/2.jpg", &jpeg(4)),
        ("cat/cut.jpg", &cow[..cow.len() - 40]),
        ("cat/empty.png", b""),
        ("cow/3.jpg", &cow),
        ("dog/copy.jpg", &dog),
        ("dog/dog.jpg", &dog),
        ("dog/mislabelled.jpg", &cat),
        ("dog/notes.txt", b"a dog"),
    ]);
    let (found, code, errors) = checked(&[&at(&data, "")]);
    assert_eq!(code, 1);
    assert!(
        errors.contains(
            "2 of 8 rows cannot be used; the first: not readable as image: the JPEG has no end marker"
        ) && errors.contains("1 times the same content under different labels"),
        "{errors}"
    );
    let split = &found["splits"][0];
    assert_eq!(names(&split["corrupt"], &data), ["cat/cut.jpg", "cat/empty.png"]);
    assert!(split["corrupt"][0]["problem"].as_str().unwrap().contains("truncated"));
    assert!(split["corrupt"][1]["problem"].as_str().unwrap().contains("empty"));
    assert_eq!(found["skipped"].as_array().unwrap().len(), 1);
    assert_eq!(field(split, "label")["classes"], json!({ "cat": 4, "cow": 1, "dog": 3 }));
    assert_eq!(field(split, "file")["found"]["height"]["median"], 24.0);
    let duplicates: Vec<_> = found["duplicates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (names(&one["rows"], &data), one["labels_differ"] == true, one["across_splits"] == true))
        .collect();
    let pair = |one: &str, other: &str| vec![one.to_string(), other.to_string()];
    assert_eq!(
        duplicates,
        [
            (pair("cat/1.jpg", "dog/mislabelled.jpg"), true, false),
            (pair("dog/copy.jpg", "dog/dog.jpg"), false, false),
        ]
    );
    let table = String::from_utf8(smalti(&["data", "check", &at(&data, "")]).stdout).unwrap();
    for line in ["duplicates: 2 contents in 4 rows", "different labels: ", "the same: ", "dog.jpg (dog)"] {
        assert!(table.contains(line), "{line} in {table}");
    }
}

#[test]
fn a_duplicate_is_a_fault_only_across_splits() {
    let (one, other) = (jpeg(1), jpeg(2));
    let copies = folder(&[("cat/1.jpg", &one), ("cat/2.jpg", &one), ("dog/3.jpg", &other)]);
    let (found, code, _) = checked(&[&at(&copies, "")]);
    assert_eq!((code, found["duplicates"].as_array().unwrap().len()), (0, 1));

    let leak = folder(&[
        ("train/cat/1.jpg", &one),
        ("train/dog/2.jpg", &other),
        ("test/cat/3.jpg", &one),
        ("test/dog/4.jpg", &jpeg(3)),
    ]);
    let (found, code, errors) = checked(&[&at(&leak, "")]);
    assert_eq!((code, found["splits"].as_array().unwrap().len()), (1, 2));
    assert!(errors.contains("1 times the same content in several splits"), "{errors}");
    assert_eq!(found["splits"][0]["split"], "train");
    assert_eq!(found["duplicates"][0]["rows"][0]["split"], "test");
    assert_eq!(found["duplicates"][0]["rows"][1]["split"], "train");
    assert_eq!(checked(&[&at(&leak, ""), "--split", "train"]).1, 0, "a single split has no fault");
}

#[test]
fn an_audio_clip_in_two_splits_is_a_fault() {
    let (one, other) = (read(WAV).unwrap(), read("builtin:touchtone.tar/clips/001.wav").unwrap());
    let table = b"path\ttext\tsplit\na.wav\tone\ttrain\nb.wav\tone\tvalid\nc.wav\ttwo\ttrain\n";
    let data = folder(&[("manifest.tsv", table), ("a.wav", &one), ("b.wav", &one), ("c.wav", &other)]);
    let (found, code, _) = checked(&[&at(&data, "")]);
    assert_eq!(code, 1);
    assert_eq!(found["duplicates"][0]["across_splits"], true);
    let splits = found["splits"].as_array().unwrap();
    let tokens =
        splits.iter().map(|split| field(split, "path")["tokens"]["total"].as_u64().unwrap()).sum::<u64>();
    let expected = json(&["tokenize", WAV])["tokens"].as_u64().unwrap() * 2
        + json(&["tokenize", "builtin:touchtone.tar/clips/001.wav"])["tokens"].as_u64().unwrap();
    assert_eq!(tokens, expected);
}

#[test]
fn cifar_batches_are_checked_one_by_one() {
    let record = |label: u8, grey: u8| [&[label][..], &[grey; 3072]].concat();
    let batch = |records: &[Vec<u8>]| records.concat();
    let data = folder(&[
        ("data_batch_1.bin", &batch(&[record(3, 10), record(4, 20)])),
        ("data_batch_2.bin", &record(5, 30)[..3000]),
        ("data_batch_3.bin", &batch(&[record(6, 10)])),
        ("test_batch.bin", &batch(&[record(4, 20)])),
    ]);
    let (found, code, errors) = checked(&[&at(&data, "")]);
    assert_eq!(
        (code, names(&found["splits"][0]["corrupt"], &data)),
        (1, vec!["data_batch_2.bin".into()]),
        "{errors}"
    );
    assert_eq!(field(&found["splits"][0], "label")["classes"], json!({ "3": 1, "4": 1, "6": 1 }));
    let duplicates = found["duplicates"].as_array().unwrap();
    assert_eq!(duplicates.len(), 2);
    assert_eq!(
        names(&duplicates[0]["rows"], &data),
        ["data_batch_1.bin image 1", "data_batch_3.bin image 1"]
    );
    assert_eq!(
        (&duplicates[0]["labels_differ"], &duplicates[1]["across_splits"]),
        (&json!(true), &json!(true))
    );
}

#[test]
fn shards_of_a_pattern_are_checked_together() {
    let shard = |samples: &[(&str, &[u8], &str)]| {
        let mut tar = tar::Builder::new(vec![]);
        let mut add = |name: String, bytes: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, bytes).unwrap();
        };
        for (key, image, label) in samples {
            add(format!("{key}.jpg"), image);
            add(format!("{key}.cls"), label.as_bytes());
        }
        tar.into_inner().unwrap()
    };
    let (one, other) = (jpeg(1), jpeg(2));
    let data = folder(&[
        ("train-0.tar", &shard(&[("a", &one, "0"), ("b", &other[..200], "1")])),
        ("train-1.tar", &shard(&[("c", &one, "1"), ("d", &other, "1")])),
    ]);
    let (found, code, _) = checked(&[&at(&data, "train-*.tar")]);
    assert_eq!((code, names(&found["splits"][0]["corrupt"], &data)), (1, vec!["train-0.tar/b.*".into()]));
    assert_eq!(found["splits"][0]["corrupt"][0]["field"], "jpg");
    assert_eq!(names(&found["duplicates"][0]["rows"], &data), ["train-0.tar/a.*", "train-1.tar/c.*"]);
    assert_eq!(found["duplicates"][0]["rows"][1]["label"], "1");
    let image = at(&data, "train-1.tar/d.jpg");
    assert_eq!(checked(&[&image]).0["splits"][0]["fields"][0]["holds"], "image", "an image inside a tar");
}

#[test]
fn nan_is_named_with_its_episode() {
    let mut obs: Vec<f32> = (0..48).map(|i| i as f32 / 10.0).collect();
    obs[2 * 14 + 1] = f32::NAN; // step 2 of episode 2
    let bytes = obs.iter().flat_map(|x| x.to_le_bytes()).collect();
    let data = folder(&[
        ("nan.npz", &log_with(("obs", "<f4", "(24, 2)".into(), bytes))),
        ("good.npz", &npz(&files::log())),
    ]);
    let message = refusal(1, &["data", "check", &at(&data, "nan.npz")]);
    assert!(message.contains("nan.npz: not readable as episodes"), "{message}");
    assert!(message.contains("episode 2: observations at step 2 is NaN"), "{message}");
    let (found, code, _) = checked(&[&at(&data, "good.npz")]);
    let split = &found["splits"][0];
    let tokens = |name: &str| field(split, name)["tokens"]["total"].as_u64().unwrap();
    let tokens = ["rewards", "observations", "actions"].map(tokens).iter().sum::<u64>();
    assert_eq!((code, &split["rows"], tokens), (0, &json!(4), 72));
    assert_eq!(
        split["steps"],
        json!({ "total": 24.0, "least": 6.0, "median": 6.0, "most": 6.0, "p95": 6.0 })
    );
}

#[test]
fn episodes_that_differ_from_the_first_are_named() {
    let line = |state: &str, action: &str| {
        format!("{{\"observations\": [{state}], \"actions\": [{action}], \"rewards\": [1]}}\n")
    };
    let log = [line("[1]", "0"), line("[2]", "7"), line("[3, 4]", "0"), line("[5]", "0.5"), line("[1]", "0")]
        .concat();
    let data = folder(&[("log.jsonl", log.as_bytes())]);
    let (found, code, _) = checked(&[&at(&data, "log.jsonl")]);
    assert_eq!(
        (code, names(&found["splits"][0]["corrupt"], &data)),
        (1, vec!["log.jsonl (episode 2)".into(), "log.jsonl (episode 3)".into()])
    );
    assert_eq!(field(&found["splits"][0], "actions")["found"]["ids"], 8);
    assert_eq!(
        names(&found["duplicates"][0]["rows"], &data),
        ["log.jsonl (episode 0)", "log.jsonl (episode 4)"]
    );
}

#[test]
fn token_counts_follow_the_options() {
    let data = folder(&[
        ("cat/1.jpg", &jpeg(1)),
        ("dog/2.jpg", &jpeg(2)),
        ("dog/3.bmp", &bmp()),
        ("a.txt", b"\xc3\xa9\n"),
    ]);
    let tokens = |options: &[&str]| {
        field(&checked(&[&[&at(&data, "")[..]], options].concat()).0["splits"][0], "file").clone()
    };
    let small = tokens(&[]); // the 1×2 image has no patch of 4
    assert_eq!((&small["tokens"]["total"], &small["not_tokenized"]["rows"]), (&json!(48), &json!(1)));
    assert!(small["not_tokenized"]["problem"].as_str().unwrap().contains("patch_size 4 does not divide"));
    let resized = tokens(&["--image-size", "32x32", "--patch-size", "16"]);
    assert_eq!(
        (&resized["tokens"]["histogram"], &resized["not_tokenized"]),
        (&json!([{ "from": 4, "to": 4, "rows": 3 }]), &Value::Null)
    );
    let text = at(&data, "a.txt");
    assert_eq!(field(&checked(&[&text]).0["splits"][0], "text")["tokens"]["total"], 2);
    let bytes = checked(&[&text, "--bytes"]).0;
    let bytes = field(&bytes["splits"][0], "text");
    assert_eq!((&bytes["tokens"]["total"], &bytes["most_frequent"][0]["id"]), (&json!(3), &json!(10)));
    assert!(refusal(1, &["data", "check", &text, "--patch-size", "4"]).contains("--patch-size is for image"));
}

#[test]
fn frequent_characters_are_listed() {
    let found = checked(&[TEXT]).0;
    let frequent = field(&found["splits"][0], "text")["most_frequent"].as_array().unwrap();
    assert_eq!((frequent.len(), &frequent[0]["reads"]), (20, &json!(" ")));
    let counts: Vec<u64> = frequent.iter().map(|one| one["count"].as_u64().unwrap()).collect();
    assert!(counts.is_sorted_by(|a, b| a >= b));
    assert!(printed(&["data", "check", TEXT]).contains("text: most frequent: \" \" ("));
}

#[test]
fn a_file_that_is_not_a_table_is_named() {
    let data = folder(&[("clip.wav", &read(WAV).unwrap()), ("one.jpg", &jpeg(1)), ("short", b"hi")]);
    let train = |preset: &str, file: &str| {
        let path = format!("data.source={}", at(&data, file));
        refusal(1, &["train", preset, "--set", &path, "--out", &at(&data, "run")])
    };
    for (preset, file) in
        [("image", "one.jpg"), ("image", "clip.wav"), ("audio", "clip.wav"), ("audio", "short")]
    {
        let message = train(preset, file);
        assert!(message.contains(&format!("{file}: it is in none of the known layouts")), "{message}");
    }
    assert!(fs::metadata(data.path().join("run")).is_err());
}

#[test]
fn every_option_is_explained() {
    let help = printed(&["data", "check", "--help"]);
    for part in [
        "--split",
        "--patch-size",
        "--image-size",
        "--frames-per-slice",
        "--json",
        "Exits with 1 if",
        "Examples:",
    ] {
        assert!(help.contains(part), "{part} in {help}");
    }
}
