//! Training from another run's weights: loaded, interpolated, new and frozen parameters.

#[cfg(feature = "text")]
use crate::support::{ran, smalti};
use candle_core::{Device, Tensor};
use smalti::config::RunConfig;
use smalti::pretrained;
use smalti::run::{Run, RunError, Start};
use smalti::train::{Alone, Silent, Storage};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, atomic::AtomicBool};

fn imported(place: &Path, checkpoint: &str) -> PathBuf {
    let run = place.join(format!("{checkpoint}-run"));
    pretrained::import(&Path::new("tests/checkpoints").join(checkpoint), &run, Storage::F32, None).unwrap();
    run
}

fn weights(run: &Path) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(run.join("model.safetensors"), &Device::Cpu).unwrap()
}

fn numbers(x: &Tensor) -> Vec<f32> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

/// Train the run `out` from the weights of `from`.
pub fn tune(from: &Path, out: &Path, toml: &str, set: &[&str]) -> Result<Start, RunError> {
    let set: Vec<String> = set.iter().map(|set| set.to_string()).collect();
    let config = RunConfig::parse("settings", toml, &set).unwrap();
    let (_, mut trainer, start) =
        Run::create_from(out, config, &Device::Cpu, Arc::new(Alone), &Run::open(from)?)?;
    trainer.run(Some(out), &AtomicBool::new(false), &mut Silent)?;
    Ok(start)
}

pub fn settings_of(run: &Path) -> String {
    std::fs::read_to_string(run.join("run.toml")).unwrap()
}

pub const SHORT: [&str; 4] =
    ["train.max_steps=3", "train.batch_size=4", "train.eval_samples=4", "train.warmup_steps=1"];

#[cfg(feature = "image")]
#[test]
fn a_vision_transformer_learns_other_classes_at_another_size() {
    let place = tempfile::tempdir().unwrap();
    let (from, out) = (imported(place.path(), "vit-no-bias"), place.path().join("tuned"));
    let patches =
        ["inputs.image.image_size=[16, 12]", "data.train=split = train", "data.validation=split = test"];
    let frozen = ["train.freeze=[\"embed.image.patch.map.*\", \"stack.blocks.0.*\"]"];
    let start = tune(&from, &out, &settings_of(&from), &[&SHORT[..], &patches, &frozen].concat()).unwrap();
    assert_eq!(start.interpolated, ["embed.image.patch.grid [4, 16] → [12, 16]"]);
    assert_eq!(start.new, ["head.class.weight", "head.class.bias"], "ten digits, not three labels");
    assert_eq!(start.skipped.len(), 2);
    let (before, after) = (weights(&from), weights(&out));
    let moved = |name: &str| numbers(&before[name]) != numbers(&after[name]);
    assert!(!moved("stack.blocks.0.mlp.inner.weight") && !moved("embed.image.patch.map.weight"));
    assert!(moved("stack.blocks.1.mlp.inner.weight") && moved("stack.norm.weight"));
    let said: Start = serde_json::from_slice(&std::fs::read(out.join("start.json")).unwrap()).unwrap();
    assert_eq!(said, start);

    // The trained run is exported in the published layout.
    let published = place.path().join("published");
    assert!(pretrained::export(&out, &out, Storage::F32).is_err(), "an export does not overwrite a run");
    pretrained::export(&out, &published, Storage::F32).unwrap();
    let back = pretrained::open(&published).unwrap();
    assert_eq!(back.model.params().tensors()["head.class.weight"].dims(), [10, 16]);
    assert_eq!(
        numbers(&back.model.params().tensors()["embed.image.patch.grid"]),
        numbers(&after["embed.image.patch.grid"])
    );
}

/// The class token of the embedding is also that of the classifier.
#[cfg(feature = "image")]
#[test]
fn a_trunk_learns_classes_alone_and_in_a_mix() {
    let place = tempfile::tempdir().unwrap();
    let (from, out) = (imported(place.path(), "dinov2"), place.path().join("classes"));
    let classes = ["outputs.embedding.head=classify", "outputs.embedding.field=label"];
    let start = tune(&from, &out, &settings_of(&from), &[&SHORT[..], &classes].concat()).unwrap();
    assert_eq!(start.new, ["head.embedding.weight", "head.embedding.bias"]);
    assert!(start.skipped.is_empty() && start.interpolated.is_empty(), "{start:?}");
    let published = place.path().join("published");
    pretrained::export(&out, &published, Storage::F32).unwrap();
    let back = pretrained::open(&published).unwrap().model.params().tensors();
    let learned = weights(&out);
    // transformers' classifier also reads the mean of the patches, here with weights of 0.
    let halves = back["head.class.weight"].chunk(2, 1).unwrap();
    assert_eq!(numbers(&halves[0]), numbers(&learned["head.embedding.weight"]));
    assert!(numbers(&halves[1]).iter().all(|weight| *weight == 0.0));
    assert_eq!(numbers(&back["embed.class.class.table"]), numbers(&learned["embed.embedding.class.table"]));

    let mut mix = settings_of(&out);
    for table in ["data", "inputs", "outputs"] {
        mix = mix.replace(&format!("[{table}"), &format!("[mix.digits.{table}"));
    }
    let start = tune(&out, &place.path().join("mix"), &mix, &SHORT).unwrap();
    assert!(start.loaded.contains(&"head.digits.embedding.weight".to_string()), "{start:?}");
    assert!(start.new.is_empty() && start.skipped.is_empty(), "{start:?}");
}

#[cfg(feature = "trajectory")]
#[test]
fn a_decision_transformer_learns_from_a_log() {
    let place = tempfile::tempdir().unwrap();
    let (from, out) = (imported(place.path(), "decision-transformer"), place.path().join("tuned"));
    let log = place.path().join("log.jsonl");
    let step = |t: i32| (format!("[{t}, {}, 1]", 10 * t), format!("[{}, 0.5]", f64::from(t % 3) - 1.0));
    let (states, actions): (Vec<String>, Vec<String>) = (0..9).map(step).unzip();
    let (states, actions) = (states.join(", "), actions.join(", "));
    let rewards = [1; 9];
    let episode = format!(
        r#"{{"observations": [{states}], "actions": [{actions}], "rewards": {rewards:?}, "terminated": true}}"#
    );
    std::fs::write(&log, [episode.as_str(); 4].join("\n")).unwrap();
    let source = format!("data.source={log:?}");
    let start = tune(&from, &out, &settings_of(&from), &[&SHORT[..], &[source.as_str()]].concat()).unwrap();
    assert!(start.new.is_empty() && start.skipped.is_empty() && start.interpolated.is_empty(), "{start:?}");
    let (before, after) = (weights(&from), weights(&out));
    let moved = |name: &str| numbers(&before[name]) != numbers(&after[name]);
    assert!(moved("head.actions.weight") && !moved("head.next_state.weight"));
    pretrained::export(&out, &place.path().join("published"), Storage::F32).unwrap();
}

#[cfg(all(feature = "text", feature = "image"))]
#[test]
fn a_text_model_learns_images() {
    let place = tempfile::tempdir().unwrap();
    let (from, out) = (imported(place.path(), "gpt2-untied"), place.path().join("mix"));
    let text = place.path().join("ids.txt");
    std::fs::write(&text, (0..400).map(|i| (i * i % 23).to_string()).collect::<Vec<_>>().join(" ")).unwrap();
    let own = settings_of(&from);
    let (model, _) = own.split_at(own.find("[data]").unwrap());
    let toml = format!(
        "{model}\n[mix.text.data]\nsource = {text:?}\n\
         [mix.text.outputs.text]\nhead = \"generate\"\nmodality = \"text\"\nwindows = true\ncontext = 12\n\
         [mix.digits.data]\nsource = \"builtin:digits\"\n\
         [mix.digits.inputs.image]\nmodality = \"image\"\n\
         [mix.digits.outputs.class]\nhead = \"classify\"\nfield = \"label\"\n"
    );
    let start = tune(&from, &out, &toml, &SHORT).unwrap();
    assert!(start.loaded.contains(&"embed.text.text.id.table".to_string()), "{start:?}");
    assert!(start.loaded.contains(&"stack.blocks.1.mlp.outer.weight".to_string()));
    assert!(start.new.iter().all(|name| name.contains("digits")) && !start.new.is_empty(), "{start:?}");
    assert!(start.skipped.is_empty() && start.interpolated.is_empty());
}

#[cfg(feature = "text")]
#[test]
fn a_longer_context_is_interpolated_and_a_pattern_without_a_match_is_an_error() {
    let place = tempfile::tempdir().unwrap();
    let from = imported(place.path(), "gpt2-untied");
    let text = place.path().join("ids.txt");
    std::fs::write(&text, (0..400).map(|i| (i * i % 23).to_string()).collect::<Vec<_>>().join(" ")).unwrap();
    let path = format!("data.source={text:?}");
    let set = |more: &'static [&'static str]| [&SHORT[..], &[path.as_str()], more].concat();
    let error =
        tune(&from, &place.path().join("none"), &settings_of(&from), &set(&["train.freeze=[\"blocks.*\"]"]));
    assert!(error.unwrap_err().to_string().contains("no parameter's name matches \"blocks.*\""));
    let start = tune(&from, &place.path().join("same"), &settings_of(&from), &set(&[])).unwrap();
    assert!(start.new.is_empty() && start.skipped.is_empty() && start.interpolated.is_empty(), "{start:?}");
    let longer =
        tune(&from, &place.path().join("longer"), &settings_of(&from), &set(&["outputs.text.context=20"]))
            .unwrap();
    assert_eq!(longer.interpolated, ["embed.text.id.index [12, 16] → [20, 16]"]);
    let other = imported(place.path(), "bert-trunk");
    let error = tune(&other, &place.path().join("other"), &settings_of(&from), &set(&["model.d_model=8"]));
    assert!(error.unwrap_err().to_string().contains("none of its weights fits"));
}

/// A run from published weights has the learning rate of the import, unless the user sets one.
#[cfg(feature = "text")]
#[test]
fn published_weights_are_fine_tuned_at_a_low_learning_rate() {
    let place = tempfile::tempdir().unwrap();
    let from = imported(place.path(), "gpt2-untied");
    let text = place.path().join("ids.txt");
    std::fs::write(&text, (0..400).map(|i| (i * i % 23).to_string()).collect::<Vec<_>>().join(" ")).unwrap();
    let settings = settings_of(&from);
    let unset = settings.lines().filter(|line| !line.starts_with("learning_rate = "));
    let unset: String = unset.map(|line| format!("{line}\n")).collect();
    assert_ne!(unset, settings);
    let short = SHORT.map(|set| format!("--set {set}")).join(" ");
    let train = |file: Option<&str>, set: &str, out: &str| {
        let own = file.map_or("", |_| "own.toml");
        if let Some(toml) = file {
            std::fs::write(place.path().join(own), toml).unwrap();
        }
        let line =
            format!("train {own} --from gpt2-untied-run --set data.source=ids.txt {short} {set} --out {out}");
        let ran = ran(smalti(place.path()), &line);
        assert_eq!(ran.code, Some(0), "smalti {line}\n{}", ran.err);
        let train = RunConfig::parse("run.toml", &settings_of(&place.path().join(out)), &[]).unwrap().train;
        (train.learning_rate, train.min_learning_rate, ran.err.contains("fine-tuning at learning rate 5e-5"))
    };
    assert_eq!(train(None, "", "import"), (5e-5, 5e-6, true));
    assert_eq!(train(Some(&unset), "", "unset"), (5e-5, 5e-6, true));
    assert_eq!(train(None, "--set train.learning_rate=1e-3", "set"), (1e-3, 5e-6, false));
    let own = unset.replace("[train]", "[train]\nlearning_rate = 2e-4");
    assert_eq!(train(Some(&own), "", "own"), (2e-4, 5e-6, false));
    let resumed = ran(smalti(place.path()), "train --resume --out gpt2-untied-run");
    assert!(
        resumed.err.contains("no training to resume; train a new run: --from gpt2-untied-run"),
        "{}",
        resumed.err
    );
    // A run that was fine-tuned holds weights that started from published ones.
    let again = format!("train --from set --set data.source=ids.txt {short} --out again");
    let again = ran(smalti(place.path()), &again);
    assert!(again.err.contains("fine-tuning at learning rate 1e-3"), "{}", again.err);
}
