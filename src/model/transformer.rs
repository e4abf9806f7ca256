//! A transformer: blocks one after another over a packed list of tokens, `[n_tokens, d_model]`.
//!
//! Attention rules make it an encoder, a decoder or both.

use super::block::Block;
use super::cache::Cache;
use super::config::{ModelConfig, NormPlacement, RelativePositions};
use super::layer::CustomLayers;
use super::norm::Norm;
use super::params::Scope;
use super::plan::ForwardPlan;
use crate::ops::{self, Buckets, Distances, RelativeBias, Value};
use candle_core::Result;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// A sequence of blocks, and a final norm with pre-norm.
pub struct Transformer {
    blocks: Vec<Arc<Block>>,
    norm: Option<Norm>,
    /// The biases of attention scores by distance, which all blocks share.
    relative: Option<Biases>,
    checkpoint_activations: bool,
    /// The places of its parameters.
    parameters: Range<usize>,
}

/// Biases of attention scores by distance, which a transformer holds.
#[derive(Clone)]
struct Biases {
    /// `[buckets, n_heads]`: learned (Raffel et al. 2020); `None` for ALiBi (Press et al. 2022).
    table: Option<Value>,
    distances: Distances,
}

/// The use of a transformer in a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StackRole {
    /// Heads read its output.
    Main {
        /// Whether it attends to the encoder's output.
        cross_attention: bool,
    },
    /// The main transformer attends to its output.
    Encoder,
}

/// Standard deviation of initial biases by distance: small beside scores of variance 1.
const RELATIVE_STD: f64 = 0.02;

impl Transformer {
    /// The transformer of this role.
    ///
    /// # Errors
    /// If a parameter's name is taken.
    pub fn new(
        mut scope: Scope,
        config: &ModelConfig,
        role: StackRole,
        layers: &CustomLayers,
    ) -> Result<Self> {
        let first = scope.n_parameters();
        let (config, n_layers, cross) = match role {
            StackRole::Main { cross_attention } => (Cow::Borrowed(config), config.n_layers, cross_attention),
            StackRole::Encoder => (Cow::Owned(config.of_encoder()), config.n_encoder_layers, false),
        };
        let config = config.as_ref();
        let relative = match config.attention.relative {
            None => config.attention.alibi.then(|| Biases {
                table: None,
                distances: Distances::Slopes(ops::slopes(config.attention.n_heads)),
            }),
            Some(RelativePositions { buckets, max_distance, causal }) => {
                let bidirectional = role == StackRole::Encoder || !causal;
                let table = scope.normal("relative", (buckets, config.attention.n_heads), RELATIVE_STD)?;
                let buckets = Buckets::new(buckets, max_distance, bidirectional);
                Some(Biases { table: Some(table), distances: Distances::Buckets(Arc::new(buckets)) })
            }
        };
        let blocks = (0..n_layers)
            .map(|layer| {
                let sublayer = layers.sublayer_of(layer);
                Block::new(scope.at("blocks").at(layer), config, n_layers, layer, cross, sublayer)
                    .map(Arc::new)
            })
            .collect::<Result<_>>()?;
        let norm = match config.norm_placement {
            NormPlacement::Pre | NormPlacement::Both => Some(Norm::new(scope.at("norm"), config)?),
            NormPlacement::Post => None,
        };
        let parameters = first..scope.n_parameters();
        Ok(Self { blocks, norm, relative, checkpoint_activations: false, parameters })
    }

    /// Turns activation checkpointing on or off (Chen et al. 2016): each block keeps only its input and computes its
    /// activations again in the backward pass. Gradients have the same bits.
    pub fn checkpoint_activations(&mut self, on: bool) {
        self.checkpoint_activations = on;
    }

    /// `[n_tokens, d_model]` → `[n_read, d_model]`: the rows that the last layer of `plan` computes.
    ///
    /// # Errors
    /// If shapes differ.
    pub fn forward(&self, x: &Value, plan: &ForwardPlan, mut cache: Option<&mut Cache>) -> Result<Value> {
        let mut x = x.clone();
        for (layer, block) in self.blocks.iter().enumerate() {
            let plan = plan.layer(layer + 1 == self.blocks.len());
            x = match &mut cache {
                None if self.checkpoint_activations => {
                    let (block, plan, relative) = (block.clone(), plan.clone(), self.relative.clone());
                    ops::checkpointed(move || block.forward(&x, &plan, bias(&relative), None))?
                }
                cache => {
                    let cache = cache.as_mut().map(|cache| &mut cache.layers[layer]);
                    block.forward(&x, plan, bias(&self.relative), cache)?
                }
            };
        }
        self.norm.as_ref().map_or(Ok(x.clone()), |norm| norm.forward(&x))
    }

    /// Its blocks with experts, by the prefix of their parameters' names.
    pub fn expert_layers(&self) -> impl Iterator<Item = &str> {
        self.blocks.iter().filter_map(|block| block.expert_layer())
    }

    /// The places of its parameters.
    pub fn parameters(&self) -> Range<usize> {
        self.parameters.clone()
    }

    /// The places of the parameters that a batch without an encoder's output does not use.
    pub fn cross_parameters(&self) -> impl Iterator<Item = usize> + '_ {
        self.blocks.iter().flat_map(|block| block.cross_parameters())
    }
}

fn bias(relative: &Option<Biases>) -> Option<RelativeBias<'_>> {
    relative.as_ref().map(|Biases { table, distances }| RelativeBias { table: table.as_ref(), distances })
}
