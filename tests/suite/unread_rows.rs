//! The last block computes only the rows that a head reads; losses and gradients are those of all rows.

use crate::tasks;

use candle_core::{Device, Tensor};
use smalti::data::{Batch, collate};
use smalti::model::{AttentionConfig, Model};
use smalti::model::{LayerRule, ModelConfig, NormPlacement, Rotary};
use smalti::ops::{Gradients, backward};
use tasks::{batches, image, speech};

/// The sum of all heads' losses and its gradients, with every row of every block computed.
fn with_every_row(model: &Model, batch: &Batch, seed: u64) -> (f32, Gradients) {
    let hidden = model.forward(batch, Some(seed)).unwrap();
    assert_eq!(hidden.dims()[0], batch.main.meta.len());
    let mut roots = Vec::new();
    for read in &batch.heads {
        let head = model.head(read.task, read.head);
        let output = head.forward(&hidden, &read.rows, read.pools.as_deref(), &read.documents).unwrap();
        roots.push((head.head().loss(&output, read, 0.1).unwrap(), 1.0));
    }
    let sum = roots.iter().map(|(loss, _)| loss.tensor().to_scalar::<f32>().unwrap()).sum();
    (sum, backward(roots).unwrap())
}

#[test]
fn losses_gradients_and_outputs_equal_those_of_computing_every_row() {
    for norm_placement in [NormPlacement::Pre, NormPlacement::Post] {
        for (rotary, n_layers) in
            [(None, 1), (None, 2), (Some(Rotary { base: 100.0, ..Rotary::default() }), 2)]
        {
            let mut config = ModelConfig {
                d_model: 16,
                n_layers,
                n_encoder_layers: 1,
                attention: AttentionConfig { rotary, ..AttentionConfig::of_heads(2) },
                dropout: 0.3,
                norm_placement,
                ..ModelConfig::default()
            };
            // The last layer has other rules than those before it.
            let never = "never".parse().unwrap();
            let (query, key) = ("image.pixel".to_string(), "image.pixel".to_string());
            config.attention.rules = vec![LayerRule { query, key, rule: never, layers: vec![n_layers - 1] }];
            let model = Model::new(&config, &[image(), speech()], 5, &Device::Cpu).unwrap();
            for samples in batches() {
                assert_equals_every_row(&model, &collate(model.layouts(), &samples).unwrap());
            }
        }
    }
}

#[test]
fn the_same_holds_with_each_setting_of_blocks() {
    for (_, config) in crate::block_settings::configs() {
        let model = Model::new(&config, &[image(), speech()], 5, &Device::Cpu).unwrap();
        for samples in batches() {
            assert_equals_every_row(&model, &collate(model.layouts(), &samples).unwrap());
        }
    }
}

fn assert_equals_every_row(model: &Model, batch: &Batch) {
    let (expected, expected_gradients) = with_every_row(model, batch, 11);
    let losses = model.loss(batch, Some(11), 0.1).unwrap();
    let loss: f32 = losses.iter().map(|head| head.sum.tensor().to_scalar::<f32>().unwrap()).sum();
    assert!((loss - expected).abs() <= 1e-5 * expected, "{loss} is not {expected}");
    let gradients = backward(losses.into_iter().map(|head| (head.sum, 1.0)).collect()).unwrap();
    for (place, (name, _)) in model.params().iter().enumerate() {
        let flat = |gradients: &Gradients| -> Option<Vec<f32>> {
            Some(gradients.get(place)?.flatten_all().unwrap().to_vec1().unwrap())
        };
        let (Some(found), Some(expected)) = (flat(&gradients), flat(&expected_gradients)) else {
            let reached = [&gradients, &expected_gradients].map(|gradients| gradients.get(place).is_some());
            assert_eq!(reached, [false; 2], "{name} is reached with one method only");
            continue;
        };
        let norm = |x: &mut dyn Iterator<Item = f32>| x.map(|x| x * x).sum::<f32>().sqrt();
        let apart = norm(&mut found.iter().zip(&expected).map(|(a, b)| a - b));
        // The gradient of a key's bias is rounding alone.
        assert!(apart <= 1e-5 * norm(&mut expected.iter().copied()) + 1e-6, "{name}: {apart}");
    }
    let hidden = model.forward(batch, None).unwrap();
    for (read, output) in batch.heads.iter().zip(model.outputs(batch).unwrap()) {
        let head = model.head(read.task, read.head);
        let expected =
            head.forward(&hidden, &read.rows, read.pools.as_deref(), &read.documents).unwrap().into_tensor();
        let values = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let apart =
            values(&output).iter().zip(values(&expected)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(output.dims() == expected.dims() && apart <= 1e-5, "outputs are {apart} apart");
    }
}
