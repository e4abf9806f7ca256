//! The standard training loads, on synthetic data of fixed shape, through the trainer that `train` uses.

use crate::data::{Batch, DataError, Dataset, Sample, Stream, Target};
use crate::head::{HeadSpec, Says};
use crate::model::{Model, ModelError};
use crate::random;
use crate::rules::Rule;
use crate::task::{READOUT, Task, TaskSpec, readout_kind, readout_tokens};
use crate::train::{Part, Silent, TrainConfig, TrainError, Trainer};
use crate::transformer::ModelConfig;
use candle_core::Device;
use rand_pcg::Pcg64Mcg;
use serde::Serialize;
use smalti_contract::{AnyTokenizer, Axis, Content, ContentSpec, Group, KindSpec, Tokens};
use std::{collections::BTreeSet, sync::Arc, time::Instant};

/// One load: a model and what it is fed.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Its name on the command line.
    pub name: &'static str,
    n_layers: usize,
    n_heads: usize,
    d_model: usize,
    batch: usize,
    input: Input,
}

#[derive(Clone, Copy, Debug)]
enum Input {
    /// Causal text of `context` tokens.
    Text { vocabulary: usize, context: usize },
    /// `side`×`side` patches of `dim` features and a readout.
    Image { side: usize, dim: usize, classes: usize },
    /// `steps` of return, state and continuous action.
    Trajectory { steps: usize, state: usize, action: usize },
    /// A prefix of slices, then text.
    Audio { slices: usize, dim: usize, text: usize, vocabulary: usize },
}

/// The loads, of the sizes that the field's own code uses on a processor.
pub const LOADS: [Load; 5] = [
    // nanoGPT's CPU configuration.
    Load {
        name: "text-nano",
        n_layers: 4,
        n_heads: 4,
        d_model: 128,
        batch: 12,
        input: Input::Text { vocabulary: 65, context: 64 },
    },
    // nanoGPT's GPU configuration for characters, with a small batch.
    Load {
        name: "text-char",
        n_layers: 6,
        n_heads: 6,
        d_model: 384,
        batch: 4,
        input: Input::Text { vocabulary: 65, context: 256 },
    },
    // A small ViT on 32×32 pixels in 4×4 patches.
    Load {
        name: "image-tiny",
        n_layers: 6,
        n_heads: 3,
        d_model: 192,
        batch: 128,
        input: Input::Image { side: 8, dim: 48, classes: 10 },
    },
    // Decision Transformer's Gym settings, with Hopper's sizes.
    Load {
        name: "trajectory",
        n_layers: 3,
        n_heads: 1,
        d_model: 128,
        batch: 64,
        input: Input::Trajectory { steps: 20, state: 11, action: 3 },
    },
    Load {
        name: "audio",
        n_layers: 4,
        n_heads: 4,
        d_model: 256,
        batch: 16,
        input: Input::Audio { slices: 150, dim: 160, text: 24, vocabulary: 32 },
    },
];

/// What a load took.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// The load's name.
    pub load: String,
    /// Parameters of the model.
    pub parameters: usize,
    /// Tokens in a step.
    pub tokens: usize,
    /// Median of the steps' times in milliseconds, data to optimizer.
    pub step_ms: f64,
    /// Tokens in a second at the median step.
    pub tokens_per_s: f64,
    /// Billions of operations of the mathematics in a second: the stack's maps and the pairs in sight, forward and
    /// backward. What a kernel computes twice counts once.
    pub gflop_per_s: f64,
    /// That over the rate of a large matrix product, measured in the same run.
    pub share_of_peak: f64,
}

/// Why a load could not be measured.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub enum BenchError {
    /// The model.
    Model(#[from] ModelError),
    /// Training.
    Train(#[from] TrainError),
}

/// Steps before the first that is measured: they fill caches and start threads.
const WARM_UP: u64 = 3;

impl Load {
    /// Trains for `steps` steps and takes the median time; `peak` is [`product_rate`].
    ///
    /// # Errors
    /// Where the device refuses.
    pub fn measure(&self, steps: u64, peak: f64, device: &Device) -> Result<Measured, BenchError> {
        let task = Arc::new(Synthetic { spec: self.spec() });
        let config = ModelConfig {
            n_layers: self.n_layers,
            n_heads: self.n_heads,
            d_model: self.d_model,
            ..ModelConfig::default()
        };
        let model = Model::new(&config, std::slice::from_ref(&task.spec), 0, device)?;
        let parameters = model.params().count();
        let data: Arc<dyn Dataset> = Arc::new(*self);
        let train = TrainConfig { steps: steps + WARM_UP, batch: self.batch, ..TrainConfig::default() };
        let part = Part { task, train: data.clone(), valid: data, weight: 1.0 };
        let mut trainer = Trainer::new(&train, model, vec![part])?;
        let mut loader = trainer.loader()?;
        let mut times = Vec::new();
        let (mut tokens, mut flop) = (0, 0.0);
        for step in 0..steps + WARM_UP {
            let started = Instant::now();
            let Some(batch) = loader.next() else { break };
            let batch = batch.map_err(TrainError::from)?;
            tokens = trainer.train_on(&batch, &mut Silent)?.tokens;
            if step == 0 {
                flop = batch.iter().map(|batch| flop_of_step(trainer.model(), batch)).sum();
            }
            if step >= WARM_UP {
                times.push(started.elapsed().as_secs_f64());
            }
        }
        times.sort_by(f64::total_cmp);
        let median = times.get(times.len() / 2).copied().unwrap_or(f64::NAN);
        Ok(Measured {
            load: self.name.into(),
            parameters,
            tokens,
            step_ms: 1e3 * median,
            tokens_per_s: tokens as f64 / median,
            gflop_per_s: flop / median / 1e9,
            share_of_peak: flop / median / peak,
        })
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
        let (kinds, rule, reads, says) = match self.input {
            Input::Text { vocabulary, context } => (
                vec![kind("character", ids(vocabulary), index(context))],
                Rule::causal(),
                "character",
                Says::NextToken { vocabulary },
            ),
            Input::Image { side, dim, classes } => {
                let axes = vec![Axis::new("row", side), Axis::new("column", side)];
                let kinds = vec![kind("patch", features(dim), axes), readout_kind(1)];
                (kinds, Rule::ALL, READOUT, Says::Classify { classes })
            }
            Input::Trajectory { steps, state, action } => {
                let mut kinds = vec![
                    kind("return", features(1), vec![]),
                    kind("state", features(state), vec![]),
                    kind("action", features(action), vec![]),
                ];
                kinds.iter_mut().for_each(|kind| kind.time_steps = Some(steps));
                (kinds, Rule::causal(), "state", Says::Regress { dim: action })
            }
            Input::Audio { slices, dim, text, vocabulary } => {
                let mut slice = kind("slice", features(dim), vec![]);
                slice.time_steps = Some(slices);
                let kinds = vec![slice, kind("character", ids(vocabulary), index(text))];
                (kinds, Rule::ALL, "character", Says::NextToken { vocabulary })
            }
        };
        let mut rules = all_pairs(&kinds, rule);
        if matches!(self.input, Input::Audio { .. }) {
            rules.retain(|(query, key, _)| (query.as_str(), key.as_str()) != ("slice", "character"));
            let text = rules.iter_mut().filter(|(query, key, _)| query == "character" && key == "character");
            text.for_each(|(_, _, rule)| *rule = Rule::causal());
        }
        let head = HeadSpec { reads: reads.into(), says };
        let inputs = vec![(Stream::Main, kinds)];
        TaskSpec { name: self.name.into(), inputs, rules, head, loss_weight: 1.0 }
    }
}

/// FLOP of a training step: each weight of the stack takes part in three products of 2 FLOP a token, and each pair
/// of a query and a key in sight in 6 of 2·d_model in each layer. In the last layer, tokens that no head reads have
/// keys and values alone.
fn flop_of_step(model: &Model, batch: &Batch) -> f64 {
    let meta = &batch.main.meta;
    let last = format!("stack.blocks.{}.", model.config().n_layers - 1);
    let read: BTreeSet<u32> = batch.heads.iter().flat_map(|head| head.rows.iter().copied()).collect();
    let maps = model.params().iter().filter(|(name, var)| name.starts_with("stack.") && var.rank() == 2);
    let products = maps.map(|(name, var)| {
        let partly = name.starts_with(&last) && !name.contains("key_value");
        var.elem_count() * if partly { read.len() } else { meta.len() }
    });
    let seen = |&q: &u32| {
        let q = q as usize;
        let document = meta.documents[meta.document[q] as usize].clone();
        document.filter(|&k| model.rules(0).allows(meta, q, meta, k)).count()
    };
    let all: usize = (0..meta.len() as u32).map(|q| seen(&q)).sum();
    let pairs = (model.config().n_layers - 1) * all + read.iter().map(seen).sum::<usize>();
    (6 * products.sum::<usize>() + 12 * pairs * model.config().d_model) as f64
}

/// FLOP in a second of a product of two square matrices of 1,024 on all threads: the best of 20.
pub fn product_rate() -> f64 {
    const N: usize = 1024;
    let seconds = (0..20).map(|_| crate::ops::time_of_product(N)).fold(f64::INFINITY, f64::min);
    2.0 * (N as f64).powi(3) / seconds
}

struct Synthetic {
    spec: TaskSpec,
}

impl Task for Synthetic {
    fn spec(&self) -> &TaskSpec {
        &self.spec
    }

    fn tokenizers(&self) -> Vec<(&'static str, &dyn AnyTokenizer)> {
        vec![]
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
            Input::Text { vocabulary, context } => {
                let group = Group::sequence(Content::Ids(random_ids(random, context, vocabulary)));
                (Tokens::new(vec![group]), Target::ids(random_ids(random, context, vocabulary)))
            }
            Input::Image { side, dim, classes } => {
                let n = side * side;
                let mut group = Group::sequence(random_features(random, n, dim));
                group.positions = (0..n as u32).flat_map(|i| [i / side as u32, i % side as u32]).collect();
                let tokens = Tokens::new(vec![group]).merge(readout_tokens(1));
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
            Input::Audio { slices, dim, text, vocabulary } => {
                let mut heard = Group::sequence(random_features(random, slices, dim));
                heard.positions.clear();
                let written = Group::sequence(Content::Ids(random_ids(random, text, vocabulary)));
                let tokens = Tokens::new(vec![heard]).merge(Tokens::new(vec![written]));
                (tokens, Target::ids(random_ids(random, text, vocabulary)))
            }
        };
        Ok(Sample { inputs: vec![(Stream::Main, tokens)], target, id: index as u64 })
    }
}
