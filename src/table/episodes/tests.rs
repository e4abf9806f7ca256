//! Episodes as rows.

use super::*;
use crate::data::testing::{at, folder_of};
use crate::table::{Derivation, Source, SourceRegistry, derive};
use smalti_contract::Array;

const TWO: &[u8] =
    b"{\"observations\": [[1, 2], [3, 4], [5, 6]], \"actions\": [0, 1, 0], \"rewards\": [1, 1, 2], \
    \"terminated\": true}\n{\"observations\": [[7, 8]], \"actions\": [1], \"rewards\": [0]}\n";

fn opened(location: &str) -> Result<Arc<dyn Table>, DataError> {
    SourceRegistry::builtin().open(&Source::new(location))
}

fn series(value: Value) -> Vec<Value> {
    match value {
        Value::Series(steps) => steps,
        other => panic!("{}", other.describe()),
    }
}

#[test]
fn an_episode_is_a_row_of_series() {
    let folder = folder_of(&[("train.jsonl", TWO), ("test.jsonl", TWO)]);
    let table = opened(&at(&folder, "{train,test}.jsonl")).unwrap();
    assert_eq!(table.fields(), ["observations", "actions", "rewards", "end", "split"]);
    assert_eq!((table.len(), table.steps(0), table.steps(1)), (4, 3, 1));
    assert_eq!(series(table.value(0, "observations").unwrap())[2], Value::vector([5.0, 6.0]));
    assert_eq!(series(table.window(0, "actions", 1..9).unwrap()), [Value::Number(1.0), Value::Number(0.0)]);
    assert_eq!(table.value(0, "end").unwrap(), Value::Text("terminated".into()));
    assert!(table.value(1, "end").unwrap().is_missing());
    assert_eq!(table.value(3, "split").unwrap(), Value::Text("test".into()));
    assert!(table.location(1).ends_with("train.jsonl (episode 1)"));
    let rewards: Vec<Value> = (0..4).flat_map(|row| series(table.value(row, "rewards").unwrap())).collect();
    assert_eq!(rewards, [1.0, 1.0, 2.0, 0.0, 1.0, 1.0, 2.0, 0.0].map(Value::Number));
}

#[test]
fn parts_and_cameras_are_fields() {
    let line = b"{\"observations\": {\"goal\": [[3, 4]], \"speed\": [0.5]}, \
        \"images\": {\"front\": {\"files\": [\"0.png\"]}, \"back\": {\"frames\": {\"height\": 1, \"width\": 2, \
        \"channels\": 1, \"pixels\": \"AAE=\"}}}, \"actions\": {\"arm\": [[0.1, 2]], \"grip\": [1]}, \"rewards\": [0]}\n";
    let folder = folder_of(&[("a.jsonl", line), ("0.png", b"png")]);
    let table = opened(&at(&folder, "a.jsonl")).unwrap();
    assert_eq!(
        table.fields(),
        [
            "observations",
            "observations.goal",
            "observations.speed",
            "back",
            "front",
            "actions.arm",
            "actions.grip",
            "rewards"
        ]
    );
    let only = |field: &str| series(table.value(0, field).unwrap()).remove(0);
    assert_eq!(only("observations"), Value::vector([3.0, 4.0, 0.5]));
    assert_eq!(only("observations.goal"), Value::vector([3.0, 4.0]));
    assert_eq!(only("observations.speed"), Value::Number(0.5));
    assert_eq!(only("actions.arm"), Value::vector([0.1, 2.0]));
    assert_eq!(only("actions.grip"), Value::Number(1.0));
    assert_eq!(only("front"), Value::File(File { name: "0.png".into(), bytes: b"png".to_vec() }));
    let pixels = smalti_contract::Numbers::U8(vec![0, 1]);
    assert_eq!(only("back"), Value::Array(Array { shape: vec![1, 2], numbers: pixels }));
    std::fs::remove_file(at(&folder, "0.png")).unwrap();
    assert!(table.value(0, "front").unwrap_err().to_string().contains("0.png: not found"));
    assert!(table.peek(0, "front").is_ok());
}

#[test]
fn tables_of_episodes_are_detected_by_their_columns() {
    let steps = b"episode,obs.x,obs.v,action,reward\n0,1,2,0,1\n0,3,4,1,1\n1,5,6,0,0\n";
    let clips = b"file_name,action\na.mp4,run\n";
    let folder = folder_of(&[
        ("steps.csv", steps),
        ("clips.csv", clips),
        ("log/a.jsonl", TWO),
        ("log/README.md", b"r"),
    ]);
    let table = opened(&at(&folder, "steps.csv")).unwrap();
    assert_eq!(
        table.fields(),
        ["observations", "observations.x", "observations.v", "actions", "rewards"],
        "each sensor is a field"
    );
    assert_eq!((table.len(), table.steps(0)), (2, 2));
    assert_eq!(opened(&at(&folder, "clips.csv")).unwrap().fields(), ["file_name", "action"]);
    assert_eq!(opened(&at(&folder, "log")).unwrap().len(), 2);
    let rows = Source { layout: Some("rows".into()), ..Source::new(at(&folder, "steps.csv")) };
    assert_eq!(SourceRegistry::builtin().open(&rows).unwrap().len(), 3);
    assert_eq!(opened("builtin:cartpole-mixed.npz").unwrap().fields()[0], "observations");
}

#[test]
fn logs_of_other_programs_are_detected() {
    let jat = b"{\"continuous_observations\": [[1, 2], [3, 4]], \"continuous_actions\": [[1], [2]], \"rewards\": [0, 1]}\n";
    let more = b"{\"observations\": [[1], [2], [3]], \"actions\": [0, 1], \"rewards\": [0, 1], \"terminations\": [0, 1]}\n";
    let pandas = b",episode,obs.x,obs.v,action,reward\n0,0,1,2,0,1\n1,0,3,4,1,1\n2,1,5,6,0,0\n";
    let folder = folder_of(&[("jat.jsonl", jat), ("more.jsonl", more), ("pandas.csv", pandas)]);
    let open = |path: &str| opened(&at(&folder, path)).unwrap();
    let jat = open("jat.jsonl");
    assert_eq!((jat.fields().join(", "), jat.steps(0)), ("observations, actions, rewards".into(), 2));
    let gymnasium = open("more.jsonl");
    assert_eq!(series(gymnasium.value(0, "observations").unwrap()), [1.0, 2.0].map(Value::Number));
    assert_eq!(gymnasium.value(0, "end").unwrap(), Value::Text("terminated".into()));
    let table = open("pandas.csv");
    assert_eq!((table.len(), table.steps(0)), (2, 2));
    assert_eq!(table.skipped()[0].0, "column 1");
}

#[test]
fn a_corrupt_episode_is_an_error_when_it_is_read() {
    let folder = folder_of(&[
        (
            "a.jsonl",
            &[TWO, b"{\"observations\": [[1, 2]], \"actions\": [0], \"rewards\": [1, 2]}\n"].concat(),
        ),
        ("b.jsonl", b"{\"observations\": [7], \"actions\": 7}\n"),
        ("c.npz", b"PK\x03\x04 and no more"),
    ]);
    let table = opened(&at(&folder, "a.jsonl")).unwrap();
    assert_eq!((table.len(), table.steps(2)), (3, 1));
    let error = table.value(2, "rewards").unwrap_err().to_string();
    assert!(error.contains("a.jsonl: not readable as episodes") && error.contains("line 3"), "{error}");
    assert_eq!((0..table.len()).filter(|row| table.value(*row, "rewards").is_err()).count(), 1);
    for path in ["b.jsonl", "c.npz"] {
        let error = opened(&at(&folder, path)).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(&format!("{path}: not readable as episodes")), "{error}");
    }
}

/// An episode of two steps in a Parquet file of Minari, whose observations are numbers from `first` on.
fn minari_file(first: f64) -> Vec<u8> {
    use ::parquet::data_type::{BoolType, DoubleType, Int64Type};
    use ::parquet::file::writer::SerializedFileWriter;
    use ::parquet::schema::parser::parse_message_type;
    let schema = "message episode { required double observations; required int64 actions; required double rewards; \
                  required boolean terminations; required boolean truncations; }";
    let (schema, mut bytes) = (Arc::new(parse_message_type(schema).unwrap()), vec![]);
    let mut file = SerializedFileWriter::new(&mut bytes, schema, Default::default()).unwrap();
    let mut rows = file.next_row_group().unwrap();
    for column in 0..5 {
        let mut writer = rows.next_column().unwrap().unwrap();
        let written = match column {
            0 => writer.typed::<DoubleType>().write_batch(&[first, first + 1.0, first + 2.0], None, None),
            1 => writer.typed::<Int64Type>().write_batch(&[1, 2, 0], None, None),
            2 => writer.typed::<DoubleType>().write_batch(&[0.5, 1.5, 0.0], None, None),
            _ => writer.typed::<BoolType>().write_batch(&[false, column == 3, false], None, None),
        };
        written.unwrap();
        writer.close().unwrap();
    }
    rows.close().unwrap();
    file.close().unwrap();
    bytes
}

#[test]
fn a_data_set_of_minari_has_a_file_for_each_episode() {
    let info = |format: &str, steps: usize| {
        format!("{{\"total_episodes\": 3, \"total_steps\": {steps}, \"data_format\": \"{format}\"}}")
            .into_bytes()
    };
    let (second, tenth) = (minari_file(20.0), minari_file(100.0));
    let files = |info: &[u8]| {
        folder_of(&[
            ("data/metadata.json", info),
            ("data/10/part-0.parquet", &tenth),
            ("data/2/part-0.parquet", &second),
            ("data/2/metadata.json", b"{\"id\": 2, \"total_steps\": 2}"),
            ("data/0/part-0.parquet", &minari_file(0.0)),
        ])
    };
    let folder = files(&info("parquet", 6));
    for path in ["", "data"] {
        let table = opened(&at(&folder, path)).unwrap();
        assert_eq!(table.fields(), ["observations", "actions", "rewards", "end"], "{path}");
        let first = |row| series(table.value(row, "observations").unwrap());
        let numbers = |start: f64| [start, start + 1.0].map(Value::Number);
        assert_eq!([first(0), first(1), first(2)], [numbers(0.0), numbers(20.0), numbers(100.0)]);
        assert_eq!(table.value(2, "end").unwrap(), Value::Text("terminated".into()));
    }
    for (info, expected) in [
        (info("parquet", 7), "expected 3 episodes with 7 steps in total; the files have 3 with 6"),
        (info("arrow", 6), "data_format is \"arrow\"; expected \"parquet\" or \"hdf5\""),
    ] {
        let error = opened(&at(&files(&info), "")).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_task_is_found_by_its_number() {
    let from = concat!(env!("CARGO_MANIFEST_DIR"), "/modalities/trajectory/tests/data/lerobot/");
    let read = |path: &str| std::fs::read(format!("{from}{path}")).unwrap();
    let data = ["data/chunk-000/episode_000000.parquet", "data/chunk-000/episode_000001.parquet"];
    let tasks = |list: &[u8]| {
        let folder = folder_of(&[
            ("meta/info.json", &read("meta/info.json")),
            ("meta/tasks.jsonl", list),
            (data[0], &read(data[0])),
            (data[1], &read(data[1])),
        ]);
        let table = opened(&at(&folder, "")).unwrap();
        (0..table.len()).map(|row| table.value(row, "task").unwrap()).collect::<Vec<_>>()
    };
    let push = || Value::Text("push".into());
    assert_eq!(tasks(b"{\"task_index\": 0, \"task\": \"push\"}\n"), [push(), push()], "the only one");
    let two = b"{\"task_index\": 1, \"task\": \"pull\"}\n{\"task_index\": 0, \"task\": \"push\"}\n";
    assert_eq!(tasks(two), [push(), push()]);
}

#[test]
fn returns_to_go_are_computed_over_the_whole_episode() {
    let folder = folder_of(&[("a.jsonl", TWO)]);
    let table = opened(&at(&folder, "a.jsonl")).unwrap();
    let derivation = Derivation::ReturnToGo { field: "rewards".into(), discount: 0.5 };
    let table = derive(table, &[("return_to_go".to_string(), derivation)].into()).unwrap();
    let expected: Vec<Value> = [2.0, 2.0, 2.0].map(Value::Number).into();
    assert_eq!(series(table.value(0, "return_to_go").unwrap()), expected);
    assert_eq!(series(table.window(0, "return_to_go", 2..4).unwrap()), expected[2..]);
}
