use super::*;
use crate::head::{HeadSpec, Regress};
use crate::model::{AttentionConfig, LayerRule, ModelConfig};
use crate::report::figure::Format;
use crate::task::{TaskSpec, learned_kind};
use candle_core::Device;
use smalti_contract::Axis;

fn kind(name: &str, axes: Vec<Axis>, time_steps: Option<usize>) -> KindSpec {
    KindSpec { name: name.into(), content: ContentSpec::Features { dim: 2 }, axes, time_steps }
}

fn task(name: &str, inputs: Vec<(Stream, Vec<KindSpec>)>, rules: &[(&str, &str, &str)]) -> TaskSpec {
    let reads = inputs.last().unwrap().1.last().unwrap().name.clone();
    let rules = rules.iter().map(|(q, k, rule)| (q.to_string(), k.to_string(), rule.parse().unwrap()));
    TaskSpec {
        name: name.into(),
        inputs,
        rules: rules.collect(),
        heads: vec![HeadSpec::new("", &reads, Regress::new(1, false))],
        loss_weight: 1.0,
        shares: vec![],
    }
}

fn drawn(config: ModelConfig, task: TaskSpec) -> Vec<String> {
    let attention = AttentionConfig { n_heads: 1, ..config.attention.clone() };
    let config = ModelConfig { d_model: 4, attention, ..config };
    let model = Model::new(&config, &[task], 0, &Device::Cpu).unwrap();
    figures(&model).iter().map(RulesFigure::to_string).collect()
}

#[test]
fn kinds_with_time_steps_are_interleaved() {
    let kinds = ["return", "state", "action"].map(|name| kind(name, vec![], Some(9)));
    let pairs =
        ["return", "state", "action"].map(|q| ["return", "state", "action"].map(|k| (q, k, "causal")));
    let drawn = drawn(
        ModelConfig::default(),
        task("act", vec![(Stream::Main, kinds.to_vec())], pairs.as_flattened()),
    );
    let expected = "act: self-attention, every layer

      rsarsarsa
    r x........
    s xx.......
    a xxx......
    r xxxx.....
    s xxxxx....
    a xxxxxx...
    r xxxxxxx..
    s xxxxxxxx.
    a xxxxxxxxx

    r = return, s = state, a = action
    return attends to return, state, action: causal
    state attends to return, state, action: causal
    action attends to return, state, action: causal
";
    assert_eq!(drawn, [expected]);
}

#[test]
fn a_prefix_comes_before_generated_tokens() {
    let slices = kind("slice", vec![], Some(50));
    let characters = kind("character", vec![Axis::new("index", 2)], None);
    let rules =
        [("slice", "slice", "all"), ("character", "slice", "all"), ("character", "character", "causal")];
    let drawn =
        drawn(ModelConfig::default(), task("speech", vec![(Stream::Main, vec![slices, characters])], &rules));
    let expected = "speech: self-attention, every layer

      sssscc
    s xxxx..
    s xxxx..
    s xxxx..
    s xxxx..
    c xxxxx.
    c xxxxxx

    s = slice, c = character
    slice attends to slice: all
    character attends to slice: all
    character attends to character: causal
";
    assert_eq!(drawn, [expected]);
}

#[test]
fn layers_with_different_rules_have_a_figure_each() {
    let patch = kind("patch", vec![Axis::new("row", 2), Axis::new("column", 2)], None);
    let rules = [("patch", "patch", "all"), ("class", "patch", "all")];
    let near = LayerRule {
        query: "images.patch".into(),
        key: "images.patch".into(),
        rule: "near(1)".parse().unwrap(),
        layers: vec![1],
    };
    let config = ModelConfig {
        n_layers: 3,
        attention: AttentionConfig { rules: vec![near], ..AttentionConfig::of_heads(1) },
        ..ModelConfig::default()
    };
    let drawn = drawn(
        config,
        task("images", vec![(Stream::Main, vec![patch, learned_kind("class", 1, false)])], &rules),
    );
    let [most, middle] = &drawn[..] else { panic!("two figures; found {}", drawn.len()) };
    assert!(most.starts_with("images: self-attention, layers 0, 2\n\n      ppppc\n    p xxxx.\n"), "{most}");
    assert!(most.contains("    c xxxx.\n\n    p = patch, c = class\n"), "{most}");
    // On four patches both have the same mask.
    assert!(
        middle.starts_with("images: self-attention, layer 1\n")
            && middle.contains("patch attends to patch: near(1)")
    );
}

#[test]
fn an_encoder_and_cross_attention_are_drawn() {
    let (slice, word) = (kind("slice", vec![], Some(50)), kind("slot", vec![Axis::new("index", 2)], None));
    let inputs = vec![(Stream::Encoder, vec![slice]), (Stream::Main, vec![word])];
    let rules = [("slice", "slice", "all"), ("slot", "slice", "all"), ("slot", "slot", "causal")];
    let config = ModelConfig { n_encoder_layers: 1, n_layers: 2, ..ModelConfig::default() };
    let drawn = drawn(config, task("speech", inputs, &rules));
    let titles: Vec<_> = drawn.iter().filter_map(|figure| figure.lines().next()).collect();
    let attentions = ["encoder self-attention", "self-attention", "cross-attention"];
    assert_eq!(titles, attentions.map(|attention| format!("speech: {attention}, every layer")));
    // Both names begin with an s; the second kind takes its next letter.
    assert!(drawn[2].contains("\n      llllllll\n    s xxxxxxxx\n    s xxxxxxxx\n"), "{}", drawn[2]);
    assert!(drawn[2].contains("s = slot, l = slice"), "{}", drawn[2]);
}

#[test]
fn an_svg_has_a_cell_for_each_pair() {
    let characters = kind("character", vec![Axis::new("index", 4)], None);
    let config =
        ModelConfig { d_model: 4, attention: AttentionConfig::of_heads(1), ..ModelConfig::default() };
    let task = task("read", vec![(Stream::Main, vec![characters])], &[("character", "character", "causal")]);
    let figures = figures(&Model::new(&config, &[task], 0, &Device::Cpu).unwrap());
    let svg = crate::report::figure::rules(&figures).encode(Format::Svg).unwrap();
    let svg = String::from_utf8(svg).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
    assert_eq!(svg.matches("#0072b2").count(), 10, "1 + 2 + 3 + 4 pairs with attention");
    assert_eq!(svg.matches("#e8e8e8").count(), 6);
    assert!(svg.contains("read: self-attention, every layer"));
}
