//! Gemma (Gemma Team 2024): Llama with a scaled embedding, and norms whose weights are published less 1; Gemma 2: also with
//! norms after each sublayer, soft caps, and a sliding window in every other layer; Gemma 3, of texts: with norms of queries
//! and keys in place of soft caps, and other rotary positions in layers with a window.

use super::llama::{Variant, Window, decoder, described, window, window_size};
use super::names::Layout;
use super::settings::Settings;
use super::{Checkpoint, Description, PretrainedError, rotary};
use crate::model::{ModelConfig, NormPlacement, Rotary, RotaryOfLayers};
use crate::ops::Activation;
use serde_json::json;

pub(super) fn describe(checkpoint: &Checkpoint) -> Result<Description, PretrainedError> {
    let settings = &checkpoint.settings;
    settings.ignore(&["attention_dropout"]);
    let bias = settings.flag("attention_bias", false)?;
    let mut model = decoder(checkpoint, activation(checkpoint)?)?;
    (model.attention.bias, model.attention.output_bias) = (Some(bias), Some(bias));
    model.attention.d_head = settings.count("head_dim")?.unwrap_or(256);
    model.embedding.scale = Some((model.d_model as f64).sqrt());
    let mut variant = Variant { tied: true, norms: Layout::MinusOne, ..Variant::default() };
    if checkpoint.kind() != "gemma" {
        settings.ignore(&["cache_implementation", "sliding_window_size"]);
        model.norm_placement = NormPlacement::Both;
        model.attention.scale = Some(settings.number("query_pre_attn_scalar", 256.0)?.powf(-0.5));
    }
    variant.window = match checkpoint.kind() {
        "gemma2" => second(settings, &mut model)?,
        "gemma3_text" => third(settings, &mut model)?,
        _ => None,
    };
    described(checkpoint, model, variant)
}

/// Set what Gemma 2 has beside the norms; returns its window.
fn second(settings: &Settings, model: &mut ModelConfig) -> Result<Option<Window>, PretrainedError> {
    model.attention.soft_cap = settings.number_or_null("attn_logit_softcapping", 50.0)?;
    model.head.soft_cap = settings.number_or_null("final_logit_softcapping", 30.0)?;
    window(settings, window_size(settings, 4096)?, model.n_layers, |layer| layer.is_multiple_of(2))
}

/// Set what Gemma 3 has beside the norms; returns its window.
fn third(settings: &Settings, model: &mut ModelConfig) -> Result<Option<Window>, PretrainedError> {
    settings.only(&[("use_bidirectional_attention", json!(false))])?;
    model.attention.qk_norm = true;
    let cap = |key: &str| settings.get(key).map(|_| settings.number(key, 0.0)).transpose();
    model.attention.soft_cap = cap("attn_logit_softcapping")?;
    model.head.soft_cap = cap("final_logit_softcapping")?;
    let every = settings.count("sliding_window_pattern")?;
    let every = every.or(settings.count("_sliding_window_pattern")?).unwrap_or(6).max(1);
    let size = window_size(settings, 4096)?;
    let window = window(settings, size, model.n_layers, |layer| !(layer + 1).is_multiple_of(every))?;
    const LOCAL: &str = "rope_local_base_freq";
    let base = settings.number(LOCAL, 1e4)?;
    let usual = rotary::of_base(settings, LOCAL, Rotary { base, ..Rotary::default() })?;
    let rotary = rotary::of_windows(settings)?.unwrap_or(usual);
    if let Some(Window { layers, .. }) = &window {
        let layers = if layers.is_empty() { (0..model.n_layers).collect() } else { layers.clone() };
        model.attention.layer_rotary.push(RotaryOfLayers { rotary, layers });
    }
    Ok(window)
}

/// The activation: in `hidden_act`, `hidden_activation` or both, as versions of transformers differ.
fn activation(checkpoint: &Checkpoint) -> Result<Activation, PretrainedError> {
    let settings = &checkpoint.settings;
    let stated = |key: &str| settings.get(key).map(|_| settings.activation(key, "")).transpose();
    match (stated("hidden_act")?, stated("hidden_activation")?) {
        (Some(first), Some(second)) if first != second => {
            let problem = "expected the same activation as in hidden_act; found another; import with --ignore-setting of \
                           the one that does not hold";
            Err(settings.refuse("hidden_activation", problem))
        }
        (Some(stated), _) | (None, Some(stated)) => Ok(stated),
        (None, None) => Ok(Activation::GeluTanh),
    }
}
