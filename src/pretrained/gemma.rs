//! Gemma (Gemma Team 2024): Llama with a scaled embedding, and norms whose weights are published less 1; Gemma 2: also with norms
//! after each sublayer, soft caps, and a sliding window in every other layer.

use super::llama::{Variant, decoder, described, window, window_size};
use super::names::Layout;
use super::{Checkpoint, Description, PretrainedError};
use crate::model::NormPlacement;
use crate::ops::Activation;

pub(super) fn describe(checkpoint: &Checkpoint) -> Result<Description, PretrainedError> {
    let settings = &checkpoint.settings;
    settings.ignore(&["attention_dropout"]);
    let bias = settings.flag("attention_bias", false)?;
    let mut model = decoder(checkpoint, activation(checkpoint)?)?;
    (model.attention.bias, model.attention.output_bias) = (Some(bias), Some(bias));
    model.attention.d_head = settings.count("head_dim")?.unwrap_or(256);
    model.embedding.scale = Some((model.d_model as f64).sqrt());
    let mut variant = Variant { tied: true, norms: Layout::MinusOne, ..Variant::default() };
    if checkpoint.kind() == "gemma2" {
        settings.ignore(&["cache_implementation", "sliding_window_size"]);
        model.norm_placement = NormPlacement::Both;
        model.attention.scale = Some(settings.number("query_pre_attn_scalar", 256.0)?.powf(-0.5));
        let cap = |key: &str, default: f64| -> Result<Option<f64>, PretrainedError> {
            match settings.values().get(key) {
                Some(value) if value.is_null() => Ok(None),
                _ => settings.number(key, default).map(Some),
            }
        };
        model.attention.soft_cap = cap("attn_logit_softcapping", 50.0)?;
        model.head.soft_cap = cap("final_logit_softcapping", 30.0)?;
        let size = window_size(settings, 4096)?;
        variant.window = window(settings, size, model.n_layers, |layer| layer % 2 == 0)?;
    }
    described(checkpoint, model, variant)
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
