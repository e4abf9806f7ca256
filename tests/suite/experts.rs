//! Models with experts and with ALiBi learn; their load is reported; activation checkpointing changes no bit.
#![cfg(feature = "text")]

use crate::commands::{json, printed};
use crate::tasks;

use candle_core::Device;
use serde_json::Value;
use smalti::data::{Batch, collate};
use smalti::model::{AttentionConfig, ExpertLayers, MlpConfig, Model, ModelConfig};
use smalti::ops::backward;
use tasks::{batches, image, speech};

fn experts(experts_per_token: usize) -> MlpConfig {
    MlpConfig { experts: 4, experts_per_token, d_ff: 24, ..MlpConfig::default() }
}

fn model(mlp: MlpConfig) -> Model {
    let config = ModelConfig {
        d_model: 16,
        n_layers: 2,
        n_encoder_layers: 2,
        attention: AttentionConfig::of_heads(2),
        mlp,
        ..ModelConfig::default()
    };
    Model::new(&config, &[image(), speech()], 5, &Device::Cpu).unwrap()
}

#[test]
fn every_other_block_has_experts() {
    let model = model(MlpConfig { expert_layers: ExpertLayers::EveryOther, ..experts(1) });
    assert_eq!(model.expert_layers(), ["encoder.blocks.1.mlp", "stack.blocks.1.mlp"]);
    let names: Vec<&str> = model.params().iter().map(|(name, _)| name).collect();
    assert!(names.contains(&"stack.blocks.0.mlp.inner.weight"));
    assert!(names.contains(&"stack.blocks.1.mlp.router.weight"));
    assert!(names.contains(&"stack.blocks.1.mlp.experts.3.outer.bias"));
}

/// The load, and for every parameter the bits of its gradient.
fn load_and_gradients(model: &Model, batch: &Batch) -> (Vec<Vec<usize>>, Vec<Option<Vec<u32>>>) {
    let routing = model.routing(1.0).unwrap();
    let heads = model.loss_with_routing(batch, Some(3), 0.0, Some(&routing)).unwrap();
    let gradients = backward(heads.into_iter().map(|head| (head.sum, 1.0)).collect()).unwrap();
    let bits = |place| -> Option<Vec<u32>> {
        let values = gradients.get(place)?.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        Some(values.into_iter().map(f32::to_bits).collect())
    };
    let unused = model.unused_parameters(batch);
    let idle = model.unreached_experts(&routing);
    for (place, (name, _)) in model.params().iter().enumerate() {
        let reached = gradients.get(place).is_some();
        assert_eq!(reached, !unused.contains(name) && !idle.contains(name), "{name}");
    }
    let load = routing.layers().into_values().map(|load| load.tokens).collect();
    (load, (0..model.params().iter().len()).map(bits).collect())
}

#[test]
fn activation_checkpointing_changes_no_bit_and_no_load() {
    for experts_per_token in [1, 2] {
        let mut model = model(experts(experts_per_token));
        for samples in batches() {
            let batch = collate(model.layouts(), &samples).unwrap();
            model.checkpoint_activations(false);
            let kept = load_and_gradients(&model, &batch);
            model.checkpoint_activations(true);
            assert!(kept == load_and_gradients(&model, &batch));
            assert!(!kept.0.is_empty() || batch.heads.is_empty());
        }
    }
}

/// Trains a small text model; the lines of its metrics.
fn trained(settings: &str) -> (tempfile::TempDir, Vec<Value>) {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run").display().to_string();
    let line = format!(
        "train text --set data.source=builtin:text/smalti.txt --set outputs.text.context=24 --set model.d_model=32 --set model.n_layers=2 --set model.attention.n_heads=2 --set train.max_steps=200 \
         --set train.batch_size=8 --set train.learning_rate=3e-3 --set train.warmup_steps=10 --set train.log_every=50 \
         --set train.eval_every=0 --set model.dropout=0.0 {settings}"
    );
    printed(&line.split_whitespace().chain(["--out", &run]).collect::<Vec<_>>());
    let text = std::fs::read_to_string(folder.path().join("run/metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (folder, lines)
}

fn losses(lines: &[Value]) -> Vec<f64> {
    lines.iter().filter_map(|line| line["losses"]["text"].as_f64()).collect()
}

#[test]
fn a_model_with_experts_learns_and_reports_its_load() {
    let settings = "--set model.mlp.experts=4 --set model.mlp.d_ff=64 --set model.mlp.load_balance=0.02";
    let (folder, lines) = trained(settings);
    let losses = losses(&lines);
    assert!(losses.last() < losses.first().map(|first| first * 0.8).as_ref(), "{losses:?}");
    let steps: Vec<&Value> = lines.iter().filter(|line| line["loss"].is_f64()).collect();
    for line in &steps {
        let balance = line["load_balance"].as_f64().unwrap();
        let sum = line["losses"]["text"].as_f64().unwrap() + 0.02 * 2.0 * balance;
        assert!((line["loss"].as_f64().unwrap() - sum).abs() < 1e-6, "{line}");
        for block in ["stack.blocks.0.mlp", "stack.blocks.1.mlp"] {
            let shares: Vec<f64> =
                line["load"][block].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
            assert!(shares.len() == 4 && (shares.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{shares:?}");
        }
    }
    let last = steps.last().unwrap()["load_balance"].as_f64().unwrap();
    assert!((0.9..1.5).contains(&last), "{last}");
    let run = folder.path().join("run").display().to_string();
    let info = json(&["info", &run]);
    let of = |part: &str| info["parameters"][part].as_u64().unwrap();
    // Of each block's experts a token uses one of four: two matrices of 32·64.
    assert_eq!(of("total") - of("active"), 2 * 3 * (2 * 32 * 64));
}

#[test]
fn a_model_with_alibi_and_no_other_positions_learns() {
    let settings = "--set model.attention.alibi=true --set model.embedding.positions=none";
    let (_, lines) = trained(settings);
    let losses = losses(&lines);
    assert!(losses.last() < losses.first().map(|first| first * 0.8).as_ref(), "{losses:?}");
    assert!(lines.iter().all(|line| line.get("load_balance").is_none()), "no experts");
}
