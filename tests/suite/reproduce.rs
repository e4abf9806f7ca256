//! `smalti reproduce`: an experiment from its file to its table, figure and page; what is kept; bad files.
#![cfg(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]

use crate::support::{Ran, ran, smalti};
use serde_json::Value;
use std::path::Path;

fn run(folder: &Path, code: i32, line: &str) -> Ran {
    let mut command = smalti(folder);
    command.env_remove("SMALTI_DATA");
    let ran = ran(command, line);
    assert_eq!(ran.code, Some(code), "smalti {line}\n{}", ran.err);
    ran
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {}", ran.out))
}

#[test]
fn a_quick_experiment_is_reported_and_kept() {
    let place = tempfile::tempdir().unwrap();
    let line = "reproduce shakespeare --quick --device cpu --json --out kept";
    let first = run(place.path(), 0, line);
    assert!(first.err.contains("shakespeare: cpu, seed 1 of 1"), "{}", first.err);
    let result = json(&first);
    let report = &result["experiments"]["shakespeare"];
    let loss = report["measures"]["cpu.loss"]["mean"].as_f64().unwrap();
    assert!(loss > 1.0 && loss < 10.0, "{result}");
    assert!(report["baselines"]["unigram"]["value"].as_f64().unwrap() > 1.0, "{result}");
    assert_eq!(report["references"]["cpu.loss"], 1.88);
    assert_eq!(
        (&report["passed"], &report["quick"]),
        (&Value::Null, &Value::Bool(true)),
        "it claims nothing"
    );
    for file in ["figure.svg", "figure.png", "result.json"] {
        assert!(place.path().join("kept/shakespeare").join(file).is_file(), "{file}");
    }
    let second = run(place.path(), 0, line);
    assert!(!second.err.contains("seed 1"), "nothing is trained again: {}", second.err);
    assert_eq!(json(&second)["experiments"]["shakespeare"]["measures"], report["measures"]);
}

#[test]
fn an_experiment_is_measured_at_other_settings_than_it_is_trained() {
    let place = tempfile::tempdir().unwrap();
    let result = json(&run(place.path(), 0, "reproduce lengths --quick --device cpu --json --out kept"));
    let measures = &result["experiments"]["lengths"]["measures"];
    let names = ["learned", "sinusoidal", "rotary", "t5", "none"];
    for name in names {
        let at = |length: usize| measures[format!("{name}.perplexity({length})")]["mean"].as_f64().unwrap();
        assert!(at(8) != at(24), "{name}: {measures}");
    }
    let shown = run(place.path(), 0, "reproduce lengths --quick --device cpu --out kept").out;
    assert!(shown.contains("t5.perplexity(24)") && shown.contains("not judged (quick)"), "{shown}");
}

#[test]
fn bounds_hold_or_are_missed_and_a_run_starts_from_another() {
    let place = tempfile::tempdir().unwrap();
    let file = r#"
title = "Two bounds"
text = "One holds, one does not."
seeds = 2
[runs.first]
preset = "text"
settings.model = { d_model = 16, n_layers = 1 }
settings.train = { max_steps = 3, warmup_steps = 1, batch_size = 4, eval_every = 0, eval_samples = 4 }
measures.loss = { metric = "loss", samples = 4 }
measures.seconds = { metric = "seconds_per_step" }
[runs.second]
like = "first"
from = "first"
[[bounds]]
measure = "first.loss"
at_least = 0.1
[[bounds]]
order = ["first.loss", "second.loss"]
each_seed = true
"#;
    std::fs::write(place.path().join("mine.toml"), file).unwrap();
    let result = json(&run(place.path(), 0, "reproduce mine.toml --device cpu --json --out kept"));
    let report = &result["experiments"]["mine"];
    assert_eq!(report["measures"]["first.loss"]["values"].as_array().unwrap().len(), 2);
    assert!(report["measures"]["first.seconds"]["mean"].as_f64().unwrap() > 0.0);
    let passed: Vec<_> = report["bounds"].as_array().unwrap().iter().map(|bound| &bound["passed"]).collect();
    assert_eq!(passed, [&Value::Bool(true), &Value::Bool(false)], "{report}");
    assert_eq!(report["passed"], false);
}

/// A layer of linear attention that reads few points of a plane, which it learns within seconds.
const IN_CONTEXT: &str = r#"
title = "Points"
text = "A model beside other methods."
seeds = 1
[data.make]
points = [
  "regression", "--set", "points=7", "--set", "dims=2", "--set", "train=4000", "--set", "validation=100", "--set", "test=300",
]
[runs.series.settings]
data = { source = "{points}", context = 7 }
inputs.x = { modality = "numbers" }
outputs.y = { head = "regress" }
model = { d_model = 16, n_layers = 1 }
train = { max_steps = 2, warmup_steps = 1, batch_size = 4, eval_every = 0 }
[runs.series.measures.least-squares]
metric = "loss"
prediction = "least_squares"
settings.data.derived.at = { kind = "at", field = "y" }
settings.outputs.y.weight_field = "at"
sweep = { "data.derived.at.step" = [0, 6] }
[runs.series.measures.error]
metric = "loss"
samples = 20
settings.data.derived.at = { kind = "at", field = "y" }
settings.outputs.y.weight_field = "at"
sweep = { "data.derived.at.step" = [0, 6] }
[runs.linear.settings]
data = { source = "{points}", context = 7 }
inputs.pairs = { modality = "numbers", normalize = false }
outputs.y = { head = "regress", field = "target", pool = "last", normalize = false }
train = { max_steps = 600, warmup_steps = 20, batch_size = 64, learning_rate = 1e-2, weight_decay = 0.0, eval_every = 0 }
[runs.linear.settings.model]
d_model = 8
n_layers = 1
norm = "none"
sublayers = "attention_only"
bias = false
mixers = [{ kind = "linear", feature_map = "identity" }]
embedding = { positions = "none", type_embedding = false }
attention = { n_heads = 1, rules = [{ query = "*", key = "*", rule = "all" }] }
[runs.linear.measures]
error = { metric = "loss" }
one-step = { metric = "loss", prediction = "one_step" }
agreement = { metric = "cosine", settings.outputs.y.field = "one_step" }
[[bounds]]
ratio = ["linear.error", "linear.one-step"]
at_most = 1.2
"#;

#[test]
fn other_methods_are_scored_at_each_step_and_linear_attention_learns_a_step_of_gradient_descent() {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("mine.toml"), IN_CONTEXT).unwrap();
    let result = json(&run(place.path(), 0, "reproduce mine.toml --device cpu --json --out kept"));
    let measures = &result["experiments"]["mine"]["measures"];
    let value = |name: &str| measures[name]["mean"].as_f64().unwrap();
    assert!(value("series.least-squares(0)") > 0.5, "without a point, it predicts 0: {measures}");
    assert!(value("series.least-squares(6)") < 0.01, "two points determine two weights: {measures}");
    assert!(value("series.error(0)") != value("series.error(6)"), "{measures}");
    assert!(value("linear.agreement") > 0.95, "{measures}");
    assert_eq!(result["experiments"]["mine"]["passed"], true, "{measures}");
}

#[test]
fn errors_name_the_experiment_the_place_and_what_to_do() {
    let place = tempfile::tempdir().unwrap();
    let unknown = run(place.path(), 1, "reproduce shakespear").err;
    assert!(unknown.contains("expected all, an experiment (shakespeare, "), "{unknown}");
    let missing = run(place.path(), 1, "reproduce shakespeare --device cpu").err;
    assert!(
        missing.contains("tinyshakespeare.txt") && missing.contains("--data DIR or SMALTI_DATA"),
        "{missing}"
    );
    std::fs::create_dir(place.path().join("empty")).unwrap();
    let missing = run(place.path(), 1, "reproduce shakespeare --device cpu --data empty").err;
    assert!(missing.contains("smalti data get NAME --out empty"), "{missing}");
    let write = |text: &str| std::fs::write(place.path().join("bad.toml"), text).unwrap();
    let run_of = |rest: &str| format!("title = \"T\"\ntext = \"t\"\n[runs.a]\npreset = \"text\"\n{rest}");
    for (text, expected) in [
        (String::new(), "experiment bad: "),
        (run_of(""), "expected a measure"),
        (
            run_of("measures.m = { metric = \"loss\" }\n[[bounds]]\nmeasure = \"b.m\"\nat_most = 1"),
            "found \"b.m\"",
        ),
        (
            run_of("measures.m = { metric = \"loss\", prediction = \"y\", generate = 2 }"),
            "measure m: prediction: expected no generate and no rollout with it",
        ),
        (run_of("settings.model.layers = 2\nmeasures.m = { metric = \"loss\" }"), "run a: "),
    ] {
        write(&text);
        let error = run(place.path(), 1, "reproduce bad.toml --device cpu").err;
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn the_experiments_are_listed() {
    let place = tempfile::tempdir().unwrap();
    let list = json(&run(place.path(), 0, "reproduce --json"));
    let names: Vec<_> =
        list["experiments"].as_array().unwrap().iter().map(|it| it["name"].as_str()).collect();
    assert!(names.contains(&Some("masked-positions")), "{names:?}");
}

#[test]
fn all_leaves_out_what_has_no_data_and_writes_a_table_and_a_page() {
    let place = tempfile::tempdir().unwrap();
    let result = json(&run(place.path(), 0, "reproduce all --quick --device cpu --json --out kept"));
    assert!(result["left_out"]["sensors"].as_str().is_some_and(|why| why.contains("av-digits")), "{result}");
    let read = |name: &str| std::fs::read_to_string(place.path().join("kept").join(name)).unwrap();
    assert!(read("RESULTS.md").contains("| spoken | spoken.digits |"));
    assert!(read("index.html").matches("<svg").count() >= 6);
}

#[test]
#[ignore = "needs SMALTI_DATA"]
fn experiments_read_their_data() {
    let data = std::env::var("SMALTI_DATA").expect("SMALTI_DATA names the folder with the data sets");
    let data = std::fs::canonicalize(data).unwrap();
    let place = tempfile::tempdir().unwrap();
    for name in ["sensors", "translation", "protein"] {
        let line =
            format!("reproduce {name} --quick --device cpu --json --out kept --data {}", data.display());
        let result = json(&run(place.path(), 0, &line));
        assert!(
            result["experiments"][name]["measures"].as_object().is_some_and(|all| all.len() > 1),
            "{result}"
        );
    }
}
