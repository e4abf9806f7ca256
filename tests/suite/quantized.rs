//! Weights of 8 and 4 bits: a trained model's text, loss and classes stay, its bytes shrink, and it has no gradient.

#![cfg(all(feature = "text", feature = "image"))]

use crate::support::{self, ran, smalti};
use candle_core::Device;
use serde_json::Value;
use smalti::data::{Batch, Sample, Stream, Target, collate};
use smalti::head::{Generate, HeadSpec};
use smalti::model::{AttentionConfig, HeadConfig, MlpConfig, Model, ModelConfig, Params};
use smalti::ops::{QuantizedType, without_gradients};
use smalti::task::TaskSpec;
use smalti_contract::{Axis, Content, ContentSpec, Group, KindSpec, Tokens};
use std::collections::HashMap;
use std::path::Path;

const TYPES: [QuantizedType; 2] = [QuantizedType::Int8, QuantizedType::Int4];

fn works(folder: &Path, line: &str) -> String {
    let ran = ran(smalti(folder), line);
    assert_eq!(ran.code, Some(0), "smalti {line}\n{}", ran.err);
    ran.out
}

fn json(folder: &Path, line: &str) -> Value {
    serde_json::from_str(&works(folder, &format!("{line} --json"))).unwrap()
}

#[test]
fn a_trained_model_keeps_its_text_and_its_loss() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    std::fs::write(place.join("a.txt"), support::text()).unwrap();
    works(
        place,
        "train text --set data.source=a.txt --set data.context=16 --set train.max_steps=250 --set train.batch_size=8 \
         --set train.learning_rate=1e-2 --set train.warmup_steps=10 --set train.eval_every=0 --set model.d_model=32 \
         --set model.n_layers=2 --set model.attention.n_heads=2 --out run",
    );
    let loss = |more: &str| {
        let measured = json(place, &format!("eval run --generate 0 {more}"));
        measured["text"]["loss"].as_f64().unwrap()
    };
    let plain = loss("");
    // The logarithms of the bounds of perplexity, 0.5% and 3%.
    for (dtype, bound) in [("int8", 0.005), ("int4", 0.03)] {
        let found = loss(&format!("--dtype {dtype}"));
        assert!((found - plain).abs() <= bound, "{dtype}: {found} in place of {plain}");
    }
    let text = |more: &str| {
        let line = format!("generate run --prompt quick --max-new-tokens 40 --temperature 0 {more}");
        json(place, &line)["text"].as_str().unwrap().to_string()
    };
    assert_eq!(text("--dtype int8"), text(""));
    assert_eq!(text("--dtype int8 --device cpu").len(), text("--dtype int4").len());
    let gpu = ran(smalti(place), "generate run --dtype int8 --device cuda:1");
    assert_eq!(gpu.code, Some(1), "{}", gpu.err);
    let message = "--dtype int8: expected --device cpu, which computes with it; found --device cuda:1";
    assert!(gpu.err.contains(message), "{}", gpu.err);
    for command in ["generate run", "eval run", "classify run a.txt", "embed run a.txt", "predict run a.txt"]
    {
        let wrong = ran(smalti(place), &format!("{command} --dtype int3"));
        assert_eq!(wrong.code, Some(2), "{}", wrong.err);
        assert!(wrong.err.contains("int3") && wrong.err.contains("f32, int8, int4"), "{}", wrong.err);
    }
}

/// A causal text of ids.
fn task() -> TaskSpec {
    let id = KindSpec {
        name: "id".into(),
        content: ContentSpec::Ids { vocabulary: 20 },
        axes: vec![Axis::new("index", 64)],
        time_steps: None,
    };
    TaskSpec {
        name: String::new(),
        inputs: vec![(Stream::Main, vec![id])],
        rules: vec![("id".into(), "id".into(), "causal".parse().unwrap())],
        heads: vec![HeadSpec::new("", "id", Generate::new(20))],
        loss_weight: 1.0,
        shares: vec![],
    }
}

fn config(mlp: MlpConfig, tied: bool) -> ModelConfig {
    ModelConfig {
        d_model: 48,
        n_layers: 2,
        attention: AttentionConfig { n_kv_heads: 1, ..AttentionConfig::of_heads(2) },
        mlp,
        head: HeadConfig { tie_embeddings: tied, ..HeadConfig::default() },
        ..ModelConfig::default()
    }
}

fn batch(model: &Model, n: u32) -> Batch {
    let ids = (0..n).map(|i| (i * 7 + 3) % 20).collect();
    let tokens = Tokens::new(vec![Group::sequence(Content::Ids(ids))]);
    let target = Target::ids((0..n).map(|i| i % 20).collect());
    let sample = Sample { inputs: vec![(Stream::Main, tokens)], outputs: vec![target.into()], id: 1 };
    collate(model.layouts(), &[(0, sample)]).unwrap()
}

fn logits(model: &Model, n: u32) -> Vec<f32> {
    let outputs = model.outputs(&batch(model, n)).unwrap();
    outputs[0].flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn outputs_stay_near_those_of_f32_in_every_mlp_and_head() {
    let gated = MlpConfig { gated: true, ..MlpConfig::default() };
    let experts = MlpConfig { experts: 2, experts_per_token: 2, d_ff: 40, ..MlpConfig::default() };
    for (mlp, tied) in [(MlpConfig::default(), true), (gated, false), (experts, true)] {
        let config = config(mlp, tied);
        let plain = Model::new(&config, &[task()], 3, &Device::Cpu).unwrap();
        let saved: HashMap<_, _> = plain.params().tensors().into_iter().collect();
        for (dtype, share) in [(QuantizedType::Int8, 0.03), (QuantizedType::Int4, 0.4)] {
            let params = Params::blank(&Device::Cpu).quantized(dtype).unwrap();
            let model = Model::with_params(&config, &[task()], params).unwrap();
            assert!(model.outputs(&batch(&model, 3)).is_err(), "it has no values yet");
            model.params().load(&saved).unwrap();
            assert_eq!(model.params().count(), plain.params().count());
            // Drawn values are rounded too.
            let drawn = Params::new(3, &Device::Cpu).quantized(dtype).unwrap();
            let drawn = Model::with_params(&config, &[task()], drawn).unwrap();
            // Few rows, and more.
            for n in [5, 30] {
                let (expected, found) = (logits(&plain, n), logits(&model, n));
                let norm = |x: &mut dyn Iterator<Item = f32>| x.map(|x| x * x).sum::<f32>().sqrt();
                let apart = norm(&mut expected.iter().zip(&found).map(|(a, b)| a - b));
                let all = norm(&mut expected.iter().copied());
                assert!(apart <= share * all, "{dtype}: off by {apart} of {all}");
                assert!(apart > 0.0, "{dtype}: nothing is rounded");
                assert_eq!(found, logits(&drawn, n));
            }
        }
    }
}

#[test]
fn a_step_with_a_cache_is_the_whole_text() {
    for dtype in TYPES {
        let params = Params::new(3, &Device::Cpu).quantized(dtype).unwrap();
        let model = Model::with_params(&config(MlpConfig::default(), true), &[task()], params).unwrap();
        let whole = logits(&model, 8);
        let mut cache = model.cache();
        let stepped = model.step(&batch(&model, 8), &mut cache).unwrap();
        let stepped: Vec<f32> = stepped[0].flatten_all().unwrap().to_vec1().unwrap();
        let apart = whole.iter().zip(&stepped).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 1e-4, "{dtype}: off by {apart}");
    }
}

#[test]
fn small_weights_take_fewer_bytes_and_have_no_gradient() {
    let config = ModelConfig { d_model: 128, ..config(MlpConfig::default(), true) };
    let bytes = |dtype: Option<QuantizedType>| {
        let params = Params::new(3, &Device::Cpu);
        let params = match dtype {
            Some(dtype) => params.quantized(dtype).unwrap(),
            None => params,
        };
        Model::with_params(&config, &[task()], params).unwrap().params().bytes()
    };
    let [plain, int8, int4] = [None, Some(QuantizedType::Int8), Some(QuantizedType::Int4)].map(bytes);
    assert!(int8 * 3 < plain && int4 * 4 < plain, "{plain}, {int8} and {int4} bytes");

    let params = Params::new(3, &Device::Cpu).quantized(QuantizedType::Int8).unwrap();
    let model = Model::with_params(&config, &[task()], params).unwrap();
    let batch = batch(&model, 4);
    let error = model.loss(&batch, None, 0.0).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("a weight in int8 has no gradient"), "{error}");
    assert_eq!(without_gradients(|| model.loss(&batch, None, 0.0)).unwrap().len(), 1);
}
