//! One block: norm → mixer → MLP, each added to the residual stream, in sequence or in parallel, or without an MLP.

use super::attention::Attention;
use super::attention_weights::AttentionRecorder;
use super::cache::LayerCache;
use super::config::{ModelConfig, Sublayers};
use super::layer::{BuildLayer, Layer};
use super::linear::init_std;
use super::mixer::{self, Mixer, MixerInput};
use super::mlp::BlockMlp;
use super::params::Scope;
use super::plan::{CrossAttentionPlan, LayerPlan};
use super::residual::Residual;
use crate::ops::{self, RelativeBias, Value};
use candle_core::Result;
use std::ops::Range;

/// Tells the dropout of custom sublayers from that of the others.
const CUSTOM_SITE: u64 = 1 << 32;

/// One block of a transformer.
pub struct Block {
    /// Self-attention, or a layer in its place.
    mixer: Box<dyn Mixer>,
    mixer_residual: Residual,
    cross_attention: Option<CrossAttention>,
    /// The MLP, if there is one.
    mlp: Option<(BlockMlp, Residual)>,
    sublayers: Sublayers,
    custom: Option<(Box<dyn Layer>, Residual)>,
    layer: usize,
}

impl Block {
    /// Block number `layer` of a transformer of `n_layers`, with cross-attention if `cross`.
    ///
    /// # Errors
    /// If a parameter's name is taken.
    pub fn new(
        mut scope: Scope,
        config: &ModelConfig,
        n_layers: usize,
        layer: usize,
        cross: bool,
        custom: Option<&BuildLayer>,
    ) -> Result<Self> {
        // Scaled by depth, so that the variance of the residual stream does not grow with it (GPT-2).
        let depth_scale = if config.depth_init { (2.0 * n_layers as f64).sqrt() } else { 1.0 };
        let residual_std = init_std(config.d_model) / depth_scale;
        let site = |sublayer: u64| 1 + 3 * layer as u64 + sublayer;
        let first = scope.n_parameters();
        let cross_attention = match cross {
            false => None,
            true => Some(CrossAttention {
                attention: Attention::new(scope.at("cross"), config, layer, residual_std)?,
                residual: Residual::new(&mut scope, "cross", config, None, site(1))?,
                parameters: first..scope.n_parameters(),
            }),
        };
        let (name, mixer) = mixer::build(&mut scope, config, layer, residual_std)?;
        Ok(Self {
            mixer,
            mixer_residual: match layer == 0 && !config.first_norm {
                true => Residual::without_norm(&mut scope, name, config, config.layer_scale, site(0))?,
                false => Residual::new(&mut scope, name, config, config.layer_scale, site(0))?,
            },
            cross_attention,
            mlp: match config.sublayers {
                Sublayers::AttentionOnly => None,
                sublayers => {
                    let mlp = BlockMlp::new(scope.at("mlp"), config, layer, residual_std)?;
                    let residual = match sublayers {
                        Sublayers::OneNorm => Residual::without_norm,
                        _ => Residual::new,
                    };
                    Some((mlp, residual(&mut scope, "mlp", config, config.layer_scale, site(2))?))
                }
            },
            sublayers: config.sublayers,
            custom: match custom {
                None => None,
                Some(build) => Some((
                    build(scope.at("custom"), config.d_model, config.d_model)?,
                    Residual::new(
                        &mut scope,
                        "custom",
                        config,
                        config.layer_scale,
                        CUSTOM_SITE + layer as u64,
                    )?,
                )),
            },
            layer,
        })
    }

    /// `[n_tokens, d_model]` → `[n_queries, d_model]`: the rows that `plan` computes, which are all or some.
    ///
    /// # Errors
    /// If shapes differ.
    pub fn forward(
        &self,
        x: &Value,
        plan: &LayerPlan,
        bias: Option<RelativeBias>,
        cache: Option<&mut LayerCache>,
    ) -> Result<Value> {
        let (mixer_cache, cross_cache) = match cache {
            Some(LayerCache { mixer, cross_attention }) => (Some(mixer), Some(cross_attention)),
            None => (None, None),
        };
        let (layer, dropout) = (self.layer, plan.dropout.as_ref());

        let keys = self.mixer_residual.pre_norm(x)?; // [n_tokens, d_model]
        let queries = plan.query_rows(&keys)?; // [n_queries, d_model]
        let input = MixerInput { queries: &queries, keys: &keys, plan, layer, bias };
        let mixed = self.mixer.mix(&input, mixer_cache)?; // [n_queries, width]
        if let Some(recorder) = &plan.attention_weights
            && let Some(weights) = self.mixer.attention_weights(&input, recorder.most_pairs())?
        {
            recorder.record(layer, false, weights);
        }
        let rows = plan.query_rows(x)?; // [n_queries, d_model]
        let mut x = self
            .mixer_residual
            .add(&rows, dropout, |residual| self.mixer.output_projection(&mixed, residual))?;

        if let (Some(cross_attention), Some(cross_plan)) = (&self.cross_attention, &plan.cross_attention) {
            let recorder = plan.attention_weights.as_ref();
            x = cross_attention.forward(&x, cross_plan, layer, recorder, cross_cache)?;
        }

        if let Some((mlp, residual)) = &self.mlp {
            let normed = match self.sublayers {
                Sublayers::Parallel => residual.pre_norm(&rows)?,
                Sublayers::OneNorm => queries,
                Sublayers::Sequential | Sublayers::AttentionOnly => residual.pre_norm(&x)?,
            };
            let routing = plan.routing.as_deref();
            x = residual.add(&x, dropout, |residual| mlp.forward(&normed, residual, routing))?;
        }

        let Some((custom, residual)) = &self.custom else { return Ok(x) };
        let y = custom.forward(&residual.pre_norm(&x)?, plan.documents(self.layer))?;
        residual.add(&x, dropout, |residual| residual.map_or(Ok(y.clone()), |x| ops::add(x, &y)))
    }

    /// The prefix of the names of its experts' parameters, if it has experts.
    pub fn expert_layer(&self) -> Option<&str> {
        match &self.mlp {
            Some((BlockMlp::Experts(experts), _)) => Some(experts.name()),
            Some((BlockMlp::Dense(_), _)) | None => None,
        }
    }

    /// The places of the parameters that a batch without an encoder's output does not use.
    pub fn cross_parameters(&self) -> Range<usize> {
        self.cross_attention.as_ref().map_or(0..0, |cross| cross.parameters.clone())
    }
}

/// Attention to the encoder's output.
struct CrossAttention {
    attention: Attention,
    residual: Residual,
    /// The places of its parameters.
    parameters: Range<usize>,
}

impl CrossAttention {
    /// The residual stream `[n, d_model]` after cross-attention. Rows of documents without tokens in the encoder do not
    /// change.
    fn forward(
        &self,
        x: &Value,
        plan: &CrossAttentionPlan,
        layer: usize,
        recorder: Option<&AttentionRecorder>,
        cache: Option<&mut Option<Value>>,
    ) -> Result<Value> {
        let rows = match &plan.query_rows {
            Some(rows) => ops::gather_rows(x, rows)?,
            None => x.clone(),
        };
        let queries = self.residual.pre_norm(&rows)?;
        let (encoder_output, mask) = (&plan.encoder_output, plan.mask(layer));
        let heads = self.attention.cross_attention(&queries, encoder_output, mask, cache)?;
        if let Some(recorder) = recorder {
            let most = recorder.most_pairs();
            let weights = self.attention.cross_attention_weights(&queries, encoder_output, mask, most)?;
            recorder.record(layer, true, weights);
        }
        let added = self.residual.add(&rows, plan.dropout.as_ref(), |residual| {
            self.attention.output_projection(&heads, residual)
        })?;
        match &plan.query_rows {
            Some(rows) => ops::replace_rows(x, rows, &added),
            None => Ok(added),
        }
    }
}
