//! The attention weights of cross-attention: how strongly each token attends to each token of the encoder.

use super::{Model, Pass};
use crate::data::Batch;
use crate::ops::without_gradients;
use candle_core::{Result, Tensor};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The attention weights that the layers of a forward pass record.
#[derive(Debug, Default)]
pub struct CrossAttentionWeights(Mutex<BTreeMap<usize, Vec<Tensor>>>);

impl CrossAttentionWeights {
    /// Keeps the weights of a layer, one tensor for each document.
    pub(super) fn record(&self, layer: usize, weights: Vec<Tensor>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(layer, weights);
    }
}

impl Model {
    /// The weights of cross-attention, `[n_heads, tokens, encoder tokens]`, by layer and document, as the reference operation
    /// computes them. A batch without cross-attention has no layer; documents without tokens in the encoder are left out.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn cross_attention_weights(&self, batch: &Batch) -> Result<Vec<Vec<Tensor>>> {
        let weights = Arc::new(CrossAttentionWeights::default());
        let pass = Pass { cross_attention_weights: Some(weights.clone()), ..Pass::default() };
        without_gradients(|| self.hidden(batch, None, &pass))?;
        let recorded = std::mem::take(&mut *weights.0.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(recorded.into_values().collect())
    }
}
