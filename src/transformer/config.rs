//! The settings of the transformer: `[model]` in `run.toml`.

use crate::ops::Activation;
use crate::rules::Rule;
use serde::{Deserialize, Serialize};

/// The shape of the transformer and of the embedder before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    /// Width of a token.
    pub d_model: usize,
    /// Blocks of the main stack, the one that heads read.
    pub n_layers: usize,
    /// Blocks of the stack that the main one looks at by cross-attention; 0 for a model of one stack.
    pub n_encoder_layers: usize,
    /// Attention heads; they share `d_model`.
    pub n_heads: usize,
    /// Width inside the MLP; 0 stands for 4·d_model.
    pub d_ff: usize,
    /// What normalises.
    pub norm: NormKind,
    /// Where it normalises: before each sublayer, or after its residual sum.
    pub norm_place: NormPlace,
    /// Added to the variance before the root.
    pub norm_eps: f64,
    /// The MLP's activation.
    pub activation: Activation,
    /// Whether linear maps and layer norms have a bias.
    pub bias: bool,
    /// Share of values dropped from the embedding and from each sublayer's output, in training.
    pub dropout: f32,
    /// How positions and times enter the embedding.
    pub positions: Positions,
    /// Turns queries and keys by their place in the sequence, so that attention knows distances (Su et al. 2021).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotary: Option<Rotary>,
    /// Whether a next-token or masked-token head shares its matrix with the embedding of its kind.
    pub tie_embeddings: bool,
    /// Rules that replace a task's own, for all layers or for some.
    pub rules: Vec<LayerRule>,
}

/// One replaced attention rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerRule {
    /// The kind that looks.
    pub query: String,
    /// The kind that is looked at.
    pub key: String,
    /// Under which rule.
    pub rule: Rule,
    /// In which layers of its stack, counted from 0; all of them where this is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<usize>,
}

/// What normalises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormKind {
    /// Mean and variance (Ba et al. 2016).
    Layer,
    /// Root mean square (Zhang and Sennrich 2019).
    Rms,
}

/// Where a block normalises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormPlace {
    /// Before each sublayer, and once behind the stack: GPT-2, ViT.
    Pre,
    /// After each residual sum: the first transformer, BERT.
    Post,
}

/// How positions and times enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// A learned table for each axis.
    Learned,
    /// Sines and cosines of each axis (Vaswani et al. 2017).
    Sinusoidal,
    /// Not at all.
    None,
}

/// Rotary positions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rotary {
    /// Pair i of a head's features turns by place·base^(−2i/d_head).
    pub base: f64,
}

impl Default for Rotary {
    fn default() -> Self {
        Self { base: 1e4 }
    }
}

/// Settings that cannot work together.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("model.{setting}: {problem}")]
pub struct ConfigError {
    /// Which setting.
    pub setting: &'static str,
    /// What is wrong with it, with the expected and the actual value.
    pub problem: String,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            d_model: 128,
            n_layers: 4,
            n_encoder_layers: 0,
            n_heads: 4,
            d_ff: 0,
            norm: NormKind::Layer,
            norm_place: NormPlace::Pre,
            norm_eps: 1e-5,
            activation: Activation::Gelu,
            bias: true,
            dropout: 0.0,
            positions: Positions::Learned,
            rotary: None,
            tie_embeddings: false,
            rules: Vec::new(),
        }
    }
}

impl ModelConfig {
    /// Width inside the MLP.
    pub fn d_ff(&self) -> usize {
        if self.d_ff == 0 { 4 * self.d_model } else { self.d_ff }
    }

    /// Checks that the settings can work together.
    ///
    /// # Errors
    /// The first [`ConfigError`] found.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |setting, problem| Err(ConfigError { setting, problem });
        if self.d_model == 0 {
            return refuse("d_model", "must be at least 1; found 0".into());
        }
        if self.n_layers == 0 {
            return refuse("n_layers", "must be at least 1; found 0".into());
        }
        if self.n_heads == 0 || !self.d_model.is_multiple_of(self.n_heads) {
            let problem = format!("d_model {} must be a multiple of n_heads {}", self.d_model, self.n_heads);
            return refuse("n_heads", problem);
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return refuse("dropout", format!("must be at least 0 and below 1; found {}", self.dropout));
        }
        if !(self.norm_eps > 0.0 && self.norm_eps.is_finite()) {
            return refuse("norm_eps", format!("must be a positive number; found {}", self.norm_eps));
        }
        if self.positions == Positions::Sinusoidal && !self.d_model.is_multiple_of(2) {
            return refuse("positions", format!("sinusoidal wants an even d_model; found {}", self.d_model));
        }
        if let Some(Rotary { base }) = self.rotary {
            if !(base > 1.0 && base.is_finite()) {
                return refuse("rotary.base", format!("must be above 1; found {base}"));
            }
            let d_head = self.d_model / self.n_heads;
            if !d_head.is_multiple_of(2) {
                return refuse("rotary", format!("wants an even d_model / n_heads; found {d_head}"));
            }
        }
        let most = self.n_layers.max(self.n_encoder_layers);
        if let Some(layer) = self.rules.iter().flat_map(|r| &r.layers).find(|&&layer| layer >= most) {
            return refuse("rules", format!("layer {layer} is not among the {most} layers"));
        }
        Ok(())
    }
}
