//! Splits, classes, several sources and cached tokens.

use super::{Place, audio_place, audio_train, failed, image_place, image_train, open, ran, smalti};
use crate::files::{idx, png};
use smalti::sample::Opened;

/// The tokenizer of the first source reads all sources of a task; each has its weight.
#[test]
fn additional_sources_are_mixed_in() {
    let place = image_place();
    (0..3).for_each(|i| place.write(&format!("others/train/low/{i}.png"), &png(8, 8)));
    (0..2).for_each(|i| place.write(&format!("others/test/low/{i}.png"), &png(8, 8)));
    place.write("others/train/low/notes.txt", b"n");
    let more = |path: &str, weight: &str| {
        format!(r#"--set data.source=["images",{{path="{path}",weight={weight}}}]"#)
    };
    let ran = place.works(&format!("{} {} --out run", image_train(), more("others", "2")));
    assert!(ran.err.contains("not used: others/train/low/notes.txt"), "{}", ran.err);
    place.works("train --resume --out run");
    let message = ["others: expected a positive weight; found 0"];
    place.fails_untouched(&format!("{} {}", image_train(), more("others", "0.0")), &message);
    place.write("others/test/wide/0.png", &png(8, 8));
    let message = ["wide/0.png: expected a label of the training rows: high, low; found \"wide\""];
    place.fails_untouched(&format!("{} {}", image_train(), more("others", "1")), &message);
    std::fs::remove_dir_all(place.path("others/test/wide")).unwrap();
    let message = ["train.batch_size", "a batch of 4 has none of task"];
    place.fails(&format!("{} {} --out thin", image_train(), more("images", "0.01")), &message);
}

/// Parquet and Arrow that cannot be read are named, with the problem.
#[test]
fn corrupt_columns_are_named() {
    let state = br#"{"_data_files": [{"filename": "data-0.arrow"}]}"#;
    let place = Place::new(&[
        ("cut.parquet", b"PAR1 and no more"),
        ("cut.arrow", b"no stream at all"),
        ("saved/state.json", state),
    ]);
    for (source, message) in [
        ("cut.parquet", "cut.parquet: not readable as Parquet: it does not end in PAR1"),
        ("cut.arrow", "cut.arrow: not readable as Arrow: a message declares"),
        ("saved", "saved/data-0.arrow: not found; expected a file that saved/state.json lists"),
        (
            "{path=\"cut.parquet\",layout=\"arrow\"}",
            "cut.parquet is not named .arrow; expected Arrow streams",
        ),
        (
            "{path=\"cut.arrow\",layout=\"parquet\"}",
            "cut.arrow is not named .parquet; expected Parquet files",
        ),
    ] {
        place.fails_untouched(&format!("train image --set data.source={source}"), &[message]);
    }
}

/// A row that does not end is not read into memory.
#[test]
fn a_row_without_an_end_is_named() {
    let pad = "x".repeat(1 << 20);
    let place = Place::new(&[
        ("quote.csv", format!("text,n\n\"{pad}").as_bytes()),
        ("line.jsonl", format!("\n{{\"text\": \"{pad}\"}}").as_bytes()),
    ]);
    for (path, problem) in [
        (
            "quote.csv",
            "quote.csv: not readable as a table: line 2: the row is too long; check that its quotes are closed",
        ),
        ("line.jsonl", "line.jsonl: not readable as JSON lines: line 2: the line is too long"),
    ] {
        let mut command = smalti(place.0.path());
        command.env("SMALTI_MEMORY", "16");
        let line = format!("data check {path}");
        failed(1, &line, &ran(command, &line), &[problem, "SMALTI_MEMORY (in MiB)"]);
    }
}

/// Rows outside the validation split are training rows. A trained run may be evaluated on any rows.
#[test]
fn a_row_is_in_the_training_or_the_validation_split() {
    let place = audio_place();
    let source = format!("data.source={:?}", place.path("clips/manifest.tsv").display().to_string());
    let Opened { train, validation, .. } = open("audio", &[source, "data.validation=\"split=valid\"".into()]);
    assert_eq!((train.len(), validation.len()), (2, 1));
    let splits = "--set data.train=split=train --set data.validation=split=valid";
    place.works(&format!("{} {splits} --out run", audio_train()));
    place.works("eval run --set data.train=split=valid --set data.validation=split=train");
}

/// Other data may have fewer classes, or classes in another order.
#[test]
fn classes_are_matched_by_name() {
    let place = image_place();
    let (high, low) = (png(8, 16), png(8, 8));
    let write = |source: &str, images: &[(&str, &[u8])]| {
        for (class, image) in images {
            place.write(&format!("{source}/train/{class}/0.png"), image);
            place.write(&format!("{source}/test/{class}/0.png"), image);
        }
    };
    write("sorted", &[("high", &high), ("low", &low)]);
    write("turned", &[("high", &high), ("low", &low)]);
    place.write("turned/classes.txt", b"low\nhigh\n");
    write("fewer", &[("low", &low)]);
    write("wrong", &[("high", &low)]);
    write("more", &[("high", &high), ("low", &low), ("wide", &low)]);

    place.works(&format!("{} --out run", image_train()));
    let eval = |data: &str| place.works(&format!("eval run --data {data} --json")).out;
    assert_eq!(eval("sorted"), eval("turned"));
    assert_ne!(eval("fewer"), eval("wrong"), "each has a single class, and they differ");
    let message = ["wide/0.png", "expected a label of the training rows: high, low; found \"wide\""];
    place.fails("eval run --data more", &message);
}

#[test]
fn a_class_that_the_training_split_lacks_is_named() {
    let place = Place::new(&[]);
    for (split, n) in [("train", 3_u8), ("t10k", 4)] {
        let images = idx(0x803, &[u32::from(n), 8, 8], 64 * usize::from(n));
        let labels: Vec<u8> = idx(0x801, &[u32::from(n)], 0).into_iter().chain(0..n).collect();
        place.write(&format!("numbered/{split}-images-idx3-ubyte"), &images);
        place.write(&format!("numbered/{split}-labels-idx1-ubyte"), &labels);
    }
    let message = [
        "outputs.class: numbered/t10k-images-idx3-ubyte image 4: expected a label of the training rows: 0, 1, 2; found \"3\"",
    ];
    place.fails_untouched(&format!("{} --set data.source=numbered", image_train()), &message);
}

#[test]
fn cached_tokens_give_the_same_weights() {
    let place = image_place();
    let line = format!("{} --set inputs.image.augment={{}}", image_train());
    place.works(&format!("{line} --out plain"));
    for run in ["first", "second"] {
        place.works(&format!("{line} --set data.cache=kept --out {run}"));
        for file in ["model.safetensors", "state.safetensors"] {
            let bytes = |run: &str| std::fs::read(place.path(&format!("{run}/{file}"))).unwrap();
            assert!(bytes("plain") == bytes(run), "{run}/{file}");
        }
    }
    let folders = std::fs::read_dir(place.path("kept")).unwrap();
    let files =
        folders.map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap().count()).sum::<usize>();
    assert_eq!(files, 12, "each image is cached once");
}

#[test]
fn unusable_tables_and_archives_are_named() {
    let place = image_place();
    place.write("latin.csv", b"file_name,label\nb\xe4r.png,a\n");
    place.write("numbers.csv", b"1,2\n3,4\n");
    place.write("twice.csv", b"a;b;a\n3;4;5\n");
    place.write("text.zip", b"no archive at all");
    let cases: [(&str, &[&str]); 4] = [
        ("latin.csv", &["latin.csv", "byte 0xe4 at offset 17, in line 2", "Windows-1252", "iconv"]),
        ("numbers.csv", &["numbers.csv", "line 1 has only numbers: 1, 2", "columns = [\"NAME\", …]"]),
        ("twice.csv", &["twice.csv", "the field \"a\" occurs twice", "columns = [\"NAME\", …]"]),
        ("text.zip", &["text.zip", "not readable as a zip archive"]),
    ];
    for (path, message) in cases {
        place.fails_untouched(&format!("{} --set data.source={path}", image_train()), message);
    }
}
