//! Checkpoints of two models, one of images and one of texts: CLIP and SigLIP.

use super::names::NameMap;
use super::settings::Settings;
use super::{Checkpoint, Description, PretrainedError, blocks};
use crate::model::{AttentionConfig, EmbeddingConfig, MlpConfig, ModelConfig, NormKind};

/// The kinds of checkpoint of two models.
pub(super) const KINDS: [&str; 2] = ["clip", "siglip"];

/// One of the two models of a CLIP or SigLIP checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tower {
    /// The model that embeds images.
    Image,
    /// The model that embeds texts.
    Text,
}

impl Tower {
    /// The beginning of the names of its settings and of its `model_type`.
    fn name(self) -> &'static str {
        if self == Tower::Image { "vision" } else { "text" }
    }

    /// The settings of the tower in those of both.
    fn key(self) -> String {
        format!("{}_config", self.name())
    }

    /// The prefix of its tensors.
    pub(super) fn prefix(self) -> &'static str {
        if self == Tower::Image { "vision_model." } else { "text_model." }
    }

    pub(super) fn other(self) -> Self {
        if self == Tower::Image { Tower::Text } else { Tower::Image }
    }
}

/// The tower of a checkpoint of both, which `describe` describes. Tensors of the other one are not read.
pub(super) fn chosen(
    checkpoint: &Checkpoint,
    describe: fn(&Checkpoint, Tower) -> Result<Description, PretrainedError>,
) -> Result<(Tower, Description), PretrainedError> {
    let Some(tower) = checkpoint.tower else {
        let problem =
            "it holds two models; expected a choice of one: import with --tower image or with --tower text";
        return Err(checkpoint.refuse("model_type", problem));
    };
    for key in [tower, tower.other()].map(Tower::key) {
        checkpoint.settings.ignore(&[&key, &format!("{key}_dict")]);
    }
    let both = Some(checkpoint.settings.clone());
    let own = Checkpoint { settings: own_settings(checkpoint, tower)?, both, ..checkpoint.clone() };
    let mut description = describe(&own, tower)?;
    own.settings.finish()?;
    checkpoint.found.borrow_mut().extend(own.found.take());
    description.names.unread_under(&[tower.other().prefix()]);
    description.names.unread(&["logit_scale", "logit_bias"]);
    Ok((tower, description))
}

/// The settings of a tower in those of both.
fn own_settings(checkpoint: &Checkpoint, tower: Tower) -> Result<Settings, PretrainedError> {
    let key = tower.key();
    let of = |key: &str| checkpoint.settings.values().get(key).filter(|value| !value.is_null());
    // The first files have the settings twice, and transformers then reads the second.
    let older = format!("{key}_dict");
    let (key, value) = match (of(&older), of(&key)) {
        (Some(value), _) => (&older, value),
        (None, Some(value)) => (&key, value),
        (None, None) => return Err(checkpoint.refuse(&key, "expected the settings of the tower; found none")),
    };
    let mut value = value.clone();
    let Some(settings) = value.as_object_mut() else {
        return Err(checkpoint.refuse(key, format!("expected the settings of the tower; found {value}")));
    };
    let kind = format!("{}_{}_model", checkpoint.kind(), tower.name());
    settings.insert("model_type".into(), kind.into());
    let file = format!("{}: {key}", checkpoint.folder.join(super::files::CONFIG).display());
    Ok(checkpoint.without_ignored(Settings::parse(&file, value.to_string().as_bytes())?))
}

/// The values of settings that newer files leave out.
pub(super) struct Defaults {
    pub d_model: usize,
    pub d_ff: usize,
    pub n_heads: usize,
    pub activation: &'static str,
    pub norm_eps: f64,
}

/// A size, or its default.
pub(super) fn size(settings: &Settings, key: &str, default: usize) -> Result<usize, PretrainedError> {
    match settings.get(key) {
        Some(_) => settings.size(key),
        None => Ok(default),
    }
}

/// The settings that both towers have.
pub(super) fn model(settings: &Settings, usual: &Defaults) -> Result<ModelConfig, PretrainedError> {
    settings.only(&[
        ("add_cross_attention", false.into()),
        ("is_decoder", false.into()),
        ("pruned_heads", serde_json::json!({})),
    ])?;
    settings.ignore(&["attention_dropout", "dropout", "projection_dim"]);
    // Settings of every model in the first files, of generation and of training.
    settings.ignore(&["bad_words_ids", "begin_suppress_tokens", "cross_attention_hidden_size"]);
    settings.ignore(&["encoder_no_repeat_ngram_size", "exponential_decay_length_penalty"]);
    settings.ignore(&["no_repeat_ngram_size", "renormalize_logits", "repetition_penalty"]);
    settings.ignore(&["tie_encoder_decoder", "tie_word_embeddings"]);
    Ok(ModelConfig {
        d_model: size(settings, "hidden_size", usual.d_model)?,
        n_layers: match settings.get("num_hidden_layers") {
            Some(_) => settings.layers("num_hidden_layers")?,
            None => 12,
        },
        norm: NormKind::Layer,
        norm_eps: settings.number("layer_norm_eps", usual.norm_eps)?,
        attention: AttentionConfig::of_heads(size(settings, "num_attention_heads", usual.n_heads)?),
        mlp: MlpConfig {
            d_ff: size(settings, "intermediate_size", usual.d_ff)?,
            activation: settings.activation("hidden_act", usual.activation)?,
            ..MlpConfig::default()
        },
        embedding: EmbeddingConfig { type_embedding: false, ..EmbeddingConfig::default() },
        ..ModelConfig::default()
    })
}

/// Map the blocks.
pub(super) fn blocks(names: &mut NameMap, model: &ModelConfig, prefix: &str) {
    blocks::each(names, model, &format!("{prefix}encoder.layers"), |block| {
        block.norm("attention_norm", "layer_norm1");
        block.attention(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"]);
        block.norm("mlp_norm", "layer_norm2");
        block.mlp(["mlp.fc1", "mlp.fc2"]);
    });
    names.unread(&["embeddings.position_ids"]);
}
