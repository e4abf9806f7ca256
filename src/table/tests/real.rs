//! Tables of real data.

use super::*;
use crate::data::testing::real;
use crate::table::select;
use std::collections::BTreeSet;

fn with_columns(location: &str, columns: &[&str]) -> Arc<dyn Table> {
    let columns = Some(columns.iter().map(|name| name.to_string()).collect());
    SourceRegistry::builtin().open(&Source { columns, ..Source::new(real(location)) }).unwrap()
}

fn of(location: &str) -> Arc<dyn Table> {
    opened(&real(location)).unwrap()
}

fn count(table: &dyn Table, filter: &str) -> usize {
    select(table, filter).unwrap().unwrap().len()
}

#[test]
#[ignore = "needs SMALTI_DATA"]
fn sst2_has_two_classes_in_two_splits() {
    let table = with_columns("text/sst2/*.tsv", &["text", "label"]);
    assert_eq!(table.fields(), ["text", "label", "split"]);
    assert_eq!([count(&*table, "split = train"), count(&*table, "split = dev")], [6920, 872]);
    assert_eq!(present(&*table, "label").len(), 7792);
    assert_eq!(table.value(0, "label").unwrap(), Value::Number(0.0));
    assert!(table.location(0).ends_with("sst2/dev.tsv row 1"));
}

#[test]
#[ignore = "needs SMALTI_DATA"]
fn multi30k_is_parallel() {
    let table = of("text/multi30k/{train,val}.{en,de}.gz");
    assert_eq!((table.fields(), table.len()), (&["en", "de", "split"].map(String::from)[..], 29_000 + 1014));
    assert_eq!(count(&*table, "split = val"), 1014);
    let (en, de) = (table.value(0, "en").unwrap(), table.value(0, "de").unwrap());
    assert_eq!(en, Value::Text("Two young, White males are outside near many bushes.".into()));
    assert!(de.into_text().unwrap().starts_with("Zwei junge weiße Männer"));
}

#[test]
#[ignore = "needs SMALTI_DATA"]
fn the_digits_of_a_protein_mask_are_a_text() {
    let table = of("protein/*.tsv");
    assert_eq!((count(&*table, "split = train"), count(&*table, "split = valid")), (361, 50));
    for row in 0..table.len() {
        let text = |field: &str| table.value(row, field).unwrap().into_text().unwrap();
        assert_eq!(text("sequence").len(), text("mask").len());
        assert_eq!(text("sequence").len(), text("dssp3").len());
    }
}

#[test]
#[ignore = "needs SMALTI_DATA"]
fn samples_of_several_modalities_are_rows() {
    let table = of("mixed/av-digits");
    assert_eq!(table.fields(), ["json.label", "json.radar", "png", "wav", "split"]);
    assert_eq!((count(&*table, "split = train"), count(&*table, "split = validation")), (6000, 1000));
    assert_eq!(table.value(0, "json.label").unwrap(), Value::Text("five".into()));
    assert_eq!(table.value(0, "json.radar").unwrap(), Value::vector([1.386, -0.512]));
    assert!(file(table.value(6999, "png").unwrap()).1.starts_with(b"\x89PNG"));
    assert!(file(table.value(6999, "wav").unwrap()).1.starts_with(b"RIFF"));

    let table = of("mixed/digit-strings/{train,valid}.tar");
    assert_eq!((table.fields(), table.len()), (&["png", "txt", "split"].map(String::from)[..], 8500));
    assert_eq!(present(&*table, "txt").len(), 8500);
}

#[test]
#[ignore = "needs SMALTI_DATA"]
fn fsdd_is_a_manifest_of_an_archive() {
    let table = of("audio/fsdd/manifest.tsv");
    assert_eq!(
        (table.fields(), table.len()),
        (&["path", "text", "speaker", "index"].map(String::from)[..], 2500)
    );
    let test = select(&*table, "index < 5 & path != recordings/0_george_0.wav").unwrap().unwrap();
    assert_eq!(test.len(), 249);
    let (name, bytes) = file(table.value(2499, "path").unwrap());
    assert!(name.starts_with("recordings/") && bytes.starts_with(b"RIFF"));
    assert!(table.origin(2499).unwrap().contains("recordings.tar"));
    assert_eq!(of("audio/fsdd").len(), 2500);
    assert_eq!(of("audio/asterisk-en").len(), 347);
}

#[test]
#[ignore = "needs SMALTI_DATA"]
fn mnist_has_two_splits() {
    let table = of("image/mnist");
    assert_eq!((count(&*table, "split = train"), count(&*table, "split = test")), (60_000, 10_000));
    assert_eq!(table.value(0, "label").unwrap(), Value::Number(5.0));
    assert_eq!(table.value(69_999, "image").unwrap().describe(), "an array [28, 28]");
    assert_eq!(of("image/mnist/t10k-images-idx3-ubyte.gz").len(), 10_000);
}

#[test]
#[ignore = "needs SMALTI_DATA"]
fn cifar_mixes_shards_and_class_folders() {
    let table = of("image/cifar10");
    assert_eq!(table.fields(), ["jpg", "cls", "split"]);
    assert_eq!((count(&*table, "split = train"), count(&*table, "split = test")), (50_000, 5_000));
    assert_eq!(count(&*table, "cls = cat"), 5_500);
    assert_eq!(table.classes("cls").unwrap()[..2], ["airplane", "automobile"]);
    assert!(table.skipped().is_empty(), "{:?}", table.skipped());
    let test = of("image/cifar10/test.tar");
    assert_eq!((test.fields(), test.len()), (&["file", "label", "split"].map(String::from)[..], 5_000));
    assert_eq!(test.classes("label").unwrap().len(), 10);
}

#[test]
#[ignore = "needs SMALTI_DATA"]
fn published_layouts_are_detected() {
    let images = of("layouts/hub-image/data");
    assert!(
        images.fields().starts_with(&["image".to_string(), "label".to_string()]),
        "{:?}",
        images.fields()
    );
    assert!(images.fields().contains(&"split".to_string()));
    assert!(count(&*images, "split = train") > 0 && count(&*images, "split = test") > 0);
    let names = images.classes("label").unwrap().to_vec();
    let labels = present(&*images, "label").into_iter().map(|label| label.into_label().unwrap());
    assert!(labels.into_iter().all(|label| names.contains(&label)));
    assert!(file(images.value(0, "image").unwrap()).1.starts_with(b"\x89PNG"));
    assert!(images.classes("label").is_some(), "the class names in the schema's metadata");
    let audio = of("layouts/hub-audio/data/train-00000-of-00001.parquet");
    assert!(audio.len() > 5 && file(audio.value(0, audio.fields()[0].as_str()).unwrap()).1.len() > 44);
    let metadata = of("layouts/imagefolder/train/metadata.csv");
    assert!(file(metadata.value(0, "file_name").unwrap()).1.starts_with(b"\x89PNG"));
    let folders = of("layouts/audio-classes");
    assert_eq!(folders.fields(), ["file", "label"]);
    let labels = present(&*folders, "label").into_iter().map(|label| label.into_label().unwrap());
    assert_eq!(labels.collect::<BTreeSet<_>>().len(), 5);
    let shards = of("layouts/webdataset/digits-000000.tar");
    assert_eq!(shards.fields(), ["cls", "json.ink", "json.label", "png", "txt", "wav", "split"]);
    let sounds = present(&*shards, "wav").len();
    assert!(0 < sounds && sounds < shards.len(), "{sounds}");
    let packed = of("layouts/webdataset/sample.tgz");
    assert_eq!((packed.fields(), packed.len()), (&["cls", "png", "split"].map(String::from)[..], 90));
    assert!(file(packed.value(89, "png").unwrap()).1.starts_with(b"\x89PNG"));
    let maps = of("layouts/webdataset/mpdata.tar");
    assert_eq!((maps.fields(), maps.len()), (&["mp.x", "mp.y", "split"].map(String::from)[..], 100));
    assert_eq!(present(&*maps, "mp.x").len(), 100);
    for path in ["layouts/kaggle", "layouts/kaggle/labels.csv"] {
        let kaggle = of(path);
        assert_eq!(kaggle.fields(), ["id", "label", "file"], "{path}");
        assert_eq!(kaggle.value(0, "id").unwrap(), Value::Text("0040".into()));
        for row in 0..kaggle.len() {
            assert!(file(kaggle.value(row, "file").unwrap()).1.starts_with(b"\xff\xd8"));
        }
        assert!(kaggle.skipped().is_empty(), "{:?}", kaggle.skipped());
    }
    let images = of("layouts/imagefolder");
    assert_eq!(images.fields(), ["file_name", "label", "width_hint", "split"]);
    assert_eq!((count(&*images, "split = train"), images.skipped().len()), (images.len(), 0));
    assert!(file(images.value(0, "file_name").unwrap()).1.starts_with(b"\x89PNG"));
}

#[test]
#[ignore = "needs SMALTI_DATA"]
fn parquet_of_every_codec_and_of_the_hub_is_read() {
    for codec in ["brotli", "gzip", "lz4", "snappy", "zstd"] {
        let table = of(&format!("../cases/42-parquet-gzip/{codec}.parquet"));
        assert!(!table.is_empty(), "{codec}");
        for row in 0..table.len() {
            let values = table.fields().iter().map(|field| table.value(row, field));
            assert!(values.map(Result::unwrap).all(|value| !value.is_missing()), "{codec} row {row}");
        }
    }
    let clips = of("../cases/43-parquet-of-the-hub/audio.parquet");
    assert!((0..clips.len()).all(|row| file(clips.value(row, "audio").unwrap()).1.starts_with(b"RIFF")));
}

#[test]
#[ignore = "needs SMALTI_DATA"]
fn corpora_of_speech_have_clips_and_texts() {
    // The layout, its rows, and the start of its files and of its first text.
    for (path, rows, start, first) in [
        ("librispeech", 24, &b"fLaC"[..], "TWO"),
        ("ljspeech", 16, b"RIFF", "eight"),
        ("common-voice", 16, b"", "Four."),
        ("common-voice/train.tsv", 16, b"", "Four."),
        ("nemo.jsonl", 16, b"RIFF", "eight"),
        ("kaldi", 7, b"RIFF", "ELEVEN TWENTY SEVEN FIFTY SEVEN"),
        ("kaldi/data/valid", 1, b"RIFF", "YES"),
    ] {
        let table = of(&format!("layouts/{path}"));
        assert_eq!(table.len(), rows, "{path}");
        assert_eq!(present(&*table, "text").len(), rows, "{path}");
        assert_eq!(table.value(0, "text").unwrap(), Value::Text(first.into()), "{path}");
        for row in 0..rows {
            let (name, bytes) = file(table.value(row, "audio").unwrap());
            assert!(bytes.starts_with(start) && bytes.len() > 500, "{name}");
            assert!(table.origin(row).unwrap().contains(&name), "{name}");
        }
    }
    let libri = of("layouts/librispeech");
    assert_eq!(count(&*libri, "split = validation & subset = dev-clean & speaker = 100"), 7);
    let kaldi = of("layouts/kaldi");
    assert_eq!(kaldi.fields(), ["audio", "text", "speaker", "id", "split"]);
    assert_eq!([count(&*kaldi, "split = validation"), count(&*kaldi, "speaker = mwhw")], [1, 2]);
    assert_eq!(count(&*of("layouts/common-voice"), "split = train & locale = en"), 16);
}

#[test]
#[ignore = "needs SMALTI_DATA"]
fn logs_are_episodes() {
    let hopper = of("trajectory/hopper-replay.npz");
    assert_eq!((hopper.len(), (0..335).map(|row| hopper.steps(row)).sum::<usize>()), (335, 188_391));
    assert_eq!(hopper.fields(), ["observations", "actions", "rewards", "end"]);
    let Value::Series(states) = hopper.window(3, "observations", 5..8).unwrap() else { panic!("a series") };
    assert_eq!((states.len(), states[0].describe()), (3, "an array [11]".into()));
    let robots = [
        ("lerobot-v2.1", 3, 1215, 26, "Pick up the yellow bottle on the table.", &["cam_high"][..]),
        ("lerobot-v3", 4, 1492, 6, "Pick the orange cube and place it in the box", &["front", "top"][..]),
    ];
    for (folder, episodes, steps, dim, task, cameras) in robots {
        let robot = of(&format!("layouts/{folder}"));
        let total: usize = (0..robot.len()).map(|row| robot.steps(row)).sum();
        assert_eq!((robot.len(), total), (episodes, steps), "{folder}");
        assert_eq!(robot.fields(), ["observations", "actions", "task", "split"], "{folder}");
        let Value::Series(states) = robot.window(1, "observations", 0..2).unwrap() else {
            panic!("a series")
        };
        assert_eq!(states[1].describe(), format!("an array [{dim}]"));
        assert_eq!(all(&*robot, "task"), texts(&vec![task; episodes]));
        assert_eq!(count(&*robot, "split = train"), episodes);
        let without =
            |camera: &&str| (format!("observation.images.{camera}"), "its video files are not there");
        assert_eq!(robot.skipped(), cameras.iter().map(without).collect::<Vec<_>>());
    }
}
