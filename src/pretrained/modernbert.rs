//! ModernBERT (Warner et al. 2024): an encoder with rotary positions and, in most layers, a window in both directions.

use super::llama::sliding;
use super::names::NameMap;
use super::sentence::SentenceEncoder;
use super::{Checkpoint, Description, PretrainedError, blocks, rotary, text};
use crate::model::{
    AttentionConfig, EmbeddingConfig, HeadConfig, LayerRule, MlpConfig, ModelConfig, NormKind, Rotary,
    RotaryOfLayers,
};
use crate::rules::{Condition, Rule};
use serde_json::json;

pub(super) fn describe(checkpoint: &Checkpoint) -> Result<Description, PretrainedError> {
    let settings = &checkpoint.settings;
    settings.only(&[("tie_word_embeddings", json!(true))])?;
    settings.ignore(&["attention_dropout", "embedding_dropout", "mlp_dropout", "initializer_cutoff_factor"]);
    settings.ignore(&["classifier_dropout", "classifier_pooling", "sparse_prediction"]);
    settings.ignore(&["sparse_pred_ignore_index", "repad_logits_with_grad", "reference_compile"]);
    // The last two are BERT's, which ModernBERT does not have.
    settings.ignore(&["deterministic_flash_attn", "layer_norm_eps", "position_embedding_type"]);
    let (vocabulary, positions) = (settings.size("vocab_size")?, settings.size("max_position_embeddings")?);
    let sentence = SentenceEncoder::read(checkpoint)?;
    let masked = sentence.is_none() && checkpoint.has("head.norm.weight");
    let encoder = sentence.unwrap_or_default();
    let context = encoder.most_tokens.map_or(positions, |most| most.min(positions));
    let mut model = transformer(checkpoint)?;
    model.head = head(checkpoint, &model, masked)?;
    if let Some(dense) = &encoder.dense {
        model.head.bias = Some(dense.bias);
    }
    let task = match masked {
        true => text::masked(checkpoint, vocabulary, context, 0)?,
        false => text::represented(checkpoint, vocabulary, context, 0, &encoder)?,
    };
    let window = settings.size("local_attention")? / 2;
    // Without layers, a rule holds for all.
    if let Some(layers) = model.attention.layer_rotary.first().map(|local| local.layers.clone()) {
        let (rule, kind) = (Condition::NearOrder(window as u32), task.kind("text").to_string());
        let rule = Rule::When(vec![rule]);
        model.attention.rules.push(LayerRule { query: kind.clone(), key: kind, rule, layers });
    }

    let mut names = NameMap::default();
    let prefix = checkpoint.prefix("model.");
    let table = format!("{prefix}embeddings.tok_embeddings.weight");
    names.one(&task.embedding("text", "table"), &table);
    names.map("embed.norm", &format!("{prefix}embeddings.norm"), model.bias);
    layers(&mut names, &model, &prefix);
    let decoder_bias = settings.flag("decoder_bias", true)?;
    if masked {
        names.map("head.text.transform", "head.dense", model.bias);
        names.map("head.text.transform_norm", "head.norm", model.bias);
        names.repeats("decoder.weight", &table);
        if decoder_bias {
            names.one("head.text.bias", "decoder.bias");
        }
    } else {
        encoder.names(&mut names, "embedding");
        names.unread(&["head.dense.weight", "head.dense.bias", "head.norm.weight", "head.norm.bias"]);
        names.unread(&["decoder.weight", "decoder.bias"]);
    }
    Ok(Description { model, task, names })
}

fn transformer(checkpoint: &Checkpoint) -> Result<ModelConfig, PretrainedError> {
    let settings = &checkpoint.settings;
    let (d_model, n_heads) = (settings.size("hidden_size")?, settings.size("num_attention_heads")?);
    let (n_layers, every) =
        (settings.layers("num_hidden_layers")?, settings.size("global_attn_every_n_layers")?);
    let (base, share) = (("global_rope_theta", 160_000.0), ("partial_rotary_factor", 1.0));
    let global = rotary::read(settings, d_model / n_heads, base, share)?;
    const LOCAL: &str = "local_rope_theta";
    let base = settings.number_or_null(LOCAL, 1e4)?.unwrap_or(global.base);
    let usual = rotary::of_base(settings, LOCAL, Rotary { base, ..global })?;
    let local = rotary::of_windows(settings)?.unwrap_or(usual);
    let layers = sliding(settings, n_layers, |layer| !layer.is_multiple_of(every))?;
    let local = (!layers.is_empty()).then_some(RotaryOfLayers { rotary: local, layers });
    let attention_bias = Some(settings.flag("attention_bias", false)?);
    Ok(ModelConfig {
        d_model,
        n_layers,
        norm: NormKind::Layer,
        norm_eps: settings.number("norm_eps", 1e-5)?,
        first_norm: false,
        bias: settings.flag("norm_bias", false)?,
        attention: AttentionConfig {
            n_heads,
            bias: attention_bias,
            output_bias: attention_bias,
            rotary: Some(global),
            layer_rotary: local.into_iter().collect(),
            ..AttentionConfig::default()
        },
        mlp: MlpConfig {
            d_ff: settings.size("intermediate_size")?,
            gated: true,
            activation: settings.activation("hidden_activation", "gelu")?,
            bias: Some(settings.flag("mlp_bias", false)?),
            ..MlpConfig::default()
        },
        embedding: EmbeddingConfig { norm: true, ..blocks::embedding_without_positions() },
        ..ModelConfig::default()
    })
}

/// The settings of the head. That of masked tokens has the activation of the MLP, and a bias if norms have one.
fn head(checkpoint: &Checkpoint, model: &ModelConfig, masked: bool) -> Result<HeadConfig, PretrainedError> {
    let settings = &checkpoint.settings;
    let bias = settings.flag("classifier_bias", false)?;
    let activation = settings.activation("classifier_activation", "gelu")?;
    if !masked {
        return Ok(HeadConfig::default());
    }
    if bias != model.bias {
        let problem = format!("expected {}, as norm_bias; found {bias}, which is not supported", model.bias);
        return Err(settings.refuse("classifier_bias", problem));
    }
    if activation != model.mlp.activation {
        let problem = "expected the activation of hidden_activation; found another, which is not supported";
        return Err(settings.refuse("classifier_activation", problem));
    }
    let bias = Some(settings.flag("decoder_bias", true)?);
    Ok(HeadConfig { tie_embeddings: true, bias, transform: true, ..HeadConfig::default() })
}

/// The names of the blocks, of which the first has no norm of attention, and of the final norm.
fn layers(names: &mut NameMap, model: &ModelConfig, prefix: &str) {
    blocks::each(names, model, &format!("{prefix}layers"), |block| {
        if block.layer > 0 {
            block.norm("attention_norm", "attn_norm");
        }
        block.fused_attention(["attn.Wqkv", "attn.Wo"]);
        block.norm("mlp_norm", "mlp_norm");
        block.fused_mlp(["mlp.Wi", "mlp.Wo"]);
    });
    names.map("stack.norm", &format!("{prefix}final_norm"), model.bias);
}
