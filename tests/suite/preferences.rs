//! Preference pairs: from a language model to one that follows a preference, by the command line.

#![cfg(feature = "text")]

use crate::support::{Ran, ran, smalti};
use candle_core::Device;
use serde_json::Value;
use smalti::run::Run;
use smalti::train::{Alone, End, Observer, StepReport};
use std::f64::consts::LN_2;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

const WORDS: [&str; 10] = ["cat", "dog", "sun", "sea", "tea", "cup", "map", "key", "box", "jar"];
const MODEL: &str =
    "[model]\nd_model = 32\nn_layers = 2\nattention.n_heads = 2\nhead.tie_embeddings = true\n";
/// Each pair prefers the short answer.
const PAIRS: &str = "[data]\nsource = \"pairs.jsonl\"\n[outputs.text]\nhead = \"prefer\"\nmodality = \"text\"\nwindows = true\n\
                     context = 40\nfield = [\"chosen\", \"rejected\"]\nprompt = \"prompt\"\nbeta = 0.5\n";

fn train(steps: usize, rate: &str) -> String {
    format!(
        "[train]\nmax_steps = {steps}\nbatch_size = 8\nlearning_rate = {rate}\nmin_learning_rate = {rate}\nwarmup_steps = 1\n\
         eval_every = 10\nlog_every = 1\nworkers = 1\n"
    )
}

/// A folder with a text, a language model of it in `base`, and pairs of answers.
fn place() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
    let line = |i: usize| {
        format!(
            "is it a {}? {}\n",
            WORDS[i % 10],
            if (i / 10).is_multiple_of(2) { "yes." } else { "yes it is one." }
        )
    };
    write("a.txt", (0..60).map(line).collect());
    let pair = |i: usize| match i {
        // A pair without a prompt.
        7 => "{\"chosen\": \"yes.\", \"rejected\": \"yes it is one.\"}\n".to_string(),
        _ => format!(
            "{{\"prompt\": \"is it a {}? \", \"chosen\": \"yes.\\n\", \"rejected\": \"yes it is one.\\n\"}}\n",
            WORDS[i % 10]
        ),
    };
    write("pairs.jsonl", (0..40).map(pair).collect());
    let base = "[data]\nsource = \"a.txt\"\n[outputs.text]\nhead = \"generate\"\nmodality = \"text\"\nwindows = true\ncontext = 40\n";
    write("base.toml", format!("{base}{MODEL}{}", train(40, "3e-3")));
    write("pairs.toml", format!("{PAIRS}{MODEL}{}", train(40, "3e-3")));
    works(folder.path(), "train base.toml --out base");
    folder
}

fn works(folder: &Path, line: &str) -> Ran {
    let ran = ran(smalti(folder), line);
    assert_eq!(ran.code, Some(0), "smalti {line}\n{}", ran.err);
    ran
}

fn error_of(folder: &Path, line: &str) -> String {
    let ran = ran(smalti(folder), line);
    assert_ne!(ran.code, Some(0), "smalti {line}\n{}", ran.out);
    ran.err
}

fn json(folder: &Path, line: &str) -> Value {
    serde_json::from_str(&works(folder, &format!("{line} --json")).out).unwrap()
}

/// The losses of a run's steps.
fn losses(run: &Path) -> Vec<f64> {
    let log = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter_map(|line| line["losses"]["text"].as_f64()).collect()
}

#[test]
fn a_language_model_learns_a_preference_and_goes_on_generating() {
    let folder = place();
    let place = folder.path();
    works(place, "train pairs.toml --from base --out tuned");
    let losses = losses(&place.join("tuned"));
    assert!((losses[0] - LN_2).abs() < 1e-4, "the model starts as its own reference: {}", losses[0]);
    assert!(losses[losses.len() - 1] < 0.3, "{losses:?}");

    let measured = json(place, "eval tuned")["text"].clone();
    assert_eq!(measured["accuracy"], 1.0, "{measured}");
    let number = |name: &str| measured[name].as_f64().unwrap();
    assert!((number("margin") - number("chosen_reward") + number("rejected_reward")).abs() < 1e-9);
    assert!(number("margin") > 1.0, "{measured}");

    let text = json(place, "generate tuned --prompt is --max-new-tokens 20 --temperature 0")["text"].clone();
    assert!(!text.as_str().unwrap().is_empty());
}

#[test]
fn an_answer_to_an_input_learns_a_preference() {
    let folder = place();
    let place = folder.path();
    let task = "[data]\nsource = \"pairs.jsonl\"\n[inputs.prompt]\nmodality = \"text\"\ncontext = 40\n[outputs.text]\n\
                share = \"prompt\"\n";
    let answers = "head = \"generate\"\nfield = \"chosen\"\n";
    let pairs = "head = \"prefer\"\nfield = [\"chosen\", \"rejected\"]\nbeta = 0.5\n";
    for (name, output, steps) in [("answers", answers, 20), ("preferred", pairs, 10)] {
        fs::write(
            place.join(format!("{name}.toml")),
            format!("{task}{output}{MODEL}{}", train(steps, "1e-3")),
        )
        .unwrap();
    }
    works(place, "train answers.toml --out answers");
    works(place, "train preferred.toml --from answers --out preferred");
    let losses = losses(&place.join("preferred"));
    assert!((losses[0] - LN_2).abs() < 1e-4, "{losses:?}");
    assert!(losses[losses.len() - 1] < losses[0], "{losses:?}");
    let measured = json(place, "eval preferred --generate 2")["text"].clone();
    assert_eq!(measured["generated_samples"], 2.0, "{measured}");
}

/// Stops training at a step.
struct Stop<'a>(u64, &'a AtomicBool);

impl Observer for Stop<'_> {
    fn step(&mut self, report: &StepReport) {
        self.1.store(report.step >= self.0, Ordering::Relaxed);
    }
}

#[test]
fn a_stopped_run_resumes_bit_exactly_without_the_run_it_started_from() {
    let folder = place();
    let place = folder.path();
    works(place, "train pairs.toml --from base --out straight");
    let settings = fs::read_to_string(place.join("pairs.toml")).unwrap();
    let source = place.join("pairs.jsonl").display().to_string();
    let config =
        smalti::config::RunConfig::parse("pairs", &settings, &[format!("data.source={source:?}")]).unwrap();
    let out = place.join("stopped");
    let base = Run::open(&place.join("base")).unwrap();
    let (_, mut trainer, _) = Run::create_from(&out, config, &Device::Cpu, Arc::new(Alone), &base).unwrap();
    let stop = AtomicBool::new(false);
    assert_eq!(trainer.run(Some(&out), &stop, &mut Stop(11, &stop)).unwrap().end, End::Stopped);
    drop((trainer, base));
    fs::remove_dir_all(place.join("base")).unwrap();
    works(place, "train --resume --out stopped");
    let weights = |run: &str| fs::read(place.join(run).join("model.safetensors")).unwrap();
    assert!(weights("stopped") == weights("straight"), "the same bytes");

    // The log-probabilities of the reference model are checked, and are those of the run's own pairs.
    let reference = out.join("reference.bin");
    let mut bytes = fs::read(&reference).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&reference, bytes).unwrap();
    assert!(error_of(place, "eval stopped").contains("reference.bin"));
    fs::write(
        place.join("other.jsonl"),
        "{\"prompt\": \"is it a dog? \", \"chosen\": \"yes.\", \"rejected\": \"one.\"}\n",
    )
    .unwrap();
    let error = error_of(place, "eval straight --data other.jsonl");
    assert!(error.contains("no log-probabilities of its reference model"), "{error}");
}

#[test]
fn settings_of_pairs_that_do_not_fit_are_errors() {
    let folder = place();
    let place = folder.path();
    let error = error_of(place, "train pairs.toml --out tuned");
    assert!(error.contains("which is the reference model") && error.contains("--from RUN"), "{error}");
    for (set, expected) in [
        ("outputs.text.field=chosen", "expected two fields, of the chosen and of the rejected completion"),
        ("outputs.text.windows=false", "outputs.text.prompt: expected windows = true"),
        ("outputs.text.beta=0", "beta: expected a number above 0; found 0"),
        ("outputs.text.prompt=question", "no row has the field \"question\""),
        ("data.concat=[1,2]", "expected preference pairs that are the same in every draw"),
    ] {
        let error = error_of(place, &format!("train pairs.toml --from base --out tuned --set {set}"));
        assert!(error.contains(expected), "{set}: {error}");
        assert!(!place.join("tuned").exists(), "{set}");
    }
    let error = error_of(place, "train base.toml --out tuned --set outputs.text.prompt=prompt");
    assert!(error.contains("head generate has no pairs of completions"), "{error}");
}
