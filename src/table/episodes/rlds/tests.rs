//! Data sets in the RLDS layout as tables.

#[path = "../../../../tests/support/rlds.rs"]
mod written;

use super::*;
use crate::data::testing::{at, folder_of, real};
use crate::table::{Source, SourceRegistry, select};
use smalti_contract::{Array, File, Numbers};
use tempfile::TempDir;
use written::{FEATURES as DESCRIPTION, PNG, episode};

const TRAIN: &str = "push-train.tfrecord-00000-of-00001";

fn opened(location: &str) -> Result<Arc<dyn Table>, DataError> {
    SourceRegistry::builtin().open(&Source::new(location))
}

fn refusal(folder: &TempDir, path: &str) -> String {
    let error = opened(&at(folder, path)).map(|table| table.name().to_string()).unwrap_err();
    error.to_string().replace(&at(folder, ""), "")
}

fn series(value: Value) -> Vec<Value> {
    match value {
        Value::Series(steps) => steps,
        other => panic!("{}", other.describe()),
    }
}

#[test]
fn a_record_is_a_row_of_series() {
    let train = [episode(3), episode(1)].concat();
    let info = r#"{"splits": [{"name": "train", "shardLengths": ["2"]}, {"name": "val", "shardLengths": ["1", "9"]},
        {"name": "test", "shardLengths": ["4"]}]}"#;
    let folder = folder_of(&[
        ("push/1.0.0/push-val.tfrecord-00000-of-00002", &episode(2)),
        (&format!("push/1.0.0/{TRAIN}"), &train),
        ("push/1.0.0/features.json", DESCRIPTION.as_bytes()),
        ("push/1.0.0/dataset_info.json", info.as_bytes()),
        ("push/1.0.0/notes.pdf", b"p"),
    ]);
    let table = opened(&at(&folder, "push")).unwrap();
    let fields = "observations, episode_metadata.file_path, actions, discount, front, observations.gripper, map, \
                  observations.state, rewards, end, task, split";
    assert_eq!(table.fields().join(", "), fields);
    assert_eq!((table.len(), table.steps(0), table.steps(1), table.steps(2)), (3, 3, 1, 2));
    let step = |field: &str, step: usize| series(table.value(0, field).unwrap()).remove(step);
    assert_eq!(step("observations", 2), Value::vector([2.0, 12.0, 22.0]));
    assert_eq!(step("observations.gripper", 1), Value::Number(1.0));
    assert_eq!(step("observations.state", 0), Value::vector([10.0, 20.0]));
    assert_eq!(step("actions", 1), Value::vector([0.5, -1.0]));
    assert_eq!(step("map", 1), Value::Array(Array { shape: vec![1, 2], numbers: Numbers::U8(vec![2, 3]) }));
    let image = File { name: "step 2".into(), bytes: PNG.to_vec() };
    assert_eq!(step("front", 2), Value::File(image.clone()));
    let peeked = series(table.peek(0, "front").unwrap()).remove(2);
    assert_eq!(peeked, Value::File(File { bytes: vec![], ..image }));
    assert_eq!(series(table.window(0, "rewards", 1..9).unwrap()), [1.0, 2.0].map(Value::Number));
    let text = |row, field: &str| table.value(row, field).unwrap().into_text().unwrap();
    assert_eq!([text(0, "task"), text(0, "end")], ["pick it up", "terminated"]);
    assert_eq!(text(0, "episode_metadata.file_path"), "a/b");
    assert_eq!([text(1, "split"), text(2, "split")], ["train", "val"]);
    assert!(table.location(1).ends_with(&format!("1.0.0/{TRAIN} (episode 1)")), "{}", table.location(1));
    let skipped: Vec<&str> = table.skipped().iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(skipped, ["steps/observation/points", "1.0.0/notes.pdf", "split test", "split val"]);

    let one = opened(&at(&folder, &format!("push/1.0.0/{TRAIN}"))).unwrap();
    assert_eq!((one.len(), one.fields()), (2, table.fields()));
    assert_eq!(opened(&at(&folder, "push/1.0.0/push-*.tfrecord*")).unwrap().len(), 3);
    assert!(table.value(0, "colour").unwrap_err().to_string().contains("no field \"colour\""));
}

#[test]
fn corrupt_files_are_named() {
    let good = episode(2);
    let change = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let huge = {
        // A header with a valid checksum for a record of 2^60 bytes.
        let empty = smalti_trajectory::rlds::frame(&(1_u64 << 60).to_le_bytes());
        let sum = empty[HEADER_AND_LENGTH..].to_vec();
        [&(1_u64 << 60).to_le_bytes()[..], &sum, &good[..40]].concat()
    };
    let name = "a-train.tfrecord-00000-of-00001";
    let refuse = |bytes: &[u8]| {
        let folder = folder_of(&[(name, bytes), ("features.json", DESCRIPTION.as_bytes())]);
        refusal(&folder, "")
    };
    assert!(
        refuse(&change(0))
            .starts_with(&format!("{name}: record 0 at byte 0: TFRecord: the checksum of the length is 0x"))
    );
    let second = good.len();
    assert_eq!(
        refuse(&[&good[..], &good[..20]].concat()),
        format!(
            "{name}: record 1 at byte {second}: TFRecord: expected {} bytes and their checksum; found 8 bytes; the file \
             is truncated",
            good.len() - 16
        )
    );
    assert!(
        refuse(&[&good[..], &[0; 5]].concat()).contains("expected 12 bytes; found 5; the file is truncated")
    );
    assert!(refuse(&huge).contains("expected 1152921504606846976 bytes and their checksum; found 40 bytes"));
    assert!(refuse(b"").contains("empty; expected records"));

    let damaged = [change(30), good.clone()].concat();
    let folder = folder_of(&[(name, &damaged), ("features.json", DESCRIPTION.as_bytes())]);
    let table = opened(&at(&folder, "")).unwrap();
    assert_eq!([table.steps(0), table.steps(1)], [1, 2], "a corrupt episode counts as one step");
    let error = table.value(0, "rewards").unwrap_err().to_string();
    assert!(error.contains("(episode 0): TFRecord: the checksum of the data is 0x"), "{error}");
    assert!(table.value(1, "rewards").is_ok());
}

/// The bytes of a frame before the checksum of its record, which are 8 here.
const HEADER_AND_LENGTH: usize = 12 + 8;

#[test]
fn data_sets_without_a_description_are_named() {
    let good = episode(2);
    let folder = folder_of(&[
        ("none/a-train.tfrecord-00000-of-00001", &good),
        ("packed/a-train.tfrecord.gz", &good),
        ("packed/features.json", DESCRIPTION.as_bytes()),
        ("bad/a-train.tfrecord", &good),
        ("bad/features.json", b"{}"),
        ("short/a-train.tfrecord-00000-of-00001", &good),
        ("short/features.json", DESCRIPTION.as_bytes()),
        ("short/dataset_info.json", br#"{"splits": [{"name": "train", "shardLengths": ["2"]}]}"#),
    ]);
    assert!(refusal(&folder, "none").starts_with(
        "none: expected features.json beside a-train.tfrecord-00000-of-00001, with the shapes of its features"
    ));
    assert!(refusal(&folder, "packed").contains("a-train.tfrecord.gz is packed; unpack it"));
    assert!(refusal(&folder, "bad").starts_with("bad: features.json: expected the features of RLDS"));
    assert_eq!(
        refusal(&folder, "short"),
        "short/a-train.tfrecord-00000-of-00001: expected 2 records, as dataset_info.json has; found 1"
    );
    let several = refusal(&folder, "");
    assert!(
        several.contains("expected one data set of TFRecord files; found several, in bad/, none/"),
        "{several}"
    );
}

#[test]
#[ignore = "needs SMALTI_DATA"]
fn bridge_of_octo_is_read() {
    let table = opened(&real("layouts/rlds/bridge_dataset/1.0.0")).unwrap();
    assert_eq!(table.len(), 25);
    for field in
        ["observations", "image_0", "image_3", "actions", "rewards", "end", "task", "language_embedding"]
    {
        assert!(table.fields().contains(&field.to_string()), "{field}: {:?}", table.fields());
    }
    assert_eq!(table.skipped(), [("split train".to_string(), "none of its files is there")]);
    assert_eq!(select(table.as_ref(), "split = val").unwrap().unwrap().len(), 25);
    for row in 0..table.len() {
        assert_eq!(table.steps(row), 10);
        for (field, dim) in [("observations", 7), ("actions", 7), ("language_embedding", 512)] {
            let values = series(table.value(row, field).unwrap());
            assert_eq!((values.len(), values[9].describe()), (10, format!("an array [{dim}]")));
        }
        assert_eq!(series(table.value(row, "rewards").unwrap()), vec![Value::Number(0.0); 10]);
        let Some(Value::File(image)) = series(table.window(row, "image_0", 2..3).unwrap()).pop() else {
            panic!("an image")
        };
        assert!(image.bytes.starts_with(&[0xff, 0xd8]), "a JPEG");
    }
    let task = table.value(0, "task").unwrap();
    assert_eq!(task, Value::Text("flip pot upright which is in sink".into()));
}
