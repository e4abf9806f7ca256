//! Dropout keyed by sample and place, so that it does not depend on the batch.

use crate::ops::{self, Value};
use crate::random;
use candle_core::Result;
use std::sync::Arc;

/// The dropout of one forward pass: its seed, and for each token the key of its sample and place.
#[derive(Clone, Debug)]
pub struct Dropout {
    /// Share of values dropped.
    pub rate: f32,
    /// Derived from `train.seed` and the step.
    pub seed: u64,
    /// `[n_tokens]`: derived from the sample's id and the token's place in its document, never from the row in the batch.
    pub keys: Arc<Vec<u64>>,
}

impl Dropout {
    /// The same dropout for some rows.
    pub fn rows(&self, rows: &[u32]) -> Self {
        let keys = rows.iter().map(|&row| self.keys[row as usize]).collect();
        Self { keys: Arc::new(keys), ..self.clone() }
    }

    /// `x` with values dropped; different sites of the model drop different values.
    ///
    /// # Errors
    /// If the numbers of rows and keys differ.
    pub fn forward(&self, x: &Value, site: u64) -> Result<Value> {
        if self.rate == 0.0 {
            return Ok(x.clone());
        }
        ops::dropout(x, self.rate, random::mix(self.seed, site), &self.keys)
    }
}
