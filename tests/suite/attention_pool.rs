//! Pooling by attention: gradients, documents, and classes that share one.

use crate::block_settings::{loss, slope};

use candle_core::Device;
use smalti::data::{Batch, Pooling, Sample, Stream, Target, collate};
use smalti::head::{Classify, HeadSpec};
use smalti::model::{AttentionConfig, Model, ModelConfig, NormKind};
use smalti::ops::backward;
use smalti::rules::Rule;
use smalti::task::TaskSpec;
use smalti_contract::{Axis, Content, ContentSpec, Group, KindSpec, Tokens};

/// The class of a few pixels, which a learned query reads.
fn model(config: ModelConfig) -> Model {
    let pixel = KindSpec {
        name: "pixel".into(),
        content: ContentSpec::Ids { vocabulary: 9 },
        axes: vec![Axis::new("index", 8)],
        time_steps: None,
    };
    let head = HeadSpec { pool: Pooling::Attention, ..HeadSpec::new("", "pixel", Classify::numbered(3)) };
    let task = TaskSpec {
        name: String::new(),
        inputs: vec![(Stream::Main, vec![pixel])],
        rules: vec![("pixel".into(), "pixel".into(), Rule::ALL)],
        heads: vec![head],
        loss_weight: 1.0,
        shares: vec![],
    };
    let config = ModelConfig { d_model: 16, n_layers: 1, ..config };
    let model = Model::new(&config, &[task], 5, &Device::Cpu).unwrap();
    // A query of the size of a trained one, so that attention is not even.
    for (name, parameter) in model.params().iter() {
        if name.ends_with("pool.probe") || name.contains("pool.attention.query.weight") {
            parameter.set(&(parameter.as_tensor() * 6.0).unwrap()).unwrap();
        }
    }
    model
}

fn grouped() -> ModelConfig {
    let attention = AttentionConfig { n_kv_heads: 1, ..AttentionConfig::of_heads(2) };
    ModelConfig { attention, norm: NormKind::Rms, bias: false, ..ModelConfig::default() }
}

fn sample(id: u64, n: u32, step: u32, target: Target) -> (usize, Sample) {
    let group = Group::sequence(Content::Ids((0..n).map(|i| (i * step + 1) % 9).collect()));
    let inputs = vec![(Stream::Main, Tokens::new(vec![group]))];
    (0, Sample { inputs, outputs: vec![target.into()], id })
}

fn batch(model: &Model, samples: &[(usize, Sample)]) -> Batch {
    collate(model.layouts(), samples).unwrap()
}

#[test]
fn gradients_are_finite_differences() {
    let configs =
        [ModelConfig { attention: AttentionConfig::of_heads(2), ..ModelConfig::default() }, grouped()];
    for config in configs {
        let model = model(config);
        let shared = Target::classes([(0, 0.25), (2, 0.75)]);
        let batch = batch(&model, &[sample(1, 5, 2, Target::class(1)), sample(2, 3, 4, shared)]);
        let heads = model.loss(&batch, None, 0.0).unwrap();
        let gradients = backward(heads.into_iter().map(|head| (head.sum, 1.0)).collect()).unwrap();
        let mut reached = 0;
        for (place, (name, parameter)) in model.params().iter().enumerate() {
            let gradient = gradients.get(place).unwrap_or_else(|| panic!("{name} has no gradient"));
            let norm = gradient.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
            if norm < 2e-2 {
                continue; // rounding would decide
            }
            reached += usize::from(name.contains("pool."));
            let found = slope(&model, &batch, parameter, &(gradient / f64::from(norm)).unwrap());
            let apart = (found - f64::from(norm)).abs();
            assert!(apart <= 0.02 * f64::from(norm) + 2e-3, "{name}: {found} is not {norm}");
        }
        assert!(reached >= 4, "{reached} gradients of the pool");
    }
}

#[test]
fn a_document_is_pooled_alone() {
    let model = model(grouped());
    let first = |other: (usize, Sample)| {
        let batch = batch(&model, &[sample(1, 5, 2, Target::class(1)), other]);
        model.outputs(&batch).unwrap()[0].get(0).unwrap().to_vec1::<f32>().unwrap()
    };
    let one = first(sample(2, 4, 4, Target::class(0)));
    assert_eq!(one, first(sample(3, 4, 5, Target::class(2))), "the same bits");
    let longer = first(sample(4, 8, 5, Target::class(2)));
    assert!(one.iter().zip(&longer).all(|(a, b)| (a - b).abs() < 1e-6), "{one:?}, {longer:?}");
}

#[test]
fn classes_that_share_a_document_share_its_vector() {
    let model = model(grouped());
    let of = |target: Target| {
        let samples = [sample(1, 5, 2, target), sample(2, 4, 4, Target::class(1))];
        loss(&model, &batch(&model, &samples))
    };
    let expected = 0.25 * of(Target::class(0)) + 0.75 * of(Target::class(2));
    let found = of(Target::classes([(0, 0.25), (2, 0.75)]));
    assert!((found - expected).abs() < 1e-5, "{found} is not {expected}");
}
