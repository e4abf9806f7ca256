//! The published settings of a run: a `config.json` that states what `run.toml` states. What a kind has no setting for is compared
//! afterwards, by reading the file as an import does.

use super::{Trained, TrainedKind, audio, class};
use crate::head::{HeadKind, Masked};
use crate::modalities::audio::AudioTokenizer;
use crate::modalities::image::ImageTokenizer;
use crate::modalities::text::TextTokenizer;
use crate::model::{ModelConfig, RelativePositions, Rotary};
use crate::ops::Activation;
use crate::pretrained::PretrainedError;
use crate::sample::Part;
use serde_json::{Value, json};
use smalti_contract::Tokenizer;

/// The settings of a run's checkpoint, and the names of tensors that tell its model from others of its kind.
///
/// # Errors
/// [`PretrainedError`] if the run lacks a part of the kind.
pub(super) fn of(trained: &Trained) -> Result<(Value, Vec<&'static str>), PretrainedError> {
    let model = trained.model.config();
    let (mut config, names) = match trained.kind() {
        TrainedKind::Vit => (vit(trained, model)?, vec![]),
        TrainedKind::Bert => bert(trained, model)?,
        TrainedKind::Gpt2 => gpt2(trained, model)?,
        TrainedKind::Llama => (llama(trained, model)?, untied(model, &["model.norm.weight"])),
        TrainedKind::T5 => (t5(trained, model)?, untied(model, &["decoder.final_layer_norm.weight"])),
        TrainedKind::Whisper => (whisper(trained, model)?, vec!["model.encoder.conv1.weight"]),
    };
    config["model_type"] = trained.kind().name().into();
    config["dtype"] = "float32".into();
    // The class of a head of classes is stated with its classes.
    config["architectures"] = json!([class(trained)]);
    Ok((config, names))
}

/// These names, and that of the head's matrix if it is not the embedding table.
fn untied(model: &ModelConfig, names: &[&'static str]) -> Vec<&'static str> {
    let own = (!model.head.tie_embeddings).then_some("lm_head.weight");
    names.iter().copied().chain(own).collect()
}

fn vit(trained: &Trained, model: &ModelConfig) -> Result<Value, PretrainedError> {
    let image = trained.part(ImageTokenizer::NAME)?;
    let image: crate::modalities::image::ImageConfig = super::parsed(image)?;
    Ok(json!({
        "hidden_size": model.d_model,
        "num_hidden_layers": model.n_layers,
        "num_attention_heads": model.attention.n_heads,
        "intermediate_size": model.d_ff(),
        "hidden_act": activation(model.mlp.activation),
        "layer_norm_eps": model.norm_eps,
        "image_size": image.image_size,
        "patch_size": image.patch_size,
        "num_channels": image.num_channels,
        "qkv_bias": model.attention.bias.unwrap_or(model.bias),
    }))
}

fn bert(trained: &Trained, model: &ModelConfig) -> Result<(Value, Vec<&'static str>), PretrainedError> {
    let text = trained.part(TextTokenizer::NAME)?;
    let segments = text.kinds.first().and_then(|kind| kind.axes.iter().find(|axis| axis.name == "segment"));
    let config = json!({
        "vocab_size": trained.vocabulary(text),
        "hidden_size": model.d_model,
        "num_hidden_layers": model.n_layers,
        "num_attention_heads": model.attention.n_heads,
        "intermediate_size": model.d_ff(),
        "hidden_act": activation(model.mlp.activation),
        "max_position_embeddings": trained.positions(text),
        "type_vocab_size": segments.map_or(1, |axis| axis.size),
        "layer_norm_eps": model.norm_eps,
        "pad_token_id": null,
    });
    let names = match trained.head() {
        Masked::NAME => vec!["bert.embeddings.LayerNorm.weight", "cls.predictions.transform.dense.weight"],
        _ => vec![],
    };
    Ok((config, names))
}

fn gpt2(trained: &Trained, model: &ModelConfig) -> Result<(Value, Vec<&'static str>), PretrainedError> {
    let text = trained.part(TextTokenizer::NAME)?;
    let attention = &model.attention;
    let config = json!({
        "vocab_size": trained.vocabulary(text),
        "n_positions": trained.positions(text),
        "n_embd": model.d_model,
        "n_layer": model.n_layers,
        "n_head": attention.n_heads,
        "n_inner": model.d_ff(),
        "activation_function": activation(model.mlp.activation),
        "layer_norm_epsilon": model.norm_eps,
        "scale_attn_weights": attention.scale != Some(1.0),
        "scale_attn_by_inverse_layer_idx": attention.scale_by_layer,
        "tie_word_embeddings": model.head.tie_embeddings || trained.has_classes(),
        "bos_token_id": text.special_ids.begin.first(),
        "eos_token_id": text.special_ids.end.first(),
    });
    let names = if trained.has_classes() { vec![] } else { untied(model, &["transformer.ln_f.weight"]) };
    Ok((config, names))
}

fn llama(trained: &Trained, model: &ModelConfig) -> Result<Value, PretrainedError> {
    let text = trained.part(TextTokenizer::NAME)?;
    let attention = &model.attention;
    let kv_heads = if attention.n_kv_heads == 0 { attention.n_heads } else { attention.n_kv_heads };
    Ok(json!({
        "vocab_size": trained.vocabulary(text),
        "hidden_size": model.d_model,
        "intermediate_size": model.d_ff(),
        "num_hidden_layers": model.n_layers,
        "num_attention_heads": attention.n_heads,
        "num_key_value_heads": kv_heads,
        "head_dim": model.d_head(),
        "hidden_act": activation(model.mlp.activation),
        "max_position_embeddings": trained.positions(text),
        "rms_norm_eps": model.norm_eps,
        "rope_theta": attention.rotary.unwrap_or(Rotary { base: 1e4, width: 0, scaling: None }).base,
        "attention_bias": attention.bias.unwrap_or(model.bias),
        "mlp_bias": model.mlp.bias.unwrap_or(model.bias),
        "tie_word_embeddings": model.head.tie_embeddings,
        "bos_token_id": text.special_ids.begin.first(),
        "eos_token_id": text.special_ids.end.first(),
    }))
}

fn t5(trained: &Trained, model: &ModelConfig) -> Result<Value, PretrainedError> {
    let text = trained.part(TextTokenizer::NAME)?;
    let usual = RelativePositions { buckets: 32, max_distance: 128, causal: true };
    let RelativePositions { buckets, max_distance, .. } = model.attention.relative.unwrap_or(usual);
    // `gated-gelu` is the approximation by tanh.
    let feed_forward = match (model.mlp.gated, model.mlp.activation) {
        (true, Activation::GeluTanh) => "gated-gelu".into(),
        (true, other) => format!("gated-{}", activation(other)),
        (false, other) => activation(other).into(),
    };
    Ok(json!({
        "vocab_size": trained.vocabulary(text),
        "d_model": model.d_model,
        "d_kv": model.d_head(),
        "d_ff": model.d_ff(),
        "num_layers": model.n_encoder_layers,
        "num_decoder_layers": model.n_layers,
        "num_heads": model.attention.n_heads,
        "relative_attention_num_buckets": buckets,
        "relative_attention_max_distance": max_distance,
        "feed_forward_proj": feed_forward,
        "layer_norm_epsilon": model.norm_eps,
        "tie_word_embeddings": model.head.tie_embeddings,
        "is_encoder_decoder": true,
        "decoder_start_token_id": begin(text),
        "pad_token_id": begin(text),
        "eos_token_id": end(text),
    }))
}

fn whisper(trained: &Trained, model: &ModelConfig) -> Result<Value, PretrainedError> {
    let (text, clips) = (trained.part(TextTokenizer::NAME)?, audio(trained.part(AudioTokenizer::NAME)?)?);
    let encoder = model.of_encoder();
    Ok(json!({
        "vocab_size": trained.vocabulary(text),
        "d_model": model.d_model,
        "encoder_layers": model.n_encoder_layers,
        "decoder_layers": model.n_layers,
        "encoder_attention_heads": encoder.attention.n_heads,
        "decoder_attention_heads": model.attention.n_heads,
        "encoder_ffn_dim": encoder.d_ff(),
        "decoder_ffn_dim": model.d_ff(),
        "activation_function": activation(model.mlp.activation),
        "num_mel_bins": clips.mel.n_mels,
        "max_source_positions": clips.max_slices,
        "max_target_positions": trained.positions(text),
        "decoder_start_token_id": begin(text),
        "bos_token_id": begin(text),
        "pad_token_id": end(text),
        "eos_token_id": end(text),
        "suppress_tokens": null,
        "begin_suppress_tokens": null,
    }))
}

/// The id that begins a generated text.
fn begin(text: &Part) -> Option<u32> {
    text.special_ids.begin.first().copied()
}

/// The first id that ends a generated text.
fn end(text: &Part) -> Option<u32> {
    text.special_ids.end.first().copied()
}

/// The published name of an activation.
fn activation(activation: Activation) -> &'static str {
    match activation {
        Activation::Gelu => "gelu",
        Activation::GeluTanh => "gelu_new",
        Activation::Relu => "relu",
        Activation::Silu => "silu",
        Activation::QuickGelu => "quick_gelu",
        Activation::Tanh => "tanh",
    }
}
