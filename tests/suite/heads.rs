//! A task with several heads: the tokens that each reads, samples without some outputs, and untrained heads.
#![allow(clippy::single_range_in_vec_init, reason = "one document is a range of rows")]

use candle_core::Device;
use smalti::data::{Batch, Output, Pooling, Sample, Stream, Target, collate};
use smalti::head::{Classify, FitData, Generate, HeadKind, HeadSpec, Regress, Represent, Tag, TagSettings};
use smalti::model::ModelConfig;
use smalti::model::{AttentionConfig, HeadConfig, Model};
use smalti::ops::{Value, backward, mean_rows, without_gradients};
use smalti::rules::Rule;
use smalti::task::{TaskSpec, learned_kind, learned_tokens};
use smalti_contract::{Axis, Content, ContentSpec, Group, KindSpec, Tokens};
use std::collections::BTreeSet;

/// The numbers of the heads.
const CLASS: usize = 0;
const MEAN: usize = 1;
const TAGS: usize = 2;
const NEXT: usize = 3;
const UNTRAINED: usize = 4;
const STATES: usize = 5;

fn task(name: &str) -> TaskSpec {
    let word = KindSpec {
        name: "word".into(),
        content: ContentSpec::Ids { vocabulary: 9 },
        axes: vec![Axis::new("index", 16)],
        time_steps: None,
    };
    let tags = vec![smalti_contract::Value::Text("NVA".into())];
    let tags = Tag::fit(
        TagSettings::default(),
        &FitData { values: &tags, classes: None, vocabulary: None, features: None },
    );
    let pairs = ["word", "class"].map(|query| ["word", "class"].map(|key| (query, key)));
    TaskSpec {
        name: name.into(),
        inputs: vec![(Stream::Main, vec![word, learned_kind("class", 1, false)])],
        rules: pairs.concat().into_iter().map(|(q, k)| (q.into(), k.into(), Rule::causal())).collect(),
        heads: vec![
            HeadSpec { weight: 0.5, ..HeadSpec::new("class", "class", Classify::numbered(3)) },
            HeadSpec { pool: Pooling::Mean, ..HeadSpec::new("mean", "word", Regress::new(2, false)) },
            HeadSpec::new("tags", "word", tags.unwrap()),
            HeadSpec::new("next", "word", Generate::new(9)),
            HeadSpec { weight: 0.0, ..HeadSpec::new("untrained", "word", Regress::new(1, true)) },
            HeadSpec::new("states", "word", Represent::default()),
        ],
        loss_weight: 2.0,
        shares: vec![],
    }
}

fn model(tasks: &[TaskSpec], tie_embeddings: bool) -> Model {
    let config = ModelConfig {
        d_model: 16,
        n_layers: 2,
        attention: AttentionConfig::of_heads(2),
        head: HeadConfig { tie_embeddings, ..HeadConfig::default() },
        ..ModelConfig::default()
    };
    Model::new(&config, tasks, 5, &Device::Cpu).unwrap()
}

/// Six words and a class token, with these outputs.
fn sample(id: u64, outputs: Vec<Output>) -> (usize, Sample) {
    let words = Group::sequence(Content::Ids((0..6).map(|i| (i * 2 + id as u32) % 9).collect()));
    let inputs = vec![(Stream::Main, Tokens::new(vec![words]).merge(learned_tokens(1, false)))];
    (0, Sample { inputs, outputs, id })
}

fn output(head: usize, target: Target) -> Output {
    Output { head, places: None, target }
}

fn numbers(values: [f32; 2]) -> Target {
    Target::Features { values: values.into(), dim: 2, weights: vec![1.0] }
}

/// Three documents: two have a class, two have numbers, one has tags at two places.
fn batch(model: &Model) -> Batch {
    let places = Some(vec![4, 1]);
    let samples = [
        sample(1, vec![output(CLASS, Target::class(2)), output(MEAN, numbers([1.0, -1.0]))]),
        sample(2, vec![Output { head: TAGS, places, target: Target::ids(vec![0, 2]) }]),
        sample(3, vec![output(MEAN, numbers([0.5, 2.0])), output(CLASS, Target::class(0))]),
    ];
    collate(model.layouts(), &samples).unwrap()
}

#[test]
fn each_head_reads_the_tokens_of_the_documents_that_have_its_output() {
    let batch = batch(&model(&[task("")], false));
    let heads: Vec<usize> = batch.heads.iter().map(|read| read.head).collect();
    assert_eq!(heads, [CLASS, MEAN, TAGS]);
    let [class, mean, tags] = &batch.heads[..] else { panic!("three heads") };
    // Each document has seven rows.
    assert_eq!((&class.rows[..], &class.places[..]), (&[6, 20][..], &[0, 2][..]));
    assert_eq!(class.pools, None);
    assert_eq!(mean.rows, [0, 1, 2, 3, 4, 5, 14, 15, 16, 17, 18, 19]);
    assert_eq!((mean.pools.clone(), &mean.documents), (Some(vec![0..6, 6..12]), &vec![0..1, 1..2]));
    assert_eq!(
        (&tags.rows[..], &tags.documents, &tags.places[..]),
        (&[11, 8][..], &Vec::from([0..2]), &[1][..])
    );
    assert_eq!([class, mean, tags].map(|read| read.targets.weight()), [2.0; 3]);
}

#[test]
fn a_pooling_head_reads_the_mean_of_a_document() {
    let model = model(&[task("")], false);
    let batch = batch(&model);
    let outputs = model.outputs(&batch).unwrap();
    let hidden = without_gradients(|| model.forward(&batch, None)).unwrap();
    let means = mean_rows(&hidden, &[0..6, 14..20]).unwrap();
    let expected = model.head(0, MEAN).forward(&means, &[0, 1], None, &[0..1, 1..2]).unwrap();
    let apart = (outputs[1].clone() - expected.tensor()).unwrap().abs().unwrap().max_all().unwrap();
    assert_eq!(outputs[1].dims(), [2, 2]);
    assert!(apart.to_scalar::<f32>().unwrap() < 1e-6);
    // Two classes that share a document share its mean.
    let shared = |targets: Target| {
        let batch = collate(model.layouts(), &[sample(1, vec![output(CLASS, targets)])]).unwrap();
        let loss = model.loss(&batch, None, 0.0).unwrap().remove(0);
        (loss.sum.tensor().to_scalar::<f32>().unwrap(), batch.heads[0].documents[0].clone())
    };
    let (of_both, documents) = shared(Target::classes([(0, 0.25), (1, 0.75)]));
    let expected = 0.25 * shared(Target::class(0)).0 + 0.75 * shared(Target::class(1)).0;
    assert!((of_both - expected).abs() < 1e-5 && documents == (0..2), "{of_both} is not {expected}");
}

#[test]
fn each_trained_head_has_a_loss_and_every_parameter_it_uses_a_gradient() {
    for tie_embeddings in [false, true] {
        let model = model(&[task("")], tie_embeddings);
        let mut samples = vec![
            sample(1, vec![output(CLASS, Target::class(2)), output(MEAN, numbers([1.0, -1.0]))]),
            sample(2, vec![output(UNTRAINED, Target::Unknown), output(STATES, Target::Unknown)]),
        ];
        samples[0].1.outputs.push(output(NEXT, Target::ids(vec![1; 6])));
        let batch = collate(model.layouts(), &samples).unwrap();
        let losses = model.loss(&batch, Some(3), 0.0).unwrap();
        let found: Vec<(usize, f64)> = losses.iter().map(|loss| (loss.head, loss.weight)).collect();
        assert_eq!(found, [(CLASS, 1.0), (MEAN, 1.0), (NEXT, 6.0)], "trained heads only");
        let gradients = backward(losses.into_iter().map(|loss| (loss.sum, 1.0)).collect()).unwrap();
        let unused = model.unused_parameters(&batch);
        for (place, (name, _)) in model.params().iter().enumerate() {
            assert_eq!(gradients.get(place).is_some(), !unused.contains(name), "{name}");
        }
        let outputs: Vec<Vec<usize>> =
            model.outputs(&batch).unwrap().iter().map(|output| output.dims().to_vec()).collect();
        assert_eq!(outputs, [[1, 3], [1, 2], [6, 9], [6, 1], [6, 16]], "all requested outputs");
    }
}

#[test]
fn a_batch_without_a_trained_output_has_no_loss() {
    let model = model(&[task("")], false);
    for outputs in [vec![], vec![output(UNTRAINED, Target::Unknown)]] {
        let batch = collate(model.layouts(), &[sample(1, outputs)]).unwrap();
        assert!(model.loss(&batch, Some(3), 0.0).unwrap().is_empty());
        let unused = model.unused_parameters(&batch);
        assert!(model.params().iter().all(|(name, _)| unused.contains(name)), "no gradient is expected");
    }
}

#[test]
fn names_have_a_prefix_only_in_a_mix() {
    let names = |tasks: &[TaskSpec]| -> BTreeSet<String> {
        let model = model(tasks, false);
        let kinds = model.kinds().iter().map(|kind| kind.name.clone());
        let heads = model.params().iter().map(|(name, _)| name).filter(|name| name.starts_with("head."));
        kinds.chain(heads.map(String::from)).collect()
    };
    let alone = names(&[task("")]);
    for name in ["word", "class", "head.class.weight", "head.next.bias"] {
        assert!(alone.contains(name), "{name}: {alone:?}");
    }
    let mixed = names(&[task("a"), task("b")]);
    for name in ["a.word", "b.class", "head.a.class.weight", "head.b.next.bias"] {
        assert!(mixed.contains(name), "{name}: {mixed:?}");
    }
    assert!(!alone.iter().any(|name| name.contains("states")), "a head of width 0 has no parameters");
    assert_eq!(task("").output_name(MEAN), "mean");
    let weights: Vec<(String, f64)> = task("a").loss_weights().collect();
    assert_eq!(weights[..2], [("a.class".to_string(), 1.0), ("a.mean".to_string(), 2.0)]);
}

#[test]
fn outputs_and_heads_that_do_not_fit_are_named() {
    let of_model = model(&[task("a")], false);
    let error = |outputs| collate(of_model.layouts(), &[sample(7, outputs)]).unwrap_err().to_string();
    let twice = vec![output(CLASS, Target::class(1)), output(CLASS, Target::class(1))];
    assert!(error(twice).contains("has an output of head 0; expected at most one of each of 6 heads"));
    assert!(error(vec![output(6, Target::Unknown)]).contains("has an output of head 6"));
    let away = Output { head: TAGS, places: Some(vec![2, 9]), target: Target::ids(vec![0, 0]) };
    assert!(error(vec![away]).contains("no token of order 9 in the main stream, which its head tags reads"));
    let short = output(TAGS, Target::ids(vec![0; 5]));
    assert!(error(vec![short]).contains("has 5 target ids; its head tags reads 6 tokens"));
    let build = |change: fn(&mut TaskSpec)| {
        let mut task = task("a");
        change(&mut task);
        Model::new(&ModelConfig::default(), &[task], 0, &Device::Cpu).err().map(|e| e.to_string()).unwrap()
    };
    assert_eq!(build(|task| task.heads[1].name = "class".into()), "task a: has two heads named \"class\"");
    assert_eq!(
        build(|task| task.heads[1].reads = "patch".into()),
        "task a: its head mean reads patch, which is not a kind of its main input"
    );
    assert!(
        build(|task| task.heads[1].weight = -1.0)
            .contains("the weight of its head mean: expected 0 or more; found -1")
    );
}

#[test]
fn heads_do_not_change_each_others_losses() {
    let model = model(&[task("")], false);
    let both = vec![output(CLASS, Target::class(2)), output(MEAN, numbers([1.0, -1.0]))];
    let losses = |outputs: Vec<Output>| -> Vec<f32> {
        let batch = collate(model.layouts(), &[sample(1, outputs)]).unwrap();
        let losses = model.loss(&batch, None, 0.0).unwrap();
        losses.iter().map(|loss| Value::tensor(&loss.sum).to_scalar::<f32>().unwrap()).collect()
    };
    let together = losses(both.clone());
    for (output, together) in both.into_iter().zip(together) {
        let alone = losses(vec![output])[0];
        assert!((alone - together).abs() <= 1e-5 * alone, "{alone} alone, {together} together");
    }
}
