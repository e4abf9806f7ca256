//! Phi-3 (Abdin et al. 2024): Llama with fused tensors; Phi-1 and Phi-2 (Li et al. 2023): attention and MLP in parallel, after one
//! norm, and rotary positions of a part of each head.

use super::llama::{Variant, Window, decoder, described as of_llama};
use super::names::{Layout, NameMap};
use super::{Checkpoint, Description, PretrainedError, rotary, text};
use crate::model::{
    AttentionConfig, EmbeddingConfig, HeadConfig, MlpConfig, ModelConfig, NormKind, Positions, Sublayers,
};
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
    let (vocabulary, context) = (settings.size("vocab_size")?, settings.size("max_position_embeddings")?);
    let (d_model, n_heads) = (settings.size("hidden_size")?, settings.size("num_attention_heads")?);
    let d_head = settings.count("head_dim")?.unwrap_or(0);
    let width = if d_head == 0 { d_model / n_heads } else { d_head };
    let tied = text::tied(checkpoint, false)?;
    let model = ModelConfig {
        d_model,
        n_layers: settings.layers("num_hidden_layers")?,
        norm: NormKind::Layer,
        sublayers: Sublayers::OneNorm,
        norm_eps: settings.number("layer_norm_eps", 1e-5)?,
        attention: AttentionConfig {
            n_heads,
            n_kv_heads: settings.count("num_key_value_heads")?.unwrap_or(0),
            d_head,
            rotary: Some(rotary::read(settings, width, ("rope_theta", 1e4), ("partial_rotary_factor", 0.5))?),
            ..AttentionConfig::default()
        },
        mlp: MlpConfig {
            d_ff: settings.size("intermediate_size")?,
            activation: settings.activation("hidden_act", "gelu_new")?,
            ..MlpConfig::default()
        },
        embedding: EmbeddingConfig {
            positions: Positions::None,
            type_embedding: false,
            ..EmbeddingConfig::default()
        },
        head: HeadConfig { tie_embeddings: tied, bias: Some(true), ..HeadConfig::default() },
        ..ModelConfig::default()
    };
    let task = text::next_token(checkpoint, vocabulary, context)?;

    let mut names = NameMap::default();
    let prefix = checkpoint.prefix("model.");
    let table = format!("{prefix}embed_tokens.weight");
    names.one(&task.embedding("text", "table"), &table);
    for layer in 0..model.n_layers {
        let (ours, theirs) = (format!("stack.blocks.{layer}"), format!("{prefix}layers.{layer}"));
        let ours = |name: &str| format!("{ours}.{name}");
        let theirs = |name: &str| format!("{theirs}.{name}");
        let (key, value) = (theirs("self_attn.k_proj"), theirs("self_attn.v_proj"));
        names.map(&ours("attention_norm"), &theirs("input_layernorm"), true);
        names.map(&ours("attention.query"), &theirs("self_attn.q_proj"), true);
        names.maps(&[&ours("attention.key_value")], &[&key, &value], true, Layout::Same);
        names.map(&ours("attention.output"), &theirs("self_attn.dense"), true);
        names.map(&ours("mlp.inner"), &theirs("mlp.fc1"), true);
        names.map(&ours("mlp.outer"), &theirs("mlp.fc2"), true);
    }
    names.map("stack.norm", &format!("{prefix}final_layernorm"), true);
    names.unread(&["rotary_emb.inv_freq"]);
    text::head(&mut names, "text", tied, &table);
    names.one("head.text.bias", "lm_head.bias");
    Ok(Description { model, task, names })
}
