//! The settings of experts.

use super::ModelConfig;
use serde::{Deserialize, Serialize};

/// The blocks whose MLP is a mixture of experts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExpertLayers {
    /// All blocks: Mixtral.
    #[default]
    All,
    /// Every other block, from the second on: Switch Transformer.
    EveryOther,
}

/// The weight of the load-balance loss in Switch Transformer (Fedus et al. 2021).
pub(super) const LOAD_BALANCE: f64 = 0.01;

/// Most experts of a block.
pub(super) const MOST_EXPERTS: usize = 1 << 12;

/// Most experts of all blocks: each has parameters with names of their own.
pub(super) const MOST_OF_ALL: usize = 1 << 17;

impl ModelConfig {
    /// Whether the MLP of block number `layer` is a mixture of experts.
    pub fn has_experts(&self, layer: usize) -> bool {
        let chosen = match self.mlp.expert_layers {
            ExpertLayers::All => true,
            ExpertLayers::EveryOther => layer % 2 == 1,
        };
        self.mlp.experts > 0 && chosen
    }
}

/// Whether a number is 1, which is left out of a file.
pub(super) fn is_one(number: &usize) -> bool {
    *number == 1
}

/// Whether a number is 0, which is left out of a file.
pub(super) fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Whether the weight is the default, which is left out of a file.
pub(super) fn is_usual(weight: &f64) -> bool {
    *weight == LOAD_BALANCE
}

/// Whether all blocks have experts, which is left out of a file.
pub(super) fn is_all(layers: &ExpertLayers) -> bool {
    *layers == ExpertLayers::All
}
