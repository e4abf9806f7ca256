//! The names of the blocks of a transformer: what many kinds of checkpoint have alike.

use super::names::{Layout, NameMap};
use crate::model::{EmbeddingConfig, ModelConfig, Positions};

/// A block, here and in a checkpoint.
pub(super) struct Block<'a> {
    pub names: &'a mut NameMap,
    model: &'a ModelConfig,
    /// Its number, counted from 0.
    pub layer: usize,
    ours: String,
    theirs: String,
}

/// Map each block of the main transformer by `map`; those of the checkpoint are named `theirs` and a number.
pub(super) fn each(names: &mut NameMap, model: &ModelConfig, theirs: &str, map: impl Fn(&mut Block)) {
    for layer in 0..model.n_layers {
        let (ours, theirs) = (format!("stack.blocks.{layer}"), format!("{theirs}.{layer}"));
        map(&mut Block { names, model, layer, ours, theirs });
    }
}

/// An embedding of tokens alone, without positions.
pub(super) fn embedding_without_positions() -> EmbeddingConfig {
    EmbeddingConfig { positions: Positions::None, type_embedding: false, ..EmbeddingConfig::default() }
}

impl Block<'_> {
    /// The name of a parameter of the block.
    pub fn ours(&self, name: &str) -> String {
        format!("{}.{name}", self.ours)
    }

    /// The name of a tensor of the checkpoint's block.
    pub fn theirs(&self, name: &str) -> String {
        format!("{}.{name}", self.theirs)
    }

    /// Map a layer norm.
    pub fn norm(&mut self, ours: &str, theirs: &str) {
        self.linear(&[ours], &[theirs], self.model.bias);
    }

    /// Map queries, keys, values and the output projection, which are four linear layers.
    pub fn attention(&mut self, [query, key, value, output]: [&str; 4]) {
        let bias = self.attention_bias();
        self.linear(&["attention.query"], &[query], bias);
        self.linear(&["attention.key_value"], &[key, value], bias);
        self.output(output);
    }

    /// Map queries, keys and values, which are one linear layer, and the output projection.
    pub fn fused_attention(&mut self, [query_key_value, output]: [&str; 2]) {
        let bias = self.attention_bias();
        self.linear(&["attention.query", "attention.key_value"], &[query_key_value], bias);
        self.output(output);
    }

    /// Map the output projection of attention.
    pub fn output(&mut self, theirs: &str) {
        let bias = self.model.attention.output_bias.unwrap_or(self.model.bias);
        self.linear(&["attention.output"], &[theirs], bias);
    }

    /// Map the two linear layers of an MLP.
    pub fn mlp(&mut self, [inner, outer]: [&str; 2]) {
        let bias = self.mlp_bias();
        self.linear(&["mlp.inner"], &[inner], bias);
        self.linear(&["mlp.outer"], &[outer], bias);
    }

    /// Map the three linear layers of a gated MLP.
    pub fn gated_mlp(&mut self, [inner, gated, outer]: [&str; 3]) {
        self.mlp([inner, outer]);
        self.linear(&["mlp.gated"], &[gated], self.mlp_bias());
    }

    /// Map a gated MLP, whose first two linear layers are one.
    pub fn fused_mlp(&mut self, [inner_gated, outer]: [&str; 2]) {
        let bias = self.mlp_bias();
        self.linear(&["mlp.inner", "mlp.gated"], &[inner_gated], bias);
        self.linear(&["mlp.outer"], &[outer], bias);
    }

    /// Whether queries, keys and values have a bias.
    pub fn attention_bias(&self) -> bool {
        self.model.attention.bias.unwrap_or(self.model.bias)
    }

    fn mlp_bias(&self) -> bool {
        self.model.mlp.bias.unwrap_or(self.model.bias)
    }

    /// Equate the concatenated rows of linear layers.
    fn linear(&mut self, ours: &[&str], theirs: &[&str], bias: bool) {
        let ours: Vec<String> = ours.iter().map(|name| self.ours(name)).collect();
        let theirs: Vec<String> = theirs.iter().map(|name| self.theirs(name)).collect();
        let ours: Vec<&str> = ours.iter().map(String::as_str).collect();
        let theirs: Vec<&str> = theirs.iter().map(String::as_str).collect();
        self.names.maps(&ours, &theirs, bias, Layout::Same);
    }
}
