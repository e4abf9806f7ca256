//! T5 (Raffel et al. 2020), versions 1.0 and 1.1.

use super::names::{Layout, NameMap};
use super::{Checkpoint, Description, PretrainedError, text};
use crate::model::{
    AttentionConfig, EmbeddingConfig, HeadConfig, MlpConfig, ModelConfig, NormKind, Positions,
    RelativePositions,
};
use serde_json::json;

pub(super) fn describe(checkpoint: &Checkpoint) -> Result<Description, PretrainedError> {
    let settings = &checkpoint.settings;
    settings.only(&[("is_decoder", json!(false)), ("is_encoder_decoder", json!(true))])?;
    settings.ignore(&["dropout_rate", "classifier_dropout", "n_positions"]);
    let feed_forward = settings.text("feed_forward_proj", "relu")?;
    let (gated, act) = match feed_forward.strip_prefix("gated-") {
        Some(act) => (true, act),
        None => (false, feed_forward.as_str()),
    };
    // `gated-gelu` is GELU with the tanh approximation.
    let default = if feed_forward == "gated-gelu" { "gelu_new" } else { act };
    let activation = settings.activation("dense_act_fn", default)?;
    settings.only(&[("is_gated_act", json!(gated))])?;
    // An untied head does not scale its input, unless `scale_decoder_outputs` is set.
    let tied = text::tied(checkpoint, true)?;
    let scaled = settings.flag("scale_decoder_outputs", settings.flag("tie_word_embeddings", true)?)?;
    let d_model = settings.size("d_model")?;
    let n_encoder_layers = settings.size("num_layers")?;
    let relative = RelativePositions {
        buckets: settings.count("relative_attention_num_buckets")?.unwrap_or(32),
        max_distance: settings.count("relative_attention_max_distance")?.unwrap_or(128),
        causal: true,
    };
    let model = ModelConfig {
        d_model,
        n_encoder_layers,
        n_layers: settings.count("num_decoder_layers")?.unwrap_or(n_encoder_layers),
        norm: NormKind::Rms,
        norm_eps: settings.number("layer_norm_epsilon", 1e-6)?,
        bias: false,
        attention: AttentionConfig {
            n_heads: settings.size("num_heads")?,
            d_head: settings.size("d_kv")?,
            scale: Some(1.0),
            relative: Some(relative),
            ..AttentionConfig::default()
        },
        mlp: MlpConfig { d_ff: settings.size("d_ff")?, gated, activation, ..MlpConfig::default() },
        embedding: EmbeddingConfig {
            positions: Positions::None,
            type_embedding: false,
            ..EmbeddingConfig::default()
        },
        head: HeadConfig {
            tie_embeddings: tied,
            bias: Some(false),
            scale: scaled.then(|| (d_model as f64).sqrt().recip()),
            ..HeadConfig::default()
        },
        ..ModelConfig::default()
    };
    let task = text::text_to_text(checkpoint, settings.size("vocab_size")?)?;

    let mut names = NameMap::default();
    names.one(&task.embedding("source", "table"), "shared.weight");
    names.repeats("encoder.embed_tokens.weight", "shared.weight");
    names.repeats("decoder.embed_tokens.weight", "shared.weight");
    for (ours, theirs, n_layers, cross) in
        [("encoder", "encoder", n_encoder_layers, false), ("stack", "decoder", model.n_layers, true)]
    {
        let first = format!("{theirs}.block.0.layer.0.SelfAttention.relative_attention_bias.weight");
        names.one(&format!("{ours}.relative"), &first);
        for layer in 0..n_layers {
            block(
                &mut names,
                &format!("{ours}.blocks.{layer}"),
                &format!("{theirs}.block.{layer}"),
                cross,
                gated,
            );
        }
        names.map(&format!("{ours}.norm"), &format!("{theirs}.final_layer_norm"), false);
    }
    names.unread(&["decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"]);
    text::head(&mut names, "target", tied, "shared.weight");
    Ok(Description { model, task, names })
}

fn block(names: &mut NameMap, ours: &str, theirs: &str, cross: bool, gated: bool) {
    let attention = |names: &mut NameMap, ours: String, theirs: String| {
        let part = |part: &str| format!("{theirs}.{part}");
        names.map(&format!("{ours}.query"), &part("q"), false);
        names.maps(&[&format!("{ours}.key_value")], &[&part("k"), &part("v")], false, Layout::Same);
        names.map(&format!("{ours}.output"), &part("o"), false);
    };
    attention(names, format!("{ours}.attention"), format!("{theirs}.layer.0.SelfAttention"));
    names.map(&format!("{ours}.attention_norm"), &format!("{theirs}.layer.0.layer_norm"), false);
    if cross {
        attention(names, format!("{ours}.cross"), format!("{theirs}.layer.1.EncDecAttention"));
        names.map(&format!("{ours}.cross_norm"), &format!("{theirs}.layer.1.layer_norm"), false);
    }
    let last = format!("{theirs}.layer.{}", if cross { 2 } else { 1 });
    let inner = if gated { "wi_0" } else { "wi" };
    names.map(&format!("{ours}.mlp.inner"), &format!("{last}.DenseReluDense.{inner}"), false);
    if gated {
        names.map(&format!("{ours}.mlp.gated"), &format!("{last}.DenseReluDense.wi_1"), false);
    }
    names.map(&format!("{ours}.mlp.outer"), &format!("{last}.DenseReluDense.wo"), false);
    names.map(&format!("{ours}.mlp_norm"), &format!("{last}.layer_norm"), false);
}
