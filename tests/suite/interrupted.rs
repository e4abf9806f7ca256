//! A run that is stopped, killed or out of disk space resumes with `--resume`: at the end, its files have the bytes of an
//! uninterrupted run.

#![cfg(all(
    target_os = "linux",
    feature = "text",
    feature = "image",
    feature = "audio",
    feature = "trajectory"
))]

use crate::files;
use crate::support;

use serde_json::Value;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use support::{Ran, TINY, ran, smalti, smalti_under, text};
use tempfile::TempDir;

/// Settings with all kinds of state: dropout, the moving average, two micro-batches a step, batches of 4 of 33 samples (an epoch
/// ends within a batch), checkpoints and evaluations at different steps.
const STATEFUL: &str = "--set train.gradient_accumulation_steps=2 --set train.ema_decay=0.9 --set model.dropout=0.2 --set train.warmup_steps=5 \
    --set train.log_every=1 --set train.checkpoint_every=3 --set train.eval_every=7 --set train.eval_samples=2";
const STEPS: u64 = 300;

/// A folder with data, and the result of an uninterrupted run.
struct Place {
    folder: TempDir,
    /// `train` and all its settings.
    train: String,
    whole: Finished,
}

/// The files of a finished run.
#[derive(PartialEq)]
struct Finished {
    model: Vec<u8>,
    state: Vec<u8>,
    metrics: Vec<Value>,
}

impl Place {
    fn new(train: String) -> Self {
        Self::with("a.txt", text().as_bytes(), train)
    }

    /// A folder with this file.
    fn with(name: &str, bytes: &[u8], train: String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(name), bytes).unwrap();
        std::fs::write(folder.path().join("policy.toml"), support::image_policy("log.npz", 2)).unwrap();
        let straight = ran(smalti(folder.path()), &format!("{train} --out straight"));
        assert_eq!(straight.code, Some(0), "{}", straight.err);
        let whole = Finished {
            model: std::fs::read(folder.path().join("straight/model.safetensors")).unwrap(),
            state: std::fs::read(folder.path().join("straight/state.safetensors")).unwrap(),
            metrics: metrics(folder.path().join("straight/metrics.jsonl")),
        };
        Self { folder, train, whole }
    }

    fn text() -> Self {
        Self::new(format!(
            "train text {TINY} {STATEFUL} --set model.d_model=32 --set data.source=a.txt --set outputs.text.context=16 \
             --set train.max_steps={STEPS}"
        ))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&self) -> String {
        format!("{} --out run", self.train)
    }

    fn run(&self, line: &str) -> Ran {
        ran(smalti(self.folder.path()), line)
    }

    fn works(&self, line: &str) -> Ran {
        let ran = self.run(line);
        assert_eq!(ran.code, Some(0), "smalti {line}\n{}", ran.err);
        ran
    }

    /// The last step in the run's metrics.
    fn step(&self) -> u64 {
        let text = std::fs::read_to_string(self.path("run/metrics.jsonl")).unwrap_or_default();
        let whole_lines = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
        let last: Option<Value> = whole_lines.lines().last().map(|line| serde_json::from_str(line).unwrap());
        last.and_then(|line| line["step"].as_u64()).unwrap_or(0)
    }

    /// Start a command and wait for a condition.
    fn start_until(&self, line: &str, reached: impl Fn() -> bool) -> Child {
        let mut command = smalti(self.folder.path());
        command.args(line.split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let started = Instant::now();
        while !reached() {
            let ended = child.try_wait().unwrap();
            assert!(
                ended.is_none() && started.elapsed() < Duration::from_secs(120),
                "smalti {line}: {ended:?}"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        child
    }

    /// Run a command and send it a signal once the run has reached `step`, and has made a step: before, it handles no signal.
    fn signalled(&self, line: &str, signal: &str, step: u64) -> Output {
        let step = step.max(self.step() + 1);
        let child = self.start_until(line, || self.step() >= step);
        let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        child.wait_with_output().unwrap()
    }

    /// Resume to the end, and compare with the uninterrupted run.
    fn resumes(&self) {
        self.works("train --resume --out run");
        let bytes = |name: &str| std::fs::read(self.path(&format!("run/{name}.safetensors"))).unwrap();
        assert!(bytes("state") == self.whole.state, "the state differs");
        assert!(bytes("model") == self.whole.model, "the model differs");
        assert_eq!(metrics(self.path("run/metrics.jsonl")), self.whole.metrics);
        self.works("info run --verify");
        assert_eq!(self.unfinished(), Vec::<String>::new());
    }

    /// Unfinished files in the run folder.
    fn unfinished(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.path("run")).unwrap().map(|entry| entry.unwrap().file_name());
        names
            .map(|name| name.into_string().unwrap())
            .filter(|name| name.starts_with(".unfinished-"))
            .collect()
    }
}

/// The lines of the metrics, without the numbers that depend on time.
fn metrics(path: PathBuf) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.iter_mut().for_each(|line| {
        line.as_object_mut().unwrap().retain(|key, _| key != "tokens_per_s" && key != "seconds");
    });
    lines
}

#[test]
fn a_signalled_run_saves_and_resumes() {
    let place = Place::text();
    let mut line = place.start();
    for (signal, step) in [("-INT", 1), ("-TERM", 50), ("-HUP", 100), ("-INT", 150)] {
        let output = place.signalled(&line, signal, step);
        let (out, err) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.code(), Some(0), "{err}");
        let at = place.step();
        assert!((step..STEPS).contains(&at), "stopped at {at}, signalled at {step}");
        assert!(err.contains(&format!("stopped at step {at} of {STEPS}; --resume continues")), "{err}");
        assert!(out.contains(&format!("run is at step {at}\n")), "{out}");
        assert!(place.works("info run --json").out.contains(&format!("\"step\": {at}")), "step {at}");
        assert_eq!(place.unfinished(), Vec::<String>::new());
        line = "train --resume --out run".into();
    }
    place.resumes();
}

#[test]
fn augmentation_of_every_modality_resumes() {
    let place = Place::new(format!(
        "train mix {TINY} {STATEFUL} --set train.batch_size=8 --set train.max_steps=40 --set mix.text.data.source=a.txt"
    ));
    let output = place.signalled(&place.start(), "-INT", 8);
    assert_eq!(output.status.code(), Some(0));
    assert!((8..40).contains(&place.step()));
    place.resumes();
}

#[test]
fn a_token_budget_and_a_shuffle_window_resume() {
    let place = Place::new(format!(
        "train mix {TINY} {STATEFUL} --set train.batch_size=8 --set train.batch_tokens=400 --set train.shuffle=16 \
         --set train.workers=3 --set train.max_steps=40 --set mix.text.data.source=a.txt --set mix.text.outputs.text.context=16"
    ));
    let output = place.signalled(&place.start(), "-INT", 8);
    assert_eq!(output.status.code(), Some(0));
    assert!((8..40).contains(&place.step()));
    place.resumes();
}

/// Activation checkpointing does not change a bit of the result.
#[test]
fn a_run_with_activation_checkpointing_resumes() {
    let place = Place::new(format!(
        "train mix {TINY} {STATEFUL} --set train.batch_size=8 --set train.max_steps=40 --set model.n_layers=2 \
         --set mix.text.data.source=a.txt"
    ));
    let line = format!("{} --set train.checkpoint_activations=true", place.start());
    let output = place.signalled(&line, "-INT", 8);
    assert_eq!(output.status.code(), Some(0));
    assert!((8..40).contains(&place.step()));
    place.resumes();
}

#[test]
fn a_run_in_bf16_resumes() {
    let place = Place::new(format!(
        "train mix {TINY} {STATEFUL} --device cpu --set train.precision=bf16 --set train.batch_size=8 --set train.max_steps=40 \
         --set mix.text.data.source=a.txt"
    ));
    let output = place.signalled(&place.start(), "-INT", 8);
    assert_eq!(output.status.code(), Some(0));
    assert!((8..40).contains(&place.step()));
    place.resumes();
    // Evaluation computes as training did.
    let last = place.works("eval run --device cpu --json").out;
    assert!(serde_json::from_str::<Value>(&last).is_ok(), "{last}");
}

#[test]
fn a_policy_with_images_resumes() {
    let place = Place::with(
        "log.npz",
        &files::image_log(),
        format!("train policy.toml {TINY} {STATEFUL} --set train.workers=2 --set train.max_steps=400"),
    );
    let output = place.signalled(&place.start(), "-INT", 8);
    assert_eq!(output.status.code(), Some(0));
    assert!((8..400).contains(&place.step()));
    place.resumes();
}

/// A codebook and a classifier on one trunk. Restarting unused codes has no state but the parameters.
const CODEBOOK: &str = r#"
[mix.code.data]
source = "builtin:digits"
[mix.code.inputs.image]
modality = "image"
patch_size = 4
[mix.code.outputs.reconstruction]
head = "reconstruct"
codebook_size = 32
codebook_dim = 4
[mix.name.data]
source = "builtin:digits"
[mix.name.inputs.image]
modality = "image"
patch_size = 4
[mix.name.outputs.class]
head = "classify"
[model]
n_encoder_layers = 2
"#;

#[test]
fn a_codebook_in_a_mix_resumes() {
    let train =
        format!("train codebook.toml {TINY} {STATEFUL} --set train.batch_size=8 --set train.max_steps=40");
    let place = Place::with("codebook.toml", CODEBOOK.as_bytes(), train);
    let line = format!("{} --set train.checkpoint_activations=true", place.start());
    let output = place.signalled(&line, "-INT", 8);
    assert_eq!(output.status.code(), Some(0));
    assert!((8..40).contains(&place.step()));
    place.resumes();
}

#[test]
fn a_run_killed_at_any_moment_resumes() {
    let place = Place::text();
    let mut line = place.start();
    // Some milliseconds after a step: within a step, an evaluation, or while a file is written.
    for (step, more) in [(1, 0), (4, 3), (30, 1), (60, 2), (90, 5), (120, 0), (150, 4)] {
        let mut child = place.start_until(&line, || place.step() >= step);
        std::thread::sleep(Duration::from_millis(more));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), None, "the run ended before it was killed at step {step}");
        if place.path("run/state.safetensors").exists() {
            place.works("eval run --weights last --samples 2");
        }
        if place.path("run/model.safetensors").exists() {
            place.works("eval run --samples 2");
            place.works("info run");
            place.works("info run --verify");
        }
        // These settings change the cost of a step, not its result.
        line = format!(
            "train --resume --out run --set train.checkpoint_activations={} --set train.workers=1",
            step % 4 == 0
        );
    }
    place.resumes();
}

#[test]
fn a_run_killed_before_its_first_step_starts_again() {
    let place = Place::text();
    let mut child = place.start_until(&place.start(), || place.path("run/run.toml").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    place.resumes();
}

/// A folder without settings is not a run yet, so training may start in it.
#[test]
fn training_starts_in_a_folder_without_settings() {
    let place = Place::text();
    std::fs::create_dir(place.path("run")).unwrap();
    std::fs::write(place.path("run/run.lock"), "").unwrap(); // the first file of a run
    std::fs::write(place.path("run/tokenizers.json"), "{\"half").unwrap();
    place.works(&place.start());
    place.resumes();
}

#[test]
fn unfinished_files_are_removed() {
    let place = Place::text();
    place.signalled(&place.start(), "-INT", 5);
    for name in [".unfinished-a1b2c3", ".unfinished-", ".mine"] {
        std::fs::write(place.path("run").join(name), "half").unwrap();
    }
    // A killed run may leave an incomplete last line.
    let metrics = std::fs::read_to_string(place.path("run/metrics.jsonl")).unwrap();
    std::fs::write(place.path("run/metrics.jsonl"), format!("{metrics}{{\"step\": 29")).unwrap();
    place.resumes();
    assert!(place.path("run/.mine").exists());
}

/// The unit of `ulimit -f` in a POSIX shell, in bytes.
const BLOCK: usize = 512;

/// A limit on the size of files simulates a full disk.
#[test]
fn a_full_disk_does_not_damage_saved_files() {
    let place = Place::text();
    place.signalled(&place.start(), "-INT", 5);
    let saved = |name: &str| std::fs::read(place.path(&format!("run/{name}"))).unwrap();
    let (state, record) = (saved("state.safetensors"), saved("metrics.jsonl"));
    let limits =
        [(record.len() / BLOCK, "run/metrics.jsonl"), (state.len() / 2 / BLOCK, "run/state.safetensors")];
    for (blocks, file) in limits {
        let limit = format!("trap '' XFSZ; ulimit -f {blocks}");
        let refused = ran(smalti_under(&limit, place.folder.path()), "train --resume --out run");
        assert_eq!(refused.code, Some(1), "{file}: {}", refused.err);
        let message = format!("error: cannot write {file}: ");
        assert!(refused.err.contains(&message), "expected {message:?} in: {}", refused.err);
        assert!(refused.err.contains("the file saved before is unchanged"), "{}", refused.err);
        assert_eq!(refused.err.matches("File too large").count(), 1, "said twice: {}", refused.err);
        assert!(saved("state.safetensors") == state, "{file}: the state has changed");
        assert!(saved("metrics.jsonl").starts_with(&record), "{file}: the metrics have changed");
        assert_eq!(place.unfinished(), Vec::<String>::new());
        place.works("eval run --weights last --samples 2");
    }
    place.resumes();
}

#[test]
fn resuming_a_finished_run_changes_nothing() {
    let place = Place::text();
    place.works(&place.start());
    place.resumes();
}
