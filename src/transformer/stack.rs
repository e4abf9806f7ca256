//! A stack of blocks.

use super::{Block, Cache, Dropout, ModelConfig, Norm, NormPlace, RelativePositions};
use crate::ops::{self, Angles, Buckets, RelativeBias, Value};
use crate::params::Scope;
use crate::rules::Visibility;
use candle_core::Result;
use std::sync::Arc;

/// What a stack needs beside its tokens: who sees whom in each layer, and what else there is to look at.
pub struct Pass {
    /// The rows that look around, ascending; `None` for all.
    pub rows: Option<Vec<u32>>,
    /// Of those rows onto all: one view for each layer, or one for all.
    pub self_views: Vec<Arc<Visibility>>,
    /// What there is to look at by cross-attention.
    pub memory: Option<Memory>,
    /// With rotary positions.
    pub angles: Option<Turns>,
    /// In training, of those rows.
    pub dropout: Option<Dropout>,
}

/// By which angles queries and keys are turned.
pub struct Turns {
    /// Of the rows that look around.
    pub queries: Arc<Angles>,
    /// Of all rows.
    pub keys: Arc<Angles>,
}

impl Pass {
    /// Those rows of `x` `[n_tokens, d_model]` that look around.
    ///
    /// # Errors
    /// Where a row is out of range.
    pub fn looking(&self, x: &Value) -> Result<Value> {
        self.rows.as_ref().map_or(Ok(x.clone()), |rows| ops::gather_rows(x, rows))
    }

    /// Who sees whom in this layer.
    pub fn self_view(&self, layer: usize) -> &Arc<Visibility> {
        &self.self_views[layer.min(self.self_views.len() - 1)]
    }
}

/// The other stack's output, and which tokens look at it.
pub struct Memory {
    /// `[m, d_model]`.
    pub tokens: Value,
    /// Which of the rows that look around look at it too: those of documents that are in both stacks. `None` for all.
    pub rows: Option<Vec<u32>>,
    /// Whom those rows see: one view for each layer, or one for all.
    pub views: Vec<Arc<Visibility>>,
    /// In training, of those rows.
    pub dropout: Option<Dropout>,
}

impl Memory {
    /// Who sees whom in this layer.
    pub fn view(&self, layer: usize) -> &Arc<Visibility> {
        &self.views[layer.min(self.views.len() - 1)]
    }
}

/// Deviation of initial biases by distance: small beside scores of variance 1.
const RELATIVE_STD: f64 = 0.02;

/// Blocks, and behind pre-norm blocks a last norm.
pub struct Stack {
    blocks: Vec<Arc<Block>>,
    norm: Option<Norm>,
    /// `[buckets, n_heads]`: biases of scores by distance, which all blocks share.
    relative: Option<(Value, Arc<Buckets>)>,
    recompute: bool,
}

/// What a stack is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Heads read it.
    Main {
        /// Whether it looks at an encoder.
        cross: bool,
    },
    /// The main one looks at it.
    Encoder,
}

impl Stack {
    /// The stack of this place.
    ///
    /// # Errors
    /// Where the parameters' names are taken.
    pub fn new(mut scope: Scope, config: &ModelConfig, place: Place) -> Result<Self> {
        let (n_layers, cross) = match place {
            Place::Main { cross } => (config.n_layers, cross),
            Place::Encoder => (config.n_encoder_layers, false),
        };
        let relative = match config.relative {
            None => None,
            Some(RelativePositions { buckets, max_distance, causal }) => {
                let both_ways = place == Place::Encoder || !causal;
                let table = scope.normal("relative", (buckets, config.n_heads), RELATIVE_STD)?;
                Some((table, Arc::new(Buckets::new(buckets, max_distance, both_ways))))
            }
        };
        let blocks = (0..n_layers)
            .map(|layer| {
                Block::new(scope.at("blocks").at(layer), config, n_layers, layer, cross).map(Arc::new)
            })
            .collect::<Result<_>>()?;
        let norm = match config.norm_place {
            NormPlace::Pre => Some(Norm::new(scope.at("norm"), config)?),
            NormPlace::Post => None,
        };
        Ok(Self { blocks, norm, relative, recompute: false })
    }

    /// Whether each block keeps what enters it alone, and is computed again on the way back. Gradients have the same bits.
    pub fn recompute(&mut self, on: bool) {
        self.recompute = on;
    }

    /// `[n_tokens, d_model]` → `[n_looking, d_model]`. All blocks follow `pass`, in which all rows look around; but the
    /// last follows `last` where that is given, and its rows are those that come out.
    ///
    /// # Errors
    /// Where shapes differ.
    pub fn forward(
        &self,
        x: &Value,
        pass: &Arc<Pass>,
        last: Option<&Arc<Pass>>,
        mut cache: Option<&mut Cache>,
    ) -> Result<Value> {
        let mut x = x.clone();
        for (layer, block) in self.blocks.iter().enumerate() {
            let pass = last.filter(|_| layer + 1 == self.blocks.len()).unwrap_or(pass);
            x = match &mut cache {
                None if self.recompute => {
                    let (block, pass, relative) = (block.clone(), pass.clone(), self.relative.clone());
                    ops::recomputed(move || block.forward(&x, &pass, bias(&relative), None))?
                }
                cache => {
                    let kept = cache.as_mut().map(|cache| &mut cache.layers[layer]);
                    block.forward(&x, pass, bias(&self.relative), kept)?
                }
            };
        }
        self.norm.as_ref().map_or(Ok(x.clone()), |norm| norm.forward(&x))
    }
}

fn bias(relative: &Option<(Value, Arc<Buckets>)>) -> Option<RelativeBias<'_>> {
    relative.as_ref().map(|(table, buckets)| RelativeBias { table, buckets })
}
