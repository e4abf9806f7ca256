//! A run that is stopped, killed or refused by a full disk goes on with `--resume` as if nothing had happened:
//! its files end up with the bytes of a run that was never interrupted.

#![cfg(all(
    target_os = "linux",
    feature = "text",
    feature = "image",
    feature = "audio",
    feature = "trajectory"
))]

#[allow(dead_code)] // other tests need more of them
#[path = "support/files.rs"]
mod files;
mod support;

use serde_json::Value;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use support::{Ran, TINY, ran, smalti, smalti_under, text};
use tempfile::TempDir;

/// Everything that could differ: dropout, the moving average, two micro-batches a step, batches of 4 out of 33
/// samples (an epoch ends within one), checkpoints and evaluations out of step with one another.
const MOVING: &str = "--set train.gradient_accumulation_steps=2 --set train.ema_decay=0.9 --set model.dropout=0.2 --set train.warmup_steps=5 \
    --set train.log_every=1 --set train.checkpoint_every=3 --set train.eval_every=7 --set train.eval_samples=2";
const STEPS: u64 = 300;

/// A folder with a text, and a run of it that was never interrupted.
struct Place {
    folder: TempDir,
    /// `train` and all its settings.
    train: String,
    whole: Finished,
}

/// What a run leaves behind.
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

    /// One with this file.
    fn with(name: &str, bytes: &[u8], train: String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(name), bytes).unwrap();
        std::fs::write(folder.path().join("seeing.toml"), support::seeing("log.npz", 2)).unwrap();
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
            "train text {TINY} {MOVING} --set model.d_model=32 --set data.source=a.txt --set outputs.text.context=16 \
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

    /// The last step that the run has written down.
    fn step(&self) -> u64 {
        let text = std::fs::read_to_string(self.path("run/metrics.jsonl")).unwrap_or_default();
        let whole_lines = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
        let last: Option<Value> = whole_lines.lines().last().map(|line| serde_json::from_str(line).unwrap());
        last.and_then(|line| line["step"].as_u64()).unwrap_or(0)
    }

    /// Starts a command and waits for something to come true.
    fn until(&self, line: &str, reached: impl Fn() -> bool) -> Child {
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

    /// Runs a command and sends it a signal once the run has reached `step`.
    fn signalled(&self, line: &str, signal: &str, step: u64) -> Output {
        let child = self.until(line, || self.step() >= step);
        let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        child.wait_with_output().unwrap()
    }

    /// Goes on to the end, which must be that of the uninterrupted run.
    fn goes_on(&self) {
        self.works("train --resume --out run");
        let bytes = |name: &str| std::fs::read(self.path(&format!("run/{name}.safetensors"))).unwrap();
        assert!(bytes("state") == self.whole.state, "another state");
        assert!(bytes("model") == self.whole.model, "another model");
        assert_eq!(metrics(self.path("run/metrics.jsonl")), self.whole.metrics);
        assert_eq!(self.unfinished(), Vec::<String>::new());
    }

    /// Files in the run folder that are half written.
    fn unfinished(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.path("run")).unwrap().map(|entry| entry.unwrap().file_name());
        names
            .map(|name| name.into_string().unwrap())
            .filter(|name| name.starts_with(".unfinished-"))
            .collect()
    }
}

/// The lines of a record, without the one number that is of the clock.
fn metrics(path: PathBuf) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.iter_mut().for_each(|line| {
        line.as_object_mut().unwrap().remove("tokens_per_s");
    });
    lines
}

#[test]
fn asked_to_stop_it_saves_says_where_and_goes_on() {
    let place = Place::text();
    let mut line = place.start();
    for (signal, step) in [("-INT", 1), ("-TERM", 50), ("-HUP", 100), ("-INT", 150)] {
        let output = place.signalled(&line, signal, step);
        let (out, err) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.code(), Some(0), "{err}");
        let at = place.step();
        assert!((step..STEPS).contains(&at), "stopped at {at}, asked at {step}");
        assert!(err.contains(&format!("stopped at step {at} of {STEPS}; --resume goes on")), "{err}");
        assert!(out.contains(&format!("run is at step {at}\n")), "{out}");
        assert!(place.works("info run --json").out.contains(&format!("\"step\": {at}")), "step {at}");
        assert_eq!(place.unfinished(), Vec::<String>::new());
        line = "train --resume --out run".into();
    }
    place.goes_on();
}

#[test]
fn every_modality_goes_on_in_the_middle_of_its_augmentation() {
    let place = Place::new(format!(
        "train mix {TINY} {MOVING} --set train.batch_size=8 --set train.max_steps=40 --set mix.text.data.source=a.txt"
    ));
    let output = place.signalled(&place.start(), "-INT", 8);
    assert_eq!(output.status.code(), Some(0));
    assert!((8..40).contains(&place.step()));
    place.goes_on();
}

#[test]
fn a_token_budget_and_a_window_of_samples_go_on_in_the_middle() {
    let place = Place::new(format!(
        "train mix {TINY} {MOVING} --set train.batch_size=8 --set train.batch_tokens=400 --set train.shuffle=16 \
         --set train.workers=3 --set train.max_steps=40 --set mix.text.data.source=a.txt --set mix.text.outputs.text.context=16"
    ));
    let output = place.signalled(&place.start(), "-INT", 8);
    assert_eq!(output.status.code(), Some(0));
    assert!((8..40).contains(&place.step()));
    place.goes_on();
}

/// Blocks may be computed again on the way back: the bits are those of a run that keeps everything.
#[test]
fn a_run_that_recomputes_goes_on_to_the_same_end() {
    let place = Place::new(format!(
        "train mix {TINY} {MOVING} --set train.batch_size=8 --set train.max_steps=40 --set model.n_layers=2 \
         --set mix.text.data.source=a.txt"
    ));
    let line = format!("{} --set train.checkpoint_activations=true", place.start());
    let output = place.signalled(&line, "-INT", 8);
    assert_eq!(output.status.code(), Some(0));
    assert!((8..40).contains(&place.step()));
    place.goes_on();
}

#[test]
fn a_policy_that_sees_goes_on_in_the_middle() {
    let place = Place::with(
        "log.npz",
        &files::seen(),
        format!("train seeing.toml {TINY} {MOVING} --set train.workers=2 --set train.max_steps=60"),
    );
    let output = place.signalled(&place.start(), "-INT", 8);
    assert_eq!(output.status.code(), Some(0));
    assert!((8..60).contains(&place.step()));
    place.goes_on();
}

/// A codebook beside a classifier, on one trunk: what draws unused codes to tokens has no state but the parameters.
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
fn a_codebook_in_a_mix_goes_on_in_the_middle() {
    let train =
        format!("train codebook.toml {TINY} {MOVING} --set train.batch_size=8 --set train.max_steps=40");
    let place = Place::with("codebook.toml", CODEBOOK.as_bytes(), train);
    let line = format!("{} --set train.checkpoint_activations=true", place.start());
    let output = place.signalled(&line, "-INT", 8);
    assert_eq!(output.status.code(), Some(0));
    assert!((8..40).contains(&place.step()));
    place.goes_on();
}

#[test]
fn killed_at_any_moment_it_goes_on() {
    let place = Place::text();
    let mut line = place.start();
    // Some milliseconds on from a step, to hit a step, an evaluation, a file being written.
    for (step, more) in [(1, 0), (4, 3), (30, 1), (60, 2), (90, 5), (120, 0), (150, 4)] {
        let mut child = place.until(&line, || place.step() >= step);
        std::thread::sleep(Duration::from_millis(more));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), None, "it ended before it was killed at step {step}");
        if place.path("run/state.safetensors").exists() {
            place.works("eval run --weights last --samples 2");
        }
        if place.path("run/model.safetensors").exists() {
            place.works("eval run --samples 2");
            place.works("info run");
        }
        // What a step costs may change, and it computes the same.
        line = format!(
            "train --resume --out run --set train.checkpoint_activations={} --set train.workers=1",
            step % 4 == 0
        );
    }
    place.goes_on();
}

#[test]
fn killed_before_its_first_step_it_begins_again() {
    let place = Place::text();
    let mut child = place.until(&place.start(), || place.path("run/run.toml").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    place.goes_on();
}

/// A run is one once its settings are written, so a folder without them can be begun anew.
#[test]
fn killed_before_it_was_a_run_it_is_begun_anew() {
    let place = Place::text();
    std::fs::create_dir(place.path("run")).unwrap();
    std::fs::write(place.path("run/tokenizers.json"), "{\"half").unwrap();
    place.works(&place.start());
    place.goes_on();
}

#[test]
fn what_a_kill_left_half_written_is_removed() {
    let place = Place::text();
    place.signalled(&place.start(), "-INT", 5);
    for name in [".unfinished-a1b2c3", ".unfinished-", ".mine"] {
        std::fs::write(place.path("run").join(name), "half").unwrap();
    }
    // As a kill leaves the last line.
    let metrics = std::fs::read_to_string(place.path("run/metrics.jsonl")).unwrap();
    std::fs::write(place.path("run/metrics.jsonl"), format!("{metrics}{{\"step\": 29")).unwrap();
    place.goes_on();
    assert!(place.path("run/.mine").exists());
}

/// What `ulimit -f` of a POSIX shell counts in, in bytes.
const BLOCK: usize = 512;

/// The size of files stands in for the disk: a write beyond the limit fails.
#[test]
fn a_full_disk_harms_nothing_that_is_saved() {
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
        let says = format!("error: cannot write {file}: ");
        assert!(refused.err.contains(&says), "expected {says:?} in: {}", refused.err);
        assert!(refused.err.contains("what was saved before is unharmed"), "{}", refused.err);
        assert_eq!(refused.err.matches("File too large").count(), 1, "said twice: {}", refused.err);
        assert!(saved("state.safetensors") == state, "{file}: the state has changed");
        assert!(saved("metrics.jsonl").starts_with(&record), "{file}: the record has changed");
        assert_eq!(place.unfinished(), Vec::<String>::new());
        place.works("eval run --weights last --samples 2");
    }
    place.goes_on();
}

#[test]
fn a_finished_run_stays_as_it_is() {
    let place = Place::text();
    place.works(&place.start());
    place.goes_on();
}
