//! Whisper (Radford et al. 2022), and its encoder as a classifier of clips.

use super::classifier::Classifier;
use super::names::{Layout, NameMap};
use super::settings::Settings;
use super::{Checkpoint, Description, PretrainedError, audio};
use crate::model::{
    AttentionConfig, EmbeddingConfig, EncoderConfig, HeadConfig, MlpConfig, ModelConfig, NormKind, Stem,
};
use serde_json::json;

pub(super) fn describe(checkpoint: &Checkpoint) -> Result<Description, PretrainedError> {
    let settings = &checkpoint.settings;
    settings.only(&[("tie_word_embeddings", json!(true)), ("use_weighted_layer_sum", json!(false))])?;
    settings.ignore(&["activation_dropout", "attention_dropout", "dropout", "classifier_proj_size"]);
    settings.ignore(&["encoder_layerdrop", "decoder_layerdrop", "apply_spec_augment", "median_filter_width"]);
    settings.ignore(&["mask_feature_length", "mask_feature_min_masks", "mask_feature_prob"]);
    settings.ignore(&["mask_time_length", "mask_time_min_masks", "mask_time_prob", "num_hidden_layers"]);
    // The published code reads the setting but does not use it.
    settings.ignore(&["scale_embedding"]);
    // Without a decoder, which a classifier of clips does not have, the encoder is the main transformer.
    let classifies = checkpoint.has_classifier();
    if classifies {
        settings.ignore(&["decoder_attention_heads", "decoder_ffn_dim", "decoder_layers"]);
        settings.ignore(&["max_target_positions", "vocab_size"]);
    }
    let model = model(settings, classifies)?;
    let task = if classifies { audio::classified(checkpoint)? } else { audio::task(checkpoint)? };

    let mut names = NameMap::default();
    let prefix = checkpoint.prefix("model.");
    let theirs = |name: &str| format!("{prefix}{name}");
    let convolution = Layout::Conv1d { width: 3 };
    names.maps(&["embed.audio.slice.stem.first"], &[&theirs("encoder.conv1")], true, convolution);
    names.maps(&["embed.audio.slice.stem.second"], &[&theirs("encoder.conv2")], true, convolution);
    names.one("embed.audio.slice.time", &theirs("encoder.embed_positions.weight"));
    if classifies {
        stack(&mut names, "stack", &theirs("encoder"), model.n_layers, false);
        Classifier::read(checkpoint)?.names(&mut names, "projector", "classifier");
    } else {
        let table = theirs("decoder.embed_tokens.weight");
        names.one(&task.embedding("text", "table"), &table);
        names.one(&task.embedding("text", "index"), &theirs("decoder.embed_positions.weight"));
        names.repeats("proj_out.weight", &table);
        stack(&mut names, "encoder", &theirs("encoder"), model.n_encoder_layers, false);
        stack(&mut names, "stack", &theirs("decoder"), model.n_layers, true);
    }
    Ok(Description { model, task, names })
}

fn model(settings: &Settings, classifies: bool) -> Result<ModelConfig, PretrainedError> {
    // Without a decoder, the encoder is the main transformer.
    let of = |encoder: &str, decoder: &str| -> Result<[usize; 2], PretrainedError> {
        let of_encoder = settings.size(encoder)?;
        Ok([of_encoder, if classifies { of_encoder } else { settings.size(decoder)? }])
    };
    let [encoder_heads, n_heads] = of("encoder_attention_heads", "decoder_attention_heads")?;
    let [encoder_width, d_ff] = of("encoder_ffn_dim", "decoder_ffn_dim")?;
    let encoder_layers = settings.layers("encoder_layers")?;
    let n_layers = if classifies { encoder_layers } else { settings.layers("decoder_layers")? };
    let own = |of_encoder, of_decoder| if of_encoder == of_decoder { 0 } else { of_encoder };
    let head = match classifies {
        true => HeadConfig::default(),
        false => HeadConfig { tie_embeddings: true, bias: Some(false), ..HeadConfig::default() },
    };
    Ok(ModelConfig {
        d_model: settings.size("d_model")?,
        n_encoder_layers: if classifies { 0 } else { encoder_layers },
        n_layers,
        norm: NormKind::Layer,
        norm_eps: 1e-5,
        attention: AttentionConfig::of_heads(n_heads),
        mlp: MlpConfig {
            d_ff,
            activation: settings.activation("activation_function", "gelu")?,
            ..MlpConfig::default()
        },
        encoder: EncoderConfig { n_heads: own(encoder_heads, n_heads), d_ff: own(encoder_width, d_ff) },
        embedding: EmbeddingConfig {
            stem: Some(Stem { kind: "audio.slice".into(), pixels: None }),
            type_embedding: false,
            ..EmbeddingConfig::default()
        },
        head,
        ..ModelConfig::default()
    })
}

/// Map a transformer, with cross-attention if `cross`.
fn stack(names: &mut NameMap, ours: &str, theirs: &str, n_layers: usize, cross: bool) {
    for layer in 0..n_layers {
        block(names, &format!("{ours}.blocks.{layer}"), &format!("{theirs}.layers.{layer}"), cross);
    }
    names.map(&format!("{ours}.norm"), &format!("{theirs}.layer_norm"), true);
}

fn block(names: &mut NameMap, ours: &str, theirs: &str, cross: bool) {
    let attention = |names: &mut NameMap, of: &str, their: &str| {
        let (ours, part) = (format!("{ours}.{of}"), |part: &str| format!("{theirs}.{their}.{part}"));
        names.map(&format!("{ours}.query"), &part("q_proj"), true);
        names.key_value_without_key_bias(&format!("{ours}.key_value"), &part("k_proj"), &part("v_proj"));
        names.map(&format!("{ours}.output"), &part("out_proj"), true);
        names.map(&format!("{ours}_norm"), &format!("{theirs}.{their}_layer_norm"), true);
    };
    attention(names, "attention", "self_attn");
    if cross {
        attention(names, "cross", "encoder_attn");
    }
    names.map(&format!("{ours}.mlp.inner"), &format!("{theirs}.fc1"), true);
    names.map(&format!("{ours}.mlp.outer"), &format!("{theirs}.fc2"), true);
    names.map(&format!("{ours}.mlp_norm"), &format!("{theirs}.final_layer_norm"), true);
}
