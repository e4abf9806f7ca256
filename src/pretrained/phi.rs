//! Phi-3 (Abdin et al. 2024): Llama with fused tensors; Phi-1 and Phi-2 (Li et al. 2023): attention and MLP in parallel, after one
//! norm, and rotary positions of a part of each head.

use super::llama::{Variant, Window, decoder, described as of_llama, with_rotary};
use super::{Checkpoint, Description, PretrainedError, blocks, text};
use crate::model::{HeadConfig, ModelConfig, NormKind, Sublayers};
use serde_json::json;

/// Settings of training, and of code beside a checkpoint.
const INERT: &[&str] = &["attention_dropout", "auto_map", "embd_pdrop", "resid_pdrop"];

/// Phi-3 and Phi-4 without long contexts.
pub(super) fn describe_third(checkpoint: &Checkpoint) -> Result<Description, PretrainedError> {
    let settings = &checkpoint.settings;
    settings.ignore(INERT);
    settings.ignore(&["full_attn_mod", "interpolate_factor", "original_max_position_embeddings"]);
    settings.only(&[("attention_bias", json!(false)), ("mlp_bias", json!(false))])?;
    settings.only(&[("lm_head_bias", json!(false))])?;
    let mut model = decoder(checkpoint, settings.activation("hidden_act", "silu")?)?;
    model.norm_eps = settings.number("rms_norm_eps", 1e-5)?;
    let window = settings.count("sliding_window")?.map(|size| Window { size, layers: vec![] });
    of_llama(checkpoint, model, Variant { fused: true, window, ..Variant::default() })
}

/// Phi-1, Phi-1.5 and Phi-2.
pub(super) fn describe(checkpoint: &Checkpoint) -> Result<Description, PretrainedError> {
    let settings = &checkpoint.settings;
    settings.ignore(INERT);
    settings.only(&[("qk_layernorm", json!(false))])?;
    let tied = text::tied(checkpoint, false)?;
    let model = ModelConfig {
        norm: NormKind::Layer,
        norm_eps: settings.number("layer_norm_eps", 1e-5)?,
        sublayers: Sublayers::OneNorm,
        head: HeadConfig { tie_embeddings: tied, bias: Some(true), ..HeadConfig::default() },
        ..with_rotary(checkpoint, settings.activation("hidden_act", "gelu_new")?, 0.5)?
    };
    let text::Decoder { task, mut names, prefix } =
        text::decoder(checkpoint, "model.", ["embed_tokens", text::HEAD], tied)?;
    blocks::each(&mut names, &model, &format!("{prefix}layers"), |block| {
        block.norm("attention_norm", "input_layernorm");
        block.attention(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.dense"]);
        block.mlp(["mlp.fc1", "mlp.fc2"]);
    });
    names.map("stack.norm", &format!("{prefix}final_layernorm"), true);
    names.unread(&["rotary_emb.inv_freq"]);
    names.one("head.text.bias", "lm_head.bias");
    Ok(Description { model, task, names })
}
