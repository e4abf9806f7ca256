//! Sizes in settings, run folders and arguments that are far too large: each is refused before anything is allocated for it.

use super::{Place, failed, text_place, text_train};
use crate::support::{Ran, ran, smalti};

/// Run a command with so many MiB of memory at hand.
fn run_with(mib: u64, place: &Place, line: &str) -> Ran {
    let mut command = smalti(place.0.path());
    command.env("SMALTI_MEMORY", mib.to_string());
    ran(command, line)
}

#[test]
fn sizes_of_a_run_are_held_against_its_weights() {
    let place = text_place();
    place.works(&format!("{} --out run", text_train()));
    let whole = |name: &str| std::fs::read_to_string(place.path(&format!("run/{name}"))).unwrap();
    let (settings, tokenizers) = (whole("run.toml"), whole("tokenizers.json"));
    let cases = [
        ("n_layers = 1", "n_layers = 1000000000", "model.n_layers: expected 1 to 10000"),
        ("n_layers = 1", "n_layers = 9999", "stack.blocks.1.attention"),
        ("d_model = 16", "d_model = 1000000000", "model.d_model: expected 1 to 1048576"),
        ("d_model = 16", "d_model = 1048576", ", 1048576]"),
        ("d_ff = 0", "d_ff = 16777216", "expected [16777216"),
        ("n_kv_heads = 0", "n_kv_heads = 1073741824", "model.attention.n_kv_heads: expected 0 to 1048576"),
        ("context = 16", "context = 2147483648", "expected a whole number of at most 2147483647"),
    ];
    for (before, after, message) in cases {
        assert!(settings.contains(before), "{before}: {settings}");
        place.write("run/run.toml", settings.replacen(before, after, 1).as_bytes());
        for line in ["eval run", "generate run --prompt the", "info run"] {
            failed(1, line, &run_with(64, &place, line), &[message]);
        }
        // A resumed run must have the settings that its state keeps, also where the others could be used.
        let resumed = run_with(64, &place, "train --resume --out run");
        let is_named = resumed.err.contains(message) || resumed.err.contains("the run's value; found");
        assert!(resumed.code == Some(1) && is_named, "{after}: {resumed:?}");
    }
    place.write("run/run.toml", settings.as_bytes());
    let longer = tokenizers.replacen("\"context\":16", "\"context\":4000000000", 1);
    assert_ne!(longer, tokenizers);
    place.write("run/tokenizers.json", longer.as_bytes());
    let line = "generate run --prompt the --no-verify";
    failed(1, line, &run_with(64, &place, line), &["run/model.safetensors", "expected [4000000000"]);
}

#[test]
fn a_model_or_a_step_larger_than_the_memory_is_refused_before_it_starts() {
    let place = text_place();
    let refused = |mib: u64, settings: &str, message: &[&str]| {
        let line = format!("{} --out refused {settings}", text_train());
        let ran = run_with(mib, &place, &line);
        failed(1, &line, &ran, message);
        assert!(!place.path("refused").exists(), "smalti {line} left a run folder");
    };
    let at_hand = "64 MiB are at hand";
    refused(
        64,
        "--set model.d_model=1048576 --set model.n_layers=1000",
        &[
            "training needs about",
            "parameters with gradients and moments",
            at_hand,
            "lower model.d_model",
            "SMALTI_MEMORY",
        ],
    );
    refused(
        64,
        "--set train.batch_size=16384",
        &["a micro-batch of 16384 documents of", at_hand, "lower train.batch_size to "],
    );
    refused(
        64,
        "--set train.batch_size=512 --set model.n_layers=32",
        &["set train.checkpoint_activations=true or lower train.batch_size to "],
    );
    let line = format!("{} --out fits", text_train());
    assert_eq!(run_with(64, &place, &line).code, Some(0), "the same model with a small batch fits");
}

#[test]
fn every_count_has_a_most() {
    let place = text_place();
    for (setting, message) in [
        ("train.batch_size=9223372036854775807", "train.batch_size: expected at most 1048576"),
        ("train.batch_size=9223372036854775808", "train.batch_size: expected a whole number"),
        ("train.workers=1000000", "train.workers: expected at most 1024"),
        ("train.max_steps=9223372036854775807", "train.max_steps: expected at most 9007199254740992"),
        (
            "train.gradient_accumulation_steps=4294967296",
            "train.gradient_accumulation_steps: expected at most",
        ),
        (
            "outputs.text.context=9223372036854775807",
            "outputs.text.context: expected a whole number of at most",
        ),
        (
            "model.attention.n_heads=1099511627776",
            "model.attention.n_heads: expected a whole number of at most",
        ),
    ] {
        place.fails_untouched(&format!("{} --set {setting}", text_train()), &[message]);
    }
    for line in [
        "rollout run --env cartpole --episodes 18446744073709551615",
        "generate run --max-new-tokens 1099511627776",
        "predict run --top 18446744073709551616",
        "eval run --samples 1099511627776",
        "transcribe run a.wav --beams 1000000000",
        "embed run --batch 4294967296",
    ] {
        failed(2, line, &place.run(line), &["expected a whole number from 0 to "]);
    }
}

/// Memory that runs out all the same is an error of the program, not an abort.
#[test]
#[cfg(target_os = "linux")]
fn out_of_memory_is_an_error() {
    let place = text_place();
    let mut command = crate::support::smalti_under("ulimit -v 2000000", place.0.path());
    // The limit is not that of SMALTI_MEMORY, so the estimate lets the model pass.
    command.env("SMALTI_MEMORY", "1000000");
    let line = format!("{} --set model.d_model=64 --set model.mlp.d_ff=16777216 --out refused", text_train());
    failed(1, &line, &ran(command, &line), &["out of memory", "cannot be allocated"]);
    assert!(!place.path("refused").exists());
}
