//! The settings of the MLP, and of experts.

use super::ModelConfig;
use crate::ops::Activation;
use serde::{Deserialize, Serialize};

/// The MLP: `[model.mlp]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MlpConfig {
    /// Width of the hidden layer; 0 for 4·d_model.
    pub d_ff: usize,
    /// Whether the MLP is f(x·W)·(x·V)·U and not f(x·W)·U (Shazeer 2020).
    pub gated: bool,
    /// The activation f.
    pub activation: Activation,
    /// Whether its linear maps have a bias; `model.bias` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bias: Option<bool>,
    /// Number of experts, MLPs of which each token takes a few (Switch Transformer, Fedus et al. 2021); 0 for one MLP.
    #[serde(skip_serializing_if = "is_zero")]
    pub experts: usize,
    /// Number of experts of each token, the k with the highest scores of the router. With 1, the output is multiplied by the
    /// expert's probability; with more, by its share among the k.
    #[serde(skip_serializing_if = "is_one")]
    pub experts_per_token: usize,
    /// Weight of the loss that spreads the tokens over the experts, of each block with experts; that loss is 1 for an even load.
    #[serde(skip_serializing_if = "is_usual")]
    pub load_balance: f64,
    /// The most tokens of an expert in a training batch, as a multiple of an even load; later tokens pass it by. No bound if left
    /// out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity_factor: Option<f64>,
    /// The blocks with experts.
    #[serde(skip_serializing_if = "is_all")]
    pub expert_layers: ExpertLayers,
}

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
const LOAD_BALANCE: f64 = 0.01;

/// Most experts of a block.
pub(super) const MOST_EXPERTS: usize = 1 << 12;

/// Most experts of all blocks: each has parameters with names of their own.
pub(super) const MOST_OF_ALL: usize = 1 << 17;

impl Default for MlpConfig {
    fn default() -> Self {
        Self {
            d_ff: 0,
            gated: false,
            activation: Activation::Gelu,
            bias: None,
            experts: 0,
            experts_per_token: 1,
            load_balance: LOAD_BALANCE,
            capacity_factor: None,
            expert_layers: ExpertLayers::All,
        }
    }
}

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
fn is_one(number: &usize) -> bool {
    *number == 1
}

/// Whether a number is 0, which is left out of a file.
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Whether the weight is the default, which is left out of a file.
fn is_usual(weight: &f64) -> bool {
    *weight == LOAD_BALANCE
}

/// Whether all blocks have experts, which is left out of a file.
fn is_all(layers: &ExpertLayers) -> bool {
    *layers == ExpertLayers::All
}
