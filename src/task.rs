//! A task of a model: token kinds, attention rules between them, and heads.

use crate::data::Stream;
use crate::head::{HeadSpec, SavedHead};
use crate::rules::Rule;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use smalti_contract::{Axis, Content, ContentSpec, Group, KindSpec, Tokens};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The fitted state of one task, saved in a run folder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedTask {
    /// Its tokenizers, by the name of the input or output.
    pub tokenizers: BTreeMap<String, SavedTokenizer>,
    /// Its heads, by output.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub heads: BTreeMap<String, SavedHead>,
    /// The inputs and outputs that are series.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub series: BTreeSet<String>,
    /// The outputs whose windows have an end token after each row.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub separated: BTreeSet<String>,
    /// The number of time steps of the longest row.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub max_steps: usize,
    /// The largest magnitude of each discounted return-to-go over the training rows, by field.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub largest_returns: BTreeMap<String, f64>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the signature that serde expects
fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// A fitted tokenizer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedTokenizer {
    /// Its name in the registry.
    pub tokenizer: String,
    /// Its configuration, which may have megabytes and is shared by clones.
    #[serde(with = "shared")]
    pub config: Arc<Value>,
}

/// A shared value as the value itself.
mod shared {
    use super::{Arc, Value};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(value: &Arc<Value>, serializer: S) -> Result<S::Ok, S::Error> {
        value.as_ref().serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Value>, D::Error> {
        Value::deserialize(deserializer).map(Arc::new)
    }
}

/// The part of a task that determines the model's parameters.
#[derive(Clone, Debug)]
pub struct TaskSpec {
    /// Unique among a model's tasks. The model calls the task's kinds `name.kind`; an empty name adds no prefix.
    pub name: String,
    /// For each input of a sample, its stream and the token kinds of its groups.
    pub inputs: Vec<(Stream, Vec<KindSpec>)>,
    /// (query kind, key kind, attention rule). A pair that is left out does not attend.
    pub rules: Vec<(String, String, Rule)>,
    /// The heads, one for each output.
    pub heads: Vec<HeadSpec>,
    /// Weight of the task's losses in the sum over tasks.
    pub loss_weight: f64,
    /// (kind, other kind): the first uses the embedding tables of the second, and has only its own type embedding.
    pub shares: Vec<(String, String)>,
}

impl TaskSpec {
    /// The name of head `head` in losses, metrics and figures: `TASK`, `OUTPUT` or `TASK.OUTPUT`.
    pub fn output_name(&self, head: usize) -> String {
        joined(&[&self.name, &self.heads[head].name])
    }

    /// The name for messages; for the only task of a run, the names of its outputs.
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

/// Joins names with dots, without empty ones: `["text", ""]` is `text`.
pub fn joined(names: &[&str]) -> String {
    names.iter().copied().filter(|name| !name.is_empty()).collect::<Vec<_>>().join(".")
}

/// One task of a model.
pub trait Task: Send + Sync {
    /// The part that determines the model's parameters.
    fn spec(&self) -> &TaskSpec;

    /// The text of some ids of a head, for word and character error rates; `None` if the ids are not text.
    fn transcript(&self, _head: usize, _ids: &[u32]) -> Option<String> {
        None
    }

    /// The number of UTF-8 bytes in the text of some ids of a head, for bits per byte, which compare models with different
    /// vocabularies; `None` unless the head predicts the whole text.
    fn text_bytes(&self, _head: usize, _ids: &[u32]) -> Option<usize> {
        None
    }
}

/// A kind of `n` learned tokens without input, such as class tokens and registers, optionally with learned positions as the
/// class token of ViT (Dosovitskiy et al. 2021).
pub fn learned_kind(name: &str, n: usize, positions: bool) -> KindSpec {
    let axes = if positions { vec![Axis::new("index", n)] } else { vec![] };
    KindSpec { name: name.into(), content: ContentSpec::Ids { vocabulary: n }, axes, time_steps: None }
}

/// The tokens of a [`learned_kind`], to append to an input.
pub fn learned_tokens(n: usize, positions: bool) -> Tokens {
    let mut group = Group::sequence(Content::Ids((0..n as u32).collect()));
    if !positions {
        group.positions.clear();
    }
    Tokens::new(vec![group])
}
