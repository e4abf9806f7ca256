//! Parquet in the format of Hugging Face's `datasets`, in several files, and corrupt.

use super::*;
use crate::data::testing::{at, folder_of, gzip};
use crate::table::Source;
use ::parquet::arrow::ArrowWriter;
use ::parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::{WriterProperties, WriterVersion};
use arrow_array::builder::{FixedSizeBinaryBuilder, Float32Builder, Int64Builder, ListBuilder};
use arrow_array::types::Int32Type;
use arrow_array::*;
use arrow_buffer::NullBuffer;
use arrow_schema::Field;
use smalti_contract::{Array as Numbers, File, Value};

const FEATURES: &str = r#"{"info": {"features": {
    "label": {"names": ["cat", "dog"], "_type": "ClassLabel"},
    "tags": {"feature": {"names": ["cat", "dog"], "_type": "ClassLabel"}, "_type": "Sequence"}
}}}"#;

fn group(fields: Vec<(&str, ArrayRef)>, valid: Option<Vec<bool>>) -> ArrayRef {
    let (fields, arrays): (Vec<_>, Vec<_>) = fields
        .into_iter()
        .map(|(name, array)| (Field::new(name, array.data_type().clone(), true), array))
        .unzip();
    Arc::new(StructArray::new(fields.into(), arrays, valid.map(NullBuffer::from)))
}

fn file(bytes: Vec<Option<&[u8]>>, paths: Vec<Option<&str>>) -> ArrayRef {
    let (bytes, paths): (ArrayRef, ArrayRef) =
        (Arc::new(BinaryArray::from(bytes)), Arc::new(StringArray::from(paths)));
    group(vec![("bytes", bytes), ("path", paths)], None)
}

fn texts(texts: Vec<Option<&str>>) -> ArrayRef {
    Arc::new(StringArray::from(texts))
}

fn labels(labels: Vec<Option<i64>>) -> ArrayRef {
    Arc::new(Int64Array::from(labels))
}

fn properties() -> ::parquet::file::properties::WriterPropertiesBuilder {
    let pair = KeyValue::new("huggingface".to_string(), FEATURES.to_string());
    WriterProperties::builder().set_compression(Compression::SNAPPY).set_key_value_metadata(Some(vec![pair]))
}

/// A file of these columns.
fn written(columns: Vec<(&str, ArrayRef)>, properties: WriterProperties) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .unwrap();
    let mut bytes = vec![];
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn vectors(rows: &[&[f32]]) -> ArrayRef {
    let mut lists = ListBuilder::new(Float32Builder::new());
    for row in rows {
        lists.append_value(row.iter().map(|number| Some(*number)));
    }
    Arc::new(lists.finish())
}

fn classes(rows: &[&[i64]]) -> ArrayRef {
    let mut lists = ListBuilder::new(Int64Builder::new());
    for row in rows {
        lists.append_value(row.iter().map(|number| Some(*number)));
    }
    Arc::new(lists.finish())
}

/// Two rows; the second has no text, no class, no image and another vector.
fn published(label: i64) -> Vec<u8> {
    let raw: ArrayRef = Arc::new(BinaryArray::from(vec![&b"plain"[..], b"text"]));
    let columns = vec![
        ("text", texts(vec![Some("one"), None])),
        ("label", labels(vec![Some(label), Some(-1)])),
        ("image", file(vec![Some(b"\x89P"), None], vec![Some("a.png"), None])),
        ("v", vectors(&[&[1.0, 2.0], &[3.5]])),
        ("raw", raw),
        ("tags", classes(&[&[0, 1], &[-1]])),
    ];
    written(columns, properties().build())
}

fn opened(location: &str) -> Result<Arc<dyn Table>, DataError> {
    let source = Source::new(location);
    let place = Place::new(&source);
    open(&place)?.ok_or_else(|| DataError::layout(location, place.take_reason().unwrap_or_default()))
}

fn row(table: &dyn Table, row: usize) -> Vec<Value> {
    table.fields().iter().map(|field| table.value(row, field).unwrap()).collect()
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

fn refusal(location: &str) -> String {
    let read = |table: Arc<dyn Table>| -> Result<(), DataError> {
        (0..table.len())
            .try_for_each(|row| table.fields().iter().try_for_each(|f| table.value(row, f).map(drop)))
    };
    opened(location).and_then(read).unwrap_err().to_string()
}

#[test]
fn a_published_table_has_files_lists_and_class_names() {
    let folder = folder_of(&[("t.parquet", &published(1)), ("class2.parquet", &published(2))]);
    let table = opened(&at(&folder, "t.parquet")).unwrap();
    assert_eq!(table.fields(), ["text", "label", "image", "v", "raw", "tags"]);
    let image = Value::File(File { name: "a.png".into(), bytes: b"\x89P".to_vec() });
    let tags = Value::Series(vec![text("cat"), text("dog")]);
    assert_eq!(
        row(&*table, 0),
        [text("one"), text("dog"), image, Value::vector([1.0, 2.0]), text("plain"), tags]
    );
    let tags = Value::Series(vec![Value::Missing]);
    let none = Value::Missing;
    assert_eq!(row(&*table, 1), [none.clone(), none.clone(), none, Value::vector([3.5]), text("text"), tags]);
    assert_eq!(table.classes("label").unwrap(), ["cat", "dog"]);
    assert_eq!(table.classes("tags").unwrap(), ["cat", "dog"]);
    assert!(matches!(table.peek(0, "image").unwrap(), Value::File(file) if file.bytes.is_empty()));
    assert_eq!(table.location(1), format!("{} row 2", at(&folder, "t.parquet")));
    let error = refusal(&at(&folder, "class2.parquet"));
    assert!(error.ends_with("row 1: the field \"label\" is class 2; the file names 2 classes"), "{error}");
}

#[test]
fn every_codec_and_a_packed_file_are_read() {
    let columns =
        || vec![("text", texts(vec![Some("one"), Some("two")])), ("x", labels(vec![Some(1), None]))];
    let codecs = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
        Compression::ZSTD(ZstdLevel::default()),
    ];
    for codec in codecs {
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            let properties = WriterProperties::builder().set_compression(codec).set_writer_version(version);
            let bytes = written(columns(), properties.build());
            let folder = folder_of(&[("t.parquet", &bytes), ("t.parquet.gz", &gzip(&bytes))]);
            for name in ["t.parquet", "t.parquet.gz"] {
                let table = opened(&at(&folder, name)).unwrap();
                assert_eq!(row(&*table, 0), [text("one"), Value::Number(1.0)], "{codec:?} {name}");
                assert_eq!(row(&*table, 1), [text("two"), Value::Missing], "{codec:?} {name}");
            }
        }
    }
}

#[test]
fn types_become_texts_numbers_and_arrays() {
    let dictionary: DictionaryArray<Int32Type> = vec![Some("a"), None].into_iter().collect();
    let mut digests = FixedSizeBinaryBuilder::new(2);
    digests.append_value([0xff, 0]).unwrap();
    digests.append_value([1, 2]).unwrap();
    let inner: ArrayRef = Arc::new(Float64Array::from(vec![Some(f64::NAN), Some(0.5)]));
    let matrix = {
        let mut rows = ListBuilder::new(ListBuilder::new(Float32Builder::new()));
        for row in [[1.0, 2.0], [3.0, 4.0]] {
            rows.values().append_value(row.map(Some));
        }
        rows.append(true);
        rows.append(false);
        rows.finish()
    };
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("truth", Arc::new(BooleanArray::from(vec![true, false]))),
        ("day", Arc::new(Date32Array::from(vec![0, 1]))),
        ("at", Arc::new(TimestampMillisecondArray::from(vec![0, 1500]))),
        ("price", Arc::new(Decimal128Array::from(vec![150, -5]).with_precision_and_scale(9, 2).unwrap())),
        ("kind", Arc::new(dictionary)),
        ("large", Arc::new(LargeStringArray::from(vec!["", "x"]))),
        ("digest", Arc::new(digests.finish())),
        ("half", Arc::new(Float16Array::from(vec![half::f16::from_f32(0.5), half::f16::NAN]))),
        ("null", Arc::new(NullArray::new(2))),
        ("g", group(vec![("x", inner)], Some(vec![true, false]))),
        ("matrix", Arc::new(matrix)),
    ];
    let folder = folder_of(&[("t.parquet", &written(columns, WriterProperties::default()))]);
    let table = opened(&at(&folder, "t.parquet")).unwrap();
    let value = |row, field| table.value(row, field).unwrap();
    let digest = |bytes: [u8; 2]| Value::File(File { name: String::new(), bytes: bytes.to_vec() });
    for (field, first, second) in [
        ("truth", text("true"), text("false")),
        ("day", text("1970-01-01"), text("1970-01-02")),
        ("at", text("1970-01-01 00:00:00.000 +00:00"), text("1970-01-01 00:00:01.500 +00:00")),
        ("price", Value::Number(1.5), Value::Number(-0.05)),
        ("kind", text("a"), Value::Missing),
        ("large", Value::Missing, text("x")),
        ("digest", digest([0xff, 0]), digest([1, 2])),
        ("half", Value::Number(0.5), Value::Missing),
        ("null", Value::Missing, Value::Missing),
        ("g.x", Value::Missing, Value::Missing),
    ] {
        assert_eq!([value(0, field), value(1, field)], [first, second], "{field}");
    }
    let Value::Array(Numbers { shape, .. }) = value(0, "matrix") else { panic!("no array") };
    assert_eq!((shape, value(1, "matrix")), (vec![2, 2], Value::Missing));
}

#[test]
fn paths_without_bytes_are_files_beside_the_table() {
    let columns = vec![
        ("image", file(vec![None, None], vec![Some("i/a.png"), Some("../b.png")])),
        ("file_name", texts(vec![Some("i/a.png"), Some("i/none.png")])),
    ];
    let bytes = written(columns, WriterProperties::default());
    let folder = folder_of(&[("t.parquet", &bytes), ("i/a.png", b"PNG")]);
    let table = opened(&at(&folder, "t.parquet")).unwrap();
    let image = Value::File(File { name: "i/a.png".into(), bytes: b"PNG".to_vec() });
    assert_eq!(row(&*table, 0), [image.clone(), image]);
    let error = table.value(1, "image").unwrap_err().to_string();
    assert!(error.contains("t.parquet row 2: the path \"../b.png\" is not allowed"), "{error}");
    assert!(table.value(1, "file_name").unwrap_err().to_string().contains("not found"));
    assert!(table.origin(0).unwrap().contains("i/a.png"));
}

#[test]
fn files_with_other_fields_are_one_table_with_splits() {
    let of = |name: &str| written(vec![(name, texts(vec![Some(name)]))], WriterProperties::default());
    let folder = folder_of(&[
        ("data/train-00000-of-00001.parquet", &of("a")),
        ("data/dev-00000-of-00001.parquet", &of("b")),
        ("Testing/0.parquet", &of("a")),
        ("._x.parquet", b"x"),
        ("README.md", b"x"),
        (".gitattributes", b"x"),
    ]);
    let table = opened(&at(&folder, "")).unwrap();
    assert_eq!(table.fields(), ["a", "b", "split"]);
    assert_eq!(row(&*table, 0), [text("a"), Value::Missing, text("test")]);
    assert_eq!(row(&*table, 1), [Value::Missing, text("b"), text("validation")]);
    assert_eq!(table.value(2, "split").unwrap(), text("train"));
    assert!(table.skipped().iter().any(|(path, why)| path.ends_with("._x.parquet") && *why == "hidden"));
    assert_eq!(opened(&at(&folder, "data/*.parquet")).unwrap().len(), 2);
    let one = opened(&at(&folder, "data/train-00000-of-00001.parquet")).unwrap();
    assert_eq!(one.fields(), ["a"]);
}

#[test]
fn types_that_differ_between_files_are_an_error() {
    let folder = folder_of(&[
        ("1.parquet", &written(vec![("x", texts(vec![Some("a")]))], WriterProperties::default())),
        ("2.parquet", &written(vec![("x", labels(vec![Some(1)]))], WriterProperties::default())),
        ("other/a.png", b"x"),
    ]);
    let error = refusal(&at(&folder, "*.parquet"));
    assert!(
        error.contains("2.parquet: not readable as Parquet: the field \"x\" must be a text, as in"),
        "{error}"
    );
    assert!(error.contains("1.parquet; found a number"), "{error}");
    assert!(refusal(&at(&folder, "")).ends_with("it has other/a.png beside its files named .parquet"));
}

#[test]
fn rows_are_read_in_any_order_over_parts_and_row_groups() {
    let names: Vec<String> = (0..3_000).map(|number| format!("{number}-{}", "x".repeat(10_000))).collect();
    let lists: Vec<Vec<f32>> = (0..3_000).map(|number| vec![number as f32; number % 3 + 1]).collect();
    let lists: Vec<&[f32]> = lists.iter().map(Vec::as_slice).collect();
    let columns = vec![
        ("name", texts(names.iter().map(|name| Some(name.as_str())).collect())),
        ("list", vectors(&lists)),
    ];
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(1_700))
        .set_dictionary_enabled(false)
        .set_write_batch_size(16);
    let folder = folder_of(&[("t.parquet", &written(columns, properties.build()))]);
    let table = opened(&at(&folder, "t.parquet")).unwrap();
    for row in (0..3_000).map(|number| number * 1_231 % 3_000) {
        assert_eq!(table.value(row, "name").unwrap(), text(&names[row]));
        assert_eq!(table.value(row, "list").unwrap(), Value::vector(lists[row]));
    }
}

#[test]
fn truncated_and_foreign_files_state_the_problem() {
    let whole = published(1);
    let folder = folder_of(&[
        ("short.parquet", b"PAR1"),
        ("text.parquet", b"PAR1 and no more"),
        ("cut.parquet", &whole[..whole.len() - 10]),
        ("long.parquet", b"PAR1\xff\xff\xff\x7fPAR1"),
        ("empty.parquet", b""),
        ("none.parquet", &written(vec![("x", texts(vec![]))], WriterProperties::default())),
    ]);
    for (name, problem) in [
        ("short.parquet", "it ends before its footer"),
        ("text.parquet", "it does not end in PAR1"),
        ("cut.parquet", "it does not end in PAR1"),
        ("long.parquet", "it declares 2147483647 bytes of metadata, more than it has"),
        ("empty.parquet", "empty; expected data"),
        ("none.parquet", "empty; expected rows"),
    ] {
        let error = refusal(&at(&folder, name));
        assert!(error.contains(problem), "{name}: {error}");
    }
}

#[test]
fn lists_that_the_metadata_names_are_series() {
    let file = |series: &str| {
        let pair = KeyValue::new("smalti.series".to_string(), series.to_string());
        let properties = WriterProperties::builder().set_key_value_metadata(Some(vec![pair])).build();
        let lists = vectors(&[&[1.0, 2.0, 3.0], &[], &[4.0]]);
        written(vec![("n", labels(vec![Some(1), None, Some(3)])), ("x", lists)], properties)
    };
    let folder = folder_of(&[("t.parquet", &file("[\"x\", \"n\", \"other\"]")), ("u.parquet", &file("[1"))]);
    let table = opened(&at(&folder, "t.parquet")).unwrap();
    assert_eq!([0, 1, 2].map(|row| table.steps(row)), [3, 0, 1]);
    let series =
        |numbers: &[f64]| Value::Series(numbers.iter().map(|number| Value::Number(*number)).collect());
    assert_eq!(table.value(0, "x").unwrap(), series(&[1.0, 2.0, 3.0]));
    assert_eq!(table.window(0, "x", 1..2).unwrap(), series(&[2.0]));
    assert_eq!(table.window(0, "x", 7..9).unwrap(), series(&[]));
    assert!(table.value(1, "x").unwrap().is_missing());
    assert_eq!(table.value(2, "n").unwrap(), Value::Number(3.0), "only lists are series");
    let table = opened(&at(&folder, "u.parquet")).unwrap();
    assert_eq!(table.value(0, "x").unwrap(), Value::vector([1.0, 2.0, 3.0]), "the key is no list");
}

#[test]
fn corrupt_parquet_causes_no_panic() {
    let whole = published(1);
    let folder = folder_of(&[]);
    let location = at(&folder, "t.parquet");
    for at in (0..whole.len()).step_by(3) {
        let mut corrupt = whole.clone();
        corrupt[at] ^= 0x55;
        for bytes in [&corrupt[..], &whole[..at]] {
            std::fs::write(&location, bytes).unwrap();
            match opened(&location) {
                Err(error) => assert!(error.to_string().contains("t.parquet"), "{error}"),
                Ok(table) => {
                    for field in table.fields() {
                        _ = table.value(0, field);
                    }
                }
            }
        }
    }
}

#[test]
fn a_schema_with_too_many_levels_is_an_error() {
    let mut footer = vec![0x15, 2, 0x19, 0xfc, 0xe8, 7];
    for _ in 0..1_000 {
        // A group of one child: its name, and the number of children.
        footer.extend([0x48, 1, b'g', 0x15, 2, 0]);
    }
    footer.push(0);
    let length = (footer.len() as u32).to_le_bytes();
    let folder = folder_of(&[("t.parquet", &[b"PAR1", &footer[..], &length, b"PAR1"].concat())]);
    let error = refusal(&at(&folder, "t.parquet"));
    assert!(error.contains("its schema has more than 32 levels of lists and groups"), "{error}");
}
