//! GPT-2 (Radford et al. 2019) and models with its layout, such as DistilGPT-2.

use super::classifier::Classifier;
use super::names::{Layout, NameMap};
use super::settings::Settings;
use super::{Checkpoint, PretrainedError};
use super::{Description, text};
use crate::model::{
    AttentionConfig, EmbeddingConfig, HeadConfig, LayerRule, MlpConfig, ModelConfig, NormKind,
};
use crate::rules::{Condition, Rule};

pub(super) fn describe(checkpoint: &Checkpoint) -> Result<Description, PretrainedError> {
    let settings = &checkpoint.settings;
    check(settings)?;
    let (vocabulary, context) = (settings.size("vocab_size")?, settings.size("n_positions")?);
    let tied = text::tied(checkpoint, true)?;
    let classifier = match checkpoint.has_classifier() {
        true => Some(Classifier::of_text(checkpoint)?),
        false => None,
    };
    let of_tokens = classifier.as_ref().is_some_and(|classifier| classifier.reads.is_none());
    let mut model = ModelConfig {
        d_model: settings.size("n_embd")?,
        head: HeadConfig {
            tie_embeddings: tied && classifier.is_none(),
            bias: Some(of_tokens),
            ..HeadConfig::default()
        },
        ..transformer(checkpoint, "gelu_new")?
    };
    let task = match &classifier {
        None => text::next_token(checkpoint, vocabulary, context)?,
        Some(classifier) => text::classified(checkpoint, vocabulary, context, 0, classifier)?,
    };
    if classifier.is_some() {
        // An input attends to all of itself, unless the model says otherwise.
        let (kind, rule) = (task.kind("text").to_string(), Rule::When(vec![Condition::Causal]));
        model.attention.rules.push(LayerRule { query: kind.clone(), key: kind, rule, layers: vec![] });
    }

    let mut names = NameMap::default();
    let prefix = checkpoint.prefix("transformer.");
    names.one(&task.embedding("text", "table"), &format!("{prefix}wte.weight"));
    names.one(&task.embedding("text", "index"), &format!("{prefix}wpe.weight"));
    blocks(&mut names, &model, &prefix);
    match &classifier {
        None => text::head(&mut names, "text", tied, &format!("{prefix}wte.weight")),
        Some(classifier) if of_tokens => classifier.names(&mut names, "", "classifier"),
        Some(classifier) => names.one(&format!("head.{}.weight", classifier.output), "score.weight"),
    }
    Ok(Description { model, task, names })
}

/// Check settings that are not read otherwise.
fn check(settings: &Settings) -> Result<(), PretrainedError> {
    settings.only(&[("add_cross_attention", false.into()), ("reorder_and_upcast_attn", false.into())])?;
    settings.ignore(&[
        "resid_pdrop",
        "embd_pdrop",
        "attn_pdrop",
        "n_ctx",
        "summary_type",
        "summary_use_proj",
    ]);
    // The pooled class of a sequence, and special tokens of GPT-1's training, are no part of this model.
    settings.ignore(&[
        "n_special",
        "predict_special_tokens",
        "summary_activation",
        "summary_proj_to_labels",
        "summary_first_dropout",
    ]);
    Ok(())
}

/// The settings of GPT-2's blocks, also those of the decision transformer.
pub(super) fn transformer(checkpoint: &Checkpoint, activation: &str) -> Result<ModelConfig, PretrainedError> {
    let settings = &checkpoint.settings;
    Ok(ModelConfig {
        n_layers: settings.layers("n_layer")?,
        norm: NormKind::Layer,
        norm_eps: settings.number("layer_norm_epsilon", 1e-5)?,
        attention: AttentionConfig {
            n_heads: settings.size("n_head")?,
            scale: (!settings.flag("scale_attn_weights", true)?).then_some(1.0),
            scale_by_layer: settings.flag("scale_attn_by_inverse_layer_idx", false)?,
            ..AttentionConfig::default()
        },
        mlp: MlpConfig {
            d_ff: settings.count("n_inner")?.unwrap_or(0),
            activation: settings.activation("activation_function", activation)?,
            ..MlpConfig::default()
        },
        embedding: EmbeddingConfig { type_embedding: false, ..EmbeddingConfig::default() },
        ..ModelConfig::default()
    })
}

/// The names of the blocks and the final norm. Older files also hold each block's attention mask.
pub(super) fn blocks(names: &mut NameMap, model: &ModelConfig, prefix: &str) {
    for layer in 0..model.n_layers {
        let (ours, theirs) = (format!("stack.blocks.{layer}"), format!("{prefix}h.{layer}"));
        let transposed = |names: &mut NameMap, from: &[&str], to: &str| {
            let from: Vec<String> = from.iter().map(|name| format!("{ours}.{name}")).collect();
            let from: Vec<&str> = from.iter().map(String::as_str).collect();
            names.maps(&from, &[&format!("{theirs}.{to}")], true, Layout::Transposed);
        };
        names.map(&format!("{ours}.attention_norm"), &format!("{theirs}.ln_1"), true);
        transposed(names, &["attention.query", "attention.key_value"], "attn.c_attn");
        transposed(names, &["attention.output"], "attn.c_proj");
        names.map(&format!("{ours}.mlp_norm"), &format!("{theirs}.ln_2"), true);
        transposed(names, &["mlp.inner"], "mlp.c_fc");
        transposed(names, &["mlp.outer"], "mlp.c_proj");
    }
    names.map("stack.norm", &format!("{prefix}ln_f"), true);
    names.unread(&[".attn.bias", ".attn.masked_bias"]);
}
