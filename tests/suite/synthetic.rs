//! Generated data: the tasks that train on them, the same bytes for the same settings, and errors.

#![cfg(all(
    feature = "text",
    feature = "image",
    feature = "audio",
    feature = "numbers",
    feature = "trajectory"
))]

use crate::support::{Ran, ran, smalti};
use std::path::{Path, PathBuf};

/// Few rows, but so many that each class is in `train`.
const FEW: &str = "--set train=600 --set validation=8 --set test=8";
const SHORT: &str = "--device cpu --set train.max_steps=2 --set train.batch_size=4 --set train.warmup_steps=1 \
    --set train.eval_every=2";

fn works(folder: &Path, line: &str) -> Ran {
    let ran = ran(smalti(folder), line);
    assert_eq!(ran.code, Some(0), "smalti {line}\n{}", ran.err);
    ran
}

fn task(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("presets/reproduce/tasks").join(name).with_extension("toml")
}

/// Makes data, checks them, and trains a task on them for two steps.
fn makes_and_trains(kind: &str, settings: &str, tasks: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    works(folder.path(), &format!("data make {kind} {FEW} {settings} --out {kind}.parquet"));
    works(folder.path(), &format!("data check {kind}.parquet"));
    for name in tasks {
        works(folder.path(), &format!("train {} {SHORT} --out runs/{name}", task(name).display()));
    }
}

#[test]
fn each_text_to_text_task_trains_on_its_generated_data() {
    makes_and_trains("addition", "", &["addition"]);
    makes_and_trains("dates", "", &["dates"]);
    makes_and_trains("number-words", "", &["number-words"]);
    makes_and_trains("preferences", "", &["preferences"]);
}

#[test]
fn recall_and_listops_train_on_their_generated_data() {
    makes_and_trains("recall", "--set vocabulary=16", &["recall"]);
    makes_and_trains("listops", "", &["listops"]);
}

#[test]
fn regression_in_context_trains_on_its_generated_series() {
    makes_and_trains("regression", "", &["in-context"]);
}

#[test]
fn a_prediction_reads_derived_fields_as_training_does() {
    let folder = tempfile::tempdir().unwrap();
    works(folder.path(), &format!("data make regression {FEW} --out points"));
    let before = "--set data.derived.before.kind=previous --set data.derived.before.field=pairs \
        --set inputs.before.modality=numbers --set outputs.y.feedback=false --set data.source=points";
    works(folder.path(), &format!("train {} {SHORT} {before} --out run", task("in-context").display()));
    works(folder.path(), "predict run --table points --keep before --out predicted.jsonl");
    let rows = std::fs::read_to_string(folder.path().join("predicted.jsonl")).unwrap();
    assert!(rows.lines().next().unwrap().contains("\"before\":[null,["), "{rows}");
}

#[test]
fn captions_train_a_codebook_a_generator_and_a_classifier() {
    makes_and_trains("captions", "", &["captions-codebook", "captions", "captions-classify"]);
}

#[test]
fn the_same_settings_write_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    for kind in ["addition", "captions", "listops", "regression"] {
        let bytes = |file: &str, more: &str| {
            works(folder.path(), &format!("data make {kind} {FEW} {more} --out {file}"));
            std::fs::read(folder.path().join(file)).unwrap()
        };
        let (one, same) = (format!("{kind}-1.parquet"), format!("{kind}-2.parquet"));
        let one = bytes(&one, "");
        assert!(one == bytes(&same, ""), "{kind}");
        assert!(one != bytes(&format!("{kind}-3.parquet"), "--set seed=1"), "{kind}");
    }
}

#[test]
fn shards_are_written_in_either_format() {
    let folder = tempfile::tempdir().unwrap();
    works(folder.path(), &format!("data make regression {FEW} --out parquet"));
    works(folder.path(), &format!("data make regression {FEW} --to webdataset --out tars"));
    assert!(folder.path().join("tars/train-000000.tar").exists());
    for source in ["parquet", "tars"] {
        let line = format!(
            "train {} {SHORT} --set data.source={source} --out run-{source}",
            task("in-context").display()
        );
        works(folder.path(), &line);
    }
}

#[test]
fn kinds_and_settings_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let kinds = works(folder.path(), "data make --json").out;
    let kinds: serde_json::Value = serde_json::from_str(&kinds).unwrap();
    assert_eq!(kinds["kinds"].as_array().unwrap().len(), 8);
    let settings = works(folder.path(), "data make addition --json").out;
    let settings: serde_json::Value = serde_json::from_str(&settings).unwrap();
    let mut keys: Vec<&str> =
        settings["settings"].as_array().unwrap().iter().map(|key| key["key"].as_str().unwrap()).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["digits", "form", "seed", "test", "train", "validation", "zero_pad"]);
    assert!(works(folder.path(), "data make").out.contains("Lee et al. 2023"));
}

#[test]
fn a_refused_kind_or_setting_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for (line, code, message) in [
        ("data make sums --out a.parquet", 1, "no kind \"sums\"; there is addition, captions"),
        (
            "data make addition --set digits=0 --out a.parquet",
            1,
            "digits: expected a whole number from 1 to 9, such as 3; found 0",
        ),
        ("data make addition --set digits --out a.parquet", 1, "expected key=value"),
        ("data make addition --set digit=3 --out a.parquet", 1, "unknown field `digit`"),
        ("data make recall --set length=10 --out a.parquet", 1, "length: expected an even number from 16"),
        ("data make --out a.parquet", 2, "--out"),
    ] {
        let ran = ran(smalti(folder.path()), line);
        assert_eq!(ran.code, Some(code), "smalti {line}\n{}", ran.err);
        assert!(ran.err.contains(message), "smalti {line}\nexpected {message:?} in: {}", ran.err);
        assert!(!folder.path().join("a.parquet").exists(), "smalti {line}");
    }
    std::fs::write(folder.path().join("mine.parquet"), "text").unwrap();
    let ran = ran(smalti(folder.path()), &format!("data make addition {FEW} --out mine.parquet"));
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert_eq!(std::fs::read(folder.path().join("mine.parquet")).unwrap(), b"text");
}
