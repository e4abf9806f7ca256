//! The Audio Spectrogram Transformer (Gong et al. 2021) as a classifier of clips.

use super::classifier::Classifier;
use super::names::{Layout, NameMap};
use super::settings::Settings;
use super::task::{ImportedTask, TaskBuilder};
use super::vit::{Family, layers};
use super::{Checkpoint, Description, PretrainedError, audio, preprocessor};
use crate::modalities::audio::{AudioConfig, AudioTokenizer, MelConfig};
use crate::model::{
    AttentionConfig, EmbeddingConfig, HeadConfig, MlpConfig, ModelConfig, NormKind, Positions,
};
use serde_json::json;
use smalti_contract::Tokenizer;

/// The kind of checkpoint.
pub(super) const KIND: &str = "audio-spectrogram-transformer";
/// The side of a patch if none is set.
const PATCH: usize = 16;
pub(super) const PREFIX: &str = "audio_spectrogram_transformer.";

pub(super) fn describe(checkpoint: &Checkpoint) -> Result<Description, PretrainedError> {
    let settings = &checkpoint.settings;
    settings.ignore(&["hidden_dropout_prob", "attention_probs_dropout_prob"]);
    if !checkpoint.has("classifier.dense.weight") {
        let problem = "expected a checkpoint with a classifier; found none";
        return Err(checkpoint.refuse("architectures", problem));
    }
    let model = model(settings)?;
    let classifier = Classifier::read(checkpoint)?;
    let (name, task) = (&classifier.output, task(checkpoint, &classifier)?);
    let patch = settings.count("patch_size")?.unwrap_or(PATCH);

    let mut names = NameMap::default();
    let family = Family::of_vit(checkpoint.prefix(PREFIX), 1);
    let theirs = |name: &str| format!("{}{name}", family.prefix);
    let learned = |part: &str| format!("embed.{name}.{part}");
    let convolution = Layout::Conv2d { channels: 1, patch: [patch; 2] };
    let projection = theirs("embeddings.patch_embeddings.projection");
    names.maps(&["embed.audio.slice.map"], &[&projection], true, convolution);
    let boxed = Layout::Boxed { dims: 3 };
    names.rows(&[&learned("class.table")], &[&theirs("embeddings.cls_token")], boxed);
    names.rows(&[&learned("register.table")], &[&theirs("embeddings.distillation_token")], boxed);
    let (class, register) = (learned("class.grid"), learned("register.grid"));
    let grids = [class.as_str(), register.as_str(), "embed.audio.slice.grid"];
    names.rows(&grids, &[&theirs("embeddings.position_embeddings")], boxed);
    layers(&mut names, &family, &model);
    names.map("stack.norm", &theirs("layernorm"), true);
    names.map(&format!("head.{name}.norm"), "classifier.layernorm", true);
    classifier.names(&mut names, "", "classifier.dense");
    Ok(Description { model, task, names })
}

fn model(settings: &Settings) -> Result<ModelConfig, PretrainedError> {
    Ok(ModelConfig {
        d_model: settings.size("hidden_size")?,
        n_layers: settings.layers("num_hidden_layers")?,
        norm: NormKind::Layer,
        norm_eps: settings.number("layer_norm_eps", 1e-12)?,
        attention: AttentionConfig {
            bias: Some(settings.flag("qkv_bias", true)?),
            ..AttentionConfig::of_heads(settings.size("num_attention_heads")?)
        },
        mlp: MlpConfig {
            d_ff: settings.size("intermediate_size")?,
            activation: settings.activation("hidden_act", "gelu")?,
            ..MlpConfig::default()
        },
        embedding: EmbeddingConfig {
            positions: Positions::Grid,
            type_embedding: false,
            ..EmbeddingConfig::default()
        },
        head: HeadConfig { norm: true, ..HeadConfig::default() },
        ..ModelConfig::default()
    })
}

/// The class of a clip.
fn task(checkpoint: &Checkpoint, classifier: &Classifier) -> Result<ImportedTask, PretrainedError> {
    let front_end = front_end(checkpoint)?;
    let patch = front_end.frames_per_slice;
    let tokenizer = AudioTokenizer::new(front_end.clone()).map_err(|e| checkpoint.refuse("patch_size", e))?;
    let input = json!({
        "modality": "audio",
        "field": "path",
        "normalize": false,
        "mel": front_end.mel,
        "clip_frames": front_end.clip_frames,
        "frames_per_slice": patch,
        "slice_hop": front_end.slice_hop,
        "bands_per_slice": front_end.bands_per_slice,
        "band_hop": front_end.band_hop,
        "max_slices": front_end.max_slices,
        "band_mean": front_end.band_mean,
        "band_std": front_end.band_std,
    });
    let output = json!({
        "class_token_position": true,
        "register_tokens": 1,
        "register_positions": true,
    });
    classifier.add(TaskBuilder::new(audio::SOURCE).input("audio", input, &tokenizer)?, output)
}

/// The spectrogram of a clip, in patches.
fn front_end(checkpoint: &Checkpoint) -> Result<AudioConfig, PretrainedError> {
    let settings = &checkpoint.settings;
    let count = |key: &str, default: usize| match settings.get(key) {
        Some(_) => settings.size(key),
        None => Ok(default),
    };
    let (patch, frames, bands) =
        (count("patch_size", PATCH)?, count("max_length", 1024)?, count("num_mel_bins", 128)?);
    let (band_hop, hop) = (count("frequency_stride", 10)?, count("time_stride", 10)?);
    if frames < patch {
        return Err(
            settings.refuse("max_length", format!("expected at least patch_size {patch}; found {frames}"))
        );
    }
    let (mut mean, mut std) = (-4.267_739_3, 4.568_997_4);
    let mut normalizes = true;
    if let Some(settings) = preprocessor::of_clips(checkpoint)? {
        for (key, expected) in
            [("max_length", frames), ("num_mel_bins", bands), ("sampling_rate", 16_000), ("feature_size", 1)]
        {
            let found = settings.number(key, expected as f64)?;
            if found != expected as f64 {
                return Err(settings.refuse(key, format!("expected {expected}; found {found}")));
            }
        }
        settings.only(&[
            ("padding_value", json!(0.0)),
            ("feature_extractor_type", json!("ASTFeatureExtractor")),
        ])?;
        settings.ignore(&[
            "mel_filters",
            "padding_side",
            "processor_class",
            "return_attention_mask",
            "window",
        ]);
        (mean, std) = (settings.number("mean", mean)?, settings.number("std", std)?);
        normalizes = settings.flag("do_normalize", true)?;
        settings.finish()?;
    }
    let (mean, std) = match normalizes {
        true => (vec![mean as f32], vec![2.0 * std as f32]),
        false => (vec![], vec![]),
    };
    Ok(AudioConfig {
        mel: MelConfig::kaldi(16_000, bands),
        clip_frames: Some(frames),
        frames_per_slice: patch,
        slice_hop: Some(hop),
        bands_per_slice: Some(patch),
        band_hop: Some(band_hop),
        max_slices: 1 + (frames - patch) / hop,
        band_mean: mean,
        band_std: std,
        ..AudioConfig::default()
    })
}
