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
    let names = ["learned", "sinusoidal", "rotary", "t5", "alibi", "none"];
    for name in names {
        let at = |length: usize| measures[format!("{name}.perplexity({length})")]["mean"].as_f64().unwrap();
        assert!(at(8) != at(24), "{name}: {measures}");
    }
    let shown = run(place.path(), 0, "reproduce lengths --quick --device cpu --out kept").out;
    assert!(shown.contains("t5.perplexity(24)") && shown.contains("not judged (quick)"), "{shown}");
}

#[test]
fn an_alignment_and_positions_are_measured_and_drawn() {
    let place = tempfile::tempdir().unwrap();
    let line = "reproduce alignment --quick --device cpu --json --out kept";
    let first = json(&run(place.path(), 0, line));
    let measures = &first["experiments"]["alignment"]["measures"];
    let share = measures["dates.alignment"]["mean"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&share), "{measures}");
    assert!(measures["bottleneck.by-length(9)"]["mean"].is_number(), "{measures}");
    for file in ["figure.svg", "figure.png", "figure-2.svg", "figure-2.png"] {
        assert!(place.path().join("kept/alignment").join(file).is_file(), "{file}");
    }
    let matrix = std::fs::read_to_string(place.path().join("kept/alignment/figure-2.svg")).unwrap();
    assert!(matrix.contains("attention of each output token to the input, layer 0, "), "{matrix}");
    let second = json(&run(place.path(), 0, line));
    assert_eq!(&second["experiments"]["alignment"]["measures"], measures, "what is kept is read");
    let digits = r#"
title = "Places"
text = "Positions of patches."
seeds = 1
[runs.a]
preset = "image"
settings.model = { d_model = 16, n_layers = 1, attention.n_heads = 2 }
settings.inputs.image = { patch_size = 2, permute = 3 }
settings.train = { max_steps = 2, epochs = 0.0, warmup_steps = 1, batch_size = 4, eval_every = 0, eval_samples = 4 }
measures.near = { metric = "near", positions = "image.patch" }
[figure]
kind = "matrix"
measures = ["a.near"]
"#;
    let write = |text: &str| std::fs::write(place.path().join("places.toml"), text).unwrap();
    write(digits);
    let result = json(&run(place.path(), 0, "reproduce places.toml --device cpu --json --out kept"));
    let near = result["experiments"]["places"]["measures"]["a.near"]["mean"].as_f64().unwrap();
    assert!((0.0..1.0).contains(&near), "one of two vectors is shared: {result}");
    for (from, to, expected) in [
        ("positions = \"image.patch\"", "positions = \"patch\"", "expected one of image.patch"),
        (
            "positions = \"image.patch\"",
            "alignment = { field = \"label\" }",
            "expected a task with a generated output",
        ),
        ("metric = \"near\"", "metric = \"nearer\"", "expected one of the metrics far of \"image.patch\""),
    ] {
        write(&digits.replace(from, to));
        let error = run(place.path(), 1, "reproduce places.toml --device cpu --out kept").err;
        assert!(error.contains("a.near") && error.contains(expected), "{to}: {error}");
    }
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
fn a_task_of_a_mix_acts_and_a_run_without_measures_holds_settings() {
    let place = tempfile::tempdir().unwrap();
    let pole = r#"data.source = "builtin:cartpole-mixed.npz"
inputs.observations.modality = "numbers"
outputs.actions.head = "classify"
"#;
    let file = format!(
        r#"
title = "Two tasks"
text = "Both act."
seeds = 1
[runs.tasks.settings]
model = {{ d_model = 16, n_layers = 1, mlp.experts = 2 }}
train = {{ max_steps = 3, warmup_steps = 1, batch_size = 4, eval_every = 0, eval_samples = 4 }}
[runs.tasks.settings.mix.first]
{pole}
[runs.tasks.settings.mix.second]
{pole}
[runs.all]
like = "tasks"
[runs.all.measures]
load = {{ metric = "load_balance" }}
first = {{ metric = "return_mean", output = "first", rollout = {{ env = "cartpole", episodes = 2 }} }}
second = {{ metric = "return_mean", output = "second", rollout = {{ env = "cartpole", episodes = 2 }} }}
[runs.alone]
like = "tasks"
settings.mix.first = ""
measures.second = {{ metric = "accuracy", output = "second.actions" }}
"#
    );
    std::fs::write(place.path().join("mine.toml"), file).unwrap();
    let ran = run(place.path(), 0, "reproduce mine.toml --device cpu --json --out kept");
    assert!(ran.err.contains("mine: alone, seed") && !ran.err.contains("mine: tasks"), "{}", ran.err);
    let measures = &json(&ran)["experiments"]["mine"]["measures"];
    let value = |name: &str| measures[name]["mean"].as_f64().unwrap_or_else(|| panic!("{name}: {measures}"));
    assert!((0.9..=2.0).contains(&value("all.load")), "{measures}");
    assert!(value("all.first") >= 1.0 && value("all.second") >= 1.0, "{measures}");
    assert!((0.0..=1.0).contains(&value("alone.second")), "{measures}");
    assert_eq!(measures.as_object().map(serde_json::Map::len), Some(4));
}

#[test]
fn another_run_gives_the_codes_of_images_and_another_names_what_they_show() {
    let place = tempfile::tempdir().unwrap();
    let line = "reproduce captions-to-images --quick --device cpu --json --out kept";
    let first = run(place.path(), 0, line);
    let trained = |name: &str| first.err.matches(&format!("captions-to-images: {name}, seed 1")).count();
    for name in ["codebook", "classifier", "caption", "word"] {
        assert_eq!(trained(name), 1, "{name}: {}", first.err);
    }
    let result = json(&first);
    let measures = &result["experiments"]["captions-to-images"]["measures"];
    assert!(measures["codebook.error"]["mean"].as_f64().unwrap() > 0.0, "{measures}");
    for name in ["caption.named", "word.named", "classifier.captions", "classifier.shapes"] {
        let share = measures[name]["mean"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&share), "{name}: {measures}");
    }
    let second = run(place.path(), 0, line);
    assert!(!second.err.contains("seed 1"), "nothing is trained again: {}", second.err);
}

#[test]
fn a_pattern_counts_generated_texts_and_pairs_start_at_ln_2() {
    let place = tempfile::tempdir().unwrap();
    let result = json(&run(place.path(), 0, "reproduce preferences --quick --device cpu --json --out kept"));
    let measures = &result["experiments"]["preferences"]["measures"];
    let mean = |name: &str| measures[name]["mean"].as_f64().unwrap_or(f64::NAN);
    for name in ["letters.start", "short.start"] {
        assert!((mean(name) - std::f64::consts::LN_2).abs() < 1e-3, "{name}: {measures}");
    }
    for name in ["base.letters-wish", "letters.wish", "short.wish"] {
        assert!((0.0..=1.0).contains(&mean(name)), "{name}: {measures}");
    }
    assert!(mean("letters.perplexity") > 1.0, "{measures}");
}

#[test]
fn a_run_is_left_out_where_what_it_needs_is_missing() {
    let place = tempfile::tempdir().unwrap();
    let file = |needs: &str| {
        let text = format!(
            r#"
title = "Needs"
text = "Some runs need more than every machine has."
seeds = 1
[runs.here]
preset = "trajectory"
settings.model = {{ d_model = 16, n_layers = 1 }}
settings.train = {{ max_steps = 2, warmup_steps = 1, batch_size = 4, eval_every = 0, eval_samples = 4 }}
measures.return = {{ metric = "return_mean", rollout = {{ env = "cartpole", target_return = 50.0, episodes = 2 }} }}
[runs.gpu]
like = "here"
needs = ["cuda"]
[runs.unseen]
like = "here"
needs = ["data"]
settings.data.source = "{{data}}/no-such.npz"
[runs.away]
like = "here"
needs = [{needs}]
measures.return = {{ metric = "return_mean", rollout = {{ env = "no-such-program", episodes = 2 }} }}
[runs.after]
like = "here"
from = "gpu"
[[bounds]]
measure = "here.return"
at_least = 1.0
[[bounds]]
measure = "away.return"
at_least = 1.0
"#
        );
        std::fs::write(place.path().join("needs.toml"), text).unwrap();
    };
    file("\"environment\"");
    let line = "reproduce needs.toml --device cpu --out kept";
    let result = json(&run(place.path(), 0, &format!("{line} --json")));
    let report = &result["experiments"]["needs"];
    for (name, expected) in
        [("gpu", "GPU"), ("unseen", "no-such.npz"), ("away", "no-such-program"), ("after", "the same as gpu")]
    {
        assert!(report["left_out"][name].as_str().is_some_and(|why| why.contains(expected)), "{report}");
    }
    assert_eq!(report["measures"].as_object().unwrap().len(), 1, "{report}");
    let passed: Vec<_> = report["bounds"].as_array().unwrap().iter().map(|bound| &bound["passed"]).collect();
    assert_eq!((passed, &report["passed"]), (vec![&Value::Bool(true), &Value::Null], &Value::Null));
    let shown = run(place.path(), 0, line).out;
    assert!(shown.contains("not measured: away, because ") && !shown.contains("quick"), "{shown}");
    file("");
    let error = run(place.path(), 1, line).err;
    assert!(error.contains("run away: ") && error.contains("needs = [\"environment\"]"), "{error}");
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
            "measure m: expected only one of prediction, rollout, alignment, positions and generate",
        ),
        (run_of("settings.model.layers = 2\nmeasures.m = { metric = \"loss\" }"), "run a: "),
        (
            run_of(
                "measures.m = { metric = \"load_balance\" }\nsettings.model = { d_model = 16, n_layers = 1 }\n\
                 settings.train = { max_steps = 1, batch_size = 1, eval_every = 0 }",
            ),
            "measure a.m: the training has no such number: the model has no experts",
        ),
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
