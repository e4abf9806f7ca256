//! Tables, parallel texts and text files.

use super::*;
use crate::data::testing::{folder_of, gzip, tar_of};

fn with_columns(
    folder: &tempfile::TempDir,
    path: &str,
    columns: &[&str],
) -> Result<Arc<dyn Table>, DataError> {
    let columns = Some(columns.iter().map(|name| name.to_string()).collect());
    SourceRegistry::builtin().open(&Source { columns, ..Source::new(at(folder, path)) })
}

#[test]
fn the_same_rows_are_read_in_every_format() {
    let jsonl =
        b"{\"name\": \"a,b\", \"n\": 1, \"v\": [1, 2]}\n\n{\"n\": 2.5, \"name\": \"\", \"v\": null}\n";
    let csv = b"name,n,v\n\"a,b\",1,\"[1, 2]\"\n,2.5,\n";
    let tsv = b"name\tn\tv\na,b\t1\t[1, 2]\n\t2.5\t\n\n";
    let packed = gzip(tsv);
    let folder = folder_of(&[("t.jsonl", jsonl), ("t.csv", csv), ("t.tsv", tsv), ("p.tsv.gz", &packed)]);
    for path in ["t.jsonl", "t.csv", "t.tsv", "p.tsv.gz"] {
        let table = table(&folder, path);
        assert_eq!(table.fields(), ["name", "n", "v"], "{path}");
        assert_eq!(all(&*table, "name"), texts(&["a,b", ""]), "{path}");
        assert_eq!(all(&*table, "n"), numbers(&[1.0, 2.5]), "{path}");
        assert_eq!(all(&*table, "v"), [Value::vector([1.0, 2.0]), Value::Missing], "{path}");
        assert_eq!(table.location(1), format!("{} row 2", at(&folder, path)));
        assert!(table.origin(0).unwrap() != table.origin(1).unwrap());
        let error = table.value(0, "nam").unwrap_err();
        assert_eq!(without(&folder, &error), format!("{path}: no field \"nam\"; there is name, n, v"));
    }
}

#[test]
fn only_exact_numbers_are_numbers() {
    let tsv = b"zip\tid\tmask\tx\n007\t1234567890123456789\t111\t-1e-3\n12\t1\t000\tnan\n";
    let folder = folder_of(&[("t.tsv", tsv)]);
    let table = table(&folder, "t.tsv");
    assert_eq!(all(&*table, "zip"), texts(&["007", "12"]));
    assert_eq!(all(&*table, "id"), texts(&["1234567890123456789", "1"]));
    assert_eq!(all(&*table, "mask"), texts(&["111", "000"]));
    assert_eq!(all(&*table, "x"), numbers(&[-0.001, f64::NAN]));
}

#[test]
fn columns_name_the_fields_of_a_file_without_a_header() {
    let folder = folder_of(&[("a.tsv", b"good\t1\nbad\t0\n"), ("a.jsonl", b"{\"x\": 1}\n")]);
    let table = with_columns(&folder, "a.tsv", &["text", "label"]).unwrap();
    assert_eq!(all(&*table, "text"), texts(&["good", "bad"]));
    let refusal = |path, columns: &[&str]| {
        let error = with_columns(&folder, path, columns).map(|_| ()).unwrap_err();
        without(&folder, &error)
    };
    assert_eq!(
        refusal("a.tsv", &["text"]),
        "a.tsv: not readable as a table: line 1: expected 1 fields, as `columns` names; found 2"
    );
    assert_eq!(
        refusal("a.jsonl", &["x"]),
        "a.jsonl: `columns` names the fields of .tsv and .csv files; .jsonl names its own; remove it"
    );
}

#[test]
fn paths_are_relative_to_the_table() {
    let archive = tar_of(&[("b.png", b"B"), ("clips/c.png", b"C")]);
    let inner = tar_of(&[("manifest.csv", b"path,x\nd.png,1\n"), ("d.png", b"D")]);
    let manifest =
        b"path\tlabel\na.png\t1\nclips/b.png\t0\nclips/c.png\t1\n../out.png\t1\ngone.png\t1\n\t1\n";
    let folder = folder_of(&[
        ("manifest.tsv", manifest),
        ("a.png", b"A"),
        ("clips.tar", &archive),
        ("in/all.tar", &inner),
        ("notes.md", b"n"),
    ]);
    let table = table(&folder, "");
    let bytes = |row| table.value(row, "path").map(file);
    assert_eq!(bytes(0).unwrap(), ("a.png".into(), b"A".to_vec()));
    assert_eq!(bytes(1).unwrap(), ("clips/b.png".into(), b"B".to_vec()));
    assert_eq!(bytes(2).unwrap().1, b"C");
    assert!(table.value(5, "path").unwrap().is_missing());
    let message = |row| without(&folder, &bytes(row).unwrap_err());
    assert_eq!(
        message(3),
        "manifest.tsv row 4: the path \"../out.png\" is not allowed: it leads out of its folder; data.source = { path = \"…\", \
         allow_outside = true } allows files outside the table's folder"
    );
    assert_eq!(message(4), "gone.png: not found; expected a file that manifest.tsv row 5 names");
    assert_eq!(file(table.peek(4, "path").unwrap()).1, b"");
    let inside = super::table(&folder, "in/all.tar");
    assert_eq!(file(inside.value(0, "path").unwrap()).1, b"D");
}

#[test]
fn several_files_are_one_table_with_a_split() {
    let folder = folder_of(&[
        ("train.csv", b"text,label\na,1\nb,2\n"),
        ("valid-00000-of-00001.csv", b"label,text\n3,c\n"),
        ("x/0.csv", b"split,t\ns,a\n"),
        ("x/1.csv", b"t,u\nb,1\n"),
    ]);
    let table = table(&folder, "*.csv");
    assert_eq!(table.fields(), ["text", "label", "split"]);
    assert_eq!(all(&*table, "split"), texts(&["train", "train", "validation"]));
    assert_eq!(all(&*table, "label"), numbers(&[1.0, 2.0, 3.0]));
    assert!(table.location(2).ends_with("valid-00000-of-00001.csv row 1"));
    let table = super::table(&folder, "x");
    assert_eq!(all(&*table, "split"), texts(&["s", ""]));
    assert_eq!(all(&*table, "u"), numbers(&[f64::NAN, 1.0]));
}

#[test]
fn a_field_has_one_type_in_all_rows() {
    let folder = folder_of(&[
        ("a.jsonl", b"{\"x\": null}\n{\"x\": 1}\n{\"x\": \"two\"}\n"),
        ("b/1.jsonl", b"{\"x\": 1}\n"),
        ("b/2.jsonl", b"{\"x\": [1]}\n"),
        ("c/1.csv", b"x\n1\n"),
        ("c/2.csv", b"x\none\n"),
    ]);
    assert_eq!(
        refusal(&folder, "a.jsonl"),
        "a.jsonl: not readable as a table: row 3: the field \"x\" must be a number, as in a.jsonl row 2; found a text"
    );
    assert_eq!(
        refusal(&folder, "b/*"),
        "b/2.jsonl: not readable as a table: row 1: the field \"x\" must be an array of numbers, as in b/1.jsonl row 1; \
         found a number"
            .replace("an array of numbers, as", "a number, as")
            .replace("found a number", "found an array of numbers")
    );
    assert_eq!(
        all(&*table(&folder, "c/*"), "x"),
        texts(&["1", "one"]),
        "a field whose cells are not all numbers is text"
    );
}

#[test]
fn errors_of_corrupt_tables_name_the_line() {
    let folder = folder_of(&[
        ("rows.tsv", b"a\tb\n1\t2\n3\n"),
        ("rows.csv", b"a,b\n1,2\n3,4,5\n"),
        ("key.jsonl", b"{\"a\": 1}\n{\"a\": \n"),
        ("nan.jsonl", b"{\"a\": 1}\n\n{\"a\": NaN}\n"),
        ("list.jsonl", b"[1]\n"),
        ("groups.jsonl", b"{\"a\": [{\"b\": 1}]}\n"),
        ("twice.csv", b"a,b,a\n1,2,3\n"),
        ("unnamed.csv", b"a,,b\n1,2,3\n"),
        ("header.csv", b"a,b\n"),
        ("empty.csv", b""),
        ("bytes.tsv", b"a\n\xff\n"),
        ("cut.csv.gz", &gzip(b"a\n1\n2\n")[..20]),
        ("no.parquet", b"PAR1 and no more"),
        ("manifest.csv", b"a\n1\n"),
        ("manifest.tsv", b"a\n1\n"),
    ]);
    for (path, expected) in [
        (
            "rows.tsv",
            "rows.tsv: not readable as a table: line 3: expected 2 fields, as the header names; found 1",
        ),
        (
            "rows.csv",
            "rows.csv: not readable as a table: line 3: expected 2 fields, as the header names; found 3",
        ),
        ("key.jsonl", "key.jsonl: not readable as JSON lines: line 2: expected a JSON object; EOF"),
        (
            "nan.jsonl",
            "nan.jsonl: not readable as JSON lines: line 3: NaN is not JSON; write null for a missing number",
        ),
        (
            "list.jsonl",
            "list.jsonl: not readable as JSON lines: line 1: expected a JSON object; invalid type",
        ),
        (
            "groups.jsonl",
            "groups.jsonl: not readable as JSON lines: line 1: the field \"a\" is a list of objects",
        ),
        ("twice.csv", "twice.csv: not readable as a table: the field \"a\" occurs twice"),
        ("unnamed.csv", "unnamed.csv: not readable as a table: field 2 has no name"),
        ("header.csv", "header.csv: empty; expected rows below the header"),
        ("empty.csv", "empty.csv: empty; expected data"),
        ("bytes.tsv", "bytes.tsv: not readable as UTF-8 text: byte 0xff at offset 2"),
        ("cut.csv.gz", "cut.csv.gz: unexpected end of file"),
        ("no.parquet", "no.parquet: not readable as Parquet"),
        ("gone.csv", "gone.csv: not found"),
        ("", "expected one manifest; found manifest.csv, manifest.tsv; name one of them"),
    ] {
        let found = refusal(&folder, path);
        assert!(found.trim_start_matches(": ").starts_with(expected), "{path}: {found}");
    }
}

#[test]
fn parallel_lines_are_rows() {
    let packed = gzip(b"ein\n\nzwei");
    let folder = folder_of(&[
        ("train.en", b"one\n\ntwo\n"),
        ("train.de.gz", &packed),
        ("val.en", b"three\r\n"),
        ("val.de.gz", &gzip(b"drei\n")),
        ("short.en", b"one\n"),
        ("short.de.gz", &gzip(b"ein\nzwei\n")),
    ]);
    std::fs::rename(at(&folder, "train.en"), at(&folder, "train.en.gz")).unwrap();
    std::fs::write(at(&folder, "train.en.gz"), gzip(b"one\n\ntwo\n")).unwrap();
    std::fs::write(at(&folder, "val.en.gz"), gzip(b"three\r\n")).unwrap();
    std::fs::write(at(&folder, "short.en.gz"), gzip(b"one\n")).unwrap();
    let table = table(&folder, "{train,val}.{en,de}.gz");
    assert_eq!(table.fields(), ["en", "de", "split"]);
    assert_eq!(all(&*table, "en"), texts(&["one", "", "two", "three"]));
    assert_eq!(all(&*table, "de"), texts(&["ein", "", "zwei", "drei"]));
    assert_eq!(all(&*table, "split"), texts(&["train", "train", "train", "validation"]));
    assert!(table.location(3).ends_with("val.en.gz line 1"));
    assert_eq!(
        refusal(&folder, "short.{en,de}.gz"),
        "short.de.gz: expected 1 lines, as in short.en.gz; found 2; line i of one file belongs to line i of the other"
    );
    assert!(refusal(&folder, "{train,none}.{en,de}.gz").contains("none.en.gz: not found"));
    let named = with_columns(&folder, "val.{en,de}.gz", &["source", "target"]).unwrap();
    assert_eq!(named.fields(), ["source", "target", "split"]);
    let error = with_columns(&folder, "val.{en,de}.gz", &["source"]).map(|_| ()).unwrap_err();
    assert!(error.to_string().ends_with("expected 2 names in `columns`, one for each of .en, .de; found 1"));
    let lines = opened_as("lines", &at(&folder, "val.en")).unwrap();
    assert_eq!(all(&*lines, "text"), texts(&["three"]));
}

#[test]
fn a_text_file_is_one_row() {
    let folder =
        folder_of(&[("train.txt", b"a b"), ("valid.txt", b"c"), ("x/a.txt", b"1"), ("x/b.md", b"2")]);
    let table = table(&folder, "{train,valid}.txt");
    assert_eq!(all(&*table, "text"), texts(&["a b", "c"]));
    assert_eq!(all(&*table, "split"), texts(&["train", "validation"]));
    let one = super::table(&folder, "train.txt");
    assert_eq!((one.fields(), one.len()), (&["text".to_string()][..], 1));
    let folder_of_texts = opened_as("text", &at(&folder, "x")).unwrap();
    assert_eq!((folder_of_texts.len(), folder_of_texts.skipped().len()), (1, 1));
    assert!(
        opened("builtin:text/smalti.txt").unwrap().value(0, "text").unwrap().into_text().unwrap().len()
            > 1000
    );
    let mark = folder_of(&[("t.txt", b"\xff")]);
    let error = super::table(&mark, "t.txt").value(0, "text").unwrap_err();
    assert!(error.to_string().contains("not UTF-8"), "{error}");
}
