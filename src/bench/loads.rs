//! The standard loads: models and synthetic data of fixed shape.

use crate::data::{DataError, Dataset, Sample, Stream, Target};
use crate::head::{Classify, Generate, HeadSpec, Regress};
use crate::model::{AttentionConfig, HeadConfig, Model, ModelConfig, ModelError, Params};
use crate::ops::QuantizedType;
use crate::random;
use crate::rules::{Condition, Rule};
use crate::task::{Task, TaskSpec, learned_kind, learned_tokens};
use candle_core::Device;
use rand_pcg::Pcg64Mcg;
use smalti_contract::{Axis, Content, ContentSpec, Group, KindSpec, Tokens};
use std::sync::Arc;

/// One load: a model and its synthetic input.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Its name on the command line.
    pub name: &'static str,
    pub(super) n_layers: usize,
    pub(super) n_heads: usize,
    pub(super) d_model: usize,
    pub(super) batch: usize,
    pub(super) input: Input,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Input {
    /// Causal text of `context` tokens, which attend to keys at most `near` tokens before them.
    Text { vocabulary: usize, context: usize, near: Option<u32> },
    /// `side`×`side` patches of `dim` features and a class token.
    Image { side: usize, dim: usize, classes: usize },
    /// `steps` time steps of return, state and continuous action.
    Trajectory { steps: usize, state: usize, action: usize },
    /// A prefix of mel slices, then text.
    Audio { slices: usize, dim: usize, text: usize, vocabulary: usize },
}

/// The loads for a CPU, of the sizes of published code.
pub const LOADS: [Load; 5] = [TEXT_NANO, TEXT_CHAR, IMAGE_TINY, TRAJECTORY, AUDIO];

/// nanoGPT's CPU configuration.
pub(super) const TEXT_NANO: Load = Load {
    name: "text-nano",
    n_layers: 4,
    n_heads: 4,
    d_model: 128,
    batch: 12,
    input: Input::Text { vocabulary: 65, context: 64, near: None },
};

/// nanoGPT's GPU configuration for characters, with a small batch.
pub(super) const TEXT_CHAR: Load = Load {
    name: "text-char",
    n_layers: 6,
    n_heads: 6,
    d_model: 384,
    batch: 4,
    input: Input::Text { vocabulary: 65, context: 256, near: None },
};

/// A small ViT on 32×32 pixels in 4×4 patches.
pub(super) const IMAGE_TINY: Load = Load {
    name: "image-tiny",
    n_layers: 6,
    n_heads: 3,
    d_model: 192,
    batch: 128,
    input: Input::Image { side: 8, dim: 48, classes: 10 },
};

/// Decision Transformer's Gym settings, with Hopper's sizes.
pub(super) const TRAJECTORY: Load = Load {
    name: "trajectory",
    n_layers: 3,
    n_heads: 1,
    d_model: 128,
    batch: 64,
    input: Input::Trajectory { steps: 20, state: 11, action: 3 },
};

/// A prefix of mel slices, then text.
pub(super) const AUDIO: Load = Load {
    name: "audio",
    n_layers: 4,
    n_heads: 4,
    d_model: 256,
    batch: 16,
    input: Input::Audio { slices: 150, dim: 160, text: 24, vocabulary: 32 },
};

/// Loads for a GPU.
pub const GPU_LOADS: [Load; 2] = [GPT2_124M, VIT_S16];

/// GPT-2's smallest size, without tied embeddings.
const GPT2_124M: Load = Load {
    name: "gpt2-124m",
    n_layers: 12,
    n_heads: 12,
    d_model: 768,
    batch: 16,
    input: Input::Text { vocabulary: 50304, context: 1024, near: None },
};

/// ViT-S/16 on 224×224 pixels.
const VIT_S16: Load = Load {
    name: "vit-s16",
    n_layers: 12,
    n_heads: 6,
    d_model: 384,
    batch: 256,
    input: Input::Image { side: 14, dim: 768, classes: 1000 },
};

impl Load {
    /// The load of this name.
    pub fn named(name: &str) -> Option<Self> {
        LOADS.into_iter().chain(GPU_LOADS).find(|load| load.name == name)
    }

    /// A model of this load's size, and its task.
    pub(super) fn model(&self, device: &Device) -> Result<(Model, Arc<dyn Task>), ModelError> {
        self.model_in(device, None)
    }

    /// As [`model`](Self::model), with weights that are rounded to a type.
    pub(super) fn model_in(
        &self,
        device: &Device,
        quantized: Option<QuantizedType>,
    ) -> Result<(Model, Arc<dyn Task>), ModelError> {
        let task = Synthetic { spec: self.spec() };
        let config = ModelConfig {
            // Language models have no bias in the head, as nanoGPT.
            head: HeadConfig {
                bias: matches!(self.input, Input::Text { .. } | Input::Audio { .. }).then_some(false),
                ..HeadConfig::default()
            },
            n_layers: self.n_layers,
            attention: AttentionConfig::of_heads(self.n_heads),
            d_model: self.d_model,
            ..ModelConfig::default()
        };
        let params = Params::new(0, device);
        let params = match quantized {
            Some(dtype) => params.quantized(dtype)?,
            None => params,
        };
        let model = Model::with_params(&config, std::slice::from_ref(&task.spec), params)?;
        Ok((model, Arc::new(task)))
    }

    fn spec(&self) -> TaskSpec {
        let kind =
            |name: &str, content, axes| KindSpec { name: name.into(), content, axes, time_steps: None };
        let features = |dim| ContentSpec::Features { dim };
        let ids = |vocabulary| ContentSpec::Ids { vocabulary };
        let index = |size| vec![Axis::new("index", size)];
        let all_pairs = |kinds: &[KindSpec], rule: Rule| {
            let pairs =
                kinds.iter().flat_map(|q| kinds.iter().map(move |k| (q.name.clone(), k.name.clone())));
            pairs.map(|(q, k)| (q, k, rule.clone())).collect::<Vec<_>>()
        };
        let (kinds, rule, head) = match self.input {
            Input::Text { vocabulary, context, near } => (
                vec![kind("character", ids(vocabulary), index(context))],
                Rule::When([Condition::Causal].into_iter().chain(near.map(Condition::NearOrder)).collect()),
                HeadSpec::new("", "character", Generate::new(vocabulary)),
            ),
            Input::Image { side, dim, classes } => {
                let axes = vec![Axis::new("row", side), Axis::new("column", side)];
                let kinds = vec![kind("patch", features(dim), axes), learned_kind("class", 1, false)];
                (kinds, Rule::ALL, HeadSpec::new("", "class", Classify::numbered(classes)))
            }
            Input::Trajectory { steps, state, action } => {
                let mut kinds = vec![
                    kind("return", features(1), vec![]),
                    kind("state", features(state), vec![]),
                    kind("action", features(action), vec![]),
                ];
                kinds.iter_mut().for_each(|kind| kind.time_steps = Some(steps));
                (kinds, Rule::causal(), HeadSpec::new("", "state", Regress::new(action, false)))
            }
            Input::Audio { slices, dim, text, vocabulary } => {
                let mut slice = kind("slice", features(dim), vec![]);
                slice.time_steps = Some(slices);
                let kinds = vec![slice, kind("character", ids(vocabulary), index(text))];
                (kinds, Rule::ALL, HeadSpec::new("", "character", Generate::new(vocabulary)))
            }
        };
        let mut rules = all_pairs(&kinds, rule);
        if matches!(self.input, Input::Audio { .. }) {
            rules.retain(|(query, key, _)| (query.as_str(), key.as_str()) != ("slice", "character"));
            let text = rules.iter_mut().filter(|(query, key, _)| query == "character" && key == "character");
            text.for_each(|(_, _, rule)| *rule = Rule::causal());
        }
        let inputs = vec![(Stream::Main, kinds)];
        TaskSpec {
            name: self.name.into(),
            inputs,
            rules,
            heads: vec![head],
            loss_weight: 1.0,
            shares: vec![],
        }
    }
}

struct Synthetic {
    spec: TaskSpec,
}

impl Task for Synthetic {
    fn spec(&self) -> &TaskSpec {
        &self.spec
    }
}

fn random_ids(random: &mut Pcg64Mcg, n: usize, vocabulary: usize) -> Vec<u32> {
    (0..n).map(|_| random::below(random, vocabulary) as u32).collect()
}

fn random_features(random: &mut Pcg64Mcg, n: usize, dim: usize) -> Content {
    Content::Features { values: random::normal(random, n * dim), dim }
}

impl Dataset for Load {
    fn len(&self) -> usize {
        10_000
    }

    fn sample(&self, index: usize, seed: Option<u64>) -> Result<Sample, DataError> {
        let random = &mut random::generator(seed.unwrap_or(index as u64));
        let (tokens, target) = match self.input {
            Input::Text { vocabulary, context, .. } => {
                let group = Group::sequence(Content::Ids(random_ids(random, context, vocabulary)));
                (Tokens::new(vec![group]), Target::ids(random_ids(random, context, vocabulary)))
            }
            Input::Image { side, dim, classes } => {
                let n = side * side;
                let mut group = Group::sequence(random_features(random, n, dim));
                group.positions = (0..n as u32).flat_map(|i| [i / side as u32, i % side as u32]).collect();
                let tokens = Tokens::new(vec![group]).merge(learned_tokens(1, false));
                (tokens, Target::class(random::below(random, classes) as u32))
            }
            Input::Trajectory { steps, state, action } => {
                let group = |place: u32, content| Group {
                    content,
                    positions: vec![],
                    order: (0..steps as u32).map(|t| 3 * t + place).collect(),
                    time: (0..steps as u32).collect(),
                };
                let actions = random_features(random, steps, action);
                let values = actions.features().unwrap_or_default().to_vec();
                let target = Target::Features { values, dim: action, weights: vec![1.0; steps] };
                let returns = group(0, random_features(random, steps, 1));
                let states = group(1, random_features(random, steps, state));
                (Tokens::new(vec![returns, states, group(2, actions)]), target)
            }
            Input::Audio { slices, dim, text: n_text, vocabulary } => {
                let mut audio = Group::sequence(random_features(random, slices, dim));
                audio.positions.clear();
                let text = Group::sequence(Content::Ids(random_ids(random, n_text, vocabulary)));
                let tokens = Tokens::new(vec![audio]).merge(Tokens::new(vec![text]));
                (tokens, Target::ids(random_ids(random, n_text, vocabulary)))
            }
        };
        Ok(Sample { inputs: vec![(Stream::Main, tokens)], outputs: vec![target.into()], id: index as u64 })
    }
}
