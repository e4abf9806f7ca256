//! What a task brings to a model: kinds of token, rules between them, and heads.

use crate::data::Stream;
use crate::head::{HeadSpec, SavedHead};
use crate::rules::Rule;
use serde::{Deserialize, Serialize};
use smalti_contract::{Axis, Content, ContentSpec, Group, KindSpec, Tokens};
use std::collections::{BTreeMap, BTreeSet};

/// The fitted state of one task, as a run folder keeps it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedTask {
    /// Its tokenizers, by what each is for: the name of a part.
    pub tokenizers: BTreeMap<String, SavedTokenizer>,
    /// Its heads, by output.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub heads: BTreeMap<String, SavedHead>,
    /// The parts and outputs that are series.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub series: BTreeSet<String>,
    /// The time steps of the longest row.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub max_steps: usize,
    /// The largest magnitude of each discounted return-to-go over the training rows, by field.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub largest_returns: BTreeMap<String, f64>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde wants it
fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// One tokenizer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedTokenizer {
    /// Its name in the registry.
    pub tokenizer: String,
    /// Its configuration.
    pub config: serde_json::Value,
}

/// The model's side of a task: everything that shapes parameters.
#[derive(Clone, Debug)]
pub struct TaskSpec {
    /// Unique among a model's tasks. The model calls the task's kinds `name.kind`; an empty name adds no prefix.
    pub name: String,
    /// For each input of a sample, its stream and the kinds of its groups.
    pub inputs: Vec<(Stream, Vec<KindSpec>)>,
    /// (query kind, key kind, rule); the kinds of a pair that is left out never attend to each other.
    pub rules: Vec<(String, String, Rule)>,
    /// The heads, one for each output.
    pub heads: Vec<HeadSpec>,
    /// Weight of the task's losses in the sum over tasks.
    pub loss_weight: f64,
    /// (kind, other kind): the first is embedded by the tables of the second, and has nothing of its own but its type.
    pub shares: Vec<(String, String)>,
}

impl TaskSpec {
    /// The name of head `head` in losses, metrics and figures: `TASK`, `OUTPUT` or `TASK.OUTPUT`.
    pub fn output_name(&self, head: usize) -> String {
        joined(&[&self.name, &self.heads[head].name])
    }

    /// Its name for messages: that of the only task of a run is those of its outputs.
    pub fn label(&self) -> String {
        match self.name.as_str() {
            "" => self.heads.iter().map(|head| head.name.as_str()).collect::<Vec<_>>().join(", "),
            name => name.into(),
        }
    }

    /// The name of each head, as [`output_name`](Self::output_name) gives it, and the weight of its mean loss in the sum
    /// over all tasks and heads.
    pub fn loss_weights(&self) -> impl Iterator<Item = (String, f64)> + '_ {
        let weight = |head: &HeadSpec| self.loss_weight * head.weight;
        self.heads.iter().enumerate().map(move |(number, head)| (self.output_name(number), weight(head)))
    }
}

/// Names one below the other, with dots between them; empty ones are left out: `["text", ""]` is `text`.
pub fn joined(names: &[&str]) -> String {
    names.iter().copied().filter(|name| !name.is_empty()).collect::<Vec<_>>().join(".")
}

/// One task of a model.
pub trait Task: Send + Sync {
    /// The model's side.
    fn spec(&self) -> &TaskSpec;

    /// The text of some ids of a head, if they stand for one; word and character error rates are counted in it.
    fn transcript(&self, _head: usize, _ids: &[u32]) -> Option<String> {
        None
    }

    /// The number of bytes of UTF-8 in the text of some ids of a head, if the head predicts all of a text: bits per byte
    /// compare models of different vocabularies.
    fn text_bytes(&self, _head: usize, _ids: &[u32]) -> Option<usize> {
        None
    }
}

/// A kind of `n` learned tokens, which hold no input: class tokens, which a head reads, and registers. Each may have a
/// learned position too, as ViT's class token.
pub fn learned_kind(name: &str, n: usize, positions: bool) -> KindSpec {
    let axes = if positions { vec![Axis::new("index", n)] } else { vec![] };
    KindSpec { name: name.into(), content: ContentSpec::Ids { vocabulary: n }, axes, time_steps: None }
}

/// The tokens of a [`learned_kind`], to be appended to an input.
pub fn learned_tokens(n: usize, positions: bool) -> Tokens {
    let mut group = Group::sequence(Content::Ids((0..n as u32).collect()));
    if !positions {
        group.positions.clear();
    }
    Tokens::new(vec![group])
}
