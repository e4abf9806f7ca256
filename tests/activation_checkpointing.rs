//! Blocks that are computed again on the way back: losses and gradients must not notice by a single bit.

#[path = "support/tasks.rs"]
mod tasks;

use candle_core::Device;
use smalti::data::{Batch, collate};
use smalti::model::{
    AttentionConfig, HeadConfig, LayerRule, MlpConfig, ModelConfig, NormKind, NormPlacement, Params,
    RelativePositions, Rotary,
};
use smalti::model::{AttentionConfig, HeadConfig, MlpConfig, Model};
use smalti::ops::{Gradients, backward};
use tasks::{batches, image, speech};

/// The losses of some micro-batches, and the sums of their gradients: of every parameter, or `None` where nothing has
/// reached it.
fn learned(model: &Model, batches: &[Batch]) -> (Vec<u32>, Vec<Option<Vec<u32>>>) {
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

fn has_the_same_bits(what: &str, config: &ModelConfig, frozen: &[&str]) {
    let config = ModelConfig { d_model: 16, ..config.clone() };
    let frozen: Vec<String> = frozen.iter().map(|pattern| pattern.to_string()).collect();
    let params = Params::new(5, &Device::Cpu).freeze(&frozen);
    let mut model = Model::with_params(&config, &[image(), speech()], params).unwrap();
    let batches: Vec<Batch> =
        batches().iter().map(|samples| collate(model.layouts(), samples).unwrap()).collect();
    // Each alone, and all in turn.
    for batches in batches.chunks(1).chain([&batches[..]]) {
        model.checkpoint_activations(false);
        let (losses, kept) = learned(&model, batches);
        model.checkpoint_activations(true);
        let (losses_again, again) = learned(&model, batches);
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
    has_the_same_bits("norms first", &base, &[]);
    has_the_same_bits("nothing dropped", &ModelConfig { dropout: 0.0, ..base.clone() }, &[]);
    has_the_same_bits(
        "norms last",
        &ModelConfig { norm_placement: NormPlacement::Post, ..base.clone() },
        &[],
    );
    has_the_same_bits("one layer", &ModelConfig { n_layers: 1, n_encoder_layers: 1, ..base.clone() }, &[]);
    has_the_same_bits("frozen", &base, &["embed.*", "encoder.*", "stack.blocks.0.*", "*.bias"]);
    let (query, key) = ("image.pixel".to_string(), "image.pixel".to_string());
    let rules = vec![LayerRule { query, key, rule: "never".parse().unwrap(), layers: vec![1] }];
    has_the_same_bits(
        "rules by layer",
        &ModelConfig { attention: AttentionConfig { rules, ..AttentionConfig::of_heads(2) }, ..base.clone() },
        &[],
    );
}

/// What all blocks share gets the sum of all of theirs.
#[test]
fn biases_by_distance_and_scales_too() {
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
        has_the_same_bits("relative", &config, &[]);
    }
}

#[test]
fn grouped_turned_and_gated_heads_too() {
    let config = ModelConfig {
        n_layers: 2,
        n_encoder_layers: 1,
        attention: AttentionConfig {
            n_kv_heads: 2,
            rotary: Some(Rotary { base: 100.0, scaling: None }),
            ..AttentionConfig::of_heads(4)
        },
        mlp: MlpConfig { gated: true, ..MlpConfig::default() },
        head: HeadConfig { tie_embeddings: true, ..HeadConfig::default() },
        dropout: 0.3,
        norm: NormKind::Rms,
        bias: false,
        ..ModelConfig::default()
    };
    has_the_same_bits("grouped", &config, &[]);
}
