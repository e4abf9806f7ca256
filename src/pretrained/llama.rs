//! Llama (Touvron et al. 2023) and models with its layout, such as SmolLM and Mistral.

use super::blocks::{self, Block};
use super::names::Layout;
use super::settings::Settings;
use super::{Checkpoint, Description, PretrainedError, rotary, text};
use crate::model::{AttentionConfig, LayerRule, MlpConfig, ModelConfig, NormKind, NormPlacement};
use crate::ops::Activation;
use crate::rules::{Condition, Rule};
use serde_json::Value;

pub(super) fn describe(checkpoint: &Checkpoint) -> Result<Description, PretrainedError> {
    let settings = &checkpoint.settings;
    settings.ignore(&["attention_dropout", "is_llama_config", "rope_interleaved"]);
    let bias = settings.flag("attention_bias", false)?;
    let mut model = decoder(checkpoint, settings.activation("hidden_act", "silu")?)?;
    (model.attention.bias, model.attention.output_bias) = (Some(bias), Some(bias));
    model.mlp.bias = Some(settings.flag("mlp_bias", false)?);
    let size = if checkpoint.kind() == "mistral" { window_size(settings, 4096)? } else { None };
    let window = size.map(|size| Window { size, layers: vec![] });
    described(checkpoint, model, Variant { window, ..Variant::default() })
}

/// What a kind has otherwise than Llama.
pub(super) struct Variant {
    /// Whether the head is tied unless the file says otherwise.
    pub tied: bool,
    pub window: Option<Window>,
    /// Whether queries, keys and values are one tensor, and the gate and the hidden layer another: Phi-3.
    pub fused: bool,
    /// The layout of norms.
    pub norms: Layout,
}

impl Default for Variant {
    fn default() -> Self {
        Self { tied: false, window: None, fused: false, norms: Layout::Same }
    }
}

/// A sliding window: each token attends to itself and those before it, `size` in all.
pub(super) struct Window {
    pub size: usize,
    /// The layers that have it; empty for all.
    pub layers: Vec<usize>,
}

/// The size of the sliding window: as set, `None` if it is null, else the default.
pub(super) fn window_size(settings: &Settings, default: usize) -> Result<Option<usize>, PretrainedError> {
    let is_set = settings.values().contains_key("sliding_window");
    Ok(if is_set { settings.count("sliding_window")? } else { Some(default) })
}

/// The layers that `layer_types` says have a window, or without it those that `slides` names.
pub(super) fn sliding(
    settings: &Settings,
    n_layers: usize,
    slides: impl Fn(usize) -> bool,
) -> Result<Vec<usize>, PretrainedError> {
    let slides: Vec<bool> = match settings.get("layer_types") {
        None => (0..n_layers).map(slides).collect(),
        Some(types) => {
            let slides = |kind: &Value| match kind.as_str() {
                Some("sliding_attention") => Some(true),
                Some("full_attention") => Some(false),
                _ => None,
            };
            let refuse = |problem: String| settings.refuse("layer_types", problem);
            let expected = "full_attention or sliding_attention for each layer";
            let list = types.as_array().map_or(&[][..], Vec::as_slice);
            if list.len() != n_layers {
                let problem = format!(
                    "expected {expected}, {n_layers} as num_hidden_layers; found {} layers",
                    list.len()
                );
                return Err(refuse(problem));
            }
            let read =
                |kind| slides(kind).ok_or_else(|| refuse(format!("expected {expected}; found {kind}")));
            list.iter().map(read).collect::<Result<_, _>>()?
        }
    };
    Ok((0..n_layers).filter(|&layer| slides[layer]).collect())
}

/// The window of `size` in the layers that `layer_types` names, or without it in those that `slides` names; `None` without one.
pub(super) fn window(
    settings: &Settings,
    size: Option<usize>,
    n_layers: usize,
    slides: impl Fn(usize) -> bool,
) -> Result<Option<Window>, PretrainedError> {
    let layers = sliding(settings, n_layers, |layer| size.is_some() && slides(layer))?;
    match size {
        _ if layers.is_empty() => Ok(None),
        Some(size) if layers.len() == n_layers => Ok(Some(Window { size, layers: vec![] })),
        Some(size) => Ok(Some(Window { size, layers })),
        None => Err(settings.refuse("layer_types", "expected a sliding_window for them; found none")),
    }
}

/// The settings of the blocks, without biases.
pub(super) fn decoder(
    checkpoint: &Checkpoint,
    activation: Activation,
) -> Result<ModelConfig, PretrainedError> {
    let mut model = with_rotary(checkpoint, activation, 1.0)?;
    (model.norm, model.norm_eps) = (NormKind::Rms, checkpoint.settings.number("rms_norm_eps", 1e-6)?);
    (model.bias, model.mlp.gated) = (false, true);
    model.head.bias = Some(false);
    Ok(model)
}

/// The sizes of a decoder with rotary positions of this share of each head, unless the file says another.
pub(super) fn with_rotary(
    checkpoint: &Checkpoint,
    activation: Activation,
    share: f64,
) -> Result<ModelConfig, PretrainedError> {
    let settings = &checkpoint.settings;
    let (d_model, n_heads) = (settings.size("hidden_size")?, settings.size("num_attention_heads")?);
    let d_head = settings.count("head_dim")?.unwrap_or(0);
    let width = if d_head == 0 { d_model / n_heads } else { d_head };
    let share = ("partial_rotary_factor", share);
    Ok(ModelConfig {
        d_model,
        n_layers: settings.layers("num_hidden_layers")?,
        attention: AttentionConfig {
            n_heads,
            n_kv_heads: settings.count("num_key_value_heads")?.unwrap_or(0),
            d_head,
            rotary: Some(rotary::read(settings, width, ("rope_theta", 1e4), share)?),
            ..AttentionConfig::default()
        },
        mlp: MlpConfig { d_ff: settings.size("intermediate_size")?, activation, ..MlpConfig::default() },
        embedding: blocks::embedding_without_positions(),
        ..ModelConfig::default()
    })
}

/// The task and the names of a model with these settings.
pub(super) fn described(
    checkpoint: &Checkpoint,
    mut model: ModelConfig,
    variant: Variant,
) -> Result<Description, PretrainedError> {
    let tied = text::tied(checkpoint, variant.tied)?;
    model.head.tie_embeddings = tied;
    let text::Decoder { task, mut names, prefix } =
        text::decoder(checkpoint, "model.", ["embed_tokens", text::HEAD], tied)?;
    if let Some(Window { size, layers }) = &variant.window {
        let near = Condition::NearOrder((*size.max(&1) - 1) as u32);
        let kind = task.kind("text").to_string();
        let rule = Rule::When(vec![Condition::Causal, near]);
        let rule = LayerRule { query: kind.clone(), key: kind, rule, layers: layers.clone() };
        model.attention.rules.push(rule);
    }

    blocks::each(&mut names, &model, &format!("{prefix}layers"), |block| map(block, &model, &variant));
    names.rows(&["stack.norm.weight"], &[&format!("{prefix}norm.weight")], variant.norms);
    names.unread(&["rotary_emb.inv_freq"]);
    Ok(Description { model, task, names })
}

/// Map a block.
fn map(block: &mut Block, model: &ModelConfig, variant: &Variant) {
    let norms: &[(&str, &str)] = match model.norm_placement {
        NormPlacement::Both => &[
            ("attention_norm", "input_layernorm"),
            ("attention_output_norm", "post_attention_layernorm"),
            ("mlp_norm", "pre_feedforward_layernorm"),
            ("mlp_output_norm", "post_feedforward_layernorm"),
        ],
        _ => &[("attention_norm", "input_layernorm"), ("mlp_norm", "post_attention_layernorm")],
    };
    let of_heads = [("attention.query_norm", "self_attn.q_norm"), ("attention.key_norm", "self_attn.k_norm")];
    let of_heads = of_heads.iter().filter(|_| model.attention.qk_norm);
    for (norm, published) in norms.iter().chain(of_heads) {
        let ours = block.ours(&format!("{norm}.weight"));
        let theirs = block.theirs(&format!("{published}.weight"));
        block.names.rows(&[&ours], &[&theirs], variant.norms);
    }
    if variant.fused {
        block.fused_attention(["self_attn.qkv_proj", "self_attn.o_proj"]);
        block.fused_mlp(["mlp.gate_up_proj", "mlp.down_proj"]);
    } else {
        block.attention(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]);
        block.gated_mlp(["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]);
    }
}
