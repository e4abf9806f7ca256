//! The weights of cross-attention: to which tokens of the encoder each token attends.

use super::{Model, Pass};
use crate::data::Batch;
use crate::ops::without_gradients;
use candle_core::{Result, Tensor};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The weights that the layers of a pass record.
#[derive(Debug, Default)]
pub struct CrossWeights(Mutex<BTreeMap<usize, Vec<Tensor>>>);

impl CrossWeights {
    /// Keeps the weights of a layer, one tensor for each document.
    pub(super) fn record(&self, layer: usize, weights: Vec<Tensor>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(layer, weights);
    }
}

impl Model {
    /// The weights of cross-attention by layer and document, `[n_heads, tokens, encoder tokens]`, as the reference attention
    /// computes them; no layer for a batch without cross-attention. Documents without tokens in the encoder are left out.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn cross_weights(&self, batch: &Batch) -> Result<Vec<Vec<Tensor>>> {
        let weights = Arc::new(CrossWeights::default());
        let pass = Pass { weights: Some(weights.clone()), ..Pass::default() };
        without_gradients(|| self.hidden(batch, None, &pass))?;
        let recorded = std::mem::take(&mut *weights.0.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(recorded.into_values().collect())
    }
}
