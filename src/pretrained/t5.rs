//! T5 (Raffel et al. 2020), versions 1.0 and 1.1, and mT5 (Xue et al. 2021), also without the decoder.

use super::blocks::embedding_without_positions;
use super::names::{Layout, NameMap};
use super::sentence::{self, SentenceEncoder};
use super::{Checkpoint, Description, PretrainedError, text};
use crate::model::{AttentionConfig, HeadConfig, MlpConfig, ModelConfig, NormKind, RelativePositions};
use serde_json::json;

/// The embedding table, which encoder and decoder share.
const TABLE: &str = "shared.weight";

pub(super) fn describe(checkpoint: &Checkpoint) -> Result<Description, PretrainedError> {
    match checkpoint.tensors.iter().any(|name| name.starts_with("decoder.")) {
        true => text_to_text(checkpoint),
        false => encoder_alone(checkpoint),
    }
}

fn text_to_text(checkpoint: &Checkpoint) -> Result<Description, PretrainedError> {
    let settings = &checkpoint.settings;
    sentence::refuse(checkpoint)?;
    settings.only(&[("is_encoder_decoder", json!(true))])?;
    // An untied head does not scale its input, unless `scale_decoder_outputs` is set.
    let says_tied = settings.flag("tie_word_embeddings", checkpoint.kind() == "t5")?;
    let (tied, scaled) = (!checkpoint.has(text::HEAD), settings.flag("scale_decoder_outputs", says_tied)?);
    let stack = transformer(checkpoint, true)?;
    let model = ModelConfig {
        n_encoder_layers: stack.n_layers,
        n_layers: match settings.count("num_decoder_layers")? {
            Some(_) => settings.layers("num_decoder_layers")?,
            None => stack.n_layers,
        },
        head: HeadConfig {
            tie_embeddings: tied,
            bias: Some(false),
            scale: scaled.then(|| (stack.d_model as f64).sqrt().recip()),
            ..HeadConfig::default()
        },
        ..stack
    };
    let task = text::text_to_text(checkpoint, settings.size("vocab_size")?)?;

    let mut names = NameMap::default();
    names.one(&task.embedding("source", "table"), TABLE);
    names.repeats("encoder.embed_tokens.weight", TABLE);
    names.repeats("decoder.embed_tokens.weight", TABLE);
    let gated = model.mlp.gated;
    blocks(&mut names, ["encoder", "encoder"], model.n_encoder_layers, false, gated);
    blocks(&mut names, ["stack", "decoder"], model.n_layers, true, gated);
    names.unread(&["decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"]);
    text::head(&mut names, "target", tied, TABLE);
    Ok(Description { model, task, names })
}

/// An encoder without a decoder, whose output is a vector.
fn encoder_alone(checkpoint: &Checkpoint) -> Result<Description, PretrainedError> {
    let settings = &checkpoint.settings;
    settings.ignore(&[
        "is_encoder_decoder",
        "num_decoder_layers",
        "tie_word_embeddings",
        "scale_decoder_outputs",
    ]);
    let sentence = SentenceEncoder::read(checkpoint)?.unwrap_or_default();
    let bias = sentence.dense.as_ref().map(|dense| dense.bias);
    let head = HeadConfig { bias, ..HeadConfig::default() };
    let model = ModelConfig { head, ..transformer(checkpoint, false)? };
    let context = sentence.most_tokens.unwrap_or(text::DEFAULT_CONTEXT);
    let task = text::represented(checkpoint, settings.size("vocab_size")?, context, 0, &sentence)?;

    let mut names = NameMap::default();
    names.one(&task.embedding("text", "table"), TABLE);
    names.repeats("encoder.embed_tokens.weight", TABLE);
    blocks(&mut names, ["stack", "encoder"], model.n_layers, false, model.mlp.gated);
    sentence.names(&mut names, "embedding");
    Ok(Description { model, task, names })
}

/// The settings of a stack of `num_layers` blocks; the main transformer is a decoder if `causal`.
fn transformer(checkpoint: &Checkpoint, causal: bool) -> Result<ModelConfig, PretrainedError> {
    let settings = &checkpoint.settings;
    settings.only(&[("is_decoder", json!(false))])?;
    settings.ignore(&["dropout_rate", "classifier_dropout", "n_positions"]);
    let usual = if checkpoint.kind() == "mt5" { "gated-gelu" } else { "relu" };
    let feed_forward = settings.text("feed_forward_proj", usual)?;
    let (gated, act) = match feed_forward.strip_prefix("gated-") {
        Some(act) => (true, act),
        None => (false, feed_forward.as_str()),
    };
    // `gated-gelu` is GELU with the tanh approximation.
    let default = if feed_forward == "gated-gelu" { "gelu_new" } else { act };
    let activation = settings.activation("dense_act_fn", default)?;
    settings.only(&[("is_gated_act", json!(gated))])?;
    let relative = RelativePositions {
        buckets: settings.count("relative_attention_num_buckets")?.unwrap_or(32),
        max_distance: settings.count("relative_attention_max_distance")?.unwrap_or(128),
        causal,
    };
    Ok(ModelConfig {
        d_model: settings.size("d_model")?,
        n_layers: settings.layers("num_layers")?,
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
        embedding: embedding_without_positions(),
        ..ModelConfig::default()
    })
}

/// The names of the blocks of a stack, and of its norm.
fn blocks(names: &mut NameMap, [ours, theirs]: [&str; 2], n_layers: usize, cross: bool, gated: bool) {
    let first = format!("{theirs}.block.0.layer.0.SelfAttention.relative_attention_bias.weight");
    names.one(&format!("{ours}.relative"), &first);
    for layer in 0..n_layers {
        let (ours, theirs) = (format!("{ours}.blocks.{layer}"), format!("{theirs}.block.{layer}"));
        block(names, &ours, &theirs, cross, gated);
    }
    names.map(&format!("{ours}.norm"), &format!("{theirs}.final_layer_norm"), false);
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
