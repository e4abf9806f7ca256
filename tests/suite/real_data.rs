//! Published data sets, in the folder `SMALTI_DATA`, with the settings of a run.

use smalti::config::RunConfig;
use smalti::data::{Dataset, Sample, Target};
use smalti::registry::Modalities;
use smalti::sample::{Opened, Start};
use smalti_contract::{Content, Group};

fn data(path: &str) -> String {
    let folder = std::env::var("SMALTI_DATA").expect("SMALTI_DATA names the folder with the data sets");
    format!("{folder}/{path}")
}

fn open(preset: &str, overrides: &[String]) -> Opened {
    let config = RunConfig::of_preset_or_file(preset, overrides).unwrap();
    config.tasks()[0].open(&Modalities::builtin(), Start::New).unwrap()
}

fn settings(path: &str, others: &[&str]) -> Vec<String> {
    std::iter::once(format!("data.source={}", data(path)))
        .chain(others.iter().map(|s| s.to_string()))
        .collect()
}

/// Samples spread over a data set.
fn some(dataset: &dyn Dataset) -> Vec<Sample> {
    let n = dataset.len();
    (0..20).map(|i| dataset.sample(i * (n - 1) / 19, None).unwrap()).collect()
}

#[test]
#[ignore = "needs SMALTI_DATA"]
fn tiny_shakespeare_has_65_characters_and_the_usual_split() {
    let splits = open("text", &settings("text/tinyshakespeare.txt", &[]));
    assert_eq!(splits.train.len(), (1_003_854 - 1) / 64);
    assert_eq!(splits.validation.len(), (111_540 - 1) / 64);
    let first = splits.train.sample(0, None).unwrap();
    let Content::Ids(ids) = &first.inputs[0].1.groups[0].content else { panic!("expected ids") };
    assert_eq!(ids[..5], [18, 47, 56, 57, 58], "First, in nanoGPT's ids");
    assert!(
        some(splits.validation.as_ref())
            .iter()
            .all(|s| matches!(&s.outputs[0].target, Target::Ids { ids, .. } if ids.iter().all(|&i| i < 65)))
    );
}

#[test]
#[ignore = "needs SMALTI_DATA"]
fn mnist_is_read_from_idx_files() {
    let splits = open("image", &settings("image/mnist", &[]));
    assert_eq!((splits.train.len(), splits.validation.len()), (60_000, 10_000));
    let first = splits.train.sample(0, None).unwrap();
    assert_eq!(first.outputs[0].target, Target::class(5));
    assert_eq!(first.inputs[0].1.len(), 49 + 1, "7×7 patches and a class token");
}

#[test]
#[ignore = "needs SMALTI_DATA"]
fn cifar_is_read_from_shards_and_from_class_folders() {
    let splits = open("image", &settings("image/cifar10", &[]));
    assert_eq!((splits.train.len(), splits.validation.len()), (50_000, 5_000));
    for sample in some(splits.train.as_ref()).into_iter().chain(some(splits.validation.as_ref())) {
        let tokens = &sample.inputs[0].1;
        assert_eq!(tokens.len(), 64 + 1, "8×8 patches and a class token");
        let dim = |group: &Group| group.content.features().map(|features| features.len() / group.order.len());
        assert!(tokens.groups.iter().any(|group| dim(group) == Some(4 * 4 * 3)), "in colour");
        assert!(matches!(&sample.outputs[0].target, Target::Ids { ids, .. } if ids[0] < 10));
    }
}

#[test]
#[ignore = "needs SMALTI_DATA"]
fn spoken_digits_are_split_by_a_field_and_concatenated() {
    let split = ["data.train=\"index>=5\"", "data.validation=\"index<5\"", "data.concat=[3,6]"];
    let splits = open("audio", &settings("audio/fsdd/manifest.tsv", &split));
    assert_eq!((splits.train.len(), splits.validation.len()), (2_250, 250));
    for sample in some(splits.validation.as_ref()) {
        let Target::Labels(labels) = &sample.outputs[0].target else { panic!("expected labels") };
        assert!((11..=35).contains(&labels.len()), "three to six digits in letters: {}", labels.len());
        assert!(sample.inputs[0].1.len() > labels.len());
    }
    let one = ["data.train=\"speaker!=jackson\"", "data.validation=\"speaker=jackson\""];
    let splits = open("audio", &settings("audio/fsdd/manifest.tsv", &one));
    assert_eq!((splits.train.len(), splits.validation.len()), (2_000, 500));
}

#[test]
#[ignore = "needs SMALTI_DATA"]
fn telephone_prompts_are_read() {
    let long = ["data.concat=[1,1]", "inputs.audio.max_slices=4096"];
    let splits = open("audio", &settings("audio/asterisk-en/manifest.tsv", &long));
    assert_eq!(splits.train.len() + splits.validation.len(), 347);
    assert_eq!(some(splits.train.as_ref()).len(), 20);
}

#[test]
#[ignore = "needs SMALTI_DATA"]
fn corpora_of_speech_train_the_preset_without_a_setting() {
    for corpus in ["librispeech", "ljspeech", "common-voice", "common-voice/train.tsv", "nemo.jsonl", "kaldi"]
    {
        let splits = open("audio", &settings(&format!("layouts/{corpus}"), &[]));
        assert_ne!(splits.validation.len(), 0, "{corpus}");
        for sample in some(splits.train.as_ref()) {
            let Target::Labels(labels) = &sample.outputs[0].target else { panic!("expected labels") };
            assert!(!labels.is_empty() && sample.inputs[0].1.len() > 1, "{corpus}");
        }
    }
}

#[test]
#[ignore = "needs SMALTI_DATA"]
fn logged_trajectories_are_read() {
    // Windows of 20 steps; the last of an episode may be shorter.
    for (file, windows) in [
        ("cartpole-expert", Some(2_477)),
        ("pendulum-expert", Some(1_000)),
        ("hopper-replay", Some(9_510)),
        ("hopper-expert", None), // a single episode cannot be split
    ] {
        let file = format!("trajectory/{file}.npz");
        let continuous = ["outputs.actions.head=regress"];
        let more: &[&str] = if file.contains("cartpole") { &[] } else { &continuous };
        let config = RunConfig::of_preset_or_file("trajectory", &settings(&file, more)).unwrap();
        match config.tasks()[0].open(&Modalities::builtin(), Start::New) {
            Ok(splits) => {
                assert_eq!(Some(splits.train.len() + splits.validation.len()), windows, "{file}");
                some(splits.train.as_ref());
            }
            Err(error) => {
                assert!(windows.is_none() && error.to_string().contains("at least 2 rows"), "{error}")
            }
        }
    }
}
