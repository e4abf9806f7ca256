//! Tasks composed of inputs and outputs, through the command line and the library: order and rules, missing fields, several
//! outputs, sharing, an input added to a trained run, predictions as tables, and errors.
#![cfg(all(feature = "text", feature = "image", feature = "numbers", feature = "cli"))]

use crate::support;

use smalti::config::RunConfig;
use smalti::data::{DataError, Sample, Stream, Target};
use smalti::model::Model;
use smalti::registry::Modalities;
use smalti::sample::{Composition, Opened, Start};
use smalti::table::{MemoryTable, Place, Table};
use smalti::task::Task;
use smalti_contract::{Array, Numbers, Row, Value};
use std::sync::Arc;
use support::{Ran, TINY, ran, smalti};
use tempfile::TempDir;

fn number(number: f64) -> Value {
    Value::Number(number)
}

fn phrase(phrase: &str) -> Value {
    Value::Text(phrase.into())
}

fn row(fields: &[(&str, Value)]) -> Row {
    Row { fields: fields.iter().map(|(name, value)| (name.to_string(), value.clone())).collect() }
}

/// Rows with an image, a number that every other row lacks, a text, a class, and a series of three steps.
fn rows() -> Vec<Row> {
    let one = |i: usize| {
        let image =
            Array { shape: vec![4, 2], numbers: Numbers::U8((0..8).map(|p| (p * i * 5) as u8).collect()) };
        let speed = if i.is_multiple_of(2) { number(i as f64) } else { Value::Missing };
        let steps =
            |scale: f64| Value::Series((0..3).map(|t| number(scale * f64::from(t) + i as f64)).collect());
        row(&[
            ("front", Value::Array(image)),
            ("speed", speed),
            ("goal", phrase(["go left", "go right"][i % 2])),
            ("label", phrase(["cat", "dog", "cow"][i % 3])),
            ("state", steps(0.5)),
            ("action", Value::Series((0..3).map(|t| number(f64::from((t + i as u32) % 2))).collect())),
        ])
    };
    (0..12).map(one).collect()
}

fn memory(place: &Place) -> Result<Option<Arc<dyn Table>>, DataError> {
    Ok((place.path == "rows").then(|| Arc::new(MemoryTable::new("rows", rows())) as Arc<dyn Table>))
}

fn modalities() -> Modalities {
    Modalities::builtin().with_source("memory", memory)
}

fn open(parts: &str) -> Result<(Opened, RunConfig), String> {
    let toml = format!(
        "[data]\nsource = {{ path = \"rows\", layout = \"memory\" }}\nholdout = 0.25\ncontext = 3\n{parts}\n\
         [model]\nd_model = 16\nn_layers = 1\nattention.n_heads = 2\n"
    );
    let config = RunConfig::parse("test", &toml, &[]).map_err(|e| e.to_string())?;
    let settings = &config.tasks()[0].settings;
    let opened =
        Composition::open(("", 1.0), settings, &modalities(), Start::New).map_err(|e| e.to_string())?;
    Ok((opened, config))
}

fn error_of(parts: &str) -> String {
    open(parts).err().expect("an error")
}

/// The kinds of a sample's main tokens, in order.
fn kinds(opened: &Opened, sample: &Sample) -> Vec<String> {
    let (_, kinds) = opened.task.spec().inputs.iter().find(|(stream, _)| *stream == Stream::Main).unwrap();
    let (_, tokens) = sample.inputs.iter().find(|(stream, _)| *stream == Stream::Main).unwrap();
    let mut placed: Vec<(u32, String)> = vec![];
    for (group, kind) in tokens.groups.iter().zip(kinds) {
        placed.extend(group.order.iter().map(|&order| (order, kind.name.clone())));
    }
    placed.sort();
    assert!(placed.iter().enumerate().all(|(i, (order, _))| *order == i as u32), "orders are 0, 1, …");
    placed.into_iter().map(|(_, name)| name).collect()
}

const PARTS: &str = "[inputs.front]\nmodality = \"image\"\npatch_size = 2\n[inputs.speed]\nmodality = \"numbers\"\n\
                     [outputs.label]\nhead = \"classify\"\n[outputs.goal]\nhead = \"generate\"\nmodality = \"text\"\ncontext = 16\n";

#[test]
fn parts_without_a_clock_keep_the_order_of_the_file_and_generated_ones_come_last() {
    let (opened, _) = open(PARTS).unwrap();
    let [with, without] = [0, 1].map(|wanted| {
        let place = opened.train_rows.rows().rows.iter().position(|row| row % 2 == wanted).unwrap();
        opened.train.sample(place, None).unwrap()
    });
    let names = kinds(&opened, &with);
    assert_eq!(names[..4], ["front.patch", "front.patch", "speed.number", "label.class"]);
    assert!(names[4..].iter().all(|name| name == "goal.character") && names.len() > 10);
    assert_eq!(
        kinds(&opened, &without)[..3],
        ["front.patch", "front.patch", "label.class"],
        "a missing part has no tokens"
    );
    let [class, goal] = &with.outputs[..] else { panic!("two outputs") };
    assert_eq!((class.head, class.places.as_deref(), goal.head), (0, Some(&[3][..]), 1));
    let Target::Ids { ids, .. } = &goal.target else { panic!("ids") };
    assert_eq!(ids.len(), names.len() - 4, "a target for each token, the last is the end");
    assert_eq!(opened.task.decode(1, ids).unwrap(), phrase("go left"));
}

#[test]
fn generated_tokens_attend_to_all_inputs_and_no_input_attends_to_them() {
    let (opened, config) = open(PARTS).unwrap();
    let model =
        Model::new(&config.model, &[opened.task.spec().clone()], 0, &candle_core::Device::Cpu).unwrap();
    let rules = model.rules(0);
    let rule = |query: &str, key: &str| {
        let place = |name: &str| rules.kinds().iter().position(|kind| kind == name).unwrap();
        rules.get(place(query), place(key)).to_string()
    };
    assert_eq!(rule("front.patch", "speed.number"), "all");
    assert_eq!(rule("label.class", "front.patch"), "all");
    assert_eq!(rule("goal.character", "front.patch"), "all");
    assert_eq!(rule("goal.character", "goal.character"), "causal");
    for key in ["front.patch", "speed.number", "label.class"] {
        assert_eq!(rule(key, "goal.character"), "never");
    }
}

const POLICY: &str = "[inputs.goal]\nmodality = \"text\"\ncontext = 16\n[inputs.state]\nmodality = \"numbers\"\n\
                      [outputs.action]\nhead = \"classify\"\n";

#[test]
fn a_series_is_predicted_at_the_token_before_it_and_later_steps_attend_to_it() {
    let (opened, config) = open(POLICY).unwrap();
    let sample = opened.validation.sample(0, None).unwrap();
    let names = kinds(&opened, &sample);
    let n = names.iter().filter(|name| *name == "goal.character").count();
    assert_eq!(names[n..], ["state.number", "action.number"].repeat(3), "the goal has no clock");
    let places: Vec<u32> = [0, 2, 4].map(|step| (n + step) as u32).to_vec();
    assert_eq!(sample.outputs[0].places.as_ref(), Some(&places));
    let model =
        Model::new(&config.model, &[opened.task.spec().clone()], 0, &candle_core::Device::Cpu).unwrap();
    let rules = model.rules(0);
    let place = |name: &str| rules.kinds().iter().position(|kind| kind == name).unwrap();
    let rule = |query: &str, key: &str| rules.get(place(query), place(key)).to_string();
    assert_eq!(rule("state.number", "goal.character"), "all");
    assert_eq!(rule("state.number", "action.number"), "causal");
    assert_eq!(rule("goal.character", "state.number"), "never", "it would leak later steps");
}

#[test]
fn later_steps_of_a_series_do_not_change_earlier_predictions() {
    let parts = format!("{POLICY}[outputs.label]\nhead = \"classify\"\n");
    let (opened, mut config) = open(&parts).unwrap();
    config.model.n_layers = 3;
    let model =
        Model::new(&config.model, &[opened.task.spec().clone()], 0, &candle_core::Device::Cpu).unwrap();
    let predicted = |changed: bool| {
        let row = rows().swap_remove(4);
        let get = |field: &str| {
            let mut value = row.get(field).clone();
            if let (true, Value::Series(steps)) = (changed, &mut value) {
                steps[2] = if field == "state" {
                    number(9.0)
                } else {
                    number(1.0 - steps[2].clone().into_numbers().unwrap()[0] as f64)
                };
            }
            Ok(value)
        };
        let sample = opened.task.sample(&get, 0..3, smalti::sample::Purpose::Evaluate, 0).unwrap();
        let batch = smalti::data::collate(model.layouts(), &[(0, sample)]).unwrap();
        model.outputs(&batch).unwrap().remove(0).to_vec2::<f32>().unwrap()
    };
    let (before, after) = (predicted(false), predicted(true));
    assert_eq!(before[..2], after[..2], "the goal and the class token leak nothing of step 2");
    assert_ne!(before[2], after[2]);
}

#[test]
fn drop_leaves_a_part_out_of_its_share_of_training_samples_alone() {
    let (opened, _) = open(&PARTS.replace("patch_size = 2", "patch_size = 2\ndrop = 0.5")).unwrap();
    let dropped =
        |seed| !kinds(&opened, &opened.train.sample(0, seed).unwrap()).contains(&"front.patch".to_string());
    let n = (0..200).filter(|&seed| dropped(Some(seed))).count();
    assert!((60..140).contains(&n), "{n} of 200");
    assert!(!dropped(None));
}

#[test]
fn a_part_without_positions_has_no_position_embeddings() {
    let parts = |positions: bool| {
        format!(
            "[inputs.goal]\nmodality = \"text\"\npositions = {positions}\n[inputs.front]\nmodality = \"image\"\n\
             patch_size = 2\n[outputs.label]\nhead = \"classify\"\n"
        )
    };
    for positions in [true, false] {
        let (opened, config) = open(&parts(positions)).unwrap();
        let model =
            Model::new(&config.model, &[opened.task.spec().clone()], 0, &candle_core::Device::Cpu).unwrap();
        let names: Vec<&str> = model.params().iter().map(|(name, _)| name).collect();
        assert_eq!(names.contains(&"embed.goal.character.index"), positions, "{names:?}");
        assert!(names.contains(&"embed.front.patch.row"), "{names:?}");
        let sample = opened.train.sample(0, Some(1)).unwrap();
        let batch = smalti::data::collate(model.layouts(), &[(0, sample)]).unwrap();
        assert!(model.outputs(&batch).is_ok());
    }
}

#[test]
fn a_shared_vocabulary_is_one_table() {
    let shared = "[inputs.goal]\nmodality = \"text\"\ncontext = 16\n[outputs.label]\nhead = \"generate\"\nshare = \"goal\"\n";
    let (opened, config) = open(shared).unwrap();
    let spec = opened.task.spec();
    assert_eq!(spec.shares, [("label.character".to_string(), "goal.character".to_string())]);
    let model = Model::new(&config.model, std::slice::from_ref(spec), 0, &candle_core::Device::Cpu).unwrap();
    let tables: Vec<&str> =
        model.params().iter().map(|(name, _)| name).filter(|name| name.ends_with(".table")).collect();
    assert_eq!(tables, ["embed.goal.character.table"]);
}

#[test]
fn invalid_compositions_name_the_setting() {
    let with = |change: &str, to: &str| error_of(&PARTS.replace(change, to));
    let error = with(
        "[inputs.speed]\nmodality = \"numbers\"",
        "[inputs.speed]\nmodality = \"numbers\"\nfield = \"sped\"",
    );
    assert!(
        error.contains("inputs.speed.field") && error.contains("\"sped\"") && error.contains("action, "),
        "{error}"
    );
    let error = with("modality = \"numbers\"", "modality = \"radar\"");
    assert!(
        error.contains("inputs.speed") && error.contains("\"radar\"") && error.contains("audio"),
        "{error}"
    );
    let error = with("head = \"classify\"", "head = \"clasify\"");
    assert!(error.contains("outputs.label") && error.contains("classify, ctc, generate"), "{error}");
    let error = with("[outputs.label]", "[outputs.front]");
    assert!(
        error.contains("inputs.front") && error.contains("expected different names for all parts"),
        "{error}"
    );
    let error = with("patch_size = 2", "pacth_size = 2");
    assert!(error.contains("inputs.front") && error.contains("pacth_size"), "{error}");
    let error = with("head = \"classify\"", "head = \"classify\"\nsmoothness = 2");
    assert!(error.contains("outputs.label.smoothness"), "{error}");
    let error = with("context = 16", "context = 16\nshare = \"front\"");
    assert!(error.contains("outputs.goal.share") && error.contains("image"), "{error}");
    let error = with("context = 16", "context = 16\ncross_attention = true");
    assert!(error.contains("outputs.label.cross_attention"), "{error}");
    let error = with("head = \"classify\"", "head = \"classify\"\ncross_attention = true");
    assert!(error.contains("expected a generated output"), "{error}");
    let error = with("context = 16", "context = 16\nbegin = 900");
    assert!(error.contains("found 900"), "{error}");
    let error = with("context = 16", "context = 16\nweight_field = \"speed\"");
    assert!(error.contains("outputs.goal.weight_field"), "{error}");
    let error = with("context = 16", "context = 16\nfield = \"action\"");
    assert!(error.contains("the field is a series"), "{error}");
    assert!(error_of("[outputs.label]\nhead = \"classify\"\n").contains("[inputs.NAME]"));
    let error = with("context = 16", "context = 16\nshare = \"lidar\"");
    assert!(error.contains("\"lidar\"") && error.contains("front, speed, goal"), "{error}");
    let error = with("head = \"generate\"\nmodality = \"text\"\ncontext = 16", "head = \"generate\"");
    assert!(error.contains("outputs.goal.modality"), "{error}");
    let error =
        with("modality = \"text\"\ncontext = 16", "modality = \"image\"\npatch_size = 2\nfield = \"front\"");
    assert!(error.contains("ids of one vocabulary"), "{error}");
    let (opened, _) = open(&PARTS.replace("context = 16", "context = 3")).unwrap();
    let error = opened.train.sample(0, None).unwrap_err().to_string();
    assert!(error.contains("outputs.goal") && error.contains("context holds 3"), "{error}");
}

#[test]
fn a_required_field_that_is_missing_is_a_corrupt_sample() {
    let parts = PARTS.replace("modality = \"numbers\"", "modality = \"numbers\"\nrequired = true");
    let (opened, _) = open(&parts).unwrap();
    let samples = (0..opened.train.len()).map(|i| opened.train.sample(i, None));
    let errors: Vec<String> = samples.filter_map(Result::err).map(|e| e.to_string()).collect();
    assert!(!errors.is_empty());
    assert!(
        errors[0].contains("rows row")
            && errors[0].contains("inputs.speed")
            && errors[0].contains("required"),
        "{}",
        errors[0]
    );
}

/// A folder with a table that a run learns in seconds: which of two words is longer, and by how much.
struct Words(TempDir);

impl Words {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let words = ["a", "bee", "camel", "donkeys", "elephants"];
        let mut csv = String::from("first,second,longer,by\n");
        for i in 0..60 {
            let (first, second) = (words[i % 5], words[(i * 7 + 3) % 5]);
            let by = first.len() as i32 - second.len() as i32;
            csv += &format!("{first},{second},{},{by}\n", if by > 0 { "first" } else { "second" });
        }
        std::fs::write(folder.path().join("words.csv"), csv).unwrap();
        let task = "[data]\nsource = \"words.csv\"\n[inputs.first]\nmodality = \"text\"\ncontext = 12\n\
                    [inputs.second]\nmodality = \"text\"\nshare = \"first\"\n[outputs.longer]\nhead = \"classify\"\n\
                    [outputs.by]\nhead = \"regress\"\nweight = 0.5\n[train]\nmax_steps = 40\nbatch_size = 8\nlearning_rate = 3e-3\n\
                    eval_every = 20\n";
        std::fs::write(folder.path().join("words.toml"), task).unwrap();
        Self(folder)
    }

    fn run(&self, line: &str) -> Ran {
        ran(smalti(self.0.path()), line)
    }

    fn works(&self, line: &str) -> String {
        let ran = self.run(line);
        assert_eq!(ran.code, Some(0), "smalti {line}\n{}", ran.err);
        ran.out
    }

    fn json(&self, line: &str) -> serde_json::Value {
        serde_json::from_str(&self.works(&format!("{line} --json"))).unwrap()
    }

    fn fails(&self, line: &str, with: &[&str]) {
        let ran = self.run(line);
        assert_eq!(ran.code, Some(1), "smalti {line}\n{}", ran.err);
        for part in with {
            assert!(ran.err.contains(part), "smalti {line}: expected {part:?} in\n{}", ran.err);
        }
    }
}

#[test]
fn two_outputs_are_trained_evaluated_predicted_and_written() {
    let words = Words::new();
    let trained = words.json(&format!("train words.toml --out run {TINY}"));
    let metrics = &trained["metrics"];
    assert!(metrics["longer"]["accuracy"].as_f64().unwrap() >= 0.8, "{metrics}");
    assert!(
        metrics["by"]["r2"].as_f64().unwrap() > 0.3 && metrics["longer"]["macro_f1"].is_number(),
        "{metrics}"
    );
    std::fs::write(words.0.path().join("few.csv"), "first,longer\nelephants,first\ndonkeys,first\n").unwrap();
    let evaluated = words.json("eval run --confusion confusion.csv");
    assert_eq!(evaluated["longer"]["accuracy"], metrics["longer"]["accuracy"]);
    assert!(evaluated["longer"]["classes"]["first"]["recall"].is_number(), "{evaluated}");
    let csv = std::fs::read_to_string(words.0.path().join("confusion.csv")).unwrap();
    assert!(csv.starts_with("target,first,second\n"), "{csv}");

    let one = words.json("predict run --row first=elephants second=a");
    assert_eq!(one["rows"][0]["longer"]["value"], "first", "{one}");
    assert!(one["rows"][0]["longer"]["probabilities"]["first"].as_f64().unwrap() > 0.5, "{one}");
    assert!(one["rows"][0]["by"]["value"].as_f64().unwrap() > 1.0, "in the units of the data: {one}");
    for out in ["p.csv", "p.jsonl", "p.parquet"] {
        words.works(&format!("predict run --table words.csv --out {out}"));
        let table = Modalities::builtin()
            .sources()
            .open(&smalti::table::Source::new(words.0.path().join(out).display().to_string()));
        let table = table.unwrap();
        assert_eq!(table.fields(), ["row", "longer", "longer.first", "longer.second", "by"], "{out}");
        assert_eq!(table.len(), 60, "{out}");
        assert_eq!(table.value(0, "longer").unwrap(), phrase("second"), "{out}");
    }
    let other = words.json("eval run --data few.csv");
    assert_eq!(other["longer"]["classes"]["first"]["support"], 2, "all rows of another source: {other}");
    words.fails("predict run --row third=x", &["\"third\"", "first, second"]);
    words.fails("predict run", &["--row FIELD=VALUE", "first, second"]);
    words.fails("predict run --table words.csv --out p.xls", &[".csv", ".jsonl", ".parquet"]);
}

#[test]
fn tasks_of_a_mix_share_a_vocabulary() {
    let words = Words::new();
    let task = |name: &str, share: &str| {
        format!(
            "[mix.{name}.data]\nsource = \"words.csv\"\n[mix.{name}.inputs.first]\nmodality = \"text\"\n{share}\
             [mix.{name}.outputs.longer]\nhead = \"classify\"\n"
        )
    };
    let write = |first: &str, second: &str| {
        std::fs::write(words.0.path().join("mix.toml"), task("a", first) + &task("b", second)).unwrap();
    };
    write("share = \"b.first\"\n", "context = 12\n");
    words.works(&format!("train mix.toml --out shared {TINY}"));
    let kinds = words.json("info shared")["parameters"].clone();
    write("context = 12\n", "context = 12\n");
    words.works(&format!("train mix.toml --out apart {TINY}"));
    let apart = words.json("info apart")["parameters"].clone();
    assert!(kinds["embed"].as_u64() < apart["embed"].as_u64(), "one table, not two: {kinds} {apart}");
    words.works("eval shared");
    write("share = \"b.second\"\n", "context = 12\n");
    words.fails("train mix.toml --out none", &["inputs.first.share", "\"b.second\""]);
    write("share = \"b.first\"\n", "share = \"a.first\"\n");
    words.fails("train mix.toml --out none", &["share: the tasks a, b share vocabularies in a cycle"]);
}

#[test]
fn an_input_is_added_to_a_trained_run() {
    let words = Words::new();
    let settings = std::fs::read_to_string(words.0.path().join("words.toml")).unwrap();
    let before = settings.replace("[inputs.second]\nmodality = \"text\"\nshare = \"first\"\n", "");
    std::fs::write(words.0.path().join("before.toml"), before).unwrap();
    words.works(&format!("train before.toml --out before {TINY}"));
    words.works(&format!("train words.toml --from before --out after {TINY}"));
    let start = std::fs::read_to_string(words.0.path().join("after/start.json")).unwrap();
    let start: serde_json::Value = serde_json::from_str(&start).unwrap();
    let names = |key: &str| {
        start[key].as_array().unwrap().iter().map(|n| n.as_str().unwrap().to_string()).collect::<Vec<_>>()
    };
    assert!(names("loaded").contains(&"embed.first.character.table".to_string()), "{start}");
    assert!(names("loaded").iter().any(|name| name.starts_with("stack.")), "{start}");
    assert!(names("new") == ["embed.types of second.character"] && names("skipped").is_empty(), "{start}");
}

#[test]
fn a_head_with_other_labels_is_initialized_anew() {
    let words = Words::new();
    words.works(&format!("train words.toml --out before {TINY}"));
    let csv = std::fs::read_to_string(words.0.path().join("words.csv")).unwrap();
    let csv = csv.replace(",second,-", ",other,-").replace(",second,0", ",other,0");
    std::fs::write(words.0.path().join("words.csv"), csv).unwrap();
    words.works(&format!("train words.toml --from before --out after {TINY}"));
    let start = std::fs::read_to_string(words.0.path().join("after/start.json")).unwrap();
    assert!(start.contains("head.longer.weight: its head has other labels in the new model"), "{start}");
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one() {
    let words = Words::new();
    let whole = words.json(&format!("train words.toml --out whole {TINY} --set train.checkpoint_every=20"));
    words.works(&format!("train words.toml --out run {TINY} --set train.checkpoint_every=20"));
    std::fs::remove_file(words.0.path().join("run/state.safetensors")).unwrap();
    let resumed = words.json("train --resume --out run");
    assert_eq!(resumed["metrics"], whole["metrics"]);
    let model = |run: &str| std::fs::read(words.0.path().join(run).join("model.safetensors")).unwrap();
    assert!(model("run") == model("whole"));
}

#[test]
fn invalid_data_and_settings_are_named() {
    let words = Words::new();
    let untouched = |set: &str, with: &[&str]| {
        words.fails(&format!("train words.toml --out no {TINY} {set}"), with);
        assert!(!words.0.path().join("no").exists(), "{set} left a run folder");
    };
    untouched(
        "--set inputs.first.field=frist",
        &["inputs.first.field", "\"frist\"", "first, second, longer, by"],
    );
    untouched("--set data.validation=size>3", &["size"]);
    untouched("--set data.source=nothing.csv", &["nothing.csv"]);
    std::fs::write(words.0.path().join("fox.txt"), support::text()).unwrap();
    untouched("--set data.source=fox.txt", &["data.holdout", "at least 2 rows", "found 1"]);
    untouched("--set data.source={path=\"words.csv\",layout=\"tables\"}", &["\"tables\"", "webdataset"]);
    untouched("--set inputs.first.drop=1.5", &["inputs.first.drop", "1.5"]);
    untouched("--set outputs.by.weight=-1", &["outputs.by.weight", "-1"]);
    untouched("--set outputs.by.field=longer", &["outputs.by", "expected a number"]);

    // A label that the training split lacks, and a text among numbers.
    std::fs::write(
        words.0.path().join("other.csv"),
        "first,second,longer,by\na,bee,neither,0\nbee,a,first,2\n",
    )
    .unwrap();
    words.fails(
        &format!("train words.toml --out no {TINY} --set data.validation_source=other.csv"),
        &["other.csv row 1", "outputs.longer", "\"neither\"", "first, second"],
    );
    assert!(!words.0.path().join("no").exists(), "labels are checked before the first step");
    std::fs::write(
        words.0.path().join("types.csv"),
        "first,second,longer,by\na,bee,second,-2\nbee,a,second,much\n",
    )
    .unwrap();
    words.fails(
        &format!("train words.toml --out types {TINY} --set data.source=types.csv --set data.holdout=0.5"),
        &["\"much\""],
    );
    words.fails("train --resume --out nowhere", &["nowhere"]);
}

#[test]
fn rows_are_inspected_field_by_field() {
    let words = Words::new();
    let checked = words.json("data check words.toml");
    let train = &checked["tasks"][""]["splits"][0];
    assert_eq!((&train["split"], train["rows"].as_u64()), (&"train".into(), Some(54)));
    let field = |name: &str| {
        let fields = train["fields"].as_array().unwrap();
        fields
            .iter()
            .find(|field| field["field"] == name)
            .unwrap_or_else(|| panic!("{name}: {train}"))
            .clone()
    };
    assert_eq!(field("longer")["classes"].as_object().unwrap().len(), 2);
    assert_eq!(field("by")["range"], serde_json::json!([-6.0, 6.0]));
    let shown = words.works("data check words.toml");
    assert!(shown.contains("train: 54 rows") && shown.contains("classes"), "{shown}");
}

#[test]
fn texts_are_generated_as_a_prefix_and_by_cross_attention() {
    let words = Words::new();
    let task = "[data]\nsource = \"words.csv\"\n[inputs.first]\nmodality = \"text\"\ncontext = 12\n[inputs.second]\n\
                modality = \"text\"\nshare = \"first\"\n[outputs.longer]\nhead = \"generate\"\nmodality = \"text\"\n\
                context = 8\n[train]\nmax_steps = 120\nbatch_size = 16\nlearning_rate = 5e-3\neval_every = 0\n";
    std::fs::write(words.0.path().join("text.toml"), task).unwrap();
    let small = "--set model.d_model=32 --set model.n_layers=1 --set model.attention.n_heads=2";
    let cross = "--set outputs.longer.cross_attention=true --set model.n_encoder_layers=1";
    for (run, set) in [("prefix", ""), ("cross", cross)] {
        words.works(&format!("train text.toml --out {run} {small} {set}"));
        let scores = words.json(&format!("eval {run} --data words.csv --generate 60"));
        let scores = &scores["longer"];
        assert!(
            scores["exact"].as_f64().unwrap() >= 0.8 && scores["cer"].as_f64().unwrap() < 0.2,
            "{run}: {scores}"
        );
        assert!(
            scores["bleu"].is_number() && scores["perplexity"].as_f64().unwrap() < 1.5,
            "{run}: {scores}"
        );
        let one = words.json(&format!("predict {run} --row first=elephants second=a"));
        assert_eq!(one["rows"][0]["longer"]["value"], "first", "{run}: {one}");
    }
}
