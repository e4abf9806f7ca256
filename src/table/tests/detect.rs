//! The layout that a source gets, the reason, and the message for a source in no layout.

use super::*;
use crate::data::testing::folder_of;
use crate::table::Detected;
use ::parquet::data_type::{ByteArray, ByteArrayType};
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;

const IMAGES: &str = "message schema {
    required binary label (UTF8);
    required group image { required binary bytes; required binary path (UTF8); }
}";

/// A table of one image with its label.
fn parquet_of_images() -> Vec<u8> {
    let schema = parse_message_type(IMAGES).unwrap().into();
    let mut bytes = vec![];
    let mut file = SerializedFileWriter::new(&mut bytes, schema, Default::default()).unwrap();
    let mut group = file.next_row_group().unwrap();
    for value in ["cat", "\u{1}", "a.png"] {
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&[ByteArray::from(value)], None, None).unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    file.close().unwrap();
    bytes
}

fn detected(location: &str) -> Detected {
    SourceRegistry::builtin().detect(&Source::new(location)).unwrap()
}

/// The reason against a layout.
fn reason_against<'a>(found: &'a Detected, layout: &str) -> &'a str {
    let other = found.others.iter().find(|other| other.layout == layout);
    &other.unwrap_or_else(|| panic!("no reason against {layout}")).reason
}

#[cfg(feature = "trajectory")]
#[test]
fn a_table_without_columns_of_steps_is_rows_and_says_why_it_is_no_log() {
    let folder = folder_of(&[
        ("images.parquet", &parquet_of_images()),
        ("people.csv", b"name,age\nAda,36\n"),
        ("words.jsonl", b"{\"word\": \"cat\"}\n"),
    ]);
    for (file, layout, columns) in
        [("images.parquet", "parquet", "found label, image"), ("people.csv", "rows", "found name, age")]
    {
        let found = detected(&at(&folder, file));
        assert_eq!(found.layout, layout, "{file}");
        let reason = reason_against(&found, "episodes");
        assert_eq!(reason, format!("it has no columns of observations and actions; {columns}"));
        let near = found.others.iter().filter(|other| other.is_near).map(|other| other.layout);
        assert_eq!(near.collect::<Vec<_>>(), ["episodes"], "{file}");
        let later = found.others.iter().find(|other| other.layout == "text").unwrap();
        assert_eq!(later.reason, format!("it is tried after {layout}, which fits"));
    }
    let found = detected(&at(&folder, "words.jsonl"));
    assert_eq!(reason_against(&found, "episodes"), "its first line has no observations and actions");
    assert_eq!(reason_against(&found, "nemo"), "it lacks JSON lines with the key audio_filepath");
}

#[cfg(feature = "trajectory")]
#[test]
fn the_reader_of_the_ending_reports_its_own_reason() {
    let folder = folder_of(&[
        ("people.csv", b"name,age\nAda,36\n"),
        ("garbage.csv", b"\xff\xfe\x00\x01,\n\x80"),
        ("images.parquet", &parquet_of_images()),
        ("list.jsonl", b"[1, 2]\n"),
    ]);
    for (file, expected) in [
        ("people.csv", "not readable as episodes (CSV): line 1: column \"name\" is unknown"),
        ("garbage.csv", "not readable as episodes (CSV): line 1: column"),
        ("images.parquet", "not readable as episodes (Parquet): "),
        ("list.jsonl", "not readable as episodes (JSON lines): line 1: "),
    ] {
        let error = opened_as("episodes", &at(&folder, file)).map(|_| ()).unwrap_err();
        let message = without(&folder, &error);
        assert!(message.starts_with(&format!("{file}: {expected}")), "{message}");
        assert!(!message.contains("expected value") || file == "list.jsonl", "{message}");
    }
}

#[test]
fn a_file_in_an_unknown_form_is_told_by_its_name_and_content() {
    let folder = folder_of(&[
        ("a.npy", b"\x93NUMPY\x01\0"),
        ("array", b"\x93NUMPY\x01\0"),
        ("a.pkl", b"\x80\x04\x95"),
        ("weights.pt", b"PK\x03\x04"),
        ("a.pdf", b"%PDF-1.7"),
        ("book.xlsx", b"PK\x03\x04"),
        ("data.xyz", b"some words"),
        ("data.json", b"[{\"a\": 1}]"),
        ("blob.dat", b"\x00\xff\x00"),
        ("a.parquet.lfs", b"version https://git-lfs.github.com/spec/v1\noid"),
        ("page", b"<!DOCTYPE html><html>"),
    ]);
    for (file, expected) in [
        ("a.npy", "it is a single array of NumPy; write the arrays of a log as .npz"),
        ("array", "it is a single array of NumPy"),
        (
            "a.pkl",
            "it is a pickle of Python, which can run code and is never read; write its rows as .parquet",
        ),
        ("weights.pt", "it is a pickle of Python"),
        ("a.pdf", "it is a PDF document; write its text to .txt files"),
        ("book.xlsx", "it is a spreadsheet; save it as .csv"),
        ("data.xyz", "it is text; name it .txt"),
        ("data.json", "it is JSON; write one object on each line"),
        ("blob.dat", "it is in an unknown form"),
        ("a.parquet.lfs", "it is a pointer of Git LFS in place of the file; run `git lfs pull`"),
        ("page", "it is a page of HTML"),
    ] {
        let message = refusal(&folder, file);
        let expected = format!("{file}: it is in none of the known layouts: {expected}");
        assert!(message.starts_with(&expected), "{message}");
        assert!(message.contains("files can be class folders, archives, tables"), "{message}");
    }
}

#[cfg(feature = "image")]
#[test]
fn a_folder_in_no_layout_gets_the_reason_of_the_nearest() {
    let folder = folder_of(&[
        ("arrays/a.npy", b"\x93NUMPY\x01\0"),
        ("arrays/b.npy", b"\x93NUMPY\x01\0"),
        ("arrays/README.md", b"two arrays"),
        ("bins/a.bin", b"1"),
        ("mixed/a.npy", b"\x93NUMPY\x01\0"),
        ("mixed/b.pdf", b"%PDF-1.7"),
        ("mixed/c.xyz", b"words"),
        ("one.jpg", b"\xff\xd8\xff"),
    ]);
    let arrays = refusal(&folder, "arrays");
    assert!(arrays.contains("a.npy, as most of its files, is a single array of NumPy"), "{arrays}");
    let bins = refusal(&folder, "bins");
    assert!(bins.contains("the nearest is cifar, but it has no file with a name of CIFAR-10's"), "{bins}");
    let mixed = refusal(&folder, "mixed");
    assert!(mixed.contains("none of the known layouts: its file ") && mixed.contains(" is "), "{mixed}");
    let one = refusal(&folder, "one.jpg");
    assert!(one.contains("it is one image; name the folder of the images"), "{one}");
    std::fs::create_dir(at(&folder, "empty")).unwrap();
    assert!(refusal(&folder, "empty").starts_with("empty: empty; expected"));
}

#[cfg(feature = "image")]
#[test]
fn a_table_beside_images_says_why_it_names_none_of_them() {
    let lines = b"{\"image\": \"0.png\", \"caption\": \"one\"}\n";
    let folder = folder_of(&[
        ("captions/captions.jsonl", lines),
        ("captions/0.png", b"1"),
        ("classes/captions.jsonl", lines),
        ("classes/a/0.png", b"1"),
        ("classes/b/1.png", b"2"),
        ("metadata/metadata.jsonl", lines),
        ("metadata/0.png", b"1"),
        ("columns/labels.csv", b"name,age\nAda,36\n"),
        ("columns/0.png", b"1"),
        ("parquet/labels.parquet", b"PAR1"),
        ("parquet/0.png", b"1"),
    ]);
    let lines = "in JSON lines, metadata.jsonl names files, by the key file_name";
    for (path, table, reason) in [
        ("captions", "captions.jsonl", lines),
        ("classes", "captions.jsonl", lines),
        ("metadata", "metadata.jsonl", "its first line has no key file_name"),
        ("columns", "labels.csv", "no column names the files"),
        ("parquet", "labels.parquet", "in Parquet, metadata.parquet names files, by the column file_name"),
    ] {
        let found = detected(&at(&folder, path));
        assert_eq!(found.layout, "folders", "{path}");
        let skipped = [(at(&folder, &format!("{path}/{table}")), reason)];
        assert_eq!(found.table.skipped(), skipped, "{path}");
        if path != "parquet" {
            assert_eq!(reason_against(&found, "rows"), format!("its {table} names no files: {reason}"));
        }
    }
}

#[test]
fn a_text_or_garbage_with_the_name_of_a_table_is_an_error_of_its_reader() {
    let folder = folder_of(&[
        ("text.csv", b"Once upon a time\nthere was, they say, a fox\n"),
        ("garbage.jsonl", b"\x00\xff\x80\n\xfe"),
        ("garbage.parquet", b"\x00\xff\x80\n\xfe"),
    ]);
    for (file, format) in [("garbage.jsonl", "UTF-8"), ("garbage.parquet", "Parquet")] {
        let message = refusal(&folder, file);
        assert!(message.starts_with(file) && message.contains(format), "{message}");
        assert!(!message.contains("episodes"), "{message}");
    }
    if let Err(error) = opened(&at(&folder, "text.csv")) {
        let message = without(&folder, &error);
        assert!(message.starts_with("text.csv: ") && !message.contains("episodes"), "{message}");
    }
}

#[test]
fn a_named_layout_that_does_not_fit_says_why() {
    let folder = folder_of(&[("a.csv", b"x\n1\n")]);
    let error = opened_as("webdataset", &at(&folder, "a.csv")).map(|_| ()).unwrap_err();
    assert!(without(&folder, &error).starts_with("a.csv: it is not in the layout webdataset"), "{error}");
    let source = Source { layout: Some("rows".into()), ..Source::new(at(&folder, "a.csv")) };
    let found = SourceRegistry::builtin().detect(&source).unwrap();
    assert_eq!((found.layout, found.because.as_deref()), ("rows", Some("the settings name it")));
}
