//! Blocks with norms of queries and keys, rotary positions of a part of each head and by layer, soft caps, norms on both sides
//! of a sublayer, sublayers in parallel, an encoder of its own heads and MLP, ALiBi, and experts: gradients are finite
//! differences.

use crate::tasks;

use candle_core::{Device, Tensor, Var};
use smalti::data::{Batch, collate};
use smalti::model::{
    AttentionConfig, EncoderConfig, HeadConfig, MlpConfig, Model, ModelConfig, NormKind, NormPlacement,
    Rotary, RotaryOfLayers, Sublayers,
};
use smalti::ops::backward;
use tasks::{batches, image, speech};

/// A model's settings with each of the settings under test.
pub fn configs() -> Vec<(&'static str, ModelConfig)> {
    let base = ModelConfig {
        d_model: 16,
        n_layers: 2,
        n_encoder_layers: 1,
        attention: AttentionConfig { n_kv_heads: 1, ..AttentionConfig::of_heads(2) },
        ..ModelConfig::default()
    };
    let rotary = Some(Rotary { base: 100.0, width: 4, scaling: None });
    let heads = AttentionConfig { qk_norm: true, rotary, ..base.attention.clone() };
    let alibi = AttentionConfig { alibi: true, ..base.attention.clone() };
    // Each token takes both experts: a token that changes its expert is a step in the loss.
    let experts = MlpConfig { experts: 2, experts_per_token: 2, d_ff: 24, ..base.mlp.clone() };
    let capped = AttentionConfig { soft_cap: Some(0.5), ..base.attention.clone() };
    vec![
        ("norms of heads", ModelConfig { attention: heads, norm: NormKind::Rms, ..base.clone() }),
        (
            "soft caps",
            ModelConfig {
                attention: capped,
                head: HeadConfig { soft_cap: Some(0.5), ..HeadConfig::default() },
                ..base.clone()
            },
        ),
        ("both norms", ModelConfig { norm_placement: NormPlacement::Both, ..base.clone() }),
        ("another encoder", ModelConfig { encoder: EncoderConfig { n_heads: 4, d_ff: 24 }, ..base.clone() }),
        ("parallel", ModelConfig { sublayers: Sublayers::Parallel, ..base.clone() }),
        (
            "rotary by layer",
            ModelConfig {
                attention: AttentionConfig {
                    rotary,
                    layer_rotary: vec![RotaryOfLayers { rotary: Rotary::default(), layers: vec![1] }],
                    ..base.attention.clone()
                },
                first_norm: false,
                ..base.clone()
            },
        ),
        ("ALiBi", ModelConfig { attention: alibi, ..base.clone() }),
        ("experts", ModelConfig { mlp: experts, ..base.clone() }),
        ("one norm", ModelConfig { sublayers: Sublayers::OneNorm, layer_scale: Some(0.5), ..base }),
    ]
}

pub fn loss(model: &Model, batch: &Batch) -> f64 {
    let heads = model.loss(batch, None, 0.0).unwrap();
    heads.iter().map(|head| f64::from(head.sum.tensor().to_scalar::<f32>().unwrap())).sum()
}

/// The slope of the loss along `direction`, by central differences of two steps (Richardson's extrapolation).
pub fn slope(model: &Model, batch: &Batch, parameter: &Var, direction: &Tensor) -> f64 {
    const STEP: f64 = 5e-3;
    let start = parameter.as_tensor().copy().unwrap();
    let at = |step: f64| {
        parameter.set(&(&start + (direction * step).unwrap()).unwrap()).unwrap();
        loss(model, batch)
    };
    let of = |step: f64| (at(step) - at(-step)) / (2.0 * step);
    let slope = (4.0 * of(STEP / 2.0) - of(STEP)) / 3.0;
    parameter.set(&start).unwrap();
    slope
}

#[test]
fn gradients_are_finite_differences() {
    for (what, config) in configs() {
        let model = Model::new(&config, &[image(), speech()], 5, &Device::Cpu).unwrap();
        let mut reached = 0;
        for samples in batches() {
            let batch = collate(model.layouts(), &samples).unwrap();
            let heads = model.loss(&batch, None, 0.0).unwrap();
            let gradients = backward(heads.into_iter().map(|head| (head.sum, 1.0)).collect()).unwrap();
            for (place, (name, parameter)) in model.params().iter().enumerate() {
                let Some(gradient) = gradients.get(place) else { continue };
                let norm = gradient.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
                if norm < 5e-2 {
                    continue; // rounding would decide
                }
                reached += 1;
                let found = slope(&model, &batch, parameter, &(gradient / f64::from(norm)).unwrap());
                let apart = (found - f64::from(norm)).abs();
                assert!(apart <= 0.02 * f64::from(norm) + 2e-3, "{what}, {name}: {found} is not {norm}");
            }
        }
        assert!(reached > 20, "{what}: {reached} gradients");
    }
}

/// The scale of queries and keys before their norm changes nothing.
#[test]
fn norms_of_heads_take_away_the_scale_of_queries_and_keys() {
    let (_, config) = configs().remove(0);
    let model = Model::new(&config, &[image(), speech()], 5, &Device::Cpu).unwrap();
    let batch = collate(model.layouts(), &batches()[0]).unwrap();
    let before = loss(&model, &batch);
    let set = |end: &str, factor: f64| {
        let parameters = model.params().iter().filter(|(name, _)| name.ends_with(end));
        parameters.for_each(|(_, x)| x.set(&(x.as_tensor() * factor).unwrap()).unwrap());
    };
    set("attention.query.weight", 3.0);
    set("attention.query.bias", 3.0);
    let scaled = loss(&model, &batch);
    assert!((before - scaled).abs() <= 1e-3 * before.abs(), "{before} and {scaled}");
    set("query_norm.weight", 3.0);
    let other = loss(&model, &batch);
    assert!((before - other).abs() > 1e-6 * before.abs(), "{before} and {other}");
}

/// Of two blocks, the weights that write to the residual stream are divided by √4; all others stay.
#[test]
fn initial_weights_that_write_to_the_residual_stream_are_scaled_by_depth() {
    let (_, config) = configs().remove(0);
    let of = |depth_init: bool| {
        let config = ModelConfig { n_layers: 2, n_encoder_layers: 2, depth_init, ..config.clone() };
        let model = Model::new(&config, &[image(), speech()], 5, &Device::Cpu).unwrap();
        let values = |var: &Var| var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        model.params().iter().map(|(name, var)| (name.to_string(), values(var))).collect::<Vec<_>>()
    };
    let mut scaled = 0;
    for ((name, plain), (_, divided)) in of(false).into_iter().zip(of(true)) {
        let writes = ["attention.output.weight", "cross.output.weight", "mlp.outer.weight"];
        let factor = if writes.iter().any(|end| name.ends_with(end)) { 2.0 } else { 1.0 };
        scaled += usize::from(factor == 2.0);
        let near = |(plain, divided): (&f32, &f32)| (plain - factor * divided).abs() <= 1e-6;
        assert!(plain.iter().zip(&divided).all(near), "{name}");
    }
    assert!(scaled >= 4, "{scaled}");
}

#[test]
fn an_encoder_has_heads_and_an_mlp_of_its_own() {
    let of = |name: &str| configs().into_iter().find(|(known, _)| *known == name).unwrap().1;
    let config = of("another encoder");
    let model = Model::new(&config, &[image(), speech()], 5, &Device::Cpu).unwrap();
    let dims = |name: &str| {
        let found = model.params().iter().find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("{name}")).1.dims().to_vec()
    };
    // One head of keys and one of values, each 4 wide in the encoder and 8 wide in the main transformer.
    assert_eq!(dims("encoder.blocks.0.attention.key_value.weight"), [8, 16]);
    assert_eq!(dims("stack.blocks.0.attention.key_value.weight"), [16, 16]);
    assert_eq!(dims("stack.blocks.0.cross.key_value.weight"), [16, 16]);
    assert_eq!(dims("encoder.blocks.0.mlp.inner.weight"), [24, 16]);
    assert_eq!(dims("stack.blocks.0.mlp.inner.weight"), [64, 16]);
    let refused = |encoder: EncoderConfig, base: &ModelConfig| {
        ModelConfig { encoder, ..base.clone() }.validate().unwrap_err().to_string()
    };
    let heads = |n_heads| EncoderConfig { n_heads, d_ff: 0 };
    assert_eq!(
        refused(heads(3), &config),
        "model.encoder.n_heads: expected a divisor of d_model 16; found 3"
    );
    let grouped = AttentionConfig { n_kv_heads: 2, ..AttentionConfig::of_heads(2) };
    let grouped = ModelConfig { attention: grouped, ..config.clone() };
    assert!(refused(heads(1), &grouped).contains("expected a multiple of attention.n_kv_heads 2; found 1"));
    assert!(refused(heads(4), &of("rotary by layer")).contains("set attention.d_head"));
    let alone = ModelConfig { n_encoder_layers: 0, ..config };
    assert!(refused(heads(4), &alone).contains("expected n_encoder_layers of 1 or more"));
}
