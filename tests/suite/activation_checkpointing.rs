//! With activation checkpointing, losses and gradients have the same bits.

use crate::tasks;

use candle_core::Device;
use smalti::data::{Batch, collate};
use smalti::model::Model;
use smalti::model::{
    AttentionConfig, HeadConfig, LayerRule, MlpConfig, ModelConfig, NormKind, NormPlacement, Params,
    RelativePositions, Rotary,
};
use smalti::ops::{Gradients, backward};
use tasks::{batches, image, speech};

/// The losses of micro-batches, and for every parameter the sum of its gradients; `None` for an unreached one.
fn losses_and_gradients(model: &Model, batches: &[Batch]) -> (Vec<u32>, Vec<Option<Vec<u32>>>) {
    let (mut losses, mut sum) = (Vec::new(), Gradients::default());
    for (seed, batch) in (11..).zip(batches) {
        let heads = model.loss(batch, Some(seed), 0.1).unwrap();
        losses.extend(heads.iter().map(|head| head.sum.tensor().to_scalar::<f32>().unwrap().to_bits()));
        sum.add(backward(heads.into_iter().map(|head| (head.sum, 0.5)).collect()).unwrap()).unwrap();
    }
    let bits = |place: usize| -> Option<Vec<u32>> {
        let values = sum.get(place)?.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        Some(values.into_iter().map(f32::to_bits).collect())
    };
    (losses, (0..model.params().iter().len()).map(bits).collect())
}

/// Assert that losses and gradients have the same bits with and without activation checkpointing.
fn assert_same_bits(what: &str, config: &ModelConfig, frozen: &[&str]) {
    let config = ModelConfig { d_model: 16, ..config.clone() };
    let frozen: Vec<String> = frozen.iter().map(|pattern| pattern.to_string()).collect();
    let params = Params::new(5, &Device::Cpu).freeze(&frozen);
    let mut model = Model::with_params(&config, &[image(), speech()], params).unwrap();
    let batches: Vec<Batch> =
        batches().iter().map(|samples| collate(model.layouts(), samples).unwrap()).collect();
    // Each batch alone, and all as micro-batches of a step.
    for batches in batches.chunks(1).chain([&batches[..]]) {
        model.checkpoint_activations(false);
        let (losses, kept) = losses_and_gradients(&model, batches);
        model.checkpoint_activations(true);
        let (losses_again, again) = losses_and_gradients(&model, batches);
        assert_eq!(losses, losses_again, "{what}");
        for (place, (name, _)) in model.params().iter().enumerate() {
            assert!(kept[place] == again[place], "{what}: {name} has another gradient");
            assert!(kept[place].is_none() || !model.params().is_frozen(name), "{what}: {name} is frozen");
        }
    }
}

#[test]
fn losses_and_gradients_have_the_same_bits() {
    let base = ModelConfig {
        n_layers: 2,
        n_encoder_layers: 2,
        attention: AttentionConfig::of_heads(2),
        dropout: 0.3,
        ..ModelConfig::default()
    };
    assert_same_bits("pre-norm", &base, &[]);
    assert_same_bits("no dropout", &ModelConfig { dropout: 0.0, ..base.clone() }, &[]);
    assert_same_bits("post-norm", &ModelConfig { norm_placement: NormPlacement::Post, ..base.clone() }, &[]);
    assert_same_bits("one layer", &ModelConfig { n_layers: 1, n_encoder_layers: 1, ..base.clone() }, &[]);
    assert_same_bits("frozen", &base, &["embed.*", "encoder.*", "stack.blocks.0.*", "*.bias"]);
    let (query, key) = ("image.pixel".to_string(), "image.pixel".to_string());
    let rules = vec![LayerRule { query, key, rule: "never".parse().unwrap(), layers: vec![1] }];
    assert_same_bits(
        "rules by layer",
        &ModelConfig { attention: AttentionConfig { rules, ..AttentionConfig::of_heads(2) }, ..base.clone() },
        &[],
    );
}

/// Relative position biases, which all blocks share, and layer scales.
#[test]
fn shared_parameters_get_the_same_gradients() {
    for causal in [false, true] {
        let relative = Some(RelativePositions { buckets: 8, max_distance: 16, causal });
        let config = ModelConfig {
            n_layers: 3,
            n_encoder_layers: 2,
            attention: AttentionConfig { relative, ..AttentionConfig::of_heads(2) },
            layer_scale: Some(0.5),
            dropout: 0.3,
            ..ModelConfig::default()
        };
        assert_same_bits("relative", &config, &[]);
    }
}

#[test]
fn each_setting_of_blocks_has_the_same_bits() {
    for (what, config) in crate::block_settings::configs() {
        assert_same_bits(what, &ModelConfig { dropout: 0.3, ..config }, &[]);
    }
}

#[test]
fn grouped_query_attention_with_rotary_positions_and_a_gated_mlp_has_the_same_bits() {
    let config = ModelConfig {
        n_layers: 2,
        n_encoder_layers: 1,
        attention: AttentionConfig {
            n_kv_heads: 2,
            rotary: Some(Rotary { base: 100.0, ..Rotary::default() }),
            ..AttentionConfig::of_heads(4)
        },
        mlp: MlpConfig { gated: true, ..MlpConfig::default() },
        head: HeadConfig { tie_embeddings: true, ..HeadConfig::default() },
        dropout: 0.3,
        norm: NormKind::Rms,
        bias: false,
        ..ModelConfig::default()
    };
    assert_same_bits("grouped", &config, &[]);
}
