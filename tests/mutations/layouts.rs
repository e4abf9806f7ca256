//! Folders and archives of which one file, or the names of the members, are damaged.

use crate::files::parquet;
use crate::place::{MIB, Place, rows, silence_decoders};
use parquet::basic::Compression;
use smalti::data::DataError;
use smalti::table::{Source, SourceRegistry};
use smalti_mutation::{Bound, survives};

/// Damage the file `name` of a folder, and read the folder's rows, each with the files that it names if it can be.
fn folder(name: &str, good: &[Vec<u8>], beside: &[(&str, &[u8])], bound: Bound) {
    let place = Place::beside(name, beside);
    survives(name, good, bound, |bytes| {
        place.with(bytes);
        let table = SourceRegistry::builtin().open(&Source::new(place.folder()))?;
        for row in 0..table.len() {
            for field in table.fields() {
                table.peek(row, field)?;
                // The path may be damaged.
                let _ = table.value(row, field);
            }
        }
        Ok::<_, DataError>(())
    });
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Parsed rows and a list of the folder's files.
fn of_text() -> Bound {
    Bound::bytes(2 * MIB).and_of_file(400)
}

#[test]
fn lists_of_the_images_of_a_folder() {
    let images: [(&str, &[u8]); 2] = [("0.png", b"one"), ("sub/1.png", b"two")];
    let csv = ["file_name,label\n0.png,cat\nsub/1.png,gr\u{fc}n\n", "file_name,x\n\"0.png\",\"1\"\n"];
    folder("metadata.csv", &texts(&csv), &images, of_text());
    let lines = "{\"file_name\": \"0.png\", \"objects\": {\"box\": [[1, 2, 3, 4]], \"area\": [5]}}\n\
        {\"file_name\": \"sub/1.png\", \"text\": \"gr\\u00fcn\"}\n";
    folder("metadata.jsonl", &texts(&[lines]), &images, of_text());
    let images: [(&str, &[u8]); 2] = [("p0/0.wav", b"one"), ("p0/1.wav", b"two")];
    let good = [parquet(Compression::UNCOMPRESSED, false, 1), parquet(Compression::SNAPPY, true, 2)];
    silence_decoders();
    folder("metadata.parquet", &good, &images, Bound::bytes(64 * MIB));
}

#[test]
fn ids_of_the_images_of_a_folder() {
    let images: [(&str, &[u8]); 4] = [
        ("train/0040.png", b"one"),
        ("train/0041.png", b"two"),
        ("test/0042.png", b"three"),
        ("sample_submission.csv", b"id,label\n0042,cat\n"),
    ];
    let good = ["id,label\n0040,cat\n0041,dog\n", ";name;x\n0;0041.png;1\n1;0040.png;2\n"];
    folder("train.csv", &texts(&good), &images, of_text());
}

/// The members' names are lines of the damaged file, which the checksums of a tar that is damaged as a whole would hide.
#[test]
fn names_of_the_members_of_a_shard() {
    let good = [
        "0.png\n0.cls\n1.png\n1.cls\n",
        "a/00.left.png\na/00.json\n./a/01.seg.npy\na/01.txt\n__MACOSX/a/._01.txt\n",
    ];
    let place = Place::new("train-0.tar");
    survives("names of members", &texts(&good), Bound::bytes(8 * MIB).and_of_file(400), |bytes| {
        let mut tar = tar::Builder::new(vec![]);
        let names = bytes.split(|byte| *byte == b'\n').filter(|name| !name.is_empty());
        for (number, name) in names.enumerate() {
            let mut header = tar::Header::new_gnu();
            let field = &mut header.as_old_mut().name;
            let n = name.len().min(field.len());
            field[..n].copy_from_slice(&name[..n]);
            let value = number.to_string();
            header.set_size(value.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            tar.append(&header, value.as_bytes()).map_err(|e| DataError::tokenize("tar", e))?;
        }
        let tar = tar.into_inner().map_err(|e| DataError::tokenize("tar", e))?;
        // An array or a description is no number, but an error of its own.
        let _ = rows(place.with(&tar));
        Ok::<_, DataError>(())
    });
}

#[cfg(feature = "trajectory")]
mod logs {
    use super::*;
    use crate::rlds::{FEATURES, episode};
    use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
    use parquet::arrow::ArrowWriter;
    use std::sync::Arc;

    const EPISODE: &str = "data/chunk-000/episode_000000.parquet";
    const INFO: &str = r#"{"codebase_version": "v2.1", "total_episodes": 1, "total_frames": 3, "fps": 10, "chunks_size": 1000,
        "splits": {"train": "0:1"}, "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/{video_key}/episode_{episode_index:06d}.mp4", "features": {
        "observation.state": {"dtype": "float32", "shape": [2], "names": {"motors": ["pan", "lift"]}},
        "observation.images.top": {"dtype": "video", "shape": [48, 64, 3], "names": ["height", "width", "channel"]}}}"#;
    const EPISODES: &str = "{\"episode_index\": 0, \"tasks\": [\"push\"], \"length\": 3}\n";
    const TASKS: &str = "{\"task_index\": 0, \"task\": \"push\"}\n{\"task_index\": 1, \"task\": \"lift\"}\n";

    /// Damage a description of a data set in LeRobot's layout with one episode.
    fn lerobot(name: &str, good: &[Vec<u8>], described: &[(&str, &str)]) {
        let episode = std::fs::read(format!("modalities/trajectory/tests/data/lerobot/{EPISODE}")).unwrap();
        let mut beside = vec![(EPISODE, &episode[..]), ("meta/info.json", INFO.as_bytes())];
        beside.extend(described.iter().map(|(path, text)| (*path, text.as_bytes())));
        // The episode is in Parquet, whose pages and numbers are kept.
        folder(name, good, &beside, Bound::bytes(64 * MIB).and_of_file(400));
    }

    #[test]
    fn descriptions_of_lerobot() {
        silence_decoders();
        lerobot("meta/info.json", &texts(&[INFO]), &[("meta/episodes.jsonl", EPISODES)]);
        lerobot("meta/episodes.jsonl", &texts(&[EPISODES]), &[]);
        lerobot("meta/tasks.jsonl", &texts(&[TASKS]), &[]);
    }

    /// The description of an episode as in version 3.
    fn episodes() -> Vec<u8> {
        let number = |number: i64| -> ArrayRef { Arc::new(Int64Array::from(vec![number])) };
        let video = |name: &str| format!("videos/observation.images.top/{name}");
        let [chunk, file, from] = ["chunk_index", "file_index", "from_timestamp"].map(video);
        let columns: [(&str, ArrayRef); 5] = [
            ("episode_index", number(0)),
            ("tasks", Arc::new(StringArray::from(vec!["push"]))),
            (&chunk, number(0)),
            (&file, number(2)),
            (&from, Arc::new(Float64Array::from(vec![1.5]))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut bytes = vec![];
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        bytes
    }

    #[test]
    fn episodes_of_lerobot_in_parquet() {
        silence_decoders();
        lerobot("meta/episodes/chunk-000/file-000.parquet", &[episodes()], &[("meta/tasks.jsonl", TASKS)]);
    }

    #[test]
    fn descriptions_of_rlds() {
        let info = r#"{"name": "push", "splits": [{"name": "train", "shardLengths": ["2"]}]}"#;
        let records = [episode(3), episode(1)].concat();
        let beside: [(&str, &[u8]); 3] = [
            ("push-train.tfrecord-00000-of-00001", &records),
            ("features.json", FEATURES.as_bytes()),
            ("dataset_info.json", info.as_bytes()),
        ];
        folder("features.json", &texts(&[FEATURES]), &beside, of_text());
        folder("dataset_info.json", &texts(&[info]), &beside, of_text());
    }
}
