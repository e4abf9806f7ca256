use super::*;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use serde_json::json;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn text_of(text: &str) -> Value {
    Value::Text(text.into())
}

/// Every kind of field: texts with special characters, numbers, arrays, a mix with a series, and one without values.
fn table() -> (Vec<String>, Vec<Vec<Value>>) {
    let matrix = Array { shape: vec![2, 2], numbers: Numbers::F32(vec![0.1, -2.5, f32::NAN, 1e10]) };
    let pixels = Array { shape: vec![1, 2], numbers: Numbers::U8(vec![0, 255]) };
    let series = Value::Series(vec![Value::Number(1.0), Value::Missing, Value::vector([0.5]), text_of("ä")]);
    let fields = names(&["te,xt", "number", "array", "any", "void"]);
    let rows = vec![
        vec![
            text_of("Grüße, \"Welt\"\r\n😀\t"),
            0.1.into_value(),
            Value::Array(matrix),
            series,
            Value::Missing,
        ],
        vec![Value::Missing, 7.0.into_value(), Value::Missing, 7.0.into_value(), Value::Missing],
        vec![text_of(""), Value::Missing, Value::Array(pixels), 1e300.into_value(), Value::Missing],
    ];
    (fields, rows)
}

trait IntoValue {
    fn into_value(self) -> Value;
}

impl IntoValue for f64 {
    fn into_value(self) -> Value {
        Value::Number(self)
    }
}

/// Write these rows, and return the bytes of the file.
fn written(name: &str, fields: &[String], rows: &[Vec<Value>]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, "an older file").unwrap();
    write_rows(&path, fields, rows).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    std::fs::read(path).unwrap()
}

fn parquet_rows(bytes: Vec<u8>) -> Vec<Vec<(String, Field)>> {
    let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).unwrap();
    let rows = reader.get_row_iter(None).unwrap();
    rows.map(|row| row.unwrap().get_column_iter().map(|(n, f)| (n.clone(), f.clone())).collect()).collect()
}

#[test]
fn csv_is_read_back() {
    let (fields, rows) = table();
    let bytes = written("t.csv", &fields, &rows);
    let mut reader = csv::Reader::from_reader(bytes.as_slice());
    assert_eq!(reader.headers().unwrap().iter().collect::<Vec<_>>(), fields);
    let found: Vec<Vec<String>> =
        reader.records().map(|row| row.unwrap().iter().map(str::to_string).collect()).collect();
    let expected = [
        ["Grüße, \"Welt\"\r\n😀\t", "0.1", "[[0.1,-2.5],[null,10000000000.0]]", "[1,null,[0.5],\"ä\"]", ""],
        ["", "7", "", "7", ""],
        ["", "", "[[0,255]]", "1e300", ""],
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_csv_of_one_field_keeps_its_empty_rows() {
    let rows = [vec![Value::Missing], vec![f64::NAN.into_value()], vec![f64::NEG_INFINITY.into_value()]];
    assert_eq!(written("t.csv", &names(&["a"]), &rows), b"a\n\"\"\nNaN\n-inf\n");
}

#[test]
fn json_lines_are_read_back() {
    let (fields, rows) = table();
    let text = String::from_utf8(written("t.jsonl", &fields, &rows)).unwrap();
    assert!(text.starts_with(r#"{"te,xt":"Grüße, \"Welt\"\r\n😀\t","number":0.1,"array":[[0.1,"#), "{text}");
    let found: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected = [
        json!({"te,xt": "Grüße, \"Welt\"\r\n😀\t", "number": 0.1, "array": [[0.1, -2.5], [null, 1e10]],
            "any": [1, null, [0.5], "ä"], "void": null}),
        json!({"te,xt": null, "number": 7, "array": null, "any": "7", "void": null}),
        json!({"te,xt": "", "number": null, "array": [[0, 255]], "any": "1e300", "void": null}),
    ];
    assert_eq!(found, expected);
}

#[test]
fn parquet_is_read_back() {
    let (fields, rows) = table();
    let found = parquet_rows(written("t.parquet", &fields, &rows));
    let string = |text: &str| Field::Str(text.into());
    let expected = [
        vec![
            string("Grüße, \"Welt\"\r\n😀\t"),
            Field::Double(0.1),
            string("[[0.1,-2.5],[null,10000000000.0]]"),
            string("[1,null,[0.5],\"ä\"]"),
            Field::Null,
        ],
        vec![Field::Null, Field::Double(7.0), Field::Null, string("7"), Field::Null],
        vec![string(""), Field::Null, string("[[0,255]]"), string("1e300"), Field::Null],
    ];
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found.iter().map(|(name, _)| name).collect::<Vec<_>>(), fields.iter().collect::<Vec<_>>());
        assert_eq!(found.iter().map(|(_, field)| field.clone()).collect::<Vec<_>>(), *expected);
    }
    assert_eq!(found.len(), expected.len());
}

#[test]
fn numbers_are_read_back_bit_for_bit() {
    let numbers = [0.1 + 0.2, -0.0, 1e15 + 0.5, 9007199254740991.0, 2e16, 5e-324, f64::MAX, -1.5e-7];
    let rows: Vec<Vec<Value>> = numbers.iter().map(|&number| vec![Value::Number(number)]).collect();
    let bits = |numbers: &[f64]| numbers.iter().map(|number| number.to_bits()).collect::<Vec<_>>();
    let fields = names(&["x"]);
    let text = |name: &str| String::from_utf8(written(name, &fields, &rows)).unwrap();
    let csv: Vec<f64> = text("t.csv").lines().skip(1).map(|line| line.parse().unwrap()).collect();
    assert_eq!(bits(&csv), bits(&numbers));
    let json = text("t.jsonl");
    let json =
        json.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["x"].as_f64());
    assert_eq!(bits(&json.map(Option::unwrap).collect::<Vec<_>>()), bits(&numbers));
    let parquet = parquet_rows(written("t.parquet", &fields, &rows));
    let double = |field: &Field| if let Field::Double(number) = field { *number } else { panic!("{field}") };
    assert_eq!(bits(&parquet.iter().map(|row| double(&row[0].1)).collect::<Vec<_>>()), bits(&numbers));
}

#[test]
fn a_table_without_rows_has_its_fields() {
    let fields = names(&["a", "b"]);
    assert_eq!(written("t.csv", &fields, &[]), b"a,b\n");
    assert_eq!(written("t.jsonl", &fields, &[]), b"");
    let parquet = SerializedFileReader::new(bytes::Bytes::from(written("t.parquet", &fields, &[]))).unwrap();
    let metadata = parquet.metadata().file_metadata();
    assert_eq!(metadata.num_rows(), 0);
    assert_eq!(metadata.schema().get_fields().iter().map(|f| f.name()).collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn a_failed_write_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = Value::File(smalti_contract::File { name: "a.png".into(), bytes: vec![1] });
    let one = |value: Value| vec![vec![Value::Missing], vec![value]];
    let a = names(&["a"]);
    let cases = [
        ("t.txt", a.clone(), vec![], "t.txt: expected a name that ends in .csv, .jsonl or .parquet"),
        ("parquet", a.clone(), vec![], "expected a name that ends in"),
        ("t.csv", vec![], vec![], "t.csv: expected 1 or more fields; found 0"),
        ("t.csv", names(&["a", "b", "a"]), vec![], "expected distinct field names; found \"a\" twice"),
        (
            "t.csv",
            names(&["a", "b"]),
            one(Value::Missing),
            "t.csv: row 1: expected 2 values, one for each field; found 1",
        ),
        (
            "t.csv",
            a.clone(),
            one(Value::Series(vec![file.clone()])),
            "row 2, field \"a\": expected a text, a number, an array or a file; found the file \"a.png\"",
        ),
        ("t.parquet", a.clone(), one(Value::Series(vec![file])), "found the file \"a.png\""),
        ("none/t.jsonl", a.clone(), vec![], "none/t.jsonl: No such file"),
    ];
    for (name, fields, rows, expected) in cases {
        let path = folder.path().join(name);
        let exists = !name.contains('/');
        if exists {
            std::fs::write(&path, "old").unwrap();
        }
        let message = write_rows(&path, &fields, &rows).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
        assert!(!exists || std::fs::read(&path).unwrap() == b"old");
    }
}

#[test]
fn files_are_written_beside_the_table_and_their_field_holds_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, byte| Value::File(smalti_contract::File { name: name.into(), bytes: vec![byte] });
    let rows = vec![
        vec![Value::Number(7.0), file("a.png", 1)],
        vec![Value::Number(8.0), Value::Missing],
        vec![Value::Number(9.0), file("b", 3)],
    ];
    write_rows(&folder.path().join("t.csv"), &names(&["id", "a/b"]), &rows).unwrap();
    let table = std::fs::read_to_string(folder.path().join("t.csv")).unwrap();
    assert_eq!(table, "id,a/b.path\n7,t.files/1-a_b.png\n8,\n9,t.files/3-a_b\n");
    assert_eq!(std::fs::read(folder.path().join("t.files/1-a_b.png")).unwrap(), [1]);
    assert_eq!(std::fs::read(folder.path().join("t.files/3-a_b")).unwrap(), [3]);
}
