//! Files of rows: their forms, types and errors, and corrupt ones.

use super::*;
use crate::data::testing::{at, folder_of, gzip};
use crate::table::Source;
use proptest::prelude::*;
use smalti_contract::{File, Value};

fn opened(location: &str) -> Result<Arc<dyn Table>, DataError> {
    open(&Place::new(&Source::new(location))).map(Option::unwrap)
}

fn all(table: &dyn Table, field: &str) -> Vec<Value> {
    (0..table.len()).map(|row| table.value(row, field).unwrap()).collect()
}

/// A table of this text.
fn read(name: &str, text: &str) -> Result<(tempfile::TempDir, Arc<dyn Table>), String> {
    let folder = folder_of(&[(name, text.as_bytes())]);
    let table = opened(&at(&folder, name)).map_err(|e| e.to_string())?;
    Ok((folder, table))
}

/// The values of a field as labels.
fn labels(name: &str, text: &str, field: &str) -> Vec<String> {
    let (_folder, table) = read(name, text).unwrap();
    all(&*table, field).into_iter().map(|value| value.into_label().unwrap()).collect()
}

#[test]
fn the_delimiter_is_detected() {
    for text in ["a,b\n1,x\n2,y\n", "a\tb\n1\tx\n2\ty", "a;b\r\n1;x\r\n2;y\r\n", "a|b\n1|x\n2|y\n\n\n"] {
        for name in ["t.csv", "t.tsv"] {
            assert_eq!(read(name, text).unwrap().1.fields(), ["a", "b"], "{name} {text:?}");
            assert_eq!(
                (labels(name, text, "a"), labels(name, text, "b")),
                (vec!["1".into(), "2".into()], vec!["x".into(), "y".into()])
            );
        }
    }
    assert_eq!(labels("t.csv", "x;y\n1,5;2\n3;4,5\n", "x"), ["1,5", "3"]);
    assert_eq!(labels("t.tsv", "text\none, two; three\nfour\n", "text"), ["one, two; three", "four"]);
    assert_eq!(labels("t.csv", "a;b\n\"x;\ny\";2\n\"z\";3\n", "a"), ["x;\ny", "z"]);
    assert_eq!(labels("t.tsv", "a\tb\n\"x\t\"y\"\n", "a"), ["\"x"], "a .tsv is not quoted");
    assert_eq!(labels("t.tsv", "a\tb\r\n\r\nx\ty\r\n\r\nv\tw\r\n", "b"), ["y", "w"]);
}

#[test]
fn the_names_of_columns_have_the_delimiter_of_the_file() {
    for text in ["text;label\na;1\n", "text,label\na,1\n", "\"text\"|label\na|1\n"] {
        assert_eq!(super::first_cells("t.csv", text), ["text", "label"], "{text:?}");
    }
    assert!(super::first_cells("t.csv", "").is_empty());
}

#[test]
fn the_index_of_pandas_is_skipped() {
    for name in ["", "Unnamed: 0"] {
        let text = format!("{name},a\n0,x\n1,y\n");
        let (_folder, table) = read("t.csv", &text).unwrap();
        assert_eq!((table.fields(), table.skipped().len()), (&["a".to_string()][..], 1));
        assert_eq!(labels("t.csv", &text, "a"), ["x", "y"]);
    }
    assert_eq!(read("t.csv", "Unnamed: 0,a\nk,x\n").unwrap().1.fields().len(), 2);
}

#[test]
fn a_first_line_that_is_no_header_is_an_error() {
    for (text, problem) in [
        (",a\nk,x\n", "field 1 has no name"),
        ("a,,b\n1,2,3\n", "field 2 has no name"),
        (",a,\n0,1,2\n", "field 3 has no name"),
        ("a,b,a\n1,2,3\n", "the field \"a\" occurs twice"),
        ("5,0.5\n4,1\n", "line 1 has only numbers: 5, 0.5"),
    ] {
        let error = read("t.csv", text).err().unwrap();
        assert!(error.contains(&format!("{problem}; if the file has no header")), "{error}");
        assert!(error.contains("columns = ["), "{error}");
    }
}

#[test]
fn a_row_of_another_width_is_an_error_with_its_line() {
    for (name, text) in [
        ("t.csv", "a,b\n1,2\n\n3\n"),
        ("t.csv", "a,b\r\n1,2\r\n\r\n3\r\n"),
        ("t.csv", "a,b\n\"1\n\",2\n3\n"),
        ("t.tsv", "a\tb\n1\t2\n\n3\n"),
    ] {
        let error = read(name, text).err().unwrap();
        assert!(error.ends_with("line 4: expected 2 fields, as the header names; found 1"), "{error}");
    }
}

const LINES: &[u8] = b"\xef\xbb\xbf{\"text\": \"a\", \"n\": 1, \"in\": {\"v\": [1, 2]}}\n\n  \r\n\
    {\"n\": null, \"late\": \"x\"}\r\n{\"text\": \"b\", \"n\": 3}";

#[test]
fn json_lines_are_read_alone_packed_and_in_utf16() {
    let utf16: Vec<u8> = String::from_utf8_lossy(LINES).encode_utf16().flat_map(u16::to_le_bytes).collect();
    let folder = folder_of(&[
        ("t.jsonl", LINES),
        ("p.ndjson.gz", &gzip(LINES)),
        ("s/t.jsonl", LINES),
        ("u.jsonl", &utf16),
    ]);
    for path in ["t.jsonl", "p.ndjson.gz", "s", "u.jsonl"] {
        let table = opened(&at(&folder, path)).unwrap();
        assert_eq!(table.fields(), ["text", "n", "in.v", "late"], "{path}");
        assert_eq!(all(&*table, "text"), ["a".into(), Value::Missing, "b".into()]);
        assert_eq!(all(&*table, "n"), [1.0.into(), Value::Missing, 3.0.into()]);
        assert_eq!(table.value(0, "in.v").unwrap(), Value::vector([1.0, 2.0]));
        assert!(table.value(0, "no").is_err());
    }
}

#[test]
fn paths_are_relative_and_splits_are_those_of_the_names() {
    let folder = folder_of(&[
        ("train-0.jsonl", b"{\"path\": \"a.png\"}\n"),
        ("val.jsonl", b"{\"path\": \"gone.png\"}\n{\"path\": null}\n"),
        ("a.png", b"A"),
    ]);
    let table = opened(&at(&folder, "*.jsonl")).unwrap();
    assert_eq!(table.fields(), ["path", "split"]);
    assert_eq!(all(&*table, "split"), ["train", "validation", "validation"].map(Value::from));
    let file = File { name: "a.png".into(), bytes: b"A".to_vec() };
    assert_eq!(table.value(0, "path").unwrap(), Value::File(file));
    assert!(table.value(1, "path").unwrap_err().to_string().contains("val.jsonl row 1 names"));
    assert!(table.value(2, "path").unwrap().is_missing());
}

#[test]
fn a_late_line_is_checked_when_it_is_read() {
    // Of the lines after 32 MiB, those of odd rows are not parsed at first.
    let pad = "p".repeat(1 << 16);
    let line = |row: usize| match row {
        545 => format!("{{\"x\": \"two\", \"pad\": \"{pad}\"}}\n"),
        547 => format!("{{\"x\": NaN, \"pad\": \"{pad}\"}}\n"),
        _ => format!("{{\"x\": {row}, \"pad\": \"{pad}\"}}\n"),
    };
    let text: String = (0..560).map(line).collect();
    let folder = folder_of(&[("t.jsonl", text.as_bytes())]);
    let table = opened(&at(&folder, "t.jsonl")).unwrap();
    assert_eq!((table.len(), table.value(546, "x").unwrap()), (560, 546.0.into()));
    let error = |row| table.value(row, "x").unwrap_err().to_string().replace(&at(&folder, ""), "");
    assert_eq!(
        error(545),
        "t.jsonl: not readable as a table: row 546: the field \"x\" must be a number, as in t.jsonl row 1; found a text"
    );
    assert!(error(547).contains("not readable as JSON lines: line 548: NaN is not JSON"), "{}", error(547));
}

#[test]
fn many_files_are_closed_and_opened_again() {
    let names: Vec<String> = (0..300).map(|n| format!("{n:03}.csv")).collect();
    let texts: Vec<String> = (0..300).map(|n| format!("x,y\n{n},\"a\nb\"\n")).collect();
    let files: Vec<(&str, &[u8])> =
        names.iter().zip(&texts).map(|(name, text)| (name.as_str(), text.as_bytes())).collect();
    let folder = folder_of(&files);
    let table = opened(&at(&folder, "*.csv")).unwrap();
    assert_eq!((table.len(), table.value(299, "x").unwrap()), (300, 299.0.into()));
    assert_eq!(table.value(7, "y").unwrap(), "a\nb".into());
    std::fs::write(at(&folder, "007.csv"), "x").unwrap();
    assert!(table.value(7, "y").is_ok(), "kept");
    std::fs::write(at(&folder, "008.csv"), "x").unwrap();
    let error = table.value(8, "y").unwrap_err().to_string();
    assert!(error.contains("the file changed while in use"), "{error}");
}

#[test]
fn a_wide_table_is_read_in_linear_time() {
    let row = |cell: &dyn Fn(usize) -> String| (0..160_000).map(cell).collect::<Vec<_>>().join(",");
    let text = format!("{}\n{}\n", row(&|n| format!("f{n}")), row(&|n| n.to_string()));
    let (_folder, table) = read("t.csv", &text).unwrap();
    assert_eq!(table.fields().len(), 160_000);
    for (number, field) in table.fields().iter().enumerate() {
        assert_eq!(table.value(0, field).unwrap(), (number as f64).into());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn random_tables_cause_no_panic(text in "[a\tb,\"\\[\\]{}:1.\r\n]{0,80}") {
        let folder = folder_of(&[]);
        for name in ["m.tsv", "m.csv", "m.jsonl"] {
            std::fs::write(at(&folder, name), &text).unwrap();
            if let Ok(table) = opened(&at(&folder, name)) {
                for field in table.fields() {
                    let values = (0..table.len()).map(|row| table.value(row, field));
                    prop_assert!(values.collect::<Result<Vec<_>, _>>().is_ok());
                }
            }
        }
    }
}
