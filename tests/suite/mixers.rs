//! Linear attention and state spaces in place of softmax attention: gradients, documents, rules and one step of gradient descent.
//! Caches of these and of attention.

use crate::block_settings::{loss, slope};

use candle_core::{Device, Tensor};
use smalti::data::{Batch, Sample, Stream, Target, collate};
use smalti::head::{Generate, HeadSpec};
use smalti::model::{Cache, Model, ModelConfig};
use smalti::ops::{FeatureMap, Heads, Span, Value, backward, linear_attention};
use smalti::task::TaskSpec;
use smalti_contract::{Axis, Content, ContentSpec, Group, KindSpec, Tokens};
use std::ops::Range;

const LINEAR: &str = "[[mixers]]\nkind = \"linear\"\n";
const SPACE: &str = "[[mixers]]\nkind = \"state_space\"\nd_state = 4\nmin_step = 0.05\nmax_step = 0.5\n";

/// Settings of mixers that read earlier tokens alone.
fn causal() -> Vec<String> {
    vec![
        LINEAR.into(),
        format!("attention.rotary = {{}}\nattention.n_kv_heads = 1\n{LINEAR}feature_map = \"identity\"\n"),
        SPACE.into(),
        format!("{SPACE}complex = false\n"),
        format!("{LINEAR}layers = [0]\n{SPACE}layers = [2]\n"),
    ]
}

fn text(rule: &str) -> TaskSpec {
    let character = KindSpec {
        name: "character".into(),
        content: ContentSpec::Ids { vocabulary: 20 },
        axes: vec![Axis::new("index", 96)],
        time_steps: None,
    };
    TaskSpec {
        name: "text".into(),
        inputs: vec![(Stream::Main, vec![character])],
        rules: vec![("character".into(), "character".into(), rule.parse().unwrap())],
        heads: vec![HeadSpec::new("", "character", Generate::new(20))],
        loss_weight: 1.0,
        shares: vec![],
    }
}

fn config(mixers: &str) -> ModelConfig {
    let base = "d_model = 16\nn_layers = 3\nmlp.d_ff = 32\nattention.n_heads = 2\n";
    toml::from_str(&format!("{base}{mixers}")).unwrap()
}

fn model(mixers: &str, rule: &str) -> Model {
    Model::new(&config(mixers), &[text(rule)], 3, &Device::Cpu).unwrap()
}

fn ids(n: u32, step: u32) -> Vec<u32> {
    (0..n).map(|i| (i * step + 3) % 20).collect()
}

fn piece(ids: &[u32], first: u32, target: Target) -> (usize, Sample) {
    let places: Vec<u32> = (first..first + ids.len() as u32).collect();
    let content = Content::Ids(ids.to_vec());
    let group = Group { content, positions: places.clone(), order: places.clone(), time: places };
    let inputs = vec![(Stream::Main, Tokens::new(vec![group]))];
    (0, Sample { inputs, outputs: vec![target.into()], id: 1 })
}

fn batch(model: &Model, samples: &[(usize, Sample)]) -> Batch {
    collate(model.layouts(), samples).unwrap()
}

fn rows(x: &Tensor) -> Vec<Vec<f32>> {
    x.to_vec2().unwrap()
}

fn apart(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn gradients_are_finite_differences() {
    let both_ways = (format!("{SPACE}bidirectional = true\n"), "all");
    let all = causal().into_iter().map(|mixers| (mixers, "causal"));
    for (mixers, rule) in all.chain([both_ways, (LINEAR.into(), "all")]) {
        let model = model(&mixers, rule);
        let sample = |n: u32| piece(&ids(n, 7), 0, Target::ids((0..n).map(|i| (i * 3) % 20).collect()));
        let batch = batch(&model, &[sample(9), sample(4)]);
        let heads = model.loss(&batch, None, 0.0).unwrap();
        let gradients = backward(heads.into_iter().map(|head| (head.sum, 1.0)).collect()).unwrap();
        let mut reached = 0;
        for (place, (name, parameter)) in model.params().iter().enumerate() {
            let gradient = gradients.get(place).unwrap_or_else(|| panic!("{mixers}: {name} has no gradient"));
            let norm = gradient.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
            if norm < 5e-2 {
                continue; // rounding would decide
            }
            reached += 1;
            // A shorter step for a steep slope, which is curved.
            let step = (1.0 / f64::from(norm)).min(1.0);
            let direction = (gradient * (step / f64::from(norm))).unwrap();
            let found = slope(&model, &batch, parameter, &direction) / step;
            let apart = (found - f64::from(norm)).abs();
            assert!(apart <= 0.02 * f64::from(norm) + 2e-3, "{mixers}, {name}: {found} is not {norm}");
        }
        assert!(reached > 10 && loss(&model, &batch).is_finite(), "{mixers}: {reached} gradients");
    }
}

#[test]
fn another_document_of_the_same_length_changes_no_bit() {
    let both_ways = (format!("{SPACE}bidirectional = true\n"), "all");
    let all = causal().into_iter().map(|mixers| (mixers, "causal"));
    for (mixers, rule) in all.chain([both_ways, (LINEAR.into(), "all")]) {
        let model = model(&mixers, rule);
        let b = piece(&ids(11, 7), 0, Target::Unknown);
        let hidden = |a: (usize, Sample)| {
            let hidden = model.forward(&batch(&model, &[a, b.clone()]), None).unwrap();
            rows(&hidden.tensor().narrow(0, 70, 11).unwrap())
        };
        let [one, other] = [3, 11].map(|step| hidden(piece(&ids(70, step), 0, Target::Unknown)));
        assert_eq!(one, other, "{mixers}");
    }
}

#[test]
fn a_cache_gives_the_outputs_of_the_whole_sequence() {
    // Of the last two, the cache drops what the window excludes, and keeps what a layer attends to without a window.
    let window = "attention.n_kv_heads = 1\nattention.rotary = {}\n";
    let memory = "memory = { layer = 1, size = 96, top_k = 4 }\n";
    let windows = [window, memory].map(|settings| (settings.to_string(), "causal & near(5, order)"));
    let all = causal().into_iter().map(|mixers| (mixers, "causal"));
    for (mixers, rule) in all.chain(windows) {
        let model = model(&mixers, rule);
        let ids = ids(90, 7);
        let whole = batch(&model, &[piece(&ids, 0, Target::Unknown)]);
        let whole = rows(&model.outputs(&whole).unwrap()[0]);
        for pieces in [vec![90], vec![70, 1, 1, 18], vec![1; 90]] {
            let (mut cache, mut found, mut start) = (model.cache(), vec![], 0);
            let n_pieces = pieces.len();
            for n in pieces {
                let next = batch(&model, &[piece(&ids[start..start + n], start as u32, Target::Unknown)]);
                if start > 0 {
                    // A step of a copy does not change the cache that it is made of.
                    model.step(&next, &mut cache.select(&[0]).unwrap()).unwrap();
                }
                found.extend(rows(&model.step(&next, &mut cache).unwrap()[0]));
                start += n;
            }
            assert!(apart(&whole, &found) <= 1e-4, "{mixers}: {}", apart(&whole, &found));
            let has_dropped = cache.tokens.documents[0].len() < 90;
            assert_eq!(has_dropped, mixers == window && n_pieces == 90, "{mixers}");
        }
    }
}

#[test]
fn a_step_continues_several_documents_as_each_alone() {
    for mixers in causal() {
        let model = model(&mixers, "causal");
        let texts = [ids(90, 7), ids(80, 3), ids(75, 11)];
        let whole = texts
            .each_ref()
            .map(|ids| rows(&model.outputs(&batch(&model, &[piece(ids, 0, Target::Unknown)])).unwrap()[0]));
        let mut cache = model.cache();
        let step = |cache: &mut Cache, pieces: &[(usize, Range<usize>)]| {
            let piece = |(text, places): &(usize, Range<usize>)| {
                piece(&texts[*text][places.clone()], places.start as u32, Target::Unknown)
            };
            let next = batch(&model, &pieces.iter().map(piece).collect::<Vec<_>>());
            let found = rows(&model.step(&next, cache).unwrap()[0]);
            let expected: Vec<Vec<f32>> =
                pieces.iter().flat_map(|(text, places)| whole[*text][places.clone()].to_vec()).collect();
            assert!(apart(&expected, &found) <= 1e-4, "{mixers}: {}", apart(&expected, &found));
        };
        step(&mut cache, &[(0, 0..70), (1, 0..3), (2, 0..1)]);
        step(&mut cache, &[(0, 70..71), (1, 3..3), (2, 1..2)]);
        step(&mut cache.select(&[1, 1]).unwrap(), &[(1, 3..4), (1, 3..9)]);
        let mut selected = cache.select(&[2, 0]).unwrap();
        step(&mut selected, &[(2, 2..75), (0, 71..72)]);
        step(&mut cache, &[(0, 71..72), (1, 3..4), (2, 2..3)]);
    }
}

#[test]
fn a_later_token_changes_no_earlier_one() {
    for mixers in causal() {
        let model = model(&mixers, "causal");
        let hidden = |last: u32| {
            let ids = [ids(69, 7), vec![last]].concat();
            let hidden = model.forward(&batch(&model, &[piece(&ids, 0, Target::Unknown)]), None).unwrap();
            rows(&hidden.tensor().narrow(0, 0, 69).unwrap())
        };
        assert!(apart(&hidden(1), &hidden(2)) <= 1e-6, "{mixers}");
    }
}

#[test]
fn rules_that_a_mixer_cannot_follow_are_named() {
    let refused = |mixers: &str, rule: &str| {
        Model::new(&config(mixers), &[text(rule)], 3, &Device::Cpu).err().unwrap().to_string()
    };
    let error = refused(&format!("{LINEAR}layers = [1]\n"), "near(3)");
    assert!(
        error.contains("model.mixers: layer 1 is a linear attention: expected the attention rule all or"),
        "{error}"
    );
    assert!(error.contains("found near(3) for text.character that attends to text.character"), "{error}");
    let error = refused(&format!("{SPACE}bidirectional = true\n"), "causal");
    assert!(
        error.contains("layer 0 is a state space: expected the attention rule all (it reads both ways)"),
        "{error}"
    );
    assert!(refused(SPACE, "strict_past").contains("found strict_past"));
}

/// von Oswald et al. 2023: from weights of 0, a step of gradient descent with rate η on Σ (w·xᵢ − yᵢ)²/2 predicts η·Σ yᵢ xᵢ·x for
/// x, which is what one layer computes of the keys x, the values y and the query x.
#[test]
fn one_layer_is_one_step_of_gradient_descent() {
    let (n, d, rate) = (10, 10, 0.05_f32);
    let number = |i: usize| ((i * 7919 + 13) % 101) as f32 / 50.0 - 1.0;
    let x: Vec<Vec<f32>> = (0..=n).map(|i| (0..d).map(|j| number(i * d + j)).collect()).collect();
    let y: Vec<f32> = (0..n).map(|i| number(5000 + i)).collect();
    let weights: Vec<f32> = (0..d).map(|j| rate * (0..n).map(|i| y[i] * x[i][j]).sum::<f32>()).collect();
    let expected: f32 = weights.iter().zip(&x[n]).map(|(w, x)| w * x).sum();
    // Keys beside values: the value of an example is y in the first column; that of the query is 0.
    let key_value = (0..=n).flat_map(|i| {
        let value = (0..d).map(|j| if j == 0 && i < n { y[i] } else { 0.0 }).collect::<Vec<_>>();
        [x[i].clone(), value].concat()
    });
    let key_value = Tensor::from_iter(key_value, &Device::Cpu).unwrap().reshape((n + 1, 2 * d)).unwrap();
    let query = Tensor::from_iter(x.concat(), &Device::Cpu).unwrap().reshape((n + 1, d)).unwrap();
    let heads = Heads { scale: rate, ..Heads::even(1, d) };
    for causal in [true, false] {
        let (query, key_value) = (Value::constant(query.clone()), Value::constant(key_value.clone()));
        let spans = [Span { rows: 0..n + 1, causal }];
        let found = linear_attention(&query, &key_value, heads, FeatureMap::Identity, &spans).unwrap();
        let found = rows(found.tensor())[n][0];
        assert!((found - expected).abs() < 1e-5, "{found}, {expected}");
    }
}
