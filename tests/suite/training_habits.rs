//! Early stopping, the range test of the learning rate, sweeps and comparisons of runs.

#![cfg(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]

use crate::support::{Ran, TINY, ran, smalti, text};
use serde_json::Value;
use smalti::train::log;
use std::path::PathBuf;
use tempfile::TempDir;

/// A folder with a text of 37 windows.
struct Place(TempDir);

/// A learning rate so small that no weight changes, and so no loss.
const STILL: &str = "--set train.learning_rate=1e-30 --set train.eval_every=2 --set train.max_steps=40";

fn train() -> String {
    format!(
        "train text {TINY} --set data.source=a.txt --set outputs.text.context=16 --set train.eval_samples=2 \
         --set train.max_steps=4 --set train.log_every=1"
    )
}

/// A training without `--set` of this setting, which a sweep sets.
fn train_without(setting: &str) -> String {
    let train = train();
    let mut parts = train.split(" --set ");
    let command = parts.next().unwrap_or_default().to_string();
    let others = parts.filter(|part| part.split('=').next() != Some(setting));
    others.fold(command, |line, part| format!("{line} --set {part}"))
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.txt"), text()).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn works(&self, line: &str) -> Ran {
        let ran = ran(smalti(self.0.path()), line);
        assert_eq!(ran.code, Some(0), "smalti {line}\n{}", ran.err);
        ran
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.works(&format!("{line} --json")).out).unwrap()
    }

    fn fails(&self, code: i32, line: &str, message: &str) {
        let ran = ran(smalti(self.0.path()), line);
        assert!(ran.code == Some(code) && ran.err.contains(message), "smalti {line}\n{}", ran.err);
    }

    fn bytes(&self, run: &str) -> [Vec<u8>; 2] {
        ["model.safetensors", "state.safetensors"]
            .map(|file| std::fs::read(self.path(run).join(file)).unwrap())
    }

    /// The last line of a run's metrics.
    fn last_line(&self, run: &str) -> Value {
        log::read(&self.path(run)).unwrap().pop().unwrap()
    }
}

#[test]
fn training_stops_when_its_patience_is_at_an_end() {
    let place = Place::new();
    let trained = place.works(&format!("{} {STILL} --set train.patience=2 --out run", train()));
    let message = "stopped at step 6 of 40: 2 evaluations without a lower validation loss (train.patience)";
    assert!(trained.err.contains(message) && trained.out.contains("run is at step 6\n"), "{}", trained.err);
    assert_eq!(place.last_line("run"), serde_json::json!({ "step": 6, "end": "patience" }));

    assert!(
        trained.out.contains("kept weights, step 2") && trained.out.contains("last weights, step 6"),
        "{}",
        trained.out
    );

    // Resumed as it is, it stays as it is.
    let (bytes, lines) = (place.bytes("run"), log::read(&place.path("run")).unwrap());
    let resumed = place.works("train --resume --out run").err;
    assert!(resumed.contains("the run has stopped at step 6 of 40: 2 evaluations had no lower"), "{resumed}");
    assert!(resumed.contains("--set train.patience=4"), "{resumed}");
    let message =
        "train.max_steps=80 has no effect: the run has stopped at step 6 of 80: 2 evaluations had no lower";
    place.fails(1, "train --resume --out run --set train.max_steps=80", message);
    assert!(place.bytes("run") == bytes);
    assert_eq!(log::read(&place.path("run")).unwrap(), lines);
}

#[test]
fn more_patience_trains_on_as_one_run() {
    let place = Place::new();
    for (patience, out) in [(2, "run"), (4, "straight")] {
        place.works(&format!("{} {STILL} --set train.patience={patience} --out {out}", train()));
    }
    let resumed = place.json("train --resume --out run --set train.patience=4");
    assert_eq!((&resumed["step"], &resumed["end"]), (&10.into(), &"patience".into()));
    assert_eq!((&resumed["best_step"], &resumed["last"]["step"]), (&2.into(), &10.into()));
    let evaluations = log::read(&place.path("run")).unwrap();
    let kept = evaluations.iter().find(|line| line["step"] == 2 && line["eval"].is_object()).unwrap();
    assert_eq!(resumed["metrics"], kept["eval"], "the metrics of the kept weights");
    assert!(place.bytes("run") == place.bytes("straight"), "the files differ");
}

#[test]
fn patience_needs_evaluations() {
    let place = Place::new();
    let line = format!("{} --set train.patience=1 --set train.eval_every=0 --out run", train());
    place.fails(1, &line, "train.patience: expected train.eval_every above 0");
    place.fails(
        1,
        &format!("{} --set train.patience=-1 --out run", train()),
        "train.patience: expected a whole number",
    );
    assert!(!place.path("run").exists());
}

#[test]
fn a_range_test_finds_a_learning_rate_and_writes_no_run() {
    let place = Place::new();
    let line = format!("{} --find-lr --lr-from 1e-6 --lr-to 10 --lr-steps 40 --out lr.svg", train());
    let found = place.json(&line);
    let points = found["points"].as_array().unwrap();
    assert!((10..=40).contains(&points.len()), "{found}");
    assert_eq!(points[0]["learning_rate"], 1e-6);
    let steepest = found["steepest"].as_f64().unwrap();
    assert!((1e-6..10.0).contains(&steepest) && found["tenth_of_lowest"].is_f64(), "{found}");
    let printed = place.works(&line).out;
    for part in
        ["smoothed loss", "learning rate", "to try: --set train.learning_rate=", "lr.svg has the figure"]
    {
        assert!(printed.contains(part), "{part} in {printed}");
    }
    assert!(std::fs::read_to_string(place.path("lr.svg")).unwrap().starts_with("<svg"));
    let files = std::fs::read_dir(place.0.path()).unwrap().count();
    assert_eq!(files, 2, "the text and the figure");
}

#[test]
fn range_tests_that_cannot_be_are_named() {
    let place = Place::new();
    let of = |options: &str| format!("{} {options}", train());
    place.fails(1, &of("--find-lr --out lr.txt"), "--out: expected a file for the figure of --find-lr");
    place.fails(1, &of("--find-lr --lr-from 2"), "--lr-from: expected less than --lr-to, 1; found 2");
    place.fails(2, &of("--find-lr --lr-steps 9"), "10..=10000");
    place.fails(2, &of("--find-lr --lr-to nan"), "expected a number from 1e-12 to 1e4");
    place.fails(2, &of("--lr-from 1e-5"), "--find-lr");
    place.fails(2, &of("--find-lr --resume"), "--resume");
    place.fails(2, &of("--find-lr --tensorboard=tb"), "--tensorboard");
}

const SWEEP: &str = "--sweep model.d_model=16,32 --sweep train.seed=1,2 --out sweep";
const RUNS: [&str; 4] = ["d_model=16,seed=1", "d_model=16,seed=2", "d_model=32,seed=1", "d_model=32,seed=2"];

#[test]
fn a_sweep_trains_every_combination_once() {
    let place = Place::new();
    let line = format!("{} {SWEEP}", train_without("model.d_model"));
    let swept = place.works(&line);
    assert!(swept.err.contains("4 runs in sweep: 0 finished, 0 to resume"), "{}", swept.err);
    assert!(swept.out.contains("model.d_model") && swept.out.contains("train.seed"), "{}", swept.out);
    for run in RUNS {
        assert!(swept.out.contains(run), "{}", swept.out);
        let run = format!("sweep/{run}");
        assert_eq!(place.last_line(&run), serde_json::json!({ "step": 4, "end": "finished" }));
    }
    let before = RUNS.map(|run| place.bytes(&format!("sweep/{run}")));

    // One run is missing, and another has not ended: the rest is skipped.
    std::fs::remove_dir_all(place.path("sweep").join(RUNS[1])).unwrap();
    let metrics = place.path("sweep").join(RUNS[2]).join("metrics.jsonl");
    let text = std::fs::read_to_string(&metrics).unwrap();
    let (rest, _) = text.trim_end().rsplit_once('\n').unwrap();
    std::fs::write(&metrics, format!("{rest}\n")).unwrap();
    let again = place.works(&line).err;
    assert!(again.contains("4 runs in sweep: 2 finished, 1 to resume"), "{again}");
    assert!(
        again.contains("run 2 of 4: ") && again.contains("run 3 of 4: ") && !again.contains("run 4 of 4: ")
    );
    assert!(RUNS.map(|run| place.bytes(&format!("sweep/{run}"))) == before, "the runs differ");
    assert_eq!(std::fs::read_to_string(&metrics).unwrap(), text);

    for run in RUNS {
        assert!(place.path("sweep").join(run).join("README.md").exists(), "{run} has no model card");
    }
    let other = format!("{line} --set train.batch_size=8");
    place.fails(1, &other, "train.batch_size: expected 8, as in the sweep; found 4");
}

#[test]
fn bad_values_are_found_before_the_first_run_of_a_sweep() {
    let place = Place::new();
    for (sweep, message) in [
        ("model.attention.n_heads=2,3", "n_heads=3: model.attention.n_heads: expected a divisor"),
        ("train.max_stesp=1,2", "unknown field `max_stesp`"),
        ("data.source=a.txt,none.txt", "none.txt"),
        ("train.seed=1,", "--sweep \"train.seed=1,\": expected KEY=VALUE"),
        ("train.seed=1,1", "found seed=1 twice"),
    ] {
        let train = train_without(sweep.split('=').next().unwrap_or_default());
        place.fails(1, &format!("{train} --sweep {sweep} --out sweep"), message);
        assert!(!place.path("sweep").exists(), "{sweep}");
    }
    place.fails(2, &format!("{} {SWEEP} --resume", train()), "--resume");
    let both = format!("{} --sweep model.d_model=16,32 --out sweep", train());
    let message = "--sweep model.d_model=16,32 and --set model.d_model=16 both set model.d_model";
    place.fails(1, &both, message);
    assert!(!place.path("sweep").exists());
}

#[test]
fn each_run_of_a_sweep_has_its_event_files() {
    let place = Place::new();
    for (tensorboard, folder) in
        [("--tensorboard", "sweep/seed=2/tensorboard"), ("--tensorboard=tb", "tb/seed=2")]
    {
        place.works(&format!("{} --sweep train.seed=1,2 --out sweep {tensorboard}", train()));
        assert_eq!(std::fs::read_dir(place.path(folder)).unwrap().count(), 1, "{folder}");
        std::fs::remove_dir_all(place.path("sweep")).unwrap();
    }
}

#[test]
fn a_run_that_another_process_trains_is_no_failure_of_a_sweep() {
    let place = Place::new();
    let line = format!("{} --sweep train.seed=1,2 --out sweep", train());
    place.works(&line);
    let run = place.path("sweep").join("seed=1");
    std::fs::remove_file(run.join("metrics.jsonl")).unwrap(); // so it is not finished
    let lock = std::fs::File::options().write(true).open(run.join("run.lock")).unwrap();
    lock.lock().unwrap();
    let swept = place.works(&line).err;
    assert!(swept.contains("seed=1: trained by another process"), "{swept}");
}

#[test]
fn runs_are_compared_by_what_differs() {
    let place = Place::new();
    place.works(&format!("{} --set train.seed=7 --set train.label_smoothing=0.0 --out a", train()));
    place.works(&format!("{} --set model.d_model=32 --set train.max_steps=6 --out b", train()));
    let compared = place.json("compare a b");
    assert_eq!(compared["settings"], serde_json::json!(["model.d_model", "train.max_steps", "train.seed"]));
    assert_eq!((&compared["metric"], &compared["metrics"][0]), (&"loss".into(), &"loss".into()));
    let runs = compared["runs"].as_array().unwrap();
    let loss = |run: &Value| run["metrics"]["loss"].as_f64().unwrap();
    assert!(runs.len() == 2 && loss(&runs[0]) <= loss(&runs[1]), "{compared}");
    let b = runs.iter().find(|run| run["run"] == "b").unwrap();
    assert_eq!((&b["step"], &b["best_step"], &b["end"]), (&6.into(), &6.into(), &"finished".into()));
    assert_eq!(b["settings"]["model.d_model"], "32");
    assert!(b["parameters"].as_u64() > Some(0) && b["tokens_per_s"].as_f64() > Some(0.0), "{b}");

    let by_accuracy = place.json("compare a b --metric accuracy");
    let accuracy = |run: usize| by_accuracy["runs"][run]["metrics"]["accuracy"].as_f64().unwrap();
    assert!(accuracy(0) >= accuracy(1), "{by_accuracy}");
    let table = place.works("compare a b").out;
    for part in ["model.d_model", "parameters", "best at", "tokens/s"] {
        assert!(table.contains(part), "{part} in {table}");
    }
    place.fails(1, "compare a b --metric beauty", "metric: expected one of accuracy, ");
    place.fails(1, "compare a none", "none is no run folder");
    place.fails(2, "compare", "<RUN>");
}

#[test]
fn runs_of_different_tasks_are_compared_by_what_they_share() {
    let place = Place::new();
    place.works(&format!("{} --out text", train()));
    let short = "--set train.epochs=0 --set train.max_steps=2 --set train.eval_samples=2";
    place.works(&format!("train image {TINY} {short} --out image"));
    let compared = place.json("compare text image");
    let settings: Vec<&str> =
        compared["settings"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(
        settings.contains(&"train.max_steps") && settings.iter().any(|key| key.starts_with("data.source")),
        "{settings:?}"
    );
    assert!(!settings.iter().any(|key| key.starts_with("inputs.")), "{settings:?}");
    assert!(place.works("compare text image").err.contains("have different inputs or outputs"));
    let metrics: Vec<&str> =
        compared["metrics"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(metrics.contains(&"loss") && !metrics.contains(&"bits_per_byte"), "{metrics:?}");
}
