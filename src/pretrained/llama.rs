//! Llama (Touvron et al. 2023) and models with its layout, such as SmolLM and Mistral.

use super::names::{Layout, NameMap};
use super::settings::Settings;
use super::{Checkpoint, Description, PretrainedError, text};
use crate::model::{
    AttentionConfig, EmbeddingConfig, HeadConfig, LayerRule, MlpConfig, ModelConfig, NormKind, Positions,
    Rotary,
};
use crate::ops::RotaryScaling;
use crate::rules::{Condition, Rule};
use serde_json::{Value, json};

pub(super) fn describe(checkpoint: &Checkpoint) -> Result<Description, PretrainedError> {
    let settings = &checkpoint.settings;
    settings.ignore(&["attention_dropout", "is_llama_config", "rope_interleaved"]);
    let (vocabulary, context) = (settings.size("vocab_size")?, settings.size("max_position_embeddings")?);
    let (attention_bias, mlp_bias) =
        (settings.flag("attention_bias", false)?, settings.flag("mlp_bias", false)?);
    let tied = text::tied(checkpoint, false)?;
    let task = text::next_token(checkpoint, vocabulary, context)?;
    let mut model = ModelConfig {
        d_model: settings.size("hidden_size")?,
        n_layers: settings.size("num_hidden_layers")?,
        norm: NormKind::Rms,
        norm_eps: settings.number("rms_norm_eps", 1e-6)?,
        bias: false,
        attention: AttentionConfig {
            n_heads: settings.size("num_attention_heads")?,
            n_kv_heads: settings.count("num_key_value_heads")?.unwrap_or(0),
            d_head: settings.count("head_dim")?.unwrap_or(0),
            bias: Some(attention_bias),
            output_bias: Some(attention_bias),
            rotary: Some(rotary(settings)?),
            ..AttentionConfig::default()
        },
        mlp: MlpConfig {
            d_ff: settings.size("intermediate_size")?,
            gated: true,
            activation: settings.activation("hidden_act", "silu")?,
            bias: Some(mlp_bias),
        },
        embedding: EmbeddingConfig {
            positions: Positions::None,
            type_embedding: false,
            ..EmbeddingConfig::default()
        },
        head: HeadConfig { tie_embeddings: tied, bias: Some(false), ..HeadConfig::default() },
        ..ModelConfig::default()
    };
    if let Some(window) = settings.count("sliding_window")? {
        let near = Condition::NearOrder((window.max(1) - 1) as u32);
        let kind = task.kind("text").to_string();
        let rule = Rule::When(vec![Condition::Causal, near]);
        model.attention.rules.push(LayerRule { query: kind.clone(), key: kind, rule, layers: vec![] });
    }

    let mut names = NameMap::default();
    let prefix = checkpoint.prefix("model.");
    let table = format!("{prefix}embed_tokens.weight");
    names.one(&task.embedding("text", "table"), &table);
    for layer in 0..model.n_layers {
        let (ours, theirs) = (format!("stack.blocks.{layer}"), format!("{prefix}layers.{layer}"));
        let ours = |name: &str| format!("{ours}.{name}");
        let theirs = |name: &str| format!("{theirs}.{name}");
        names.map(&ours("attention_norm"), &theirs("input_layernorm"), false);
        names.map(&ours("attention.query"), &theirs("self_attn.q_proj"), attention_bias);
        names.maps(
            &[&ours("attention.key_value")],
            &[&theirs("self_attn.k_proj"), &theirs("self_attn.v_proj")],
            attention_bias,
            Layout::Same,
        );
        names.map(&ours("attention.output"), &theirs("self_attn.o_proj"), attention_bias);
        names.map(&ours("mlp_norm"), &theirs("post_attention_layernorm"), false);
        names.map(&ours("mlp.inner"), &theirs("mlp.gate_proj"), mlp_bias);
        names.map(&ours("mlp.gated"), &theirs("mlp.up_proj"), mlp_bias);
        names.map(&ours("mlp.outer"), &theirs("mlp.down_proj"), mlp_bias);
    }
    names.map("stack.norm", &format!("{prefix}norm"), false);
    names.unread(&["rotary_emb.inv_freq"]);
    text::head(&mut names, "text", tied, &table);
    Ok(Description { model, task, names })
}

/// The rotary base and scaling: in `rope_parameters`, or in older files in `rope_theta` and `rope_scaling`.
fn rotary(settings: &Settings) -> Result<Rotary, PretrainedError> {
    settings.only(&[("partial_rotary_factor", json!(1.0))])?;
    let base = settings.number("rope_theta", 1e4)?;
    for key in ["rope_parameters", "rope_scaling"] {
        let Some(value) = settings.get(key) else { continue };
        let refuse = |problem: String| settings.refuse(key, problem);
        let Value::Object(values) = value else {
            return Err(refuse(format!("expected an object; found {value}")));
        };
        let text = |key: &str| values.get(key).and_then(Value::as_str);
        let number = |key: &str| {
            let found = values.get(key).and_then(Value::as_f64);
            found.ok_or_else(|| refuse(format!("expected a number for {key}; found {value}")))
        };
        let (mut known, scaling) = match text("rope_type").or(text("type")).unwrap_or("default") {
            "default" => (vec![], None),
            "linear" => (vec!["factor"], Some(RotaryScaling::Linear { factor: number("factor")? })),
            "llama3" => (
                vec!["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"],
                Some(RotaryScaling::Llama3 {
                    factor: number("factor")?,
                    low_freq_factor: number("low_freq_factor")?,
                    high_freq_factor: number("high_freq_factor")?,
                    original_context: number("original_max_position_embeddings")? as usize,
                }),
            ),
            other => return Err(refuse(format!("expected default, linear or llama3; found {other:?}"))),
        };
        known.extend(["rope_type", "type", "rope_theta"]);
        if values.get("partial_rotary_factor").is_some_and(|share| share.as_f64() != Some(1.0)) {
            return Err(refuse(format!("expected partial_rotary_factor = 1; found {value}")));
        }
        known.push("partial_rotary_factor");
        if let Some(unknown) = values.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(refuse(format!("expected {}; found {unknown}", known.join(", "))));
        }
        let base = values.get("rope_theta").and_then(Value::as_f64).unwrap_or(base);
        // The first of the two counts. Read the other too, so that `finish` does not reject it.
        _ = settings.get("rope_scaling");
        return Ok(Rotary { base, scaling });
    }
    Ok(Rotary { base, scaling: None })
}
