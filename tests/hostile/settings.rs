//! Settings that name sizes beyond any memory.

use crate::limits::withstands;
use crate::support::{TINY, text};

/// Sizes from a million to the largest number of a setting.
const HUGE: [u64; 4] = [1_000_000, 1 << 31, 1 << 40, i64::MAX as u64];

#[test]
fn a_model_that_does_not_fit_is_refused_before_it_is_drawn() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.txt"), text()).unwrap();
    for setting in ["model.d_model", "model.n_layers", "model.mlp.width", "outputs.text.context"] {
        for size in HUGE {
            let name = format!("train text, {setting} = {size}");
            let line = format!("train text {TINY} --set data.source=a.txt --set {setting}={size} --out run");
            withstands(&name, folder.path(), &line, &["error: "]);
            assert!(!folder.path().join("run").exists(), "{name} leaves a folder");
        }
    }
}

#[test]
fn a_batch_that_does_not_fit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.txt"), text()).unwrap();
    for (setting, sizes) in
        [("train.batch_size", &HUGE[1..]), ("train.batch_tokens", &HUGE[3..]), ("train.workers", &HUGE[1..])]
    {
        for size in sizes {
            let name = format!("train text, {setting} = {size}");
            let line = format!(
                "train text {TINY} --set data.source=a.txt --set train.max_steps=1 --set {setting}={size} --out run"
            );
            withstands(&name, folder.path(), &line, &["error: ", setting]);
        }
    }
}

#[test]
fn tokenizers_of_absurd_sizes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (preset, setting) in [
        ("audio", "inputs.audio.n_fft"),
        ("audio", "inputs.audio.n_mels"),
        ("audio", "inputs.audio.sampling_rate"),
        ("image", "inputs.image.image_size"),
    ] {
        for size in HUGE {
            let name = format!("train {preset}, {setting} = {size}");
            let line =
                format!("train {preset} {TINY} --set train.max_steps=1 --set {setting}={size} --out run");
            withstands(&name, folder.path(), &line, &["error: "]);
        }
    }
}

#[test]
fn numbers_of_episodes_and_tokens_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let trained =
        format!("train trajectory {TINY} --set train.max_steps=1 --set train.eval_samples=1 --out run");
    let ran = crate::support::ran(crate::support::smalti(folder.path()), &trained);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let line = format!("rollout run --episodes {}", u64::MAX);
    withstands("rollout, 2^64 - 1 episodes", folder.path(), &line, &["--episodes"]);
}
