//! A finished run trains on with more steps or epochs, or at another learning rate.

#![cfg(all(target_os = "linux", feature = "text"))]

use crate::support::{Ran, TINY, ran, smalti, text};
use candle_core::Device;
use smalti::run::Run;
use smalti::train::{Alone, End, FurtherTraining, Observer, ResumeSchedule, StepReport, TrainConfig, log};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

/// A folder with a text of 37 windows.
struct Place(TempDir);

const LOGGED: &str = "--set train.log_every=1 --set train.checkpoint_every=3 --set train.eval_every=3 --set train.eval_samples=2 \
                      --set train.warmup_steps=2";
/// A learning rate that does not depend on the number of steps.
const CONSTANT: &str = "--set train.min_learning_rate=0.001 --set train.warmup_steps=0";
const RESUME: &str = "train --resume --out run";

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.txt"), text()).unwrap();
        Self(folder)
    }

    /// Train the run `out` from its beginning.
    fn trains(&self, set: &str, out: &str) -> Ran {
        let data = "--set data.source=a.txt --set outputs.text.context=16";
        self.works(&format!("train text {TINY} {data} {LOGGED} {set} --out {out}"))
    }

    fn works(&self, line: &str) -> Ran {
        let ran = ran(smalti(self.0.path()), line);
        assert_eq!(ran.code, Some(0), "smalti {line}\n{}", ran.err);
        ran
    }

    /// Run a command that fails with this message and changes no file of `run`.
    fn fails(&self, line: &str, message: &str) {
        let files = ["run.toml", "model.safetensors", "state.safetensors", "metrics.jsonl"];
        let before = files.map(|file| self.bytes("run", file));
        let ran = ran(smalti(self.0.path()), line);
        assert!(ran.code == Some(1) && ran.err.contains(message), "smalti {line}\n{}", ran.err);
        assert!(files.map(|file| self.bytes("run", file)) == before, "smalti {line} has changed the run");
    }

    fn path(&self, run: &str) -> PathBuf {
        self.0.path().join(run)
    }

    fn bytes(&self, run: &str, file: &str) -> Vec<u8> {
        std::fs::read(self.path(run).join(file)).unwrap()
    }

    /// The numbers of this name in the metrics of `run`, by line.
    fn logged(&self, name: &str) -> Vec<f64> {
        log::read(&self.path("run")).unwrap().iter().filter_map(|line| line[name].as_f64()).collect()
    }
}

#[test]
fn more_steps_at_a_constant_learning_rate_equal_one_run() {
    let place = Place::new();
    place.trains(&format!("{CONSTANT} --set train.max_steps=12"), "straight");
    place.trains(&format!("{CONSTANT} --set train.max_steps=6"), "run");
    let resumed = place.works(&format!("{RESUME} --set train.max_steps=12")).err;
    let line = "train.max_steps: 6 → 12; the learning rate follows the cosine schedule of 12 steps from step 6 on: 1.0e-3 now\n";
    assert!(resumed.contains(line), "{resumed}");
    for file in ["run.toml", "model.safetensors", "state.safetensors"] {
        assert!(place.bytes("run", file) == place.bytes("straight", file), "{file} differs");
    }
}

#[test]
fn the_learning_rate_follows_the_new_schedule() {
    let place = Place::new();
    place.trains("--set train.max_steps=6", "run");
    let resumed =
        place.works(&format!("{RESUME} --set train.max_steps=12 --set train.learning_rate=5e-4")).err;
    assert!(resumed.contains("train.learning_rate: 0.001 → 0.0005, train.max_steps: 6 → 12; "), "{resumed}");
    let before = TrainConfig { warmup_steps: 2, ..TrainConfig::default() };
    let after = TrainConfig { learning_rate: 5e-4, ..before.clone() };
    let rates = (0..6).map(|step| before.learning_rate_at(step, 6, None));
    let rates: Vec<f64> = rates.chain((6..12).map(|step| after.learning_rate_at(step, 12, None))).collect();
    assert_eq!(place.logged("learning_rate"), rates);

    // The run keeps the new settings, and has finished.
    let (settings, state) = (place.bytes("run", "run.toml"), place.bytes("run", "state.safetensors"));
    let finished = place.works(RESUME);
    let hint = "the run has finished its 12 steps; to train on, add --set train.max_steps=24\n";
    assert!(finished.err.contains(hint) && finished.out.contains("run is at step 12"), "{}", finished.err);
    assert!((place.bytes("run", "run.toml"), place.bytes("run", "state.safetensors")) == (settings, state));
}

#[test]
fn further_training_holds_the_learning_rate_or_warms_up_again() {
    for (schedule, name, message) in [
        (ResumeSchedule::Constant, "constant", "the learning rate stays at "),
        (ResumeSchedule::Rewarm, "rewarm", "the learning rate warms up again from step 6 on: "),
    ] {
        let place = Place::new();
        place.trains("--set train.max_steps=6", "run");
        let set = format!("--set train.max_steps=12 --set train.resume_schedule={name}");
        let resumed = place.works(&format!("{RESUME} {set}")).err;
        assert!(resumed.contains(message), "{resumed}");
        let before = TrainConfig { warmup_steps: 2, ..TrainConfig::default() };
        let last = before.learning_rate_at(5, 6, None);
        let after = TrainConfig { resume_schedule: schedule, ..before.clone() };
        let further = Some(FurtherTraining { start: 6, learning_rate: last });
        let rates = (0..6).map(|step| before.learning_rate_at(step, 6, None));
        let rates = rates.chain((6..12).map(|step| after.learning_rate_at(step, 12, further)));
        assert_eq!(place.logged("learning_rate"), rates.collect::<Vec<_>>());
        let is_constant = place.logged("learning_rate")[6..].iter().all(|rate| *rate == last);
        assert_eq!(is_constant, schedule == ResumeSchedule::Constant);
    }
}

/// Sets a flag at a step.
struct StopAt<'a>(u64, &'a AtomicBool);

impl Observer for StopAt<'_> {
    fn step(&mut self, report: &StepReport) {
        self.1.fetch_or(report.step == self.0, Ordering::Relaxed);
    }
}

#[test]
fn an_interrupted_further_training_resumes_bit_exactly() {
    let place = Place::new();
    let set = ["train.max_steps=12", "train.resume_schedule=rewarm"].map(String::from);
    for out in ["straight", "run"] {
        // This process has another working directory than the commands.
        place.trains(
            &format!("--set train.max_steps=6 --set data.source={}", place.path("a.txt").display()),
            out,
        );
    }
    place.works(&format!("train --resume --out straight --set {} --set {}", set[0], set[1]));
    let (path, stop) = (place.path("run"), AtomicBool::new(false));
    let run = Run::open(&path).unwrap().resumed_with(&set).unwrap();
    let mut trainer = run.resume(&Device::Cpu, Arc::new(Alone)).unwrap();
    let outcome = trainer.run(Some(&path), &stop, &mut StopAt(8, &stop)).unwrap();
    assert_eq!((outcome.step, outcome.end), (8, End::Stopped));
    drop(trainer);
    place.works(RESUME);
    for file in ["run.toml", "model.safetensors", "state.safetensors"] {
        assert!(place.bytes("run", file) == place.bytes("straight", file), "{file} differs");
    }
}

#[test]
fn more_epochs_train_on() {
    let place = Place::new();
    let trained = place.trains("--set train.epochs=1", "run").err;
    assert!(trained.contains("step 10/10  epoch 1.08  loss "), "{trained}");
    let finished = place.works(RESUME).err;
    assert!(
        finished.contains("finished its 10 steps; to train on, add --set train.epochs=2\n"),
        "{finished}"
    );
    let resumed = place.works(&format!("{RESUME} --set train.epochs=2")).err;
    assert!(resumed.contains(
        "train.epochs: 1.0 → 2.0; the learning rate follows the cosine schedule of 19 steps from step 10 on"
    ));
    assert!(resumed.contains("step 19/19  epoch 2.05  loss "), "{resumed}");
    assert_eq!(place.logged("epoch"), (1..=19).map(|step| f64::from(4 * step) / 37.0).collect::<Vec<_>>());
    place.fails(
        &format!("{RESUME} --set train.epochs=0.5"),
        "train.epochs: expected at least the 19 steps that the run has made; found 0.5, which is 5 steps",
    );
}

#[test]
fn fewer_steps_and_other_settings_are_refused() {
    let place = Place::new();
    place.trains("--set train.max_steps=6", "run");
    for (set, message) in [
        (
            "train.max_steps=3",
            "train.max_steps: expected at least the 6 steps that the run has made; found 3",
        ),
        (
            "model.d_model=32",
            "model.d_model: expected 16, the run's value; found 32 (by --set, or in run.toml). A resumed run may change",
        ),
        ("train.batch_size=8", "train.batch_size: expected 4, the run's value; found 8"),
        ("train.max_stesp=12", "unknown field `max_stesp`"),
    ] {
        place.fails(&format!("{RESUME} --set {set}"), message);
    }
}
