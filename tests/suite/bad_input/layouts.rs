//! Sources of each layout that cannot be read: the message names the file, with expected and found.

use super::{Place, damaged};
use crate::files::png;
use crate::rlds;
use crate::support::TINY;

/// Train on each source, which fails with these parts of a message, and leaves no run folder.
fn fail(place: &Place, preset: &str, cases: &[(&str, &[&str])]) {
    for (source, message) in cases {
        place.fails_untouched(&format!("train {preset} {TINY} --set data.source={source}"), message);
    }
}

fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(vec![]);
    for (path, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, *bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

#[test]
fn unusable_tables_are_named() {
    let place = Place::new(&[
        ("a.csv", b"x\n1\n"),
        ("kinds.jsonl", b"{\"a\": 1}\n{\"a\": \"x\"}\n"),
        ("cut.jsonl", b"{\"a\": 1}\n{\"a\":\n"),
        ("saved/state.json", b"{"),
    ]);
    let cases: [(&str, &[&str]); 7] = [
        ("none-*.csv", &["none-*.csv: not found; expected files that match the pattern"]),
        (
            "{path=\"a.csv\",layout=\"nothing\"}",
            &["a.csv: no layout is named \"nothing\"; known: episodes, idx"],
        ),
        (
            "{path=\"a.csv\",layout=\"rows\",columns=[\"a\",\"b\"]}",
            &["a.csv: ", "line 1: expected 2 fields, as `columns` names; found 1"],
        ),
        (
            "{path=\"kinds.jsonl\",layout=\"rows\"}",
            &[
                "kinds.jsonl: not readable as a table: row 2: the field \"a\" must be a number, as in kinds.jsonl row 1; found a text",
            ],
        ),
        (
            "{path=\"cut.jsonl\",layout=\"rows\"}",
            &["cut.jsonl: not readable as JSON lines: line 2: expected a JSON object"],
        ),
        (
            "{path=\"cut.jsonl\",layout=\"rows\",columns=[\"a\"]}",
            &["cut.jsonl: `columns` names the fields of .tsv and .csv files", "remove it"],
        ),
        ("saved", &["saved/state.json: not readable as JSON"]),
    ];
    fail(&place, "text", &cases);
}

#[test]
fn unusable_lists_of_images_are_named() {
    let images: Vec<String> =
        ["lost/0", "two/0", "several/i/0", "several/i/1", "headless/train/0", "headless/train/1"]
            .map(|name| format!("{name}.png"))
            .into();
    let place = Place::new(&[
        ("lost/metadata.csv", b"file_name,class\n9.png,a\n9.png,b\n"),
        ("two/metadata.csv", b"file_name\n0.png\n"),
        ("two/metadata.jsonl", b"{\"file_name\": \"0.png\"}\n"),
        ("several/a.csv", b"id,class\n0,x\n1,y\n"),
        ("several/b.csv", b"id,class\n0,x\n1,y\n"),
        ("headless/train.csv", b"0.png,x\n1.png,y\n"),
    ]);
    images.iter().for_each(|image| place.write(image, &png(8, 8)));
    let cases: [(&str, &[&str]); 4] = [
        ("lost", &["lost/9.png: not found; expected a file that lost/metadata.csv row "]),
        (
            "two",
            &[
                "two: expected one metadata file in a folder; found metadata.csv, metadata.jsonl; name one of them",
            ],
        ),
        (
            "several",
            &["several: expected one table of images or clips; found a.csv, b.csv; name one of them"],
        ),
        ("headless", &["headless/train.csv: ", "line 1 names the file 0.png", "columns = [\"NAME\", …]"]),
    ];
    fail(&place, "image", &cases);
}

#[test]
fn unusable_folders_and_shards_are_named() {
    let image = png(8, 8);
    let with = |name: &str, bytes: &[u8]| tar(&[("0.png", &image), (name, bytes)]);
    let whole = with("0.cls", b"1");
    let place = Place::new(&[
        ("a.csv", b"x\n1\n"),
        ("other/classes.txt", b"cat\n"),
        ("other/cat/0.png", &image),
        ("other/dog/0.png", &image),
        ("blank/classes.txt", b"cat\n\ndog\n"),
        ("blank/cat/0.png", &image),
        ("mixed/a.csv", b"x\n1\n"),
        ("mixed/b.pdf", b"%PDF-1.7"),
        ("json.tar", &with("0.json", b"{")),
        ("packed.tar", &with("0.mp", b"\x81")),
        ("npz.tar", &with("0.npz", b"no archive")),
        ("cut.tar", &whole[..520]),
        ("head.tar", &damaged(whole.clone(), 3)),
        ("cut.tgz", b"\x1f\x8b\x08no"),
        ("loose.tar", &tar(&[("notes", b"n")])),
    ]);
    let cases: [(&str, &[&str]); 12] = [
        ("other", &["other/dog/0.png: its folder \"dog\" is not in classes.txt, which lists cat"]),
        ("blank", &["blank/classes.txt: line 2 is blank; expected a class name"]),
        ("{path=\"a.csv\",layout=\"folders\"}", &["a.csv: expected class folders", "found no file in one"]),
        ("mixed", &["mixed: it is in none of the known layouts: its file b.pdf is a PDF document"]),
        ("json.tar", &["json.tar/0.json: not readable as JSON: EOF"]),
        ("packed.tar", &["packed.tar/0.mp: not readable as MessagePack"]),
        ("npz.tar", &["npz.tar/0.npz: not readable as npz"]),
        ("cut.tar", &["cut.tar: not readable as a tar archive: truncated: 0.png takes "]),
        ("head.tar", &["head.tar: not readable as a tar archive"]),
        ("cut.tgz", &["cut.tgz: not readable as gzip: unexpected end of file"]),
        ("loose.tar", &["loose.tar: empty; expected files such as 000123.png"]),
        (
            "{path=\"a.csv\",layout=\"webdataset\"}",
            &["a.csv: it is not in the layout webdataset: it is no archive"],
        ),
    ];
    fail(&place, "image", &cases);
}

#[test]
fn unusable_files_of_published_data_sets_are_named() {
    let labelled = [&[77][..], &[0; 3072]].concat();
    let place = Place::new(&[
        ("cut/data_batch_1.bin", &[0; 3000]),
        ("label/data_batch_1.bin", &labelled),
        ("a.csv", b"x\n1\n"),
    ]);
    let cases: [(&str, &[&str]); 4] = [
        (
            "cut",
            &["cut/data_batch_1.bin: not readable as CIFAR-10: 3000 bytes; expected whole samples of 3073"],
        ),
        (
            "label",
            &["label/data_batch_1.bin: not readable as CIFAR-10: sample 0 has label 77; expected 0 to 9"],
        ),
        (
            "{path=\"a.csv\",layout=\"cifar\"}",
            &["a.csv: it is not in the layout cifar: it has no file with a name"],
        ),
        (
            "{path=\"a.csv\",layout=\"idx\"}",
            &["a.csv: it is not in the layout idx: it has no file with a name"],
        ),
    ];
    fail(&place, "image", &cases);
}

#[test]
fn unusable_parallel_texts_are_named() {
    let place = Place::new(&[
        ("train.en", b"a\nb\n"),
        ("train.de", b"a\n"),
        ("dev.en", b"a\n"),
        ("a.csv", b"x\n1\n"),
    ]);
    let cases: [(&str, &[&str]); 4] = [
        (
            "train.{en,de}",
            &["train.de: expected 2 lines, as in train.en; found 1; line i of one file belongs to"],
        ),
        ("dev.{en,de}", &["dev.de: not found"]),
        (
            "{path=\"train.{en,de}\",columns=[\"a\"]}",
            &["train.{en,de}: expected 2 names in `columns`, one for each of .en, .de; found 1"],
        ),
        (
            "{path=\"a.csv\",layout=\"text\",columns=[\"a\"]}",
            &["a.csv: `columns` names the fields of", "the layout text"],
        ),
    ];
    fail(&place, "text", &cases);
}

#[test]
fn unusable_data_sets_of_episodes_are_named() {
    let records = "push-train.tfrecord-00000-of-00001";
    let lerobot =
        |path: &str| std::fs::read(format!("modalities/trajectory/tests/data/lerobot/{path}")).unwrap();
    let info = String::from_utf8(lerobot("meta/info.json")).unwrap();
    let place = Place::new(&[
        ("empty/meta/info.json", b"{}"),
        ("old/meta/info.json", info.replace("v2.1", "v1.6").as_bytes()),
        ("less/meta/info.json", info.as_bytes()),
        ("minari/metadata.json", br#"{"total_episodes": 2, "total_steps": 60, "data_format": "zarr"}"#),
        ("minari/main_data.hdf5", b"x"),
        ("bare/push-train.tfrecord-00000-of-00001", &[b'x'; 40]),
        ("none/features.json", b"{}"),
        ("garbage/features.json", rlds::FEATURES.as_bytes()),
        ("garbage/push-train.tfrecord-00000-of-00001", &[b'x'; 40]),
        ("images/0.png", &png(8, 8)),
    ]);
    let episode = "data/chunk-000/episode_000000.parquet";
    ["empty", "old", "less"]
        .iter()
        .for_each(|set| place.write(&format!("{set}/{episode}"), &lerobot(episode)));
    place.write(&format!("none/{records}"), &rlds::episode(2));
    let cases: [(&str, &[&str]); 8] = [
        ("empty", &["empty/meta/info.json: ", "missing field `codebase_version`"]),
        ("old", &["old/meta/info.json: ", "codebase_version is \"v1.6\"; expected v2 or v3"]),
        (
            "less",
            &["less/meta/info.json: ", "expected 2 episodes with 7 steps in total; the files have 1 with 3"],
        ),
        ("minari", &["minari/metadata.json: ", "data_format is \"zarr\"; expected \"parquet\" or \"hdf5\""]),
        ("bare", &["bare: expected features.json beside push-train.tfrecord-00000-of-00001"]),
        ("none", &["none: features.json: expected the features of RLDS, a data set `steps`; found: none"]),
        (
            "garbage",
            &["garbage/push-train.tfrecord-00000-of-00001: record 0 at byte 0: TFRecord: the checksum"],
        ),
        (
            "{path=\"images\",layout=\"episodes\"}",
            &["images: empty; expected files of episodes (.npz, .jsonl, .csv"],
        ),
    ];
    fail(&place, "trajectory", &cases);
}

/// A record that cannot be read is no reason to write over the shards.
#[test]
fn unusable_records_of_conversions_are_named() {
    let place = Place::new(&[
        ("words.csv", b"word\na\nb\n"),
        ("empty/convert.json", b""),
        ("other/convert.json", b"[1]"),
    ]);
    for folder in ["empty", "other"] {
        let record = format!("{folder}/convert.json: expected the record of a conversion; ");
        place.fails(&format!("data convert words.csv {folder}"), &[&record, "name another folder"]);
    }
    let hostile =
        b"{\"settings\": {}, \"done\": {\"../words.csv\": {\"rows\": 1, \"bytes\": 1, \"corrupt\": []}}}";
    place.write("hostile/convert.json", hostile);
    place.fails(
        "data convert words.csv hostile --overwrite",
        &["\"../words.csv\"", "leads out of its folder"],
    );
    place.works("data convert words.csv shards");
    let record = std::fs::read_to_string(place.path("shards/convert.json")).unwrap();
    let shard = place.path("shards/train-000000.tar");
    let size = format!("\"bytes\": {},", std::fs::metadata(&shard).unwrap().len());
    assert!(record.contains(&size), "{record}");
    place.write("shards/convert.json", record.replace(&size, "\"bytes\": 0,").as_bytes());
    std::fs::remove_file(&shard).unwrap();
    place.works("data convert words.csv shards");
    assert!(shard.exists(), "a shard with rows has a file");
}
