//! The settings of the transformer: `[model]` in `run.toml`.

mod memory;
mod mixer;
mod mlp;
mod positions;
mod validate;

pub use memory::MemoryConfig;
pub use mixer::{LinearAttentionConfig, MixerConfig, StateSpaceConfig};
pub use mlp::{ExpertLayers, MlpConfig};
pub use positions::{Positions, RelativePositions, Rotary, RotaryOfLayers};
pub use validate::{ConfigError, MOST_LAYERS};

use crate::ops::Heads;
use crate::rules::Rule;
use serde::{Deserialize, Serialize};

/// The shape of the transformer, of the embedder before it and of the heads after it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    /// Width of a token.
    pub d_model: usize,
    /// Number of blocks of the main transformer, whose output heads read.
    pub n_layers: usize,
    /// Number of blocks of the encoder, whose output the main transformer attends to; 0 for no encoder.
    pub n_encoder_layers: usize,
    /// Normalization.
    pub norm: NormKind,
    /// Whether the norm is before each sublayer, before and after it, or after its residual sum.
    pub norm_placement: NormPlacement,
    /// Whether the first sublayer of a transformer has a norm; without one, it reads the embedding as it is.
    pub first_norm: bool,
    /// Whether a block has an MLP, which reads the sum with attention or what attention reads.
    pub sublayers: Sublayers,
    /// Added to the variance before the root.
    pub norm_eps: f64,
    /// Whether linear maps and layer norms have a bias, unless a setting below says otherwise.
    pub bias: bool,
    /// Initial value of a learned scale of each sublayer's output (Touvron et al. 2021); no scale if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer_scale: Option<f64>,
    /// Whether initial weights that write to the residual stream are divided by √(2·n_layers), as GPT-2's.
    #[serde(skip_serializing_if = "is_true")]
    pub depth_init: bool,
    /// Share of values dropped from the embedding and from each sublayer's output, in training.
    pub dropout: f32,
    /// Self-attention and cross-attention.
    pub attention: AttentionConfig,
    /// Retrieval from a memory in one layer; none if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryConfig>,
    /// Mixers of tokens in place of softmax attention, in all layers or in some: `kind` is `linear` (`feature_map`) or
    /// `state_space` (`d_state`, `complex`, `bidirectional`, `min_step`, `max_step`); `layers` are its layers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mixers: Vec<MixerConfig>,
    /// The MLP of each block.
    pub mlp: MlpConfig,
    /// What differs in the blocks of the encoder.
    #[serde(skip_serializing_if = "EncoderConfig::is_default")]
    pub encoder: EncoderConfig,
    /// From tokens to the input of the first block.
    pub embedding: EmbeddingConfig,
    /// From the output of the last block to predictions.
    pub head: HeadConfig,
}

/// Attention: `[model.attention]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AttentionConfig {
    /// Number of attention heads.
    pub n_heads: usize,
    /// Number of heads of keys and values (grouped-query attention, Ainslie et al. 2023); 0 for `n_heads`.
    pub n_kv_heads: usize,
    /// Width of a head; 0 for d_model/n_heads.
    pub d_head: usize,
    /// Factor of attention scores; 1/√d_head if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// Bound c of attention scores s, which become c·tanh(s/c); none if left out. It takes a slower kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soft_cap: Option<f64>,
    /// Whether scores are also divided by the block's number, counted from 1.
    pub scale_by_layer: bool,
    /// Whether the projections to queries, keys and values have a bias; `model.bias` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bias: Option<bool>,
    /// Whether the output projection has a bias; `model.bias` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_bias: Option<bool>,
    /// Whether each head of queries and of keys is normalized, before rotary positions (Henry et al. 2020).
    pub qk_norm: bool,
    /// Rotary position embedding: rotates queries and keys by their place in the document (Su et al. 2021).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotary: Option<Rotary>,
    /// Rotary positions of some layers, instead of `rotary`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layer_rotary: Vec<RotaryOfLayers>,
    /// Learned biases of attention scores by the distance of query and key (Raffel et al. 2020).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relative: Option<RelativePositions>,
    /// ALiBi (Press et al. 2022): scores fall with the distance of query and key, each head's by a slope of its own, in both
    /// directions and at any length.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub alibi: bool,
    /// Attention rules that replace a task's own, for all layers or for some.
    pub rules: Vec<LayerRule>,
}

/// What differs in the blocks of the encoder: `[model.encoder]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EncoderConfig {
    /// Number of attention heads of the encoder; 0 for `attention.n_heads`.
    pub n_heads: usize,
    /// Width of the hidden layer of the encoder's MLP; 0 for that of the main transformer.
    pub d_ff: usize,
}

impl EncoderConfig {
    /// Whether the encoder has the blocks of the main transformer.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The embedding: `[model.embedding]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EmbeddingConfig {
    /// Position and time embeddings.
    pub positions: Positions,
    /// Convolutions over one kind of token before the first block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stem: Option<Stem>,
    /// Whether the linear map of a kind of features has a bias; `model.bias` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bias: Option<bool>,
    /// Whether each kind of token has a learned type embedding.
    pub type_embedding: bool,
    /// Whether all kinds share one table of time embeddings.
    pub shared_time: bool,
    /// Factor of the embedding of ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// Whether the input of the first block is normalized.
    pub norm: bool,
    /// Whether a learned vector is added after that norm.
    pub offset: bool,
}

/// The heads: `[model.head]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HeadConfig {
    /// Whether a head that generates or unmasks tokens shares its matrix with the embedding of their kind.
    pub tie_embeddings: bool,
    /// Whether heads have a bias; if left out, those that share no matrix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bias: Option<bool>,
    /// Whether a head that predicts classes, labels or numbers normalizes its input: AST's.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub norm: bool,
    /// Whether a head that generates or unmasks tokens has a linear map, the activation and a norm before its matrix (BERT).
    pub transform: bool,
    /// Factor of the input of a head that generates or unmasks tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// Bound c of the output y of a head that generates or unmasks tokens, which becomes c·tanh(y/c); none if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soft_cap: Option<f64>,
}

/// A replaced attention rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LayerRule {
    /// The kind of the tokens that attend, or a pattern: `camera.*`.
    pub query: String,
    /// The kind of the tokens that they attend to, or a pattern.
    pub key: String,
    /// The rule.
    #[schemars(with = "String")]
    pub rule: Rule,
    /// The layers of its transformer, counted from 0; all if left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<usize>,
}

/// A normalization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NormKind {
    /// Mean and variance (Ba et al. 2016).
    Layer,
    /// Root mean square (Zhang and Sennrich 2019).
    Rms,
    /// No norms.
    None,
}

/// The place of a sublayer's norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NormPlacement {
    /// Before each sublayer, and once after the last block: GPT-2, ViT.
    Pre,
    /// Before and after each sublayer, and once after the last block: Gemma 2.
    Both,
    /// After each residual sum: the first transformer, BERT.
    Post,
}

/// The MLP of a block, and what it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sublayers {
    /// The sum of the block's input and attention: GPT-2.
    Sequential,
    /// The block's input, as attention does, each with a norm of its own: GPT-NeoX.
    Parallel,
    /// The block's input, with the norm of attention: Phi, GPT-J.
    OneNorm,
    /// There is no MLP: a block is only attention, or the mixer in its place (Elhage et al. 2021).
    AttentionOnly,
}

/// Two convolutions over one kind of token: over the frames of slices of two, as in Whisper, or over the pixels of each patch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stem {
    /// The kind of token, named `task.kind`.
    pub kind: String,
    /// The first convolution over the pixels of a patch; frames are read if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pixels: Option<PixelConvolution>,
}

/// A convolution over the pixels of a patch; the second convolution reads all of its outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PixelConvolution {
    /// The side of its kernel, in pixels.
    pub kernel_size: usize,
    /// Pixels from one place of the kernel to the next.
    pub stride: usize,
    /// Channels of its output.
    pub out_channels: usize,
}

fn is_true(setting: &bool) -> bool {
    *setting
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            d_model: 128,
            n_layers: 4,
            n_encoder_layers: 0,
            norm: NormKind::Layer,
            norm_placement: NormPlacement::Pre,
            first_norm: true,
            sublayers: Sublayers::Sequential,
            norm_eps: 1e-5,
            bias: true,
            layer_scale: None,
            depth_init: true,
            dropout: 0.0,
            attention: AttentionConfig::default(),
            memory: None,
            mixers: Vec::new(),
            mlp: MlpConfig::default(),
            encoder: EncoderConfig::default(),
            embedding: EmbeddingConfig::default(),
            head: HeadConfig::default(),
        }
    }
}

impl Default for AttentionConfig {
    fn default() -> Self {
        Self {
            n_heads: 4,
            n_kv_heads: 0,
            d_head: 0,
            scale: None,
            soft_cap: None,
            scale_by_layer: false,
            bias: None,
            output_bias: None,
            qk_norm: false,
            rotary: None,
            layer_rotary: Vec::new(),
            relative: None,
            alibi: false,
            rules: Vec::new(),
        }
    }
}

impl AttentionConfig {
    /// Attention of `n_heads` heads, with defaults for all other settings.
    pub fn of_heads(n_heads: usize) -> Self {
        Self { n_heads, ..Self::default() }
    }
}

impl Default for EmbeddingConfig {
    fn default() -> Self {
        Self {
            positions: Positions::Learned,
            stem: None,
            bias: None,
            type_embedding: true,
            shared_time: false,
            scale: None,
            norm: false,
            offset: false,
        }
    }
}

impl ModelConfig {
    /// The settings of the encoder's blocks.
    pub fn of_encoder(&self) -> Self {
        let or = |own: usize, main: usize| if own == 0 { main } else { own };
        let EncoderConfig { n_heads, d_ff } = self.encoder;
        Self {
            attention: AttentionConfig {
                n_heads: or(n_heads, self.attention.n_heads),
                ..self.attention.clone()
            },
            memory: None,
            mlp: MlpConfig { d_ff: or(d_ff, self.mlp.d_ff), ..self.mlp.clone() },
            ..self.clone()
        }
    }

    /// Width of the MLP's hidden layer.
    pub fn d_ff(&self) -> usize {
        if self.mlp.d_ff == 0 { 4 * self.d_model } else { self.mlp.d_ff }
    }

    /// Width of a head.
    pub fn d_head(&self) -> usize {
        match self.attention.d_head {
            0 => self.d_model / self.attention.n_heads.max(1),
            d_head => d_head,
        }
    }

    /// The rotary positions of block number `layer`.
    pub fn rotary(&self, layer: usize) -> Option<Rotary> {
        let AttentionConfig { rotary, layer_rotary, .. } = &self.attention;
        let own = layer_rotary.iter().find(|own| own.layers.contains(&layer));
        own.map(|own| own.rotary).or(*rotary)
    }

    /// Number of heads, and scale of the scores, of block number `layer`.
    pub fn heads(&self, layer: usize) -> Heads {
        let AttentionConfig { n_heads, n_kv_heads, scale, scale_by_layer, soft_cap, .. } = self.attention;
        let scale = scale.unwrap_or(1.0 / (self.d_head() as f64).sqrt());
        let scale = if scale_by_layer { scale / (layer + 1) as f64 } else { scale };
        let n_kv_heads = if n_kv_heads == 0 { n_heads } else { n_kv_heads };
        Heads { n_heads, n_kv_heads, scale: scale as f32, soft_cap: soft_cap.map(|cap| cap as f32) }
    }
}
