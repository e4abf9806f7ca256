//! Multi-head attention between two lists of tokens, which may be one list.

use super::{Linear, ModelConfig, block::INIT_STD};
use crate::ops;
use crate::params::Scope;
use crate::rules::Visibility;
use candle_core::{Result, Tensor};
use std::sync::Arc;

/// Projections around the one attention call. Self-attention is attention of a list to itself.
pub struct Attention {
    query: Linear,
    /// Keys and values side by side: `[2·d_model, d_model]`.
    key_value: Linear,
    output: Linear,
    n_heads: usize,
}

impl Attention {
    /// Attention of the configured shape; `residual_std` is the deviation of the output projection.
    ///
    /// # Errors
    /// Where the parameters' names are taken.
    pub fn new(mut scope: Scope, config: &ModelConfig, residual_std: f64) -> Result<Self> {
        let (d, bias) = (config.d_model, config.bias);
        Ok(Self {
            query: Linear::new(scope.at("query"), d, d, bias, INIT_STD)?,
            key_value: Linear::new(scope.at("key_value"), d, 2 * d, bias, INIT_STD)?,
            output: Linear::new(scope.at("output"), d, d, bias, residual_std)?,
            n_heads: config.n_heads,
        })
    }

    /// Queries of `x` `[n, d_model]` to keys of `memory` `[m, d_model]`. With a cache, the keys and values
    /// of `memory` are put behind the kept ones, and `view` is onto all of them.
    ///
    /// # Errors
    /// Where shapes differ from `view`'s.
    pub fn forward(
        &self,
        x: &Tensor,
        memory: &Tensor,
        view: &Arc<Visibility>,
        cache: Option<&mut Option<Tensor>>,
    ) -> Result<Tensor> {
        let fresh = self.key_value.forward(memory)?; // [m, 2·d_model]
        let key_value = match cache {
            None => fresh,
            Some(kept) => {
                let all = match kept.take() {
                    Some(kept) => Tensor::cat(&[&kept, &fresh], 0)?,
                    None => fresh,
                };
                kept.insert(all).clone()
            }
        };
        self.attend(x, &key_value, view)
    }

    /// As [`forward`](Self::forward), where `memory` never changes: its keys and values are computed once.
    ///
    /// # Errors
    /// Where shapes differ from `view`'s.
    pub fn look_at(
        &self,
        x: &Tensor,
        memory: &Tensor,
        view: &Arc<Visibility>,
        cache: Option<&mut Option<Tensor>>,
    ) -> Result<Tensor> {
        let key_value = match cache {
            Some(Some(kept)) => kept.clone(),
            Some(empty) => empty.insert(self.key_value.forward(memory)?).clone(),
            None => self.key_value.forward(memory)?,
        };
        self.attend(x, &key_value, view)
    }

    fn attend(&self, x: &Tensor, key_value: &Tensor, view: &Arc<Visibility>) -> Result<Tensor> {
        let query = self.query.forward(x)?;
        self.output.forward(&ops::attention(&query, key_value, self.n_heads, view)?)
    }
}
