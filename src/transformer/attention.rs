//! Multi-head attention between two lists of tokens, which may be one list.

use super::{GrowingRows, Linear, ModelConfig, Turns, block::init_std};
use crate::ops::{self, Value};
use crate::params::Scope;
use crate::rules::Visibility;
use candle_core::Result;
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
            query: Linear::new(scope.at("query"), d, d, bias, init_std(d))?,
            key_value: Linear::new(scope.at("key_value"), d, 2 * d, bias, init_std(d))?,
            output: Linear::new(scope.at("output"), d, d, bias, residual_std)?,
            n_heads: config.n_heads,
        })
    }

    /// Tokens of `x` `[n, d_model]` look at those of `around` `[m, d_model]`, of which they are all or some. With a
    /// cache, the keys and values of `around` are put behind the kept ones, and `view` is onto all of them.
    /// `angles` turn queries and keys by the tokens' places.
    ///
    /// # Errors
    /// Where shapes differ from `view`'s.
    pub fn look_around(
        &self,
        x: &Value,
        around: &Value,
        view: &Arc<Visibility>,
        angles: Option<&Turns>,
        cache: Option<&mut GrowingRows>,
    ) -> Result<Value> {
        let (_, d) = x.dims2()?;
        let mut fresh = self.key_value.forward(around)?; // [m, 2·d_model]
        let mut query = self.query.forward(x)?;
        if let Some(angles) = angles {
            fresh = ops::rotary(&fresh, d, &angles.keys)?;
            query = ops::rotary(&query, d, &angles.queries)?;
        }
        let key_value = match cache {
            Some(kept) => kept.append(&fresh)?,
            None => fresh,
        };
        self.attend(&query, &key_value, view)
    }

    /// Tokens of `x` `[n, d_model]` look at those of `memory` `[m, d_model]`, which never changes: with a cache,
    /// its keys and values are computed once.
    ///
    /// # Errors
    /// Where shapes differ from `view`'s.
    pub fn look_at(
        &self,
        x: &Value,
        memory: &Value,
        view: &Arc<Visibility>,
        cache: Option<&mut Option<Value>>,
    ) -> Result<Value> {
        let key_value = match cache {
            Some(Some(kept)) => kept.clone(),
            Some(empty) => empty.insert(self.key_value.forward(memory)?).clone(),
            None => self.key_value.forward(memory)?,
        };
        self.attend(&self.query.forward(x)?, &key_value, view)
    }

    fn attend(&self, query: &Value, key_value: &Value, view: &Arc<Visibility>) -> Result<Value> {
        self.output.forward(&ops::attention(query, key_value, self.n_heads, view)?)
    }
}
