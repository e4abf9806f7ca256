//! Damaged files of each format give errors or valid episodes, with bounded memory.

mod written;

use smalti_mutation::{Bound, Counting, survives};
use smalti_trajectory::lerobot::Info;
use smalti_trajectory::rlds::{Features, shard_lengths};
use smalti_trajectory::{Episode, TrajectoryError, csv, jsonl, minari, npz, parquet};
use std::io::{Cursor, Write};
use written::{Column, lerobot};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Check that the episodes are valid.
fn checked(read: Result<Vec<Episode>, TrajectoryError>) -> Result<(), TrajectoryError> {
    for episode in read? {
        assert_eq!(episode.validate(), Ok(()));
    }
    Ok(())
}

const LINES: [&str; 3] = [
    r#"{"observations": [[0.5, 2], [1, 3]], "actions": [0, 3], "rewards": [1, 1.5], "terminated": true}
{"observations": [[0.25, 2]], "state_names": ["x", "v"], "actions": [[1]], "rewards": [-1], "truncated": true}
"#,
    r#"{"observations": [{"goal": [1, 2], "at": 3}, {"goal": [1, 2], "at": 4}], "actions": [0, 1], "rewards": [0, 1]}
{"observations": {"at": [3, 4], "goal": [[1], [2]]}, "actions": {"arm": [[0.5], [1]], "grip": [0, 1]}, "rewards": [0, 1]}
"#,
    r#"{"images": {"front": {"files": ["0.png", "1.png"]}, "side": {"encoded": ["iVBORw0K", "iVBORw0L"]}}, "actions": [0, 1], "rewards": [0, 1]}
{"observations": [1], "images": {"front": {"frames": {"height": 1, "width": 2, "channels": 3, "pixels": "AAECAwQF"}}}, "actions": [1], "rewards": [1]}
"#,
];

const TABLES: [&str; 2] = [
    "episode,step,obs.x,obs.v,action,reward,terminated,truncated\n\
     4,0,0.5,2,1,1.0,0,0\n4,1,1e-3,3,0,1.5,true,0\n7,0,1,4,2,-1,0,1\n",
    "\"obs\",action.arm.0,action.arm.1,action.grip,reward,done\n0.5,1,2.5,0,1,0\n0.25,1,0.5,1,1,1\n",
];

/// An archive of arrays of 30 steps in two layouts.
fn archive(d4rl: bool, packed: bool) -> Vec<u8> {
    let array = |descr: &str, shape: &str, elements: Vec<u8>| {
        let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
        header.extend(std::iter::repeat_n(' ', 117 - header.len()));
        header.push('\n');
        [b"\x93NUMPY\x01\x00", &118_u16.to_le_bytes()[..], header.as_bytes(), &elements].concat()
    };
    let floats = |n: usize| (0..n).flat_map(|i| (i as f32 * 0.1).to_le_bytes()).collect::<Vec<u8>>();
    let flags = |at: usize| (0..30).map(|step| u8::from(step % 10 == at)).collect::<Vec<u8>>();
    let mut arrays = vec![
        (if d4rl { "observations" } else { "obs" }, array("<f4", "(30, 3)", floats(90))),
        ("rewards", array("<f4", "(30,)", floats(30))),
        ("obs.front", array("|u1", "(30, 2, 3, 3)", (0..30 * 18).map(|i| i as u8).collect())),
        ("terminals", array("|b1", "(30,)", flags(9))),
    ];
    match d4rl {
        true => arrays.extend([
            ("actions", array("<f4", "(30, 2)", floats(60))),
            ("timeouts", array("|b1", "(30,)", flags(9))),
        ]),
        false => arrays.extend([
            ("actions", array("|u1", "(30, 1)", (0..30).collect())),
            ("episode_starts", array("|b1", "(30,)", flags(0))),
        ]),
    }
    let method = if packed { zip::CompressionMethod::Deflated } else { zip::CompressionMethod::Stored };
    let options = zip::write::SimpleFileOptions::default().compression_method(method);
    let mut writer = zip::ZipWriter::new(Cursor::new(vec![]));
    for (name, bytes) in arrays {
        writer.start_file(format!("{name}.npy"), options).unwrap();
        writer.write_all(&bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// 1 MiB, and 64 bytes for each byte of the file: a digit and a comma become a number of 8 bytes, stored twice.
#[test]
fn json_lines() {
    let valid = LINES.map(|lines| lines.as_bytes().to_vec());
    survives("JSON lines", &valid, Bound::bytes(1 << 20).and_of_file(64), |bytes| {
        checked(jsonl::read(bytes))
    });
}

/// 1 MiB, and 64 bytes for each byte of the file, as for JSON lines.
#[test]
fn comma_separated_values() {
    let valid = TABLES.map(|table| table.as_bytes().to_vec());
    survives("CSV", &valid, Bound::bytes(1 << 20).and_of_file(64), |bytes| {
        checked(csv::read(bytes).map(|read| read.episodes))
    });
}

/// 4 MiB, and 32 KiB for each byte of the file: Deflate compresses by a factor of up to 1,000, and a boolean becomes at
/// least 8 bytes; pixels stay bytes.
#[test]
fn npz_archives() {
    let valid = [(false, false), (false, true), (true, false), (true, true)]
        .map(|(d4rl, packed)| archive(d4rl, packed));
    survives("npz", &valid, Bound::bytes(4 << 20).and_of_file(32 << 10), |bytes| checked(npz::read(bytes)));
}

/// 64 MiB, and 4 KiB for each byte of the file: the uncompressed pages, and the memory of their numbers.
#[test]
fn parquet_files() {
    let mut discrete = lerobot();
    discrete[2] = ("action", Column::Integers(vec![0, 1, 0, 2, 1]));
    discrete[6] = ("reward", Column::Gaps([1.0, 0.0, 2.0, 0.0, 0.25].map(Some).to_vec()));
    discrete.retain(|(name, _)| *name != "observation.pixels");
    let contents = (0..5_u8).map(|step| Some(vec![step / 2; 40]));
    let paths = (0..5).map(|step| (step % 2 == 0).then(|| format!("{step}.png").into_bytes()));
    discrete.push(("observation.image", Column::Images(contents.collect(), paths.collect())));
    discrete.push(("observation.binary", Column::Binary(vec![b"\x89PNG".to_vec(); 5])));
    discrete.push(("observation.map", Column::Pixels(vec![vec![vec![0, 1]; 2]; 5])));
    let valid = [
        written::parquet(&lerobot(), 100, false),
        written::parquet(&lerobot(), 3, true),
        written::parquet(&discrete, 100, true),
        written::parquet(&written::episode_rows(), 1, false),
        written::parquet(&written::images(), 1, false),
        written::parquet(&written::minari(), 2, true),
    ];
    // A panic of the decoder becomes an error; thousands of its messages would hide those of other tests.
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !panic.location().is_some_and(|place| place.file().contains("/parquet-")) {
            usual(panic);
        }
    }));
    let bound = Bound::bytes(64 << 20).and_of_file(4 << 10);
    survives("Parquet", &valid, bound, |bytes| {
        let padded = checked(minari::read(bytes).map(|read| read.episodes));
        checked(parquet::read(bytes).map(|read| read.episodes)).or(padded)
    });
}

/// 1 MiB, and 64 bytes for each byte of the file.
#[test]
fn lerobot_descriptions() {
    let valid = br#"{"codebase_version": "v2.1", "total_episodes": 3, "total_frames": 60, "fps": 10,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "features": {"observation.state": {"dtype": "float32", "shape": [2], "names": {"motors": ["pan", "lift"]}},
        "observation.images.top": {"dtype": "video", "shape": [48, 64, 3], "names": null}}}"#;
    survives("meta/info.json", &[valid.to_vec()], Bound::bytes(1 << 20).and_of_file(64), Info::parse);
}

/// 1 MiB, and 64 bytes for each byte of the file.
#[test]
fn minari_descriptions() {
    let valid = br#"{"total_episodes": 2, "total_steps": 60, "data_format": "parquet", "env_spec": "{}"}"#;
    let bound = Bound::bytes(1 << 20).and_of_file(64);
    survives("metadata.json", &[valid.to_vec()], bound, minari::Info::parse);
}

/// 1 MiB, and 64 bytes for each byte of the file.
#[test]
fn rlds_descriptions() {
    let valid = br#"{"featuresDict": {"features": {"steps": {"sequence": {"length": "-1", "feature": {"featuresDict":
        {"features": {"action": {"tensor": {"shape": {"dimensions": ["7"]}, "dtype": "float32", "encoding": "none"}},
        "observation": {"featuresDict": {"features": {"front": {"image": {"shape": {"dimensions": ["64", "64", "3"]},
        "dtype": "uint8", "encodingFormat": "jpeg"}}}}}}}}}}}}}"#;
    let bound = Bound::bytes(1 << 20).and_of_file(64);
    survives("features.json", &[valid.to_vec()], bound, Features::parse);
    let valid =
        br#"{"name": "push", "splits": [{"name": "train", "shardLengths": ["25", "3"]}, {"name": "val"}]}"#;
    survives("dataset_info.json", &[valid.to_vec()], bound, shard_lengths);
}
