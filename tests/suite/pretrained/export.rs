//! Checkpoints become runs, and runs the same checkpoints again.

use super::{batch, golden, part, sample, shipped, tensors};
use candle_core::{Device, Tensor};
use smalti::ops::QuantizedType;
use smalti::pretrained::{self, PretrainedError, Scales};
use smalti::run::{Run, Weights};
use smalti::sample::Pool;
use smalti::train::{Storage, TensorFile};
use smalti_contract::Value;
use std::collections::HashMap;
use std::path::Path;

fn assert_same(name: &str, found: &HashMap<String, Tensor>, expected: &HashMap<String, Tensor>) {
    for (tensor, values) in found {
        let expected = expected.get(tensor).unwrap_or_else(|| panic!("{name}: unexpected tensor {tensor}"));
        assert_eq!(values.dims(), expected.dims(), "{name}: {tensor}");
        let numbers = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(numbers(values), numbers(expected), "{name}: {tensor}");
    }
}

fn export_and_import(name: &str, folder: &Path) {
    let place = tempfile::tempdir().unwrap();
    let at = |part: &str| place.path().join(part);
    let report =
        pretrained::import(folder, &at("run"), Storage::F32, None).unwrap_or_else(|e| panic!("{name}: {e}"));
    pretrained::export(&at("run"), &at("out"), Storage::F32).unwrap();
    let (before, after) = (tensors(folder), tensors(&at("out")));
    // The export has the matrix of a tied head once.
    assert_eq!(after.len() + report.repeated.len(), before.len(), "{name}");
    assert_same(name, &after, &before);
    pretrained::import(&at("out"), &at("again"), Storage::F32, None).unwrap();
    let weights =
        |run: &str| candle_core::safetensors::load(at(run).join("model.safetensors"), &Device::Cpu).unwrap();
    assert_same(name, &weights("again"), &weights("run"));
    assert!(
        matches!(pretrained::import(folder, &at("run"), Storage::F32, None), Err(PretrainedError::Exists(_))),
        "{name}: the folder holds a run"
    );
}

#[test]
fn export_inverts_import() {
    shipped().iter().for_each(|(name, folder)| export_and_import(name, folder));
}

#[test]
#[ignore = "needs the reference outputs in SMALTI_GOLDEN"]
fn export_inverts_import_of_golden_checkpoints() {
    golden().iter().for_each(|(name, folder)| export_and_import(name, folder));
}

/// Weights in 16 bits take half the space, and keep their bits through export and import.
#[test]
fn weights_are_stored_in_16_bits() {
    let place = tempfile::tempdir().unwrap();
    for (name, storage) in [("bf16", Storage::Bf16), ("f16", Storage::F16)] {
        let run = place.path().join(name);
        pretrained::import(&shipped()["llama3-rope"], &run, storage, None).unwrap();
        let size = |path: &Path| std::fs::metadata(path).unwrap().len() as f64;
        let whole =
            tensors(&shipped()["llama3-rope"]).values().map(|x| 4 * x.elem_count()).sum::<usize>() as f64;
        assert!(size(&run.join("model.safetensors")) < 0.7 * whole, "{name}");
        let exported = place.path().join(format!("{name}-out"));
        pretrained::export(&run, &exported, storage).unwrap();
        let again = place.path().join(format!("{name}-again"));
        pretrained::import(&exported, &again, storage, None).unwrap();
        let bytes = |run: &Path| std::fs::read(run.join("model.safetensors")).unwrap();
        assert_eq!(bytes(&run), bytes(&again), "{name}");
    }
}

/// Rounded weights take a byte and a scale, and are loaded and exported as the numbers that they stand for.
#[test]
fn weights_are_stored_as_small_integers() {
    let place = tempfile::tempdir().unwrap();
    let (run, exported) = (place.path().join("run"), place.path().join("out"));
    let options = pretrained::Options { quantized: Some(QuantizedType::Int8), ..Default::default() };
    pretrained::import_with(&shipped()["llama3-rope"], &run, Storage::F32, &options).unwrap();
    assert_eq!(TensorFile::open(&run.join("model.safetensors")).unwrap().types(), ["f32", "int8"]);
    pretrained::export(&run, &exported, Storage::F32).unwrap();
    let numbers = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let published = tensors(&shipped()["llama3-rope"]);
    for (name, found) in tensors(&exported) {
        let expected = numbers(&published[&name]);
        let largest = expected.iter().fold(0.0, |largest: f32, x| largest.max(x.abs()));
        for (found, expected) in numbers(&found).into_iter().zip(expected) {
            assert!((found - expected).abs() <= largest / 253.0, "{name}: {expected} became {found}");
        }
    }
    let load = |dtype| Run::open(&run).unwrap().load_in(Weights::Best, &Device::Cpu, dtype).unwrap().0;
    let [plain, rounded] = [None, options.quantized].map(load);
    assert_eq!(plain.params().count(), rounded.params().count());
    assert!(rounded.params().bytes() < plain.params().bytes());
}

/// The files beside the weights set the maximum length, the pooling and the normalization.
#[test]
fn the_settings_of_a_sentence_encoder_are_read() {
    let place = tempfile::tempdir().unwrap();
    let from = &shipped()["bert-trunk"];
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(from.join(name), place.path().join(name)).unwrap();
    }
    std::fs::create_dir(place.path().join("1_Pooling")).unwrap();
    for (name, json) in [
        ("1_Pooling/config.json", r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#),
        (
            "modules.json",
            r#"[
            {"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            {"idx": 2, "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}]"#,
        ),
        ("sentence_bert_config.json", r#"{"max_seq_length": 4}"#),
    ] {
        std::fs::write(place.path().join(name), json).unwrap();
    }
    let model = pretrained::open(place.path()).unwrap();
    assert_eq!(part(&model, "text").unwrap().capacity(), Some(4));
    let output = &model.settings.outputs["embedding"];
    assert_eq!((output.pool, &output.settings["normalize"]), (Some(Pool::First), &true.into()));
    let row = [("text", Value::Text("5 9 4".into()))];
    let batch = batch(&model, vec![sample(&model, 0, &row)]);
    let found = model.model.outputs(&batch).unwrap().remove(0);
    let states: Vec<Vec<f32>> = model.model.forward(&batch, None).unwrap().into_tensor().to_vec2().unwrap();
    assert_eq!(found.to_vec2::<f32>().unwrap(), states[..1]);
    export_and_import("sentences", place.path());
}

/// A checkpoint does not hold the scaling of its training data: the import takes it from a log.
#[test]
fn trajectories_are_scaled_by_the_statistics_of_a_log() {
    let place = tempfile::tempdir().unwrap();
    let log = place.path().join("log.jsonl");
    let step = |t: i32| format!("[{t}, {}, 1]", 10 * t);
    let states: Vec<String> = (0..5).map(step).collect();
    let episode = format!(
        r#"{{"observations": [{}], "actions": [[-2, 1], [2, 1], [0, 3], [0, 1], [0, 1]], "rewards": [1, 1, 1, 1, 1], "terminated": true}}"#,
        states.join(", ")
    );
    std::fs::write(&log, episode).unwrap();
    let scales = |log: &Path| Scales { log: Some(log.display().to_string()), return_scale: Some(1000.0) };
    let run = place.path().join("run");
    pretrained::import(&shipped()["decision-transformer"], &run, Storage::F32, Some(&scales(&log))).unwrap();
    let saved: serde_json::Value =
        serde_json::from_slice(&std::fs::read(run.join("tokenizers.json")).unwrap()).unwrap();
    let config = |part: &str| saved[""]["tokenizers"][part]["config"].clone();
    assert_eq!(config("observations")["mean"], serde_json::json!([2.0, 20.0, 1.0]));
    let deviation = 2.0_f64.sqrt();
    assert_eq!(
        config("observations")["std"],
        serde_json::json!([deviation + 1e-6, 10.0 * deviation + 1e-6, 1e-6])
    );
    assert_eq!(config("return_to_go")["std"], serde_json::json!([1000.0]));
    let other = place.path().join("other");
    std::fs::write(
        &log,
        r#"{"observations": [[1], [2]], "actions": [0, 1], "rewards": [1, 1], "terminated": true}"#,
    )
    .unwrap();
    let error =
        pretrained::import(&shipped()["decision-transformer"], &other, Storage::F32, Some(&scales(&log)));
    assert!(error.unwrap_err().to_string().contains("expected states of 3 numbers and actions of 2"));
    let error = pretrained::import(&shipped()["gpt2-untied"], &other, Storage::F32, Some(&scales(&log)));
    assert!(error.unwrap_err().to_string().contains("expected a decision_transformer for scales"));
    assert!(!other.exists(), "nothing is written before the checkpoint and the log are read");
}
