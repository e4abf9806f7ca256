use super::bounds::Measured;
use super::points::{MeasureId, Swept, overrides};
use super::report::Measurements;
use super::*;
use crate::config::{RunConfig, preset};

/// An experiment with two runs, one of them swept.
const SMALL: &str = r#"
title = "T"
text = "Some text."
seeds = 2
[reference]
values = { "a.loss" = 1.5 }
source = "a paper"
[runs.a]
preset = "text"
settings.train.max_steps = 3
measures.loss = { metric = "loss" }
measures.long = { metric = "loss", sweep = { "outputs.text.context" = [64, 128] } }
[runs.b]
like = "a"
sweep = { "model.n_layers" = [1, 2] }
settings.model.norm_placement = "post"
[[bounds]]
ratio = ["b(2).loss", "a.loss"]
at_least = 2.0
[[bounds]]
order = ["a.long(64)", "a.long(128)"]
each_seed = true
[figure]
kind = "lines"
measures = ["b.loss", "a.long"]
[quick]
settings.train.max_steps = 1
sweep = { "model.n_layers" = [1] }
"#;

fn id(run: &str, layers: Option<&str>, measure: &str, length: Option<&str>) -> MeasureId {
    let swept = |name: &str, value: Option<&str>| Swept {
        name: name.into(),
        values: value.into_iter().map(String::from).collect(),
    };
    MeasureId { run: swept(run, layers), measure: swept(measure, length) }
}

fn measured() -> Measurements {
    let mut measured = Measurements::default();
    let values = [
        (id("a", None, "loss", None), [1.0, 3.0]),
        (id("a", None, "long", Some("64")), [1.0, 2.0]),
        (id("a", None, "long", Some("128")), [2.0, 1.5]),
        (id("b", Some("1"), "loss", None), [4.0, 4.0]),
        (id("b", Some("2"), "loss", None), [4.0, 6.0]),
    ];
    for (id, values) in values {
        (0..2).for_each(|seed| measured.add(&id, seed, values[seed]));
    }
    measured
}

#[test]
fn a_run_has_the_settings_and_measures_of_the_run_that_it_is_like() {
    let experiment = Experiment::parse("small", SMALL).unwrap();
    let points = experiment.points().unwrap();
    let names: Vec<String> = points.iter().map(|point| point.name.to_string()).collect();
    assert_eq!(names, ["a", "b(1)", "b(2)"]);
    assert_eq!(
        overrides(&points[2].settings),
        ["train.max_steps=3", "model.norm_placement=\"post\"", "model.n_layers=2"]
    );
    let ids: Vec<String> = points[2].ids().map(|id| id.to_string()).collect();
    assert_eq!(ids, ["b(2).loss", "b(2).long(64)", "b(2).long(128)"]);
    let quick = experiment.quick().points().unwrap();
    assert_eq!(quick.len(), 2);
    assert_eq!(quick[1].settings[0].1, toml::Value::Integer(1));
}

#[test]
fn values_may_have_names_and_figures_may_be_several() {
    let text = SMALL.replace("[64, 128] }", "{ short = 64, 2 = 128 } }");
    let text = text.replace("[figure]", "[[figure]]\nkind = \"bars\"\nmeasures = [\"a.long\"]\n[[figure]]");
    let text = text.replace("a.long(64)", "a.long(short)").replace("a.long(128)", "a.long(2)");
    let experiment = Experiment::parse("small", &text).unwrap();
    let points = experiment.points().unwrap();
    let ids: Vec<String> = points[0].ids().map(|id| id.to_string()).collect();
    assert_eq!(ids, ["a.loss", "a.long(short)", "a.long(2)"]);
    assert_eq!(overrides(&points[0].measures[1].settings), ["outputs.text.context=64"]);
    let figures = |measured| Report::of(&experiment, false, measured).figures().len();
    assert_eq!(figures(measured()), 2);
    let mut without = Measurements::default();
    without.add(&id("b", Some("1"), "loss", None), 0, 4.0);
    assert_eq!(figures(without), 1, "the first figure shows a.long alone");
}

/// Any other setting of a measure builds the model anew.
#[test]
fn settings_of_the_data_are_also_those_of_a_task_of_a_mix() {
    let is_of_data = |setting: &str| {
        let text = SMALL.replace(
            "measures.loss = { metric = \"loss\" }",
            &format!("measures.loss = {{ metric = \"loss\", settings.{setting} = \"split = test\" }}"),
        );
        Experiment::parse("small", &text).unwrap().points().unwrap()[0].measures[0].is_of_data()
    };
    for setting in
        ["data.validation", "mix.sort.data.validation", "outputs.text.field", "mix.sort.outputs.text.field"]
    {
        assert!(is_of_data(setting), "{setting}");
    }
    for setting in ["model.attention.rules", "mix.sort.inputs.text.modality", "outputs.text.head", "mix.data"]
    {
        assert!(!is_of_data(setting), "{setting}");
    }
}

#[test]
fn a_matrix_is_drawn_of_what_is_seen_with_the_first_seed() {
    let text = SMALL.replace("metric = \"loss\", sweep", "metric = \"near\", positions = \"text\", sweep");
    let text = text.replace("kind = \"lines\"", "kind = \"matrix\"");
    let text = text.replace("[\"b.loss\", \"a.long\"]", "[\"a.long(64)\"]");
    let experiment = Experiment::parse("small", &text).unwrap();
    let view = |value: f32| crate::report::chart::Matrices {
        shape: [1, 1],
        matrices: vec![vec![value]],
        ..Default::default()
    };
    let mut measured = measured();
    assert!(Report::of(&experiment, false, Default::default()).figures().is_empty(), "none was seen");
    for seed in 0..2 {
        measured.add_view(&id("a", None, "long", Some("64")), seed, view(seed as f32));
    }
    let report = Report::of(&experiment, false, measured);
    assert_eq!(report.views.values().collect::<Vec<_>>(), [&view(0.0)]);
    assert_eq!(report.figures().len(), 1);
}

#[test]
fn bounds_are_judged_by_the_mean_or_for_each_seed() {
    let experiment = Experiment::parse("small", SMALL).unwrap();
    let report = Report::of(&experiment, false, measured());
    assert_eq!(report.measures["a.loss"].mean, 2.0);
    assert!((report.measures["a.loss"].deviation - 2f64.sqrt()).abs() < 1e-12);
    let [ratio, order] = &report.bounds[..] else { panic!("{:?}", report.bounds) };
    assert_eq!((ratio.passed, &ratio.found[..]), (Some(true), &[2.5][..]));
    assert_eq!((order.passed, order.found.len()), (Some(false), 4), "the second seed is in another order");
    assert_eq!(report.passed, Some(false));
    assert_eq!(report.series("b.loss", None), [(1.0, 4.0), (2.0, 5.0)]);
    assert_eq!(report.value("b.loss", None), None, "a name for several measures is no value");
    let quick = Report::of(&experiment, true, measured());
    assert!(quick.passed.is_none() && quick.bounds.iter().all(|bound| bound.passed.is_none()));
}

#[test]
fn what_a_run_that_is_left_out_would_measure_is_not_judged() {
    let experiment = Experiment::parse("small", SMALL).unwrap();
    let mut measured = Measurements::default();
    measured.left_out.insert("b".into(), "it needs a GPU".into());
    let values =
        [("loss", None, [1.0, 3.0]), ("long", Some("64"), [1.0, 2.0]), ("long", Some("128"), [2.0, 3.0])];
    for (name, length, values) in values {
        (0..2).for_each(|seed| measured.add(&id("a", None, name, length), seed, values[seed]));
    }
    let report = Report::of(&experiment, false, measured);
    assert_eq!((report.bounds[0].passed, report.bounds[1].passed, report.passed), (None, Some(true), None));
    let table = page::markdown(std::slice::from_ref(&report));
    assert!(
        table.contains("| small | b(2).loss / a.loss | at least 2 | not measured | not measured |"),
        "{table}"
    );
    let html = page::html(&[report]).unwrap();
    assert!(html.contains("Not measured: b, because it needs a GPU."), "{html}");
    let nothing = Report::of(&experiment, false, Measurements::default());
    assert!(nothing.figures().is_empty() && nothing.passed.is_none());
}

#[test]
fn a_run_writes_its_own_texts_or_those_of_the_run_that_it_is_like() {
    let texts = |of_a: &str, of_b: &str| {
        let text = SMALL.replace("preset = \"text\"", &format!("preset = \"text\"\n{of_a}"));
        let text = text.replace("like = \"a\"", &format!("like = \"a\"\n{of_b}"));
        let points = Experiment::parse("small", &text).unwrap().quick().points().unwrap();
        points.iter().map(|point| point.texts.clone()).collect::<Vec<_>>()
    };
    let of_a = "texts = [{ prompt = \"x\" }]";
    let [a, b] = &texts(of_a, "")[..] else { panic!() };
    assert_eq!(
        (a, a[0].prompt.as_deref(), a[0].max_new_tokens),
        (b, Some("x"), Some(4)),
        "few tokens in a quick check"
    );
    let [a, b] = &texts(of_a, "texts = [{ infill = \"y_\", order = \"confidence\" }]")[..] else { panic!() };
    assert_eq!((a[0].infill.as_deref(), b[0].infill.as_deref(), b.len()), (None, Some("y_"), 1));
}

#[test]
fn a_report_is_a_figure_a_table_a_text_and_a_page() {
    let experiment = Experiment::parse("small", &SMALL.replace("Some text.", "a < b")).unwrap();
    let mut measured = measured();
    measured.texts = vec![WrittenText { run: "a".into(), given: "x_z".into(), text: "x<z".into() }];
    let report = Report::of(&experiment, false, measured);
    assert_eq!(report.figures().len(), 1);
    let reports = [report];
    let table = page::markdown(&reports);
    assert!(table.contains("| small | b(2).loss / a.loss | at least 2 | 2.500 | passed |"), "{table}");
    assert!(table.contains("missed") && table.contains("a paper (not checked)"), "{table}");
    let html = page::html(&reports).unwrap();
    assert!(html.contains("<p>a &lt; b</p>") && html.contains("<svg"), "{html}");
    assert!(html.contains("a writes, given") && html.contains("<pre>x&lt;z</pre>"), "{html}");
    let is_one_file =
        !html.contains("src=") && html.split("href=\"").skip(1).all(|link| link.starts_with('#'));
    assert!(is_one_file, "{html}");
}

#[test]
fn an_error_of_a_file_names_the_place() {
    let problem =
        |from: &str, to: &str| Experiment::parse("small", &SMALL.replace(from, to)).unwrap_err().to_string();
    for (from, to, expected) in [
        ("[quick]", "[quick]\nmake.b = [\"recall\"]", "quick.make: expected none; found \"b\""),
        ("[quick]", "[quick]\nruns.c.train.max_steps = 1", "quick.runs: expected one of a, b; found \"c\""),
        (
            "sweep = { \"model.n_layers\" = [1] }",
            "sweep = { \"model.n_layer\" = [1] }",
            "quick.sweep: expected one of model.n_layers, outputs.text.context; found \"model.n_layer\"",
        ),
        ("like = \"a\"", "like = \"c\"", "expected one of the runs a, b; found \"c\""),
        ("like = \"a\"", "like = \"b\"", "runs.b.like: it is like itself"),
        ("like = \"a\"", "like = \"a\"\nfrom = \"b\"", "runs.b: it needs itself"),
        ("like = \"a\"", "like = \"a\"\nfrom = \"c\"", "expected one of the runs a, b; found \"c\""),
        (
            "preset = \"text\"",
            "preset = \"text\"\nsettings.x = \"{runs.b}/y\"",
            "expected a run without sweep; found \"b\"",
        ),
        ("\"loss\" }", "\"loss\", matches = \"a\" }", "measure loss: generate: expected 1 or more rows"),
        (
            "\"loss\" }",
            "\"loss\", generate = 1, matches = \"(\" }",
            "measure loss: matches: expected a regular expression",
        ),
        ("\"loss\" }", "\"loss\", generate = 1, temperature = -1.0 }", "measure loss: temperature: expected"),
        (
            "\"loss\" }",
            "\"loss\", generate = 1, prediction = \"y\" }",
            "measure loss: expected only one of prediction, rollout, alignment, positions and generate; found prediction and",
        ),
        (
            "\"loss\" }",
            "\"loss\", generate = 1, judge = { run = \"b\" } }",
            "judge.run: expected a run without sweep",
        ),
        (
            "like = \"a\"",
            "like = \"a\"\ntexts = [{ order = \"random\" }]",
            "runs.b.texts: expected either prompt or infill",
        ),
        (
            "like = \"a\"",
            "like = \"a\"\ntexts = [{ prompt = \"a\", order = \"random\" }]",
            "runs.b.texts: order: expected infill",
        ),
        (
            "like = \"a\"",
            "like = \"a\"\ntexts = [{ infill = \"a_\", max_new_tokens = 5 }]",
            "runs.b.texts: max_new_tokens: expected prompt",
        ),
        (
            "[runs.b]\nlike = \"a\"",
            "[runs.c]\npreset = \"text\"\ntexts = [{ prompt = \"a\" }]\n[runs.b]\nlike = \"a\"",
            "runs.c.texts: expected a measure of the run too; found none",
        ),
        (
            "like = \"a\"",
            "like = \"a\"\ntexts = [{ infill = \"a_\", temperature = -1.0 }]",
            "runs.b.texts: temperature: expected",
        ),
        ("b(2).loss", "b(3).loss", "bounds[0]: expected one of a.loss"),
        ("at_least = 2.0", "", "bounds[0]: expected at_least or at_most"),
        ("[\"b.loss\", \"a.long\"]", "[\"b.bleu\"]", "figure: expected one of a.loss"),
        ("kind = \"lines\"", "kind = \"matrix\"", "figure: matrix: expected one measure with alignment"),
        ("kind = \"lines\"", "kinds = \"lines\"", "unknown field `kinds`"),
        ("[64, 128]", "64", "sweep.outputs.text.context: expected a list of values, or a table"),
        ("seeds = 2", "seeds = 0", "seeds: expected 1 or more, found 0"),
        ("seeds = 2", "seed = 2", "unknown field `seed`"),
        ("like = \"a\"", "like = \"a\"\nneeds = [\"gpu\"]", "expected one of `cuda`, `data`, `environment`"),
        ("title = \"T\"", "title = ", "experiment small"),
    ] {
        let found = problem(from, to);
        assert!(found.contains(expected), "{to}: {found}");
    }
    let unknown = Experiment::named("shakespear").unwrap_err().to_string();
    assert!(unknown.contains("expected all, an experiment (shakespeare, "), "{unknown}");
}

#[test]
fn damaged_experiments_do_not_panic() {
    for (_, text) in EXPERIMENTS {
        for seed in 0..250_usize {
            let mut bytes = text.as_bytes().to_vec();
            let place = seed.wrapping_mul(0x9e37_79b9) % bytes.len();
            match seed % 3 {
                0 => bytes.truncate(place),
                1 => bytes[place] = (seed * 31 % 128) as u8,
                _ => drop(bytes.remove(place)),
            }
            let text = String::from_utf8_lossy(&bytes);
            let _ = Experiment::parse("damaged", &text).map(|experiment| experiment.quick().points());
        }
    }
}

#[test]
fn every_experiment_that_ships_has_valid_settings() {
    for (name, text) in EXPERIMENTS {
        let experiment = Experiment::parse(name, text).unwrap_or_else(|error| panic!("{error}"));
        for experiment in [experiment.clone(), experiment.quick()] {
            for point in experiment.points().unwrap() {
                let base = point.preset.as_deref().map_or("", |name| preset(name).unwrap());
                let run = |more: &[String]| {
                    let all: Vec<String> =
                        overrides(&point.settings).into_iter().chain(more.to_vec()).collect();
                    RunConfig::parse(name, base, &all)
                        .unwrap_or_else(|error| panic!("{name}: {}: {error}", point.name))
                };
                let config = run(&[]);
                assert!(config.data.is_some() || !config.mix.is_empty());
                point.measures.iter().for_each(|measure| drop(run(&overrides(&measure.settings))));
            }
        }
        assert!(!experiment_text_is_short(text), "{name}: the text explains the experiment");
    }
}

fn experiment_text_is_short(text: &str) -> bool {
    Experiment::parse("", text).unwrap().text.chars().count() < 200
}

#[test]
#[ignore = "needs SMALTI_DATA"]
fn the_data_of_every_experiment_that_ships_are_found() {
    let folder = std::env::var_os("SMALTI_DATA").expect("SMALTI_DATA names the folder with the data sets");
    for (name, text) in EXPERIMENTS {
        let experiment = Experiment::parse(name, text).unwrap();
        let made = experiment.data.make.keys().map(|name| (name.clone(), std::env::temp_dir())).collect();
        let runs = experiment.runs.keys().map(|name| (name.clone(), std::env::temp_dir())).collect();
        let places = super::data::Places { users: Some(folder.clone().into()), made, runs };
        for argument in experiment.data.make.values().flatten() {
            places.argument(argument).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        for point in experiment.points().unwrap() {
            let measures = point.measures.iter().map(|measure| &measure.settings);
            for settings in measures.chain([&point.settings]) {
                let resolved = places.resolve(settings).unwrap_or_else(|error| panic!("{name}: {error}"));
                assert!(!format!("{resolved:?}").contains("{data}"), "{resolved:?}");
            }
        }
    }
}

#[test]
fn the_first_alternative_that_exists_is_read() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("b.en.txt"), "b").unwrap();
    let places = super::data::Places { users: Some(folder.path().into()), ..super::data::Places::default() };
    let resolve = |text: &str| {
        let settings = [("data.source".to_string(), toml::Value::String(text.into()))];
        places.resolve(&settings).map(|settings| settings[0].1.as_str().unwrap().to_string())
    };
    let found = resolve("{data}/a.txt | {data}/b.en.txt").unwrap();
    assert!(found.ends_with("b.en.txt") && !found.contains('|'), "{found}");
    assert_eq!(resolve("plain|name").unwrap(), "plain|name");
    let made = [("log".to_string(), folder.path().join("b.en.txt"))].into();
    let places = super::data::Places { made, ..super::data::Places::default() };
    let log = places.resolve(&[("data.source".to_string(), toml::Value::String("{log}".into()))]).unwrap();
    assert_eq!(log[0].1.as_str(), folder.path().join("b.en.txt").to_str(), "a file, not a folder");
    for (text, expected) in [
        ("{data}/a.txt", "has none of these"),
        ("{sums}", "[data.make] has no sums"),
        ("{data", "expected {data}/…"),
    ] {
        let error = resolve(text).unwrap_err().to_string();
        assert!(error.contains(text) && error.contains(expected), "{error}");
    }
}

#[test]
fn a_run_in_braces_is_its_folder_and_is_needed() {
    let places = super::data::Places {
        runs: [("a".to_string(), "kept/1".into())].into(),
        ..super::data::Places::default()
    };
    let settings = |text: &str| [("inputs.x.codebook".to_string(), toml::Value::String(text.into()))];
    let resolve =
        |text: &str| places.resolve(&settings(text)).map(|all| all[0].1.as_str().unwrap().to_string());
    assert_eq!(resolve("{runs.a}").unwrap(), "kept/1");
    assert_eq!(resolve("{runs.a}/model.safetensors").unwrap(), "kept/1/model.safetensors");
    assert!(resolve("{runs.b}").unwrap_err().to_string().contains("{runs.b}"));
    let text = SMALL.replace(
        "settings.model.norm",
        "from = \"a\"\nsettings.inputs.x.codebook = \"{runs.a}\"\nsettings.model.norm",
    );
    let points = Experiment::parse("small", &text).unwrap().points().unwrap();
    assert_eq!((points[0].depends_on(), points[1].depends_on()), (vec![], vec!["a".to_string()]));
}

#[test]
fn arguments_of_generated_data_may_name_a_file_of_the_user() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.txt"), "a").unwrap();
    let places = super::data::Places { users: Some(folder.path().into()), ..super::data::Places::default() };
    let (argument, path) = places.argument("text={data}/b.txt|{data}/a.txt").unwrap();
    assert_eq!(path.unwrap(), folder.path().join("a.txt"));
    assert_eq!(argument, format!("text={}", folder.path().join("a.txt").display()));
    assert_eq!(places.argument("train=5").unwrap(), ("train=5".into(), None));
    assert!(places.argument("text={data}/b.txt").is_err());
}

#[test]
fn data_are_known_by_their_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt");
    let digest = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let settings = format!("data.source={path:?}");
        let config = RunConfig::parse("text", preset("text").unwrap(), &[settings]).unwrap();
        super::data::digest(&config, &mut Default::default()).unwrap()
    };
    let (one, other) = (digest("one"), digest("two"));
    assert_ne!(one, other);
    assert_eq!(one, digest("one"));
}
