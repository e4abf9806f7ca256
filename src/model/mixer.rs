//! Mixers: the sublayers of a block that carry information from token to token of a document.

mod linear;
mod rules;
mod state_space;

pub use linear::LinearAttention;
pub(super) use rules::check_rules;
pub use state_space::StateSpace;

use super::attention::Attention;
use super::cache::MixerCache;
use super::config::{MixerConfig, ModelConfig};
use super::params::Scope;
use super::plan::LayerPlan;
use crate::ops::{RelativeBias, Value};
use candle_core::{Result, Tensor};

/// Attention, or a layer in its place.
pub(super) trait Mixer: Send + Sync {
    /// The mixed features of the layer's queries, `[n_queries, width]`, for [`output_projection`](Self::output_projection). With
    /// a cache, the tokens also read those before them, which the cache holds.
    ///
    /// # Errors
    /// If shapes differ.
    fn mix(&self, tokens: &MixerInput, cache: Option<&mut MixerCache>) -> Result<Value>;

    /// The attention weights of each document, `[n_heads, queries, keys]`, without a cache; `None` for a document with more than
    /// `most_pairs` pairs of query and key, and for a layer without attention weights.
    ///
    /// # Errors
    /// If shapes differ.
    fn attention_weights(
        &self,
        _tokens: &MixerInput,
        _most_pairs: usize,
    ) -> Result<Option<Vec<Option<Tensor>>>> {
        Ok(None)
    }

    /// `[n_queries, width]` → `[n_queries, d_model]`, added to `residual` if there is one.
    ///
    /// # Errors
    /// If shapes differ.
    fn output_projection(&self, mixed: &Value, residual: Option<&Value>) -> Result<Value>;
}

/// The input of a mixer.
pub(super) struct MixerInput<'a> {
    /// The rows that the layer computes, `[n_queries, d_model]`.
    pub queries: &'a Value,
    /// All tokens of the pass, `[n_tokens, d_model]`.
    pub keys: &'a Value,
    /// The plan of the layer.
    pub plan: &'a LayerPlan,
    /// The number of the layer.
    pub layer: usize,
    /// The biases of attention scores by distance.
    pub bias: Option<RelativeBias<'a>>,
}

/// The mixer of a layer, and the name of its parameters.
///
/// # Errors
/// If a parameter's name is taken.
pub(super) fn build(
    scope: &mut Scope,
    config: &ModelConfig,
    layer: usize,
    residual_std: f64,
) -> Result<(&'static str, Box<dyn Mixer>)> {
    Ok(match config.mixer(layer) {
        None => {
            let attention = Attention::new(scope.at("attention"), config, layer, residual_std)?;
            ("attention", Box::new(attention.with_memory(scope.at("memory"), config, layer)?))
        }
        Some(MixerConfig::Linear(settings)) => {
            let scope = scope.at("linear_attention");
            let linear = LinearAttention::new(scope, config, settings, layer, residual_std)?;
            ("linear_attention", Box::new(linear))
        }
        Some(MixerConfig::StateSpace(settings)) => {
            let scope = scope.at("state_space");
            ("state_space", Box::new(StateSpace::new(scope, config, settings, residual_std)?))
        }
    })
}
