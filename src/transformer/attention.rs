//! Multi-head attention between two lists of tokens, which may be one list.

use super::{GrowingRows, Linear, ModelConfig, Turns, block::init_std};
use crate::ops::{self, Heads, RelativeBias, Value};
use crate::params::Scope;
use crate::rules::Visibility;
use candle_core::Result;
use std::sync::Arc;

/// Projections around the one attention call. Self-attention is attention of a list to itself.
pub struct Attention {
    query: Linear,
    /// Keys and values side by side: `[2·n_kv_heads·d_head, d_model]`.
    key_value: Linear,
    output: Linear,
    heads: Heads,
    d_head: usize,
}

impl Attention {
    /// Attention of the configured shape in block number `layer`; `residual_std` is the deviation of the output
    /// projection.
    ///
    /// # Errors
    /// Where the parameters' names are taken.
    pub fn new(mut scope: Scope, config: &ModelConfig, layer: usize, residual_std: f64) -> Result<Self> {
        let (d, d_head, heads) = (config.d_model, config.d_head(), config.heads(layer));
        let (bias, output_bias) =
            (config.qkv_bias.unwrap_or(config.bias), config.attention_bias.unwrap_or(config.bias));
        let (d_query, d_key_value) = (heads.n_heads * d_head, 2 * heads.n_kv_heads * d_head);
        Ok(Self {
            query: Linear::new(scope.at("query"), d, d_query, bias, init_std(d))?,
            key_value: Linear::new(scope.at("key_value"), d, d_key_value, bias, init_std(d))?,
            output: Linear::new(scope.at("output"), d_query, d, output_bias, residual_std)?,
            heads,
            d_head,
        })
    }

    /// Tokens of `x` `[n, d_model]` look at those of `around` `[m, d_model]`, of which they are all or some. With a
    /// cache, the keys and values of `around` are put behind the kept ones, and `view` is onto all of them.
    /// What comes back is of all heads, `[n, n_heads·d_head]`, for [`say`](Self::say). `angles` turn queries and keys by the tokens' places, `bias` adds to scores by their distance.
    ///
    /// # Errors
    /// Where shapes differ from `view`'s.
    pub fn look_around(
        &self,
        x: &Value,
        around: &Value,
        view: &Arc<Visibility>,
        angles: Option<&Turns>,
        bias: Option<RelativeBias>,
        cache: Option<&mut GrowingRows>,
    ) -> Result<Value> {
        let mut fresh = self.key_value.forward(around)?; // [m, 2·n_kv_heads·d_head]
        let mut query = self.query.forward(x)?;
        if let Some(angles) = angles {
            fresh = ops::rotary(&fresh, self.heads.n_kv_heads * self.d_head, &angles.keys)?;
            query = ops::rotary(&query, self.heads.n_heads * self.d_head, &angles.queries)?;
        }
        let key_value = match cache {
            Some(kept) => kept.append(&fresh)?,
            None => fresh,
        };
        ops::attention(&query, &key_value, bias, self.heads, view)
    }

    /// Tokens of `x` `[n, d_model]` look at those of `memory` `[m, d_model]`, which never changes: with a cache,
    /// its keys and values are computed once. What comes back is as of [`look_around`](Self::look_around).
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
        ops::attention(&self.query.forward(x)?, &key_value, None, self.heads, view)
    }

    /// The output projection of what the heads have found, added to `onto` where that is given: `[n, d_model]`.
    ///
    /// # Errors
    /// Where widths differ.
    pub fn say(&self, found: &Value, onto: Option<&Value>) -> Result<Value> {
        self.output.forward_onto(found, onto)
    }
}
