//! Two tasks of a model with an encoder: one uses the main transformer alone, the other attends to the encoder's output.

use smalti::data::{Sample, Stream, Target};
use smalti::head::{Classify, Generate, HeadSpec};
use smalti::rules::Rule;
use smalti::task::{TaskSpec, learned_kind, learned_tokens};
use smalti_contract::{Axis, Content, ContentSpec, Group, KindSpec, Tokens};

fn kind(name: &str, vocabulary: usize) -> KindSpec {
    KindSpec {
        name: name.into(),
        content: ContentSpec::Ids { vocabulary },
        axes: vec![Axis::new("index", 16)],
        time_steps: None,
    }
}

fn rules(rules: &[(&str, &str, &str)]) -> Vec<(String, String, Rule)> {
    rules.iter().map(|&(q, k, rule)| (q.into(), k.into(), rule.parse().unwrap())).collect()
}

/// Eight pixels, whose class is predicted at a class token.
pub fn image() -> TaskSpec {
    TaskSpec {
        name: "image".into(),
        inputs: vec![(Stream::Main, vec![kind("pixel", 9), learned_kind("class", 1, false)])],
        rules: rules(&[("pixel", "pixel", "near(2)"), ("class", "pixel", "all"), ("class", "class", "all")]),
        heads: vec![HeadSpec::new("", "class", Classify::numbered(3))],
        loss_weight: 1.0,
        shares: vec![],
    }
}

/// Words after a prefix, which attend to sounds in the encoder.
pub fn speech() -> TaskSpec {
    TaskSpec {
        name: "speech".into(),
        inputs: vec![
            (Stream::Encoder, vec![kind("sound", 9)]),
            (Stream::Main, vec![kind("prefix", 9), kind("word", 9)]),
        ],
        rules: rules(&[
            ("sound", "sound", "all"),
            ("prefix", "prefix", "all"),
            ("prefix", "sound", "all"),
            ("word", "prefix", "all"),
            ("word", "word", "causal"),
            ("word", "sound", "all"),
        ]),
        heads: vec![HeadSpec::new("", "word", Generate::new(9))],
        loss_weight: 1.0,
        shares: vec![],
    }
}

fn group(n: u32, step: u32) -> Group {
    Group::sequence(Content::Ids((0..n).map(|i| (i * step + 1) % 9).collect()))
}

/// A sample of an image.
pub fn image_sample(id: u64) -> (usize, Sample) {
    let tokens = Tokens::new(vec![group(8, 2 + id as u32)]).merge(learned_tokens(1, false));
    let inputs = vec![(Stream::Main, tokens)];
    (0, Sample { inputs, outputs: vec![Target::class(id as u32 % 3).into()], id })
}

/// A sample of speech with `n` words.
pub fn speech_sample(id: u64, n: u32) -> (usize, Sample) {
    let main = Tokens::new(vec![group(4, 5)]).merge(Tokens::new(vec![group(n, 7)]));
    let inputs = vec![(Stream::Encoder, Tokens::new(vec![group(6, 4)])), (Stream::Main, main)];
    (1, Sample { inputs, outputs: vec![Target::ids((0..n).collect()).into()], id })
}

/// Batches of both tasks and of one; with documents that no head reads, among others and alone.
pub fn batches() -> Vec<Vec<(usize, Sample)>> {
    vec![
        vec![image_sample(1), speech_sample(2, 3), image_sample(3), speech_sample(4, 5), speech_sample(5, 1)],
        vec![speech_sample(1, 3), speech_sample(2, 5)],
        vec![image_sample(1)],
        vec![speech_sample(1, 0), image_sample(2), speech_sample(3, 4)],
        vec![speech_sample(1, 0)],
    ]
}
