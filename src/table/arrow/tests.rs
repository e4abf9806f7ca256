//! Folders that `save_to_disk` of `datasets` writes, and corrupt streams.

use super::*;
use crate::data::testing::{at, folder_of};
use crate::table::Source;
use arrow_array::types::Int8Type;
use arrow_array::*;
use arrow_ipc::writer::{FileWriter, StreamWriter};
use smalti_contract::Value;

const STATE_JSON: &[u8] =
    br#"{"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": "train"}"#;
const INFO_JSON: &[u8] = br#"{"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}"#;

/// Two record batches of two rows.
fn batches() -> Vec<RecordBatch> {
    let kinds: DictionaryArray<Int8Type> = vec!["x", "y"].into_iter().collect();
    let batch = |first: i64| {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("label", Arc::new(Int64Array::from(vec![Some(first), Some(-1)]))),
            ("text", Arc::new(StringArray::from(vec![Some("one"), None]))),
            ("kind", Arc::new(kinds.clone())),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
    };
    [0, 1].map(|first| batch(first).unwrap()).to_vec()
}

fn stream() -> Vec<u8> {
    let (batches, mut bytes) = (batches(), vec![]);
    let mut writer = StreamWriter::try_new(&mut bytes, &batches[0].schema()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
    drop(writer);
    bytes
}

fn opened(location: &str) -> Result<Arc<dyn Table>, DataError> {
    let source = Source::new(location);
    let place = Place::new(&source);
    open(&place)?.ok_or_else(|| DataError::layout(location, place.take_reason().unwrap_or_default()))
}

fn read(table: &dyn Table) -> Result<Vec<Vec<Value>>, DataError> {
    let row = |row: usize| table.fields().iter().map(|field| table.value(row, field)).collect();
    (0..table.len()).map(row).collect()
}

#[test]
fn a_saved_data_set_has_its_splits_and_class_names() {
    let bytes = stream();
    let folder = folder_of(&[
        ("dataset_dict.json", br#"{"splits": ["train", "test"]}"#),
        ("train/state.json", STATE_JSON),
        ("train/dataset_info.json", INFO_JSON),
        ("train/data-00000-of-00001.arrow", &bytes),
        ("train/cache-1234.arrow", b"not read"),
        ("test/state.json", STATE_JSON),
        ("test/dataset_info.json", INFO_JSON),
        ("test/data-00000-of-00001.arrow", &bytes),
    ]);
    let table = opened(&at(&folder, "")).unwrap();
    assert_eq!((table.fields(), table.len()), (&["label", "text", "kind", "split"].map(String::from)[..], 8));
    assert_eq!(table.classes("label").unwrap(), ["cat", "dog"]);
    let text = |text: &str| Value::Text(text.into());
    let rows = read(&*table).unwrap();
    assert_eq!(rows[2], [text("dog"), text("one"), text("x"), text("test")]);
    assert_eq!(rows[5], [Value::Missing, Value::Missing, text("y"), text("train")]);
    let one = opened(&at(&folder, "train/data-00000-of-00001.arrow")).unwrap();
    assert_eq!((one.fields().len(), one.len()), (3, 4));
    assert_eq!(one.value(2, "label").unwrap(), Value::Number(1.0), "nothing beside a single file is read");
}

#[test]
fn files_with_a_footer_are_read_too() {
    let (batches, mut bytes) = (batches(), vec![]);
    let mut writer = FileWriter::try_new(&mut bytes, &batches[0].schema()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
    drop(writer);
    let folder = folder_of(&[("t.arrow", &bytes)]);
    assert_eq!(read(&*opened(&at(&folder, "t.arrow")).unwrap()).unwrap().len(), 4);
}

#[test]
fn truncated_and_foreign_files_state_the_problem() {
    let whole = stream();
    let folder = folder_of(&[
        ("cut.arrow", &whole[..whole.len() - 100]),
        ("text.arrow", b"this is a text and no stream"),
        ("empty.arrow", b""),
        ("gone/state.json", STATE_JSON),
        ("other/a.png", b"x"),
    ]);
    for (name, problem) in [
        ("cut.arrow", "truncated"),
        ("text.arrow", "a message declares 1936287860 bytes at byte 0; at most"),
        ("empty.arrow", "empty; expected data"),
        ("gone", "data-00000-of-00001.arrow: not found; expected a file that"),
        ("other", "no state.json in it lists files named .arrow"),
    ] {
        let error = opened(&at(&folder, name)).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(problem), "{name}: {error}");
    }
}

#[test]
fn corrupt_streams_cause_no_panic() {
    let whole = stream();
    let folder = folder_of(&[]);
    let location = at(&folder, "t.arrow");
    for at in (0..whole.len()).step_by(3) {
        let mut corrupt = whole.clone();
        corrupt[at] ^= 0x55;
        for bytes in [&corrupt[..], &whole[..at]] {
            std::fs::write(&location, bytes).unwrap();
            if let Err(error) = opened(&location).and_then(|table| read(&*table)) {
                assert!(error.to_string().contains("t.arrow"), "{error}");
            }
        }
    }
}
