//! Parquet in the format of Hugging Face's `datasets`, and corrupt tables of every format.

use super::*;
use crate::data::testing::{at, folder_of};
use crate::table::Source;
use ::parquet::basic::Compression;
use ::parquet::data_type::{ByteArray, ByteArrayType, FloatType, Int64Type};
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use proptest::prelude::*;

const SCHEMA: &str = "message schema {
    optional binary text (UTF8);
    optional int64 label;
    optional group image { optional binary bytes; optional binary path (UTF8); }
    optional group v (LIST) { repeated group list { optional float element; } }
    optional binary raw;
}";
const FEATURES: &str =
    r#"{"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}"#;

/// Two rows; the second has no text, no label, no image and another vector.
fn parquet(label: i64) -> Vec<u8> {
    let schema = parse_message_type(SCHEMA).unwrap().into();
    let pair = KeyValue::new("huggingface".to_string(), FEATURES.to_string());
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_key_value_metadata(Some(vec![pair]))
        .build();
    let mut bytes = vec![];
    let mut file = SerializedFileWriter::new(&mut bytes, schema, properties.into()).unwrap();
    let mut group = file.next_row_group().unwrap();
    let texts: [&[ByteArray]; 3] = [&["one".into()], &[ByteArray::from(vec![0x89, b'P'])], &["a.png".into()]];
    let mut write = |number: usize| {
        let mut column = group.next_column().unwrap().unwrap();
        match number {
            0 => _ = column.typed::<ByteArrayType>().write_batch(texts[0], Some(&[1, 0]), None).unwrap(),
            1 => _ = column.typed::<Int64Type>().write_batch(&[label], Some(&[1, 0]), None).unwrap(),
            2 | 3 => {
                _ = column
                    .typed::<ByteArrayType>()
                    .write_batch(texts[number - 1], Some(&[2, 0]), None)
                    .unwrap()
            }
            4 => {
                let levels = (Some(&[3, 3, 3][..]), Some(&[0, 1, 0][..]));
                _ = column.typed::<FloatType>().write_batch(&[1.0, 2.0, 3.5], levels.0, levels.1).unwrap();
            }
            _ => {
                let raw = ["plain", "text"].map(ByteArray::from);
                _ = column.typed::<ByteArrayType>().write_batch(&raw, Some(&[1, 1]), None).unwrap();
            }
        }
        column.close().unwrap();
    };
    (0..6).for_each(&mut write);
    group.close().unwrap();
    file.close().unwrap();
    bytes
}

fn opened(location: &str) -> Result<Arc<dyn Table>, DataError> {
    open(&Place::new(&Source::new(location))).map(Option::unwrap)
}

#[test]
fn a_published_table_has_files_lists_and_class_names() {
    let folder = folder_of(&[("t.parquet", &parquet(1)), ("class2.parquet", &parquet(2))]);
    let table = opened(&at(&folder, "t.parquet")).unwrap();
    assert_eq!(table.fields(), ["text", "label", "image", "v", "raw"]);
    let row =
        |row: usize| table.fields().iter().map(|field| table.value(row, field).unwrap()).collect::<Vec<_>>();
    let image = Value::File(File { name: "a.png".into(), bytes: vec![0x89, b'P'] });
    let text = |text: &str| Value::Text(text.into());
    assert_eq!(row(0), [text("one"), text("dog"), image, Value::vector([1.0, 2.0]), text("plain")]);
    assert_eq!(row(1), [Value::Missing, Value::Missing, Value::Missing, Value::vector([3.5]), text("text")]);
    assert_eq!(table.classes("label").unwrap(), ["cat", "dog"]);
    let error = opened(&at(&folder, "class2.parquet")).map(|_| ()).unwrap_err();
    assert!(
        error.to_string().ends_with("the field \"label\" is class 2; the file names 2 classes"),
        "{error}"
    );
}

#[test]
fn corrupt_parquet_causes_no_panic() {
    let whole = parquet(1);
    let folder = folder_of(&[]);
    let location = at(&folder, "t.parquet");
    for at in (0..whole.len()).step_by(3) {
        let mut corrupt = whole.clone();
        corrupt[at] ^= 0x55;
        for bytes in [&corrupt[..], &whole[..at]] {
            std::fs::write(&location, bytes).unwrap();
            if let Err(error) = opened(&location) {
                assert!(error.to_string().contains("t.parquet"), "{error}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn random_tables_cause_no_panic(text in "[a\tb,\"\\[\\]{}:1.\n]{0,80}") {
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
