//! Heads of classes, labels and numbers: published ones, and those that a run adds to a checkpoint.

use super::{copied, error, tensors, write};
use crate::start::{SHORT, settings_of, tune};
use crate::support::{ran, smalti};
use candle_core::{Device, Tensor};
use serde_json::{Value as Json, json};
use smalti::inference::{Generation, Predicted, predict_rows};
use smalti::pretrained::{self, Pretrained};
use smalti::train::Storage;
use smalti_contract::{Row, Value};
use std::path::{Path, PathBuf};

/// The prediction for a text of ids.
fn predicted(model: &Pretrained, ids: &str) -> Predicted {
    let row = Row::from([("text", Value::Text(ids.into()))]);
    predict_rows(&model.model, 0, &model.task, &[row], &Generation::default()).unwrap().remove(0)
}

/// The probability of each class, by name.
fn probability(model: &Pretrained, ids: &str, class: &str) -> f64 {
    let found = predicted(model, ids);
    let probabilities = &found["class"].probabilities;
    probabilities.iter().find(|(name, _)| name == class).unwrap_or_else(|| panic!("{probabilities:?}")).1
}

fn settings(folder: &Path) -> Json {
    serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap()
}

/// The same settings of a checkpoint, but for these.
fn set(folder: &Path, more: &[(&str, Json)]) {
    let mut config = settings(folder);
    more.iter().for_each(|(key, value)| config[*key] = value.clone());
    write(folder, "config.json", &config);
}

/// By transformers 4.57.6, from the files of this checkpoint: `model(torch.tensor([[2, 5, 9, 3]])).logits.softmax(-1)`.
#[test]
fn a_published_head_answers_with_class_names_and_probabilities() {
    let place = copied("bert-classes");
    let run = place.path().join("run");
    pretrained::import(place.path(), &run, Storage::F32, None).unwrap();
    std::fs::write(place.path().join("ids.txt"), "2 17 3").unwrap();
    let mut command = smalti(place.path());
    command.args(["classify", "run", "ids.txt", "--text", "2 5 9 3", "--json"]);
    let found = ran(command, "");
    assert_eq!(found.code, Some(0), "{}", found.err);
    let found: Json = serde_json::from_str(&found.out).unwrap();
    let expected = [
        [("fair", 0.374_815_08), ("good", 0.316_690_9), ("bad", 0.308_494_06)],
        [("fair", 0.388_634_06), ("bad", 0.327_830_23), ("good", 0.283_535_75)],
    ];
    for (row, expected) in found["rows"].as_array().unwrap().iter().zip(expected) {
        for (class, (name, probability)) in row["classes"].as_array().unwrap().iter().zip(expected) {
            let off = (class["probability"].as_f64().unwrap() - probability).abs();
            assert!(class["class"] == name && off < 1e-5, "{row}");
        }
    }
    assert_eq!((&found["rows"][0]["file"], &found["rows"][1]["file"]), (&json!("--text"), &json!("ids.txt")));
}

#[test]
fn a_text_that_is_too_long_is_cut_and_nothing_to_classify_is_an_error() {
    let place = copied("bert-classes");
    pretrained::import(place.path(), &place.path().join("run"), Storage::F32, None).unwrap();
    let mut command = smalti(place.path());
    command.args(["classify", "run", "--text", "2 4 5 6 7 8 9 10 11 12 13 14 15 16"]);
    let long = ran(command, "");
    assert!(long.code == Some(0) && long.err.contains("--text 1 was truncated"), "{}", long.err);
    for (words, message) in [
        (&["classify", "run"][..], "nothing to classify: expected files or --text"),
        (&["classify", "run", "--text", ""], "--text 1: expected at least one token; found 0"),
        (&["classify", "run", "--text", "2 99"], "--text 1"),
    ] {
        let mut command = smalti(place.path());
        command.args(words);
        let found = ran(command, "");
        assert!(found.code == Some(1) && found.err.contains(message), "{words:?}: {}", found.err);
    }
}

/// By transformers 4.57.6: the same logits, and their sigmoid.
#[test]
fn labels_and_numbers_are_told_apart_by_the_problem_type() {
    let place = copied("bert-classes");
    set(place.path(), &[("problem_type", json!("multi_label_classification"))]);
    let labels = pretrained::open(place.path()).unwrap();
    assert!((probability(&labels, "2 5 9 3", "bad") - 0.452_464_52).abs() < 1e-5);
    set(place.path(), &[("problem_type", json!("regression"))]);
    let numbers = predicted(&pretrained::open(place.path()).unwrap(), "2 5 9 3");
    let found = numbers["score"].value.clone().into_numbers().unwrap();
    let expected = [-0.190_717_94, 0.004_012_22, -0.164_494_37];
    assert!(found.iter().zip(expected).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-5), "{found:?}");
    set(place.path(), &[("problem_type", json!("ranking"))]);
    assert!(error(place.path()).contains("problem_type: expected single_label_classification"));
    set(place.path(), &[("problem_type", Json::Null), ("architectures", json!(["BertForMultipleChoice"]))]);
    assert!(error(place.path()).contains("BertForMultipleChoice"));
    set(place.path(), &[("architectures", Json::Null), ("id2label", json!({ "1": "b", "2": "c" }))]);
    assert!(error(place.path()).contains("id2label: expected names for 0, 1"));
    let without = json!({ "0": "a", "1": "b", "2": "c" });
    let function = json!({ "activation_fn": "torch.nn.modules.activation.Sigmoid" });
    set(place.path(), &[("id2label", without), ("sentence_transformers", function)]);
    assert!(error(place.path()).contains("sentence_transformers: expected the activation_fn"));
}

/// A table of texts of ids with a class, a score and a class for each token, and a run's settings with another output.
fn reviews(place: &Path, run: &Path, output: &str) -> (String, String) {
    let row = |i: usize| {
        let (label, tag) = (["no", "yes"][i % 2], ["B", "I"][i % 2]);
        format!("2 {} {} 3,{label},{},O {tag} O O\n", 4 + i, 5 + i, 50 + i)
    };
    let table = place.join("reviews.csv");
    let rows: String = (0..12).map(row).collect();
    std::fs::write(&table, format!("text,label,score,tags\n{rows}")).unwrap();
    let own = settings_of(run);
    let before = &own[..own.find("[outputs.").unwrap()];
    (format!("data.source={table:?}"), format!("{before}{output}"))
}

/// A run that learns an output from a checkpoint, and its export.
fn learned(place: &Path, checkpoint: &Path, output: &str) -> (PathBuf, Result<PathBuf, String>) {
    learned_with(place, checkpoint, output, &[])
}

/// The same with further settings.
fn learned_with(
    place: &Path,
    checkpoint: &Path,
    output: &str,
    set: &[&str],
) -> (PathBuf, Result<PathBuf, String>) {
    let at = |name: &str| place.join(name);
    for name in ["run", "tuned", "out"] {
        _ = std::fs::remove_dir_all(at(name));
    }
    pretrained::import(checkpoint, &at("run"), Storage::F32, None).unwrap();
    let (source, toml) = reviews(place, &at("run"), output);
    let fast = ["train.learning_rate=0.01", source.as_str()];
    tune(&at("run"), &at("tuned"), &toml, &[&SHORT[..], &fast, set].concat()).unwrap();
    let exported = pretrained::export(&at("tuned"), &at("out"), Storage::F32);
    (at("tuned"), exported.map(|_| at("out")).map_err(|e| e.to_string()))
}

/// The input of a checkpoint that predicts tokens, and has no input.
const INPUT: &str =
    "[inputs.text]\nmodality = \"text\"\nvocabulary = { numbers = 23 }\ncontext = 12\nsegments = 2\n";
const CLASSES: &str = "[outputs.label]\nhead = \"classify\"\npool = \"first\"\nhidden = \"tanh\"\n";

fn answers(run: &Path, ids: &str) -> Json {
    let mut command = smalti(run.parent().unwrap());
    command.args(["classify", run.to_str().unwrap(), "--text", ids, "--json"]);
    let found = ran(command, "");
    assert_eq!(found.code, Some(0), "{}", found.err);
    serde_json::from_str::<Json>(&found.out).unwrap()["rows"][0]["classes"].clone()
}

#[test]
fn a_trunk_that_learns_classes_is_exported_as_the_model_of_its_head() {
    // The head of one that predicts masked tokens was tied to the embedding.
    for (checkpoint, output) in
        [("bert-trunk", CLASSES.to_string()), ("bert-relu", format!("{INPUT}{CLASSES}"))]
    {
        let (place, from) = (tempfile::tempdir().unwrap(), copied(checkpoint));
        let (tuned, out) = learned(place.path(), from.path(), &output);
        let out = out.unwrap();
        let config = settings(&out);
        assert_eq!(config["architectures"], json!(["BertForSequenceClassification"]), "{checkpoint}");
        assert_eq!(config["id2label"], json!({ "0": "no", "1": "yes" }), "{checkpoint}");
        assert_eq!(config["label2id"], json!({ "no": 0, "yes": 1 }), "{checkpoint}");
        let names = tensors(&out);
        assert!(
            names.keys().all(|name| name.starts_with("bert.") || name.starts_with("classifier.")),
            "{checkpoint}: transformers adds no prefix beside a head: {:?}",
            names.keys()
        );
        assert!(names.contains_key("bert.pooler.dense.weight"), "{checkpoint}");
        let again = place.path().join("again");
        pretrained::import(&out, &again, Storage::F32, None).unwrap();
        assert_eq!(answers(&again, "2 6 7 3"), answers(&tuned, "2 6 7 3"), "{checkpoint}");
    }
}

#[test]
fn a_start_says_that_heads_are_no_longer_tied() {
    let (place, from) = (tempfile::tempdir().unwrap(), copied("bert-relu"));
    let at = |name: &str| place.path().join(name);
    pretrained::import(from.path(), &at("run"), Storage::F32, None).unwrap();
    let (source, toml) = reviews(place.path(), &at("run"), &format!("{INPUT}{CLASSES}"));
    let start = tune(&at("run"), &at("tuned"), &toml, &[&SHORT[..], &[source.as_str()]].concat()).unwrap();
    assert!(start.skipped.iter().any(|name| name.starts_with("model.head.tie_embeddings")), "{start:?}");
    assert!(settings_of(&at("tuned")).contains("tie_embeddings = false"));
}

/// The file that lists the modules would be wrong beside a head. Rows of positions that were not read stay.
#[test]
fn a_sentence_encoder_that_learns_classes_is_none_any_more() {
    let (place, from) = (tempfile::tempdir().unwrap(), copied("bert-trunk"));
    write(from.path(), "1_Pooling/config.json", &json!({ "pooling_mode": "mean" }));
    write(from.path(), "sentence_bert_config.json", &json!({ "max_seq_length": 6 }));
    let (_, out) = learned(place.path(), from.path(), CLASSES);
    let out = out.unwrap();
    assert!(!out.join("1_Pooling").exists() && !out.join("sentence_bert_config.json").exists());
    let (before, after) = (tensors(from.path()), tensors(&out));
    let last = |x: &Tensor| x.narrow(0, 6, 6).unwrap().to_vec2::<f32>().unwrap();
    let name = "embeddings.position_embeddings.weight";
    assert_eq!(last(&after[&format!("bert.{name}")]), last(&before[name]));
    pretrained::open(&out).unwrap();
}

/// transformers scales no numbers: the weights do it.
#[test]
fn a_head_of_normalized_numbers_is_exported_in_the_units_of_the_data() {
    let (place, from) = (tempfile::tempdir().unwrap(), copied("bert-trunk"));
    let output = "[outputs.score]\nhead = \"regress\"\npool = \"first\"\nhidden = \"tanh\"\n";
    let (tuned, out) = learned(place.path(), from.path(), output);
    let out = out.unwrap();
    assert_eq!(settings(&out)["problem_type"], "regression");
    let found = predicted(&pretrained::open(&out).unwrap(), "2 6 7 3");
    let found = found["score"].value.clone().into_numbers().unwrap()[0];
    let mut command = smalti(place.path());
    command.args(["predict", tuned.to_str().unwrap(), "--row", "text=2 6 7 3", "--json"]);
    let said: Json = serde_json::from_str(&ran(command, "").out).unwrap();
    let said = said["rows"][0]["score"]["value"].as_f64().unwrap();
    assert!((said - f64::from(found)).abs() < 1e-3, "{said}, {found}");
    assert!((40.0..72.0).contains(&found), "{found}");
}

#[test]
fn a_head_that_transformers_does_not_have_is_refused_by_name() {
    let place = tempfile::tempdir().unwrap();
    for (checkpoint, output, message) in [
        ("bert-trunk", CLASSES.replace("first", "mean"), "pool: expected \"first\", as in BertForSequence"),
        ("bert-trunk", CLASSES.replace("hidden = \"tanh\"\n", ""), "hidden: expected \"tanh\""),
        ("bert-trunk", CLASSES.replace("tanh", "relu"), "found \"relu\""),
        (
            "bert-trunk",
            CLASSES
                .replace("outputs.label", "outputs.score")
                .replace("classify\"", "regress\"\nbounded = true"),
            "bounded: expected false",
        ),
        ("gpt2-untied", of_gpt2(CLASSES), "pool: expected \"last\", as in GPT2ForSequenceClassification"),
    ] {
        let (_, out) = learned(place.path(), copied(checkpoint).path(), &output);
        let found = out.expect_err(message);
        assert!(found.contains(message) && found.contains("outputs."), "{found}, expected {message}");
    }
}

/// An output of a text that is an input of GPT-2.
fn of_gpt2(output: &str) -> String {
    format!("{}{output}", INPUT.replace("segments = 2\n", ""))
}

const CAUSAL: &str = "model.attention.rules=[{ query = \"text.*\", key = \"text.*\", rule = \"causal\" }]";
const OF_LAST: &str = "[outputs.label]\nhead = \"classify\"\npool = \"last\"\n";

#[test]
fn gpt2_exports_the_classes_that_it_learned() {
    let tags = "[outputs.tags]\nhead = \"tag\"\nfield = \"tags\"\nseparator = \" \"\n";
    let biased = [CAUSAL, "model.head.bias=true"];
    for (output, set, class, head) in [
        (OF_LAST, &[CAUSAL][..], "GPT2ForSequenceClassification", "score."),
        (tags, &biased, "GPT2ForTokenClassification", "classifier."),
    ] {
        let (place, from) = (tempfile::tempdir().unwrap(), copied("gpt2-untied"));
        let (tuned, out) = learned_with(place.path(), from.path(), &of_gpt2(output), set);
        let out = out.unwrap();
        assert_eq!(settings(&out)["architectures"], json!([class]));
        let names = tensors(&out);
        let is_known = |name: &String| name.starts_with("transformer.") || name.starts_with(head);
        assert!(names.keys().all(is_known), "{:?}", names.keys());
        let again = place.path().join("again");
        pretrained::import(&out, &again, Storage::F32, None).unwrap();
        let said = |run: &Path| {
            let mut command = smalti(place.path());
            command.args(["predict", run.to_str().unwrap(), "--row", "text=2 6 7 3", "--json"]);
            let found = ran(command, "");
            assert_eq!(found.code, Some(0), "{}", found.err);
            // The imported output has a name of its own.
            found.out.replace("\"label\"", "\"class\"")
        };
        assert_eq!(said(&again), said(&tuned));
    }
}

/// Settings of a run that no published setting states would be lost.
#[test]
fn a_run_that_computes_something_else_than_its_checkpoint_is_refused_by_name() {
    let place = tempfile::tempdir().unwrap();
    const NONE: &[&str] = &[];
    let score = OF_LAST.replace("outputs.label", "outputs.score").replace("classify", "regress");
    for (output, set, message) in [
        (OF_LAST, NONE, "expected the rule \"causal\" for text.id that attends to text.id in layer 0"),
        (OF_LAST, &[CAUSAL, "model.head.bias=true"], "model.head.bias: expected false"),
        (
            OF_LAST,
            &[CAUSAL, "model.norm_eps=0.5"],
            "model.norm_eps: expected 0.00001, as in its checkpoint; found 0.5",
        ),
        (OF_LAST, &[CAUSAL, "model.mlp.activation=gelu"], "model.mlp.activation: expected \"relu\""),
        (OF_LAST, &[CAUSAL, "model.dropout=0.1"], ""),
        (&score, &[CAUSAL], "normalize: expected false, as GPT2ForSequenceClassification has no bias"),
    ] {
        let (_, out) = learned_with(place.path(), copied("gpt2-untied").path(), &of_gpt2(output), set);
        match out {
            Ok(_) => assert_eq!(message, "", "{set:?}"),
            Err(found) => {
                assert!(!message.is_empty() && found.contains(message), "{found}, expected {message}")
            }
        }
    }
}

/// `Dinov2ForImageClassification` reads the mean of the patches too; its weights of it are 0.
#[test]
fn a_head_of_a_class_token_is_exported_beside_a_mean_that_it_does_not_read() {
    let classes =
        ["outputs.embedding.head=classify", "outputs.embedding.field=label", "train.learning_rate=0.01"];
    for (checkpoint, class, prefix) in [
        ("dinov2", "Dinov2ForImageClassification", "dinov2."),
        ("dinov2-registers", "Dinov2WithRegistersForImageClassification", "dinov2_with_registers."),
        ("vit-trunk", "ViTForImageClassification", "vit."),
    ] {
        let (place, from) = (tempfile::tempdir().unwrap(), copied(checkpoint));
        let at = |name: &str| place.path().join(name);
        pretrained::import(from.path(), &at("run"), Storage::F32, None).unwrap();
        tune(&at("run"), &at("tuned"), &settings_of(&at("run")), &[&SHORT[..], &classes].concat()).unwrap();
        pretrained::export(&at("tuned"), &at("out"), Storage::F32).unwrap();
        let (config, names) = (settings(&at("out")), tensors(&at("out")));
        assert_eq!(config["architectures"], json!([class]));
        assert_eq!(config["id2label"].as_object().unwrap().len(), 10, "{checkpoint}");
        let outside = names.keys().find(|name| !name.starts_with(prefix) && !name.starts_with("classifier."));
        assert_eq!(outside, None, "{checkpoint}");
        let weight = &names["classifier.weight"];
        if checkpoint == "vit-trunk" {
            assert_eq!(weight.dims(), [10, 16]);
            continue;
        }
        assert_eq!(weight.dims(), [10, 32]);
        let half = weight.narrow(1, 16, 16).unwrap().to_vec2::<f32>().unwrap();
        assert!(half.concat().iter().all(|x| *x == 0.0), "{checkpoint}");
        // Without zeros there, the head reads the mean.
        let mut other = names.clone();
        other.insert(
            "classifier.weight".into(),
            Tensor::ones((10, 32), candle_core::DType::F32, &Device::Cpu).unwrap(),
        );
        candle_core::safetensors::save(&other, at("out/model.safetensors")).unwrap();
        pretrained::open(&at("out")).unwrap();
    }
}
