//! Qwen2 and Qwen2.5 (Yang et al. 2024): Llama with biases of queries, keys and values; Qwen3 (Yang et al. 2025): Llama with
//! norms of queries and keys.

use super::llama::{Variant, decoder, described, window, window_size};
use super::{Checkpoint, Description, PretrainedError};
use serde_json::json;

pub(super) fn describe(checkpoint: &Checkpoint) -> Result<Description, PretrainedError> {
    let settings = &checkpoint.settings;
    settings.ignore(&["attention_dropout"]);
    settings.only(&[("use_mrope", json!(false))])?;
    let mut model = decoder(checkpoint, settings.activation("hidden_act", "silu")?)?;
    if checkpoint.kind() == "qwen3" {
        let bias = settings.flag("attention_bias", false)?;
        (model.attention.bias, model.attention.output_bias) = (Some(bias), Some(bias));
        model.attention.qk_norm = true;
        model.attention.d_head = settings.count("head_dim")?.unwrap_or(128);
    } else {
        model.attention.bias = Some(true);
    }
    let size = match settings.flag("use_sliding_window", false)? {
        true => window_size(settings, 4096)?,
        false => None,
    };
    let first = settings.count("max_window_layers")?.unwrap_or(28);
    settings.ignore(&["sliding_window"]);
    let window = window(settings, size, model.n_layers, |layer| layer >= first)?;
    described(checkpoint, model, Variant { window, ..Variant::default() })
}
