//! The commands that inspect: `smalti data`, `info` and `show`.
#![cfg(all(feature = "text", feature = "image", feature = "audio", feature = "trajectory"))]

use crate::commands;

use candle_core::Device;
use commands::{IDX, WAV, at, folder, json, printed, refusal};
use serde_json::Value;
use smalti::run::{Run, Weights};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use tempfile::TempDir;

/// A run of two steps, trained once for all tests.
static RUN: LazyLock<(TempDir, String)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run").to_str().unwrap().to_string();
    let settings = [
        "train.max_steps=2",
        "train.log_every=1",
        "train.eval_every=1",
        "train.eval_samples=2",
        "model.d_model=16",
        "model.n_layers=2",
        "data.context=8",
    ];
    let set = settings.iter().flat_map(|setting| ["--set", setting]);
    printed(&["train", "text", "--out", &run].into_iter().chain(set).collect::<Vec<_>>());
    (folder, run)
});

#[test]
fn wrong_usage_exits_with_2() {
    for args in [
        &["tokenize", WAV, "--colour"][..],
        &["tokenize", IDX, "--image-size", "8"],
        &["tokenize", WAV, "--as", "video"],
        &["tokenize"],
        &["data", "have"],
        &["data", "get"],
        &["info"],
        &["show", "run", "--rule"],
    ] {
        assert!(refusal(2, args).contains("Usage") || refusal(2, args).contains("--help"), "{args:?}");
    }
}

#[test]
fn data_are_listed_and_made() {
    let sets = json(&["data", "list"]);
    let names: Vec<_> =
        sets["sets"].as_array().unwrap().iter().map(|set| set["name"].as_str().unwrap()).collect();
    for name in ["text", "digits", "touchtone", "cartpole", "mnist", "fsdd", "tinyshakespeare"] {
        assert!(names.contains(&name), "{name}");
    }
    let table = printed(&["data", "list"]);
    assert!(table.contains("builtin:touchtone.tar") && table.contains("smalti data get mnist"));

    let folder = tempfile::tempdir().unwrap();
    let out = at(&folder, "made/here");
    let written = json(&["data", "get", "touchtone", "--out", &out]);
    let bytes = fs::read(Path::new(written["folder"].as_str().unwrap()).join("touchtone.tar")).unwrap();
    assert!(bytes == smalti::data::read("builtin:touchtone.tar").unwrap(), "{} bytes", bytes.len());
}

#[test]
fn a_download_that_differs_from_its_recipe_is_an_error() {
    let mirror = folder(&[("input.txt", b"To be, or not to be")]);
    let out = tempfile::tempdir().unwrap();
    let (from, to) = (mirror.path().to_str().unwrap(), out.path().to_str().unwrap());
    let message = refusal(1, &["data", "get", "tinyshakespeare", "--mirror", from, "--out", to]);
    assert!(message.contains("input.txt: size is 19; expected 1115394; nothing was kept"), "{message}");
    assert_eq!(fs::read_dir(out.path().join("tinyshakespeare")).unwrap().count(), 0);
    let message = refusal(1, &["data", "get", "fsdd", "--mirror", from, "--out", to]);
    assert!(message.contains("v1.0.9.tar.gz: not found"), "{message}");
    assert!(refusal(1, &["data", "get", "imagenet"]).contains("no recipe \"imagenet\"; there is mnist"));
}

#[test]
#[ignore = "needs SMALTI_DATA"]
fn the_file_of_a_recipe_is_fetched_from_a_mirror() {
    let real = std::env::var("SMALTI_DATA").expect("SMALTI_DATA names the folder of real data");
    let text = fs::read(Path::new(&real).join("text/tinyshakespeare.txt")).unwrap();
    let mirror = folder(&[("input.txt", &text)]);
    let out = tempfile::tempdir().unwrap();
    let (from, to) = (mirror.path().to_str().unwrap(), out.path().to_str().unwrap());
    let got = json(&["data", "get", "tinyshakespeare", "--mirror", from, "--out", to]);
    let file = PathBuf::from(got["folder"].as_str().unwrap()).join("tinyshakespeare.txt");
    assert!(fs::read(&file).unwrap() == text);
    let checked = json(&["data", "check", file.to_str().unwrap()]);
    assert_eq!(checked["splits"][0]["fields"][0]["found"]["distinct_characters"], 65);
}

#[test]
fn info_describes_a_run() {
    let (_, run) = &*RUN;
    let info = json(&["info", run]);
    let keys: Vec<_> = info.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        ["best", "kinds", "not_used", "parameters", "run", "settings", "step", "tasks", "weights"]
    );
    assert_eq!((&info["step"], &info["settings"]["model"]["d_model"]), (&2.into(), &16.into()));
    assert_eq!(
        (&info["tasks"][0]["name"], &info["kinds"][0]["name"]),
        (&"".into(), &"text.character".into())
    );
    let parts = info["parameters"].as_object().unwrap();
    let total = parts["total"].as_u64().unwrap();
    assert_eq!(parts.values().filter_map(Value::as_u64).sum::<u64>(), 2 * total);
    assert!(info["best"]["metrics"]["text"]["loss"].as_f64().unwrap() > 0.0);
    let files: Vec<_> =
        info["weights"].as_array().unwrap().iter().map(|saved| saved["file"].as_str()).collect();
    assert_eq!(files, [Some("model.safetensors"), Some("state.safetensors")]);
    let table = printed(&["info", run]);
    assert!(
        table.contains("d_model = 16") && table.contains(&total.to_string()) && table.contains("at step 2")
    );
}

#[test]
fn info_reads_the_headers_of_weights() {
    let (_, run) = &*RUN;
    let info = json(&["info", run]);
    let (model, _) = Run::open(Path::new(run)).unwrap().load(Weights::Best, &Device::Cpu).unwrap();
    assert_eq!(info["parameters"]["total"], model.params().count());
    assert_eq!(info["kinds"], serde_json::to_value(model.kinds()).unwrap());
    let parts: Vec<_> = info["parameters"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(parts, ["embed", "stack", "total"], "the head is tied");

    let copy = tempfile::tempdir().unwrap();
    for name in ["run.toml", "tokenizers.json", "metrics.jsonl"] {
        fs::copy(Path::new(run).join(name), copy.path().join(name)).unwrap();
    }
    let without = json(&["info", copy.path().to_str().unwrap()]);
    assert_eq!((&without["parameters"], &without["weights"]), (&Value::Null, &serde_json::json!([])));
    assert_eq!((&without["step"], &without["settings"]), (&info["step"], &info["settings"]));
}

#[test]
fn show_draws_rules_and_curves() {
    let (_, run) = &*RUN;
    let folder = tempfile::tempdir().unwrap();
    let out = at(&folder, "drawn");
    let drawn = printed(&["show", run, "--out", &out]);
    let image = "self-attention, every layer\n\n      tttttttt\n    t x.......\n    t xx......\n";
    assert!(
        drawn.contains(image) && drawn.contains("text.character attends to text.character: causal"),
        "{drawn}"
    );
    assert!(drawn.contains("text loss: train ") && drawn.contains("text accuracy: validation "), "{drawn}");
    for name in ["rules.svg", "curves.svg"] {
        assert!(fs::read_to_string(Path::new(&out).join(name)).unwrap().starts_with("<svg"), "{name}");
    }
    let rules = printed(&["show", run, "--rules"]);
    assert!(rules.contains("self-attention") && !rules.contains("loss"));
    let curves = json(&["show", run, "--curves"]);
    assert!(curves["rules"].is_null());
    assert_eq!(curves["curves"][0]["curves"][0]["points"].as_array().unwrap().len(), 2);
}

#[test]
fn settings_are_listed_with_their_meaning() {
    let listed = json(&["settings", "train"]);
    let of = |key: &str| {
        let settings = listed["settings"].as_array().unwrap();
        settings.iter().find(|setting| setting["key"] == key).unwrap_or_else(|| panic!("{key}")).clone()
    };
    assert_eq!(of("train.max_steps")["default"], 1000);
    assert_eq!(of("train.precision")["choices"][0], "f32");
    assert!(of("train.warmup_steps")["meaning"].as_str().unwrap().contains("learning rate"));
    let table = printed(&["settings", "image"]);
    assert!(table.contains("inputs.NAME.patch_size") && table.contains("modality = \"image\""), "{table}");
    assert!(printed(&["settings"]).lines().all(|line| line.chars().count() <= 120), "it is no terminal");
    let message = refusal(1, &["settings", "train.lerning_rate"]);
    assert!(message.contains("did you mean train.learning_rate?"), "{message}");
    let message = refusal(1, &["train", "text", "--set", "train.warmup=5"]);
    assert!(message.contains("warmup") && message.contains("did you mean train.warmup_steps?"), "{message}");
}

#[test]
fn damaged_run_folders_are_named() {
    let (_, run) = &*RUN;
    let folder = tempfile::tempdir().unwrap();
    for command in ["info", "show"] {
        let message = refusal(1, &[command, &at(&folder, "nothing")]);
        assert!(message.contains("nothing is no run folder"), "{message}");
    }
    for file in ["run.toml", "tokenizers.json", "metrics.jsonl", "model.safetensors"] {
        let damaged = tempfile::tempdir().unwrap();
        for name in ["run.toml", "tokenizers.json", "metrics.jsonl", "model.safetensors"] {
            fs::copy(Path::new(run).join(name), damaged.path().join(name)).unwrap();
        }
        let path = damaged.path().join(file);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, [&bytes[..bytes.len() / 2], b"\n{\n"].concat()).unwrap();
        let message = refusal(1, &["info", damaged.path().to_str().unwrap()]);
        assert!(message.contains(file), "{file}: {message}");
    }
}
