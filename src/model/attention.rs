//! Multi-head attention between two lists of tokens, which may be one list.

use super::cache::{GrowingRows, MixerCache};
use super::config::{MemoryConfig, ModelConfig};
use super::linear::{Linear, init_std};
use super::mixer::{Mixer, MixerInput};
use super::norm::Norm;
use super::params::Scope;
use crate::ops::{self, Angles, Heads, Memory, RelativeBias, Value};
use crate::rules::{AttentionMask, TokenMeta};
use candle_core::{Result, Tensor};
use std::sync::Arc;

/// The projections around the one attention operation.
pub struct Attention {
    query: Linear,
    /// Keys and values side by side: `[2·n_kv_heads·d_head, d_model]`.
    key_value: Linear,
    output: Linear,
    /// The norms of each head of queries and of keys.
    norms: Option<(Norm, Norm)>,
    heads: Heads,
    d_head: usize,
    memory: Option<LayerMemory>,
}

/// The memory of a layer, and the gate of each head, `[n_heads]`.
struct LayerMemory {
    config: MemoryConfig,
    gate: Value,
}

impl Attention {
    /// Attention of the configured shape in block number `layer`; `residual_std` is the deviation of the weights of the
    /// output projection.
    ///
    /// # Errors
    /// If a parameter's name is taken.
    pub fn new(mut scope: Scope, config: &ModelConfig, layer: usize, residual_std: f64) -> Result<Self> {
        let (d, d_head, heads) = (config.d_model, config.d_head(), config.heads(layer));
        let bias = config.attention.bias.unwrap_or(config.bias);
        let output_bias = config.attention.output_bias.unwrap_or(config.bias);
        let (d_query, d_key_value) = (heads.n_heads * d_head, 2 * heads.n_kv_heads * d_head);
        Ok(Self {
            query: Linear::new(scope.at("query"), d, d_query, bias, init_std(d))?,
            key_value: Linear::new(scope.at("key_value"), d, d_key_value, bias, init_std(d))?,
            output: Linear::new(scope.at("output"), d_query, d, output_bias, residual_std)?,
            norms: match config.attention.qk_norm {
                false => None,
                true => Some((
                    Norm::of_width(scope.at("query_norm"), config, d_head)?,
                    Norm::of_width(scope.at("key_norm"), config, d_head)?,
                )),
            },
            heads,
            d_head,
            memory: None,
        })
    }

    /// With the memory that block number `layer` has by the settings.
    ///
    /// # Errors
    /// If a parameter's name is taken.
    pub fn with_memory(mut self, mut scope: Scope, config: &ModelConfig, layer: usize) -> Result<Self> {
        if let Some(config) = config.memory.filter(|memory| memory.layer == layer) {
            self.memory = Some(LayerMemory { config, gate: scope.zeros("gate", self.heads.n_heads)? });
        }
        Ok(self)
    }

    /// The tokens of `queries` `[n, d_model]`, all or some of those of `keys` `[m, d_model]`, attend to `keys`. Returns all
    /// heads side by side, `[n, n_heads·d_head]`, for [`output_projection`](Self::output_projection).
    ///
    /// `angles` are the rotary angles of queries and of keys. With a cache and the metadata of `keys`, the new keys and values
    /// are appended to the cached ones, and `mask` has a column for each of them. The second mask is that of the keys that a memory may have.
    ///
    /// # Errors
    /// If shapes differ from the mask's.
    pub fn self_attention(
        &self,
        queries: &Value,
        keys: &Value,
        (mask, allowed): (&Arc<AttentionMask>, Option<&Arc<AttentionMask>>),
        angles: Option<[&Arc<Angles>; 2]>,
        bias: Option<RelativeBias>,
        cache: Option<(&mut GrowingRows, &TokenMeta)>,
    ) -> Result<Value> {
        let (query, mut key_value) = self.projections(queries, keys, angles)?;
        if let Some((cache, tokens)) = cache {
            key_value = cache.append(&key_value, tokens, mask.keys())?;
        }
        let attended = ops::attention(&query, &key_value, bias, self.heads, mask)?;
        let (Some(memory), Some(allowed)) = (&self.memory, allowed) else { return Ok(attended) };
        let MemoryConfig { size, top_k, .. } = memory.config;
        let keys = Memory { attended: mask.clone(), allowed: allowed.clone(), size, top_k };
        ops::retrieve(&query, &key_value, &attended, &memory.gate, self.heads, &keys)
    }

    /// Rotated queries `[n, n_heads·d_head]`, and rotated keys beside values `[m, 2·n_kv_heads·d_head]`.
    pub(super) fn projections(
        &self,
        queries: &Value,
        keys: &Value,
        angles: Option<[&Arc<Angles>; 2]>,
    ) -> Result<(Value, Value)> {
        let mut key_value = self.key_values(keys)?;
        let mut query = self.queries(queries)?;
        if let Some([of_queries, of_keys]) = angles {
            key_value = ops::rotary(&key_value, self.heads.n_kv_heads * self.d_head, of_keys)?;
            query = ops::rotary(&query, self.heads.n_heads * self.d_head, of_queries)?;
        }
        Ok((query, key_value))
    }

    /// The layout of heads.
    pub(super) fn heads(&self) -> Heads {
        self.heads
    }

    /// The tokens of `queries` `[n, d_model]` attend to the encoder output `[m, d_model]`, whose keys and values are computed
    /// once if there is a cache. Returns the heads as [`self_attention`](Self::self_attention) does.
    ///
    /// # Errors
    /// If shapes differ from the mask's.
    pub fn cross_attention(
        &self,
        queries: &Value,
        encoder_output: &Value,
        mask: &Arc<AttentionMask>,
        cache: Option<&mut Option<Value>>,
    ) -> Result<Value> {
        let key_value = match cache {
            Some(Some(cached)) => cached.clone(),
            Some(empty) => empty.insert(self.key_values(encoder_output)?).clone(),
            None => self.key_values(encoder_output)?,
        };
        ops::attention(&self.queries(queries)?, &key_value, None, self.heads, mask)
    }

    /// The weights of [`cross_attention`](Self::cross_attention) in each document, `[n_heads, queries, keys]`; `None` for a
    /// document with more than `most_pairs` pairs of query and key.
    ///
    /// # Errors
    /// If shapes differ from the mask's.
    pub fn cross_attention_weights(
        &self,
        queries: &Value,
        encoder_output: &Value,
        mask: &Arc<AttentionMask>,
        most_pairs: usize,
    ) -> Result<Vec<Option<Tensor>>> {
        let (query, key_value) = (self.queries(queries)?, self.key_values(encoder_output)?);
        ops::attention_weights(&query, &key_value, None, self.heads, mask, most_pairs)
    }

    /// `[n, d_model]` → `[n, n_heads·d_head]`.
    fn queries(&self, x: &Value) -> Result<Value> {
        let query = self.query.forward(x)?;
        let Some((norm, _)) = &self.norms else { return Ok(query) };
        let (n, width) = query.dims2()?;
        let heads = ops::reshape(&query, &[n * self.heads.n_heads, self.d_head])?;
        ops::reshape(&norm.forward(&heads)?, &[n, width])
    }

    /// `[m, d_model]` → `[m, 2·n_kv_heads·d_head]`.
    fn key_values(&self, x: &Value) -> Result<Value> {
        let key_value = self.key_value.forward(x)?;
        let Some((_, norm)) = &self.norms else { return Ok(key_value) };
        let ((m, width), kv_heads) = (key_value.dims2()?, self.heads.n_kv_heads);
        let heads = ops::reshape(&key_value, &[2 * m * kv_heads, self.d_head])?;
        // Of each token the heads of keys, before those of values.
        let keys: Vec<u32> = (0..2 * m * kv_heads)
            .filter(|row| (row / kv_heads).is_multiple_of(2))
            .map(|row| row as u32)
            .collect();
        let normed = norm.forward(&ops::gather_rows(&heads, &keys)?)?;
        ops::reshape(&ops::replace_rows(&heads, &keys, &normed)?, &[m, width])
    }

    /// `[n, n_heads·d_head]` → `[n, d_model]`, added to `residual` if there is one.
    ///
    /// # Errors
    /// If shapes differ.
    pub fn output_projection(&self, heads: &Value, residual: Option<&Value>) -> Result<Value> {
        self.output.forward_residual(heads, residual)
    }
}

impl Mixer for Attention {
    fn mix(&self, tokens: &MixerInput, cache: Option<&mut MixerCache>) -> Result<Value> {
        let MixerInput { queries, keys, plan, layer, bias } = *tokens;
        let (mask, angles) = (plan.mask(layer), plan.angles.of_layer(layer));
        let (masks, tokens) = ((mask, plan.memory.as_ref()), plan.tokens());
        let cache = cache.map(|cache| (&mut cache.key_values, tokens));
        self.self_attention(queries, keys, masks, angles, bias, cache)
    }

    fn attention_weights(
        &self,
        tokens: &MixerInput,
        most_pairs: usize,
    ) -> Result<Option<Vec<Option<Tensor>>>> {
        let MixerInput { queries, keys, plan, layer, bias } = *tokens;
        let (query, key_value) = self.projections(queries, keys, plan.angles.of_layer(layer))?;
        ops::attention_weights(&query, &key_value, bias, self.heads, plan.mask(layer), most_pairs).map(Some)
    }

    fn output_projection(&self, mixed: &Value, residual: Option<&Value>) -> Result<Value> {
        self.output_projection(mixed, residual)
    }
}
