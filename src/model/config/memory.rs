//! The memory of one layer.

use serde::{Deserialize, Serialize};

/// `model.memory`: one layer of the main transformer also attends to earlier tokens beyond its attention rules, by retrieval (Wu
/// et al. 2022: Memorizing Transformers).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MemoryConfig {
    /// The layer, counted from 0.
    pub layer: usize,
    /// Number of tokens in the memory: the latest before a token that `near` in the layer's rules excludes.
    #[serde(default = "size")]
    pub size: usize,
    /// Number of tokens of the memory that each head of a token attends to: those whose keys are the most similar.
    #[serde(default = "top_k")]
    pub top_k: usize,
}

fn size() -> usize {
    8192
}

fn top_k() -> usize {
    32
}
