//! The settings of the transformer: `[model]` in `run.toml`.

use crate::ops::{Activation, Heads, RotaryScaling};
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
    /// Attention heads.
    pub n_heads: usize,
    /// Heads of keys and values, each shared by as many looking heads (Ainslie et al. 2023); 0 stands for `n_heads`.
    pub n_kv_heads: usize,
    /// Width of a head; 0 stands for d_model/n_heads.
    pub d_head: usize,
    /// What scores are multiplied by; left out, 1/√d_head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attention_scale: Option<f64>,
    /// Whether scores are also divided by the block's number, counted from 1.
    pub scale_by_layer: bool,
    /// Width inside the MLP; 0 stands for 4·d_model.
    pub d_ff: usize,
    /// Whether the MLP is f(x·W)·(x·V)·U and not f(x·W)·U (Shazeer 2020).
    pub gated: bool,
    /// What normalises.
    pub norm: NormKind,
    /// Where it normalises: before each sublayer, or after its residual sum.
    pub norm_place: NormPlace,
    /// Added to the variance before the root.
    pub norm_eps: f64,
    /// The MLP's activation.
    pub activation: Activation,
    /// Whether linear maps and layer norms have a bias, where nothing else is said below.
    pub bias: bool,
    /// Whether the maps to queries, keys and values have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qkv_bias: Option<bool>,
    /// Whether the map behind attention has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attention_bias: Option<bool>,
    /// Whether the maps of the MLP have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mlp_bias: Option<bool>,
    /// What a learned scale of each sublayer's output starts from (Touvron et al. 2021); left out, there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer_scale: Option<f64>,
    /// Share of values dropped from the embedding and from each sublayer's output, in training.
    pub dropout: f32,
    /// How positions and times enter the embedding.
    pub positions: Positions,
    /// What looks at a token's neighbours before the first block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stem: Option<Stem>,
    /// Whether each kind of token has a learned vector of its own.
    pub type_embedding: bool,
    /// Whether all kinds have one table of times between them, and not each its own.
    pub shared_time: bool,
    /// What the embedding of ids is multiplied by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding_scale: Option<f64>,
    /// Whether what goes into the first block is normalised.
    pub embedding_norm: bool,
    /// Whether a learned vector is added to it then.
    pub embedding_offset: bool,
    /// Turns queries and keys by their place in the sequence, so that attention knows distances (Su et al. 2021).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotary: Option<Rotary>,
    /// Adds to the scores of a stack's tokens a learned bias for their distance in the sequence (Raffel et al. 2020).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relative: Option<RelativePositions>,
    /// Whether a next-token or masked-token head shares its matrix with the embedding of its kind.
    pub tie_embeddings: bool,
    /// Whether heads have a bias; left out, those that share no matrix do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_bias: Option<bool>,
    /// Whether a next-token or masked-token head has a linear map, the activation and a norm before its matrix (BERT).
    pub head_transform: bool,
    /// What such a head's input is multiplied by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_scale: Option<f64>,
    /// Rules that replace a task's own, for all layers or for some.
    pub rules: Vec<LayerRule>,
}

/// One replaced attention rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerRule {
    /// The kind of the tokens that attend, or a pattern: `camera.*`.
    pub query: String,
    /// The kind of the tokens that they attend to, or a pattern.
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
    /// One learned table for each kind: a vector for each combination of its axes' positions, as in ViT.
    Grid,
    /// Sines and cosines of each axis (Vaswani et al. 2017).
    Sinusoidal,
    /// Not at all.
    None,
}

/// Two convolutions over the frames of slices of two, as in Whisper.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stem {
    /// The kind of token that is embedded by it, named `task.kind`.
    pub kind: String,
}

/// A learned codebook between the encoder and the main stack.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodebookConfig {
    /// The number of codes.
    pub size: usize,
    /// The width of a code.
    pub dim: usize,
    /// The weight of the distance of the encoder's outputs from their codes.
    pub commitment_weight: f64,
}

/// Rotary positions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rotary {
    /// Pair i of a head's features turns by place·base^(−2i/d_head).
    pub base: f64,
    /// How that was stretched for longer contexts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaling: Option<RotaryScaling>,
}

impl Default for Rotary {
    fn default() -> Self {
        Self { base: 1e4, scaling: None }
    }
}

/// Biases of scores by distance.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RelativePositions {
    /// Distances are put in so many buckets, with a bias for each head.
    pub buckets: usize,
    /// Distances from here on share a bucket.
    pub max_distance: usize,
    /// Whether the main stack's buckets are all for what comes before; an encoder's look both ways.
    pub causal: bool,
}

impl Default for RelativePositions {
    fn default() -> Self {
        Self { buckets: 32, max_distance: 128, causal: true }
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
            n_kv_heads: 0,
            d_head: 0,
            attention_scale: None,
            scale_by_layer: false,
            d_ff: 0,
            gated: false,
            norm: NormKind::Layer,
            norm_place: NormPlace::Pre,
            norm_eps: 1e-5,
            activation: Activation::Gelu,
            bias: true,
            qkv_bias: None,
            attention_bias: None,
            mlp_bias: None,
            layer_scale: None,
            dropout: 0.0,
            positions: Positions::Learned,
            stem: None,
            type_embedding: true,
            shared_time: false,
            embedding_scale: None,
            embedding_norm: false,
            embedding_offset: false,
            rotary: None,
            relative: None,
            tie_embeddings: false,
            head_bias: None,
            head_transform: false,
            head_scale: None,
            rules: Vec::new(),
        }
    }
}

impl ModelConfig {
    /// Width inside the MLP.
    pub fn d_ff(&self) -> usize {
        if self.d_ff == 0 { 4 * self.d_model } else { self.d_ff }
    }

    /// Width of a head.
    pub fn d_head(&self) -> usize {
        if self.d_head == 0 { self.d_model / self.n_heads.max(1) } else { self.d_head }
    }

    /// How the heads of block number `layer` share columns and make scores.
    pub fn heads(&self, layer: usize) -> Heads {
        let n_kv_heads = if self.n_kv_heads == 0 { self.n_heads } else { self.n_kv_heads };
        let scale = self.attention_scale.unwrap_or(1.0 / (self.d_head() as f64).sqrt());
        let scale = if self.scale_by_layer { scale / (layer + 1) as f64 } else { scale };
        Heads { n_heads: self.n_heads, n_kv_heads, scale: scale as f32 }
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
        if self.n_heads == 0 || (self.d_head == 0 && !self.d_model.is_multiple_of(self.n_heads)) {
            let problem = format!("d_model {} must be a multiple of n_heads {}", self.d_model, self.n_heads);
            return refuse("n_heads", problem);
        }
        if self.n_kv_heads > 0 && !self.n_heads.is_multiple_of(self.n_kv_heads) {
            let problem = format!("must divide n_heads {}; found {}", self.n_heads, self.n_kv_heads);
            return refuse("n_kv_heads", problem);
        }
        let factors = [
            ("attention_scale", self.attention_scale),
            ("layer_scale", self.layer_scale),
            ("embedding_scale", self.embedding_scale),
            ("head_scale", self.head_scale),
        ];
        for (setting, factor) in factors {
            if let Some(found) = factor.filter(|factor| !factor.is_finite() || *factor == 0.0) {
                return refuse(setting, format!("must be a number other than 0; found {found}"));
            }
        }
        if let Some(RelativePositions { buckets, max_distance, .. }) = self.relative
            && (buckets < 4
                || buckets > usize::from(u16::MAX)
                || max_distance <= buckets / 2
                || max_distance > 1 << 20)
        {
            let problem = format!(
                "wants 4 to 65535 buckets and a max_distance above half of them, at most 1048576; found {buckets} and {max_distance}"
            );
            return refuse("relative", problem);
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
        if let Some(Rotary { base, .. }) = self.rotary {
            if !(base > 1.0 && base.is_finite()) {
                return refuse("rotary.base", format!("must be above 1; found {base}"));
            }
            let d_head = self.d_head();
            if !d_head.is_multiple_of(2) {
                return refuse("rotary", format!("wants heads of an even width; found {d_head}"));
            }
        }
        let most = self.n_layers.max(self.n_encoder_layers);
        if let Some(layer) = self.rules.iter().flat_map(|r| &r.layers).find(|&&layer| layer >= most) {
            return refuse("rules", format!("layer {layer} is not among the {most} layers"));
        }
        Ok(())
    }
}
