//! Linear attention as a mixer.

use super::{Mixer, MixerInput};
use crate::model::attention::Attention;
use crate::model::cache::MixerCache;
use crate::model::config::{LinearAttentionConfig, ModelConfig};
use crate::model::params::Scope;
use crate::ops::{self, FeatureMap, Value};
use candle_core::Result;

/// Attention without a softmax (Katharopoulos et al. 2020): the projections of [`Attention`] around
/// [`ops::linear_attention`](crate::ops::linear_attention()).
pub struct LinearAttention {
    attention: Attention,
    feature_map: FeatureMap,
}

impl LinearAttention {
    /// Linear attention in block number `layer`; `residual_std` is the deviation of the weights of the output projection.
    ///
    /// # Errors
    /// If a parameter's name is taken.
    pub fn new(
        scope: Scope,
        config: &ModelConfig,
        settings: &LinearAttentionConfig,
        layer: usize,
        residual_std: f64,
    ) -> Result<Self> {
        let attention = Attention::new(scope, config, layer, residual_std)?;
        Ok(Self { attention, feature_map: settings.feature_map })
    }
}

impl Mixer for LinearAttention {
    fn mix(&self, tokens: &MixerInput, cache: Option<&mut MixerCache>) -> Result<Value> {
        let MixerInput { keys, plan, layer, .. } = *tokens;
        // Queries of all tokens: a scan passes through them anyway.
        let angles = plan.angles.of_layer(layer).map(|[_, of_keys]| [of_keys; 2]);
        let (query, key_value) = self.attention.projections(keys, keys, angles)?;
        let (heads, map, spans) = (self.attention.heads(), self.feature_map, plan.spans(layer));
        let mixed = match cache {
            Some(MixerCache { state, .. }) => {
                let step =
                    ops::linear_attention_step(&query, &key_value, heads, map, &spans, state.as_ref())?;
                *state = Some(step.1);
                step.0
            }
            None => ops::linear_attention(&query, &key_value, heads, map, &spans)?,
        };
        plan.query_rows(&mixed) // [n_queries, n_heads·d_head]
    }

    fn output_projection(&self, mixed: &Value, residual: Option<&Value>) -> Result<Value> {
        self.attention.output_projection(mixed, residual)
    }
}
