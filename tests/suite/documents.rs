//! Documents of a packed batch do not influence each other, and a cache gives the same outputs as a whole sequence.

use candle_core::{Device, Tensor};
use smalti::data::{Layout, Sample, Stream, Target, collate};
use smalti::head::{Classify, Generate, HeadSpec};
use smalti::model::{AttentionConfig, EncoderConfig, HeadConfig, MlpConfig, Model};
use smalti::model::{ModelConfig, NormKind, NormPlacement};
use smalti::rules::Rule;
use smalti::task::TaskSpec;
use smalti_contract::{Axis, Content, ContentSpec, Group, KindSpec, Tokens};
use std::ops::Range;

fn text(rule: &str) -> TaskSpec {
    TaskSpec {
        name: "text".into(),
        inputs: vec![(
            Stream::Main,
            vec![KindSpec {
                name: "character".into(),
                content: ContentSpec::Ids { vocabulary: 20 },
                axes: vec![Axis::new("index", 64)],
                time_steps: None,
            }],
        )],
        rules: vec![("character".into(), "character".into(), rule.parse().unwrap())],
        heads: vec![HeadSpec::new("", "character", Generate::new(20))],
        loss_weight: 1.0,
        shares: vec![],
    }
}

fn model(config: &ModelConfig, rule: &str) -> Model {
    Model::new(config, &[text(rule)], 3, &Device::Cpu).unwrap()
}

fn small() -> ModelConfig {
    ModelConfig {
        d_model: 16,
        n_layers: 2,
        attention: AttentionConfig::of_heads(2),
        ..ModelConfig::default()
    }
}

fn sample(id: u64, ids: &[u32]) -> (usize, Sample) {
    let tokens = Tokens::new(vec![Group::sequence(Content::Ids(ids.to_vec()))]);
    (0, Sample { inputs: vec![(Stream::Main, tokens)], outputs: vec![Target::Unknown.into()], id })
}

/// The hidden states of document `place` of a batch.
fn hidden(model: &Model, samples: &[(usize, Sample)], place: usize, dropout: Option<u64>) -> Vec<Vec<f32>> {
    let batch = collate(model.layouts(), samples).unwrap();
    let rows = batch.main.meta.documents[place].clone();
    let hidden = model.forward(&batch, dropout).unwrap();
    hidden.tensor().narrow(0, rows.start, rows.len()).unwrap().to_vec2().unwrap()
}

fn ids(n: u32, step: u32) -> Vec<u32> {
    (0..n).map(|i| (i * step + 3) % 20).collect()
}

/// The largest absolute difference.
fn apart(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn another_document_of_the_same_length_changes_no_bit() {
    for rule in ["all", "causal", "near(3)"] {
        let model = model(&small(), rule);
        let b = sample(2, &ids(11, 7));
        let one = hidden(&model, &[sample(1, &ids(30, 3)), b.clone()], 1, None);
        let other = hidden(&model, &[sample(9, &ids(30, 11)), b], 1, None);
        assert_eq!(one, other, "{rule}");
    }
}

#[test]
fn another_document_of_another_length_changes_rounding_alone() {
    let model = model(&small(), "all");
    let b = sample(2, &ids(11, 7));
    let alone = hidden(&model, std::slice::from_ref(&b), 0, None);
    for n in [1, 5, 64] {
        let together = hidden(&model, &[sample(1, &ids(n, 3)), b.clone()], 1, None);
        assert!(apart(&alone, &together) <= 1e-6, "{n}: {}", apart(&alone, &together));
    }
}

/// The experts of a token depend on the token alone; the place of its row among those of its expert changes rounding.
#[test]
fn another_document_changes_no_experts() {
    for experts_per_token in [1, 2] {
        let mlp = MlpConfig { experts: 4, experts_per_token, d_ff: 24, ..MlpConfig::default() };
        let model = model(&ModelConfig { mlp, ..small() }, "all");
        let b = sample(2, &ids(11, 7));
        let alone = hidden(&model, std::slice::from_ref(&b), 0, None);
        for n in [1, 5, 64] {
            let together = hidden(&model, &[sample(1, &ids(n, 3)), b.clone()], 1, None);
            assert!(apart(&alone, &together) <= 1e-5, "{n}: {}", apart(&alone, &together));
        }
    }
}

#[test]
fn dropout_depends_on_the_sample_not_on_its_row() {
    let model = model(&ModelConfig { dropout: 0.5, ..small() }, "causal");
    let b = sample(2, &ids(11, 7));
    let alone = hidden(&model, std::slice::from_ref(&b), 0, Some(5));
    let after = hidden(&model, &[sample(1, &ids(9, 3)), b.clone()], 1, Some(5));
    assert!(apart(&alone, &after) <= 1e-5, "{}", apart(&alone, &after));
    assert!(apart(&alone, &hidden(&model, std::slice::from_ref(&b), 0, Some(6))) > 0.01, "another step");
    assert!(apart(&alone, &hidden(&model, &[sample(3, &ids(11, 7))], 0, Some(5))) > 0.01, "another sample");
    assert!(apart(&alone, &hidden(&model, &[b], 0, None)) > 0.01, "no dropout");
}

#[test]
fn attention_depends_on_order_not_on_the_row() {
    let model = model(&small(), "causal");
    let (_, straight) = sample(1, &ids(6, 7));
    let mut reversed = straight.clone();
    let group = &mut reversed.inputs[0].1.groups[0];
    if let Content::Ids(ids) = &mut group.content {
        ids.reverse();
    }
    for numbers in [&mut group.positions, &mut group.order, &mut group.time] {
        numbers.reverse();
    }
    assert_eq!(hidden(&model, &[(0, straight)], 0, None), hidden(&model, &[(0, reversed)], 0, None));
}

/// The tokens of `ids` in these places.
fn piece(ids: &[u32], places: Range<usize>) -> Group {
    let content = Content::Ids(ids[places.clone()].to_vec());
    let places: Vec<u32> = places.map(|place| place as u32).collect();
    Group { content, positions: places.clone(), order: places.clone(), time: places }
}

/// The head's outputs for `ids`, processed in pieces with a cache.
fn through_cache(model: &Model, ids: &[u32], pieces: &[usize]) -> candle_core::Result<Vec<Vec<f32>>> {
    let mut cache = model.cache();
    let mut outputs = Vec::new();
    let mut start = 0;
    for n in pieces {
        let inputs = vec![(Stream::Main, Tokens::new(vec![piece(ids, start..start + n)]))];
        let sample = Sample { inputs, outputs: vec![Target::Unknown.into()], id: 0 };
        let batch = collate(model.layouts(), &[(0, sample)]).unwrap();
        outputs.extend(model.step(&batch, &mut cache)?[0].to_vec2::<f32>()?);
        start += n;
    }
    Ok(outputs)
}

#[test]
fn a_cache_gives_the_outputs_of_the_whole_sequence() {
    let places = [NormPlacement::Pre, NormPlacement::Post];
    for (norm_placement, norm) in places.into_iter().zip([NormKind::Layer, NormKind::Rms]) {
        for rule in ["causal", "causal & near(4)", "strict_past"] {
            let model = model(&ModelConfig { norm_placement, norm, ..small() }, rule);
            let ids = ids(12, 7);
            let batch = collate(model.layouts(), &[sample(0, &ids)]).unwrap();
            let whole: Vec<Vec<f32>> = model.outputs(&batch).unwrap()[0].to_vec2().unwrap();
            for pieces in [vec![12], vec![1; 12], vec![5, 1, 6]] {
                let pieced = through_cache(&model, &ids, &pieces).unwrap();
                assert!(apart(&whole, &pieced) <= 1e-5, "{rule} {pieces:?}: {}", apart(&whole, &pieced));
            }
        }
    }
}

#[test]
fn a_cache_gives_the_same_outputs_with_each_setting_of_blocks() {
    for (what, config) in crate::block_settings::configs() {
        let model = model(
            &ModelConfig { n_encoder_layers: 0, encoder: EncoderConfig::default(), ..config },
            "causal & near(4)",
        );
        let ids = ids(12, 7);
        let batch = collate(model.layouts(), &[sample(0, &ids)]).unwrap();
        let whole: Vec<Vec<f32>> = model.outputs(&batch).unwrap()[0].to_vec2().unwrap();
        let pieced = through_cache(&model, &ids, &[5, 1, 6]).unwrap();
        assert!(apart(&whole, &pieced) <= 1e-5, "{what}: {}", apart(&whole, &pieced));
    }
}

/// Steps of a cache: for each document, the number of its text and the places of its next tokens.
const STEPS: [&[(usize, Range<usize>)]; 4] = [
    &[(0, 0..5), (1, 0..1), (2, 0..8)],
    &[(0, 5..6), (1, 1..1), (2, 8..9)],
    // After the choice of documents 2, 0 and 2.
    &[(2, 9..10), (0, 6..8), (3, 9..10)],
    &[(2, 10..11), (0, 8..9), (3, 10..12)],
];

/// Checks that the steps give each text the outputs `whole` of all its tokens at once.
fn check_steps(
    model: &Model,
    whole: &[Vec<Vec<f32>>],
    sample: impl Fn(usize, Range<usize>) -> (usize, Sample),
    what: &str,
) {
    let mut cache = model.cache();
    for (number, step) in STEPS.iter().enumerate() {
        if number == 2 {
            cache = cache.select(&[2, 0, 2]).unwrap();
        }
        let samples: Vec<(usize, Sample)> =
            step.iter().map(|(text, places)| sample(*text, places.clone())).collect();
        let batch = collate(model.layouts(), &samples).unwrap();
        let found: Vec<Vec<f32>> = model.step(&batch, &mut cache).unwrap()[0].to_vec2().unwrap();
        let expected: Vec<Vec<f32>> =
            step.iter().flat_map(|(text, places)| whole[*text][places.clone()].to_vec()).collect();
        assert_eq!(expected.len(), found.len());
        assert!(apart(&expected, &found) <= 1e-5, "{what}, {number}: {}", apart(&expected, &found));
    }
}

/// Four texts, of which the last begins like the third.
fn texts() -> [Vec<u32>; 4] {
    [ids(12, 7), ids(12, 3), ids(12, 11), [&ids(9, 11)[..], &ids(3, 5)].concat()]
}

#[test]
fn a_step_continues_several_documents_as_each_alone() {
    for (what, config) in crate::block_settings::configs() {
        for rule in ["causal", "causal & near(4)"] {
            let model = model(
                &ModelConfig { n_encoder_layers: 0, encoder: EncoderConfig::default(), ..config.clone() },
                rule,
            );
            let texts = texts();
            let whole = texts.each_ref().map(|ids| through_cache(&model, ids, &[12]).unwrap());
            let sample = |text: usize, places: Range<usize>| {
                let inputs = vec![(Stream::Main, Tokens::new(vec![piece(&texts[text], places)]))];
                (0, Sample { inputs, outputs: vec![Target::Unknown.into()], id: 0 })
            };
            check_steps(&model, &whole, sample, &format!("{what}, {rule}"));
        }
    }
}

#[test]
fn documents_with_the_same_beginning_share_the_encoder_output() {
    let config = ModelConfig { n_encoder_layers: 1, ..small() };
    let model = Model::new(&config, &[speech_task()], 3, &Device::Cpu).unwrap();
    let (texts, third) = (texts(), ids(4, 13));
    let sounds = [ids(7, 3), vec![], third.clone(), third];
    let whole: Vec<Vec<Vec<f32>>> = (0..4)
        .map(|text| {
            let sample = speech_sample(0, &sounds[text], piece(&texts[text], 0..12));
            let batch = collate(model.layouts(), &[sample]).unwrap();
            model.outputs(&batch).unwrap()[0].to_vec2().unwrap()
        })
        .collect();
    let sample = |text: usize, places: Range<usize>| {
        let sounds = if places.start == 0 { &sounds[text][..] } else { &[] };
        speech_sample(0, sounds, piece(&texts[text], places))
    };
    check_steps(&model, &whole, sample, "cross-attention");
}

#[test]
fn a_cache_with_rules_that_attend_to_later_tokens_is_an_error() {
    let error = through_cache(&model(&small(), "all"), &ids(4, 7), &[2, 2]).unwrap_err().to_string();
    assert!(error.contains("text.character 0 attends to the later text.character 2"), "{error}");
    assert!(through_cache(&model(&small(), "all"), &ids(4, 7), &[4]).is_ok(), "all at once nothing is later");
}

/// A task of words that attend to sounds by cross-attention.
fn speech_task() -> TaskSpec {
    let kind = |name: &str| KindSpec { name: name.into(), ..text("all").inputs[0].1[0].clone() };
    let all = |query: &str, key: &str| (query.into(), key.into(), Rule::ALL);
    TaskSpec {
        name: "speech".into(),
        inputs: vec![(Stream::Encoder, vec![kind("sound")]), (Stream::Main, vec![kind("word")])],
        rules: vec![
            all("sound", "sound"),
            all("word", "sound"),
            ("word".into(), "word".into(), "causal".parse().unwrap()),
        ],
        heads: vec![HeadSpec::new("", "word", Generate::new(20))],
        loss_weight: 1.0,
        shares: vec![],
    }
}

fn speech_sample(id: u64, sounds: &[u32], words: Group) -> (usize, Sample) {
    let sounds = Tokens::new(vec![Group::sequence(Content::Ids(sounds.to_vec()))]);
    let inputs = vec![(Stream::Encoder, sounds), (Stream::Main, Tokens::new(vec![words]))];
    (0, Sample { inputs, outputs: vec![Target::Unknown.into()], id })
}

#[test]
fn a_document_without_encoder_output_is_independent_of_others() {
    for norm_placement in [NormPlacement::Pre, NormPlacement::Post] {
        let config = ModelConfig { norm_placement, n_encoder_layers: 1, dropout: 0.3, ..small() };
        let model = Model::new(&config, &[speech_task(), text("all")], 3, &Device::Cpu).unwrap();
        let (_, plain) = sample(2, &ids(9, 7));
        let speech = speech_sample(1, &ids(6, 3), Group::sequence(Content::Ids(ids(5, 3))));
        for dropout in [None, Some(5)] {
            let alone = hidden(&model, &[(1, plain.clone())], 0, dropout);
            let together = hidden(&model, &[(1, plain.clone()), speech.clone()], 0, dropout);
            assert!(apart(&alone, &together) <= 1e-6, "{}", apart(&alone, &together));
            let speech_alone = hidden(&model, std::slice::from_ref(&speech), 0, dropout);
            let speech_after = hidden(&model, &[(1, plain.clone()), speech.clone()], 1, dropout);
            assert!(apart(&speech_alone, &speech_after) <= 1e-5, "{}", apart(&speech_alone, &speech_after));
        }
    }
}

#[test]
fn a_cache_keeps_the_encoder_output() {
    let config = ModelConfig { n_encoder_layers: 1, ..small() };
    let model = Model::new(&config, &[speech_task()], 3, &Device::Cpu).unwrap();
    let (sounds, words) = (ids(7, 3), ids(6, 7));
    let batch = |sounds: &[u32], places: Range<usize>| {
        collate(model.layouts(), &[speech_sample(0, sounds, piece(&words, places))]).unwrap()
    };
    let whole: Vec<Vec<f32>> = model.outputs(&batch(&sounds, 0..6)).unwrap()[0].to_vec2().unwrap();
    let without_sounds: Vec<Vec<f32>> = model.outputs(&batch(&[], 0..6)).unwrap()[0].to_vec2().unwrap();
    let change = apart(&whole, &without_sounds);
    assert!(change > 1e-3, "sounds change the outputs: {change}");
    let mut cache = model.cache();
    let mut pieced: Vec<Vec<f32>> = Vec::new();
    for place in 0..6 {
        let fresh = if place == 0 { sounds.as_slice() } else { &[] };
        let output = model.step(&batch(fresh, place..place + 1), &mut cache).unwrap().remove(0);
        pieced.extend(output.to_vec2::<f32>().unwrap());
    }
    assert!(apart(&whole, &pieced) <= 1e-5, "{}", apart(&whole, &pieced));
}

#[test]
fn settings_without_a_use_are_errors() {
    let error = |config: ModelConfig, task: TaskSpec| {
        Model::new(&config, &[task], 0, &Device::Cpu).err().map(|e| e.to_string()).unwrap_or_default()
    };
    let encoder = ModelConfig { n_encoder_layers: 1, ..small() };
    assert!(error(encoder, text("all")).contains("n_encoder_layers: no task has an input for the encoder"));
    let mut classes = text("all");
    classes.heads = vec![HeadSpec::new("", "character", Classify::numbered(3))];
    let tied = ModelConfig { head: HeadConfig { tie_embeddings: true, ..HeadConfig::default() }, ..small() };
    assert!(
        error(tied, classes)
            .contains("tie_embeddings: expected an output that predicts next or masked tokens")
    );
    let mut twice = text("all");
    let again = twice.inputs[0].clone();
    twice.inputs.push(again);
    assert!(error(small(), twice).contains("two inputs for Main"));
}

#[test]
fn a_rule_applies_to_every_kind_that_its_pattern_matches() {
    let rules = |query: &str| {
        let settings = format!(
            "d_model = 16\nn_layers = 1\n[attention]\nn_heads = 2\n[[attention.rules]]\nquery = {query:?}\nkey = \"*\"\nrule = \"near(2)\"\n"
        );
        let config: ModelConfig = toml::from_str(&settings).unwrap();
        Model::new(&config, &[text("causal")], 3, &Device::Cpu)
    };
    assert_eq!(*rules("text.*").unwrap().rules(0).get(0, 0), "near(2)".parse().unwrap());
    let error = rules("image.*").err().unwrap().to_string();
    assert!(error.contains("image.*") && error.contains("text.character"), "{error}");
}

#[test]
fn rules_may_differ_by_layer() {
    let settings = "d_model = 16\nn_layers = 2\nattention.n_heads = 2\n\
                    [[attention.rules]]\nquery = \"text.character\"\nkey = \"text.character\"\nrule = \"never\"\nlayers = [0]\n";
    let model = model(&toml::from_str(settings).unwrap(), "causal");
    assert_eq!(*model.rules(0).get(0, 0), Rule::Never);
    assert_eq!(*model.rules(1).get(0, 0), Rule::causal());
}

#[test]
fn settings_and_tasks_that_do_not_fit_are_named() {
    let build = |config: &ModelConfig, task: TaskSpec| {
        Model::new(config, &[task], 0, &Device::Cpu).err().map(|e| e.to_string()).unwrap_or_default()
    };
    let mut unread = text("causal");
    unread.heads[0].reads = "word".into();
    assert_eq!(
        build(&small(), unread),
        "task text: its head reads word, which is not a kind of its main input"
    );
    let mut timed = text("near(2)");
    timed.inputs[0].1[0].axes.clear();
    assert!(build(&small(), timed).contains("use near(2, order)"));
    let mut encoded = text("causal");
    encoded.inputs.insert(0, (Stream::Encoder, vec![]));
    assert!(build(&small(), encoded).contains("model.n_encoder_layers is 0"));
    assert!(
        build(&ModelConfig { attention: AttentionConfig::of_heads(3), ..small() }, text("all"))
            .contains("expected a divisor of d_model 16; found 3")
    );
}

#[test]
fn a_sample_that_does_not_fit_is_named() {
    let layouts: Vec<Layout> = model(&small(), "causal").layouts().to_vec();
    let error = |sample: (usize, Sample)| collate(&layouts, &[sample]).unwrap_err().to_string();
    assert!(
        error(sample(7, &[25])).contains("sample 7 text.character: id 25")
            || error(sample(7, &[25])).contains("id 25 at token 0 must be below 20")
    );
    assert!(error(sample(7, &ids(65, 1))).contains("index 64"));
    let (task, mut short) = sample(8, &ids(4, 1));
    short.outputs = vec![Target::ids(vec![1, 2]).into()];
    assert!(error((task, short)).contains("has 2 target ids; its head reads 4 tokens"));
}

#[test]
fn targets_of_weight_0_do_not_change_the_loss() {
    let model = model(&small(), "causal");
    let loss = |target: Vec<u32>, weights: Vec<f32>| {
        let (task, mut sample) = sample(1, &ids(4, 7));
        sample.outputs = vec![Target::Ids { ids: target, weights }.into()];
        let batch = collate(model.layouts(), &[(task, sample)]).unwrap();
        let loss = model.loss(&batch, None, 0.0).unwrap().remove(0);
        let sum: Tensor = loss.sum.into_tensor();
        (sum.to_scalar::<f32>().unwrap(), loss.weight)
    };
    let (one, weight) = loss(vec![1, 2, 3, 4], vec![1.0, 0.0, 0.5, 0.0]);
    let (other, _) = loss(vec![1, 9, 3, 9], vec![1.0, 0.0, 0.5, 0.0]);
    assert_eq!((one, weight), (other, 1.5));
}
