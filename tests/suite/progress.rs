//! The lines that training prints.

#![cfg(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]

use crate::support::{TINY, ran, smalti};

const SHORT: &str = "--set train.max_steps=2 --set train.epochs=0 --set train.eval_samples=2";

/// The loss of CTC is per label, wherever it is printed; in JSON it keeps its name.
#[test]
fn the_unit_of_the_loss_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let works = |line: &str| {
        let ran = ran(smalti(folder.path()), line);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        (ran.out, ran.err)
    };
    let (out, err) = works(&format!("train audio {TINY} {SHORT} --out run"));
    assert!(err.contains("step 2/2  epoch "), "{err}");
    assert!(err.contains("  loss (per label) "), "{err}");
    assert!(err.lines().any(|line| line.contains("  text: ") && line.contains("loss (per label) ")), "{err}");
    assert!(out.contains("loss (per label)"), "{out}");
    assert!(works("eval run --samples 2").0.contains("loss (per label)"));
    assert!(works("info run").0.contains("loss (per label)"));
    assert!(works("eval run --samples 2 --json").0.contains("\"loss\""));
}

/// The command of the audio guide.
#[test]
fn the_labels_of_the_audio_preset_may_be_words() {
    let folder = tempfile::tempdir().unwrap();
    let train = format!("train audio {TINY} {SHORT} --set outputs.text.vocabulary=words");
    let trained = ran(smalti(folder.path()), &format!("{train} --out run"));
    assert_eq!(trained.code, Some(0), "{}", trained.err);
    let refused = ran(smalti(folder.path()), &format!("{train} --set outputs.text.unknown=true --out other"));
    let message = "error: outputs.text: text: unknown is set; it is only for a vocabulary of characters";
    assert!(refused.code == Some(1) && refused.err.contains(message), "{}", refused.err);
}

/// Several tasks have no common epoch, and their losses no common unit.
#[test]
fn a_mix_has_no_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let line = format!("train mix {TINY} --set train.batch_size=8 {SHORT} --out run");
    let ran = ran(smalti(folder.path()), &line);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.contains("step 2/2  loss ") && !ran.err.contains("epoch"), "{}", ran.err);
}
