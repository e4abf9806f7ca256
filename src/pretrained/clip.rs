//! CLIP (Radford et al. 2021): its tower of images and its tower of texts, each a model of its own.

use super::names::{Layout, NameMap};
use super::settings::Settings;
use super::{Checkpoint, Description, PretrainedError, blocks, image, text};
use crate::head::Dense;
use crate::model::{
    AttentionConfig, EmbeddingConfig, HeadConfig, LayerRule, MlpConfig, ModelConfig, NormKind, Positions,
};
use crate::rules::Rule;

/// One of the two models of a CLIP checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tower {
    /// The model that embeds images.
    Image,
    /// The model that embeds texts.
    Text,
}

impl Tower {
    /// The settings of the tower in those of both, its `model_type`, its prefix of tensors, and its projection.
    fn names(self) -> [&'static str; 4] {
        match self {
            Tower::Image => ["vision_config", "clip_vision_model", "vision_model.", "visual_projection"],
            Tower::Text => ["text_config", "clip_text_model", "text_model.", "text_projection"],
        }
    }

    fn other(self) -> Self {
        if self == Tower::Image { Tower::Text } else { Tower::Image }
    }
}

/// The tower of a checkpoint of both.
pub(super) fn describe(checkpoint: &Checkpoint) -> Result<Description, PretrainedError> {
    let Some(tower) = checkpoint.tower else {
        let problem =
            "it holds two models; expected a choice of one: import with --tower image or with --tower text";
        return Err(checkpoint.refuse("model_type", problem));
    };
    let settings = &checkpoint.settings;
    settings.ignore(&["logit_scale_init_value", "projection_dim"]);
    for of in [tower, tower.other()].map(Tower::names) {
        let [key, ..] = of;
        settings.ignore(&[key, &format!("{key}_dict")]);
    }
    let both = Some(settings.clone());
    let own = Checkpoint { settings: own_settings(checkpoint, tower)?, both, ..checkpoint.clone() };
    let mut description = self::tower(&own, tower)?;
    own.settings.finish()?;
    checkpoint.found.borrow_mut().extend(own.found.take());
    let [.., prefix, projection] = tower.other().names();
    description.names.unread_under(&[prefix, projection]);
    description.names.unread(&["logit_scale"]);
    Ok(description)
}

/// One tower of its own.
pub(super) fn tower(checkpoint: &Checkpoint, tower: Tower) -> Result<Description, PretrainedError> {
    match tower {
        Tower::Image => images(checkpoint),
        Tower::Text => texts(checkpoint),
    }
}

/// The settings of a tower in those of both.
fn own_settings(checkpoint: &Checkpoint, tower: Tower) -> Result<Settings, PretrainedError> {
    let [key, kind, ..] = tower.names();
    let of = |key: &str| checkpoint.settings.values().get(key).filter(|value| !value.is_null());
    // The first files have the settings twice, and transformers then reads the second.
    let older = format!("{key}_dict");
    let (key, value) = match (of(&older), of(key)) {
        (Some(value), _) => (older.as_str(), value),
        (None, Some(value)) => (key, value),
        (None, None) => return Err(checkpoint.refuse(key, "expected the settings of the tower; found none")),
    };
    let mut value = value.clone();
    let Some(settings) = value.as_object_mut() else {
        return Err(checkpoint.refuse(key, format!("expected the settings of the tower; found {value}")));
    };
    settings.insert("model_type".into(), kind.into());
    let file = format!("{}: {key}", checkpoint.folder.join(super::files::CONFIG).display());
    Ok(checkpoint.without_ignored(Settings::parse(&file, value.to_string().as_bytes())?))
}

/// The settings that both towers have, with transformers' defaults for those that newer files leave out.
fn model(settings: &Settings, [d_model, d_ff, n_heads]: [usize; 3]) -> Result<ModelConfig, PretrainedError> {
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
    let size = |key: &str, default: usize| match settings.get(key) {
        Some(_) => settings.size(key),
        None => Ok(default),
    };
    Ok(ModelConfig {
        d_model: size("hidden_size", d_model)?,
        n_layers: match settings.get("num_hidden_layers") {
            Some(_) => settings.layers("num_hidden_layers")?,
            None => 12,
        },
        norm: NormKind::Layer,
        norm_eps: settings.number("layer_norm_eps", 1e-5)?,
        attention: AttentionConfig::of_heads(size("num_attention_heads", n_heads)?),
        mlp: MlpConfig {
            d_ff: size("intermediate_size", d_ff)?,
            activation: settings.activation("hidden_act", "quick_gelu")?,
            ..MlpConfig::default()
        },
        embedding: EmbeddingConfig { type_embedding: false, ..EmbeddingConfig::default() },
        head: HeadConfig { bias: Some(false), ..HeadConfig::default() },
        ..ModelConfig::default()
    })
}

/// The linear map of the pooled state; `None` for a tower without it.
fn projection(checkpoint: &Checkpoint, tower: Tower) -> Result<Option<Dense>, PretrainedError> {
    let [.., projection] = tower.names();
    if !checkpoint.has(&format!("{projection}.weight")) {
        return Ok(None);
    }
    // In a checkpoint of both towers, their own settings of the width are not read.
    let settings = checkpoint.both.as_ref().unwrap_or(&checkpoint.settings);
    let width = match settings.get("projection_dim") {
        Some(_) => settings.size("projection_dim")?,
        None => 512,
    };
    Ok(Some(Dense { width, activation: None }))
}

fn images(checkpoint: &Checkpoint) -> Result<Description, PretrainedError> {
    let settings = &checkpoint.settings;
    if checkpoint.has("classifier.weight") {
        // transformers' CLIPForImageClassification reads the patches before the last norm.
        let problem = "expected a tower that embeds images; found one with a classifier";
        return Err(checkpoint.refuse("architectures", problem));
    }
    let mut model = model(settings, [768, 3072, 12])?;
    model.embedding.positions = Positions::Grid;
    model.embedding.norm = true;
    model.embedding.bias = Some(false);
    let registers = image::Registers { tokens: 0, positions: false };
    let dense = projection(checkpoint, Tower::Image)?;
    let task = image::task(checkpoint, registers, dense)?;
    let positions = image::positions(checkpoint, &task, 1, false)?;
    let prepared = image::preparation(&task.task);
    let (channels, patch) = prepared.map_or((0, 0), |image| (image.num_channels, image.patch_size));

    let mut names = NameMap::default();
    let prefix = checkpoint.prefix("vision_model.");
    let embeddings = |name: &str| format!("{prefix}embeddings.{name}");
    let convolution = Layout::Conv2d { channels, patch: [patch; 2] };
    names.maps(&["embed.image.patch.map"], &[&embeddings("patch_embedding")], false, convolution);
    names.rows(&["embed.embedding.class.table"], &[&embeddings("class_embedding")], Layout::Vector);
    let grids = ["embed.embedding.class.grid", "embed.image.patch.grid"];
    names.rows(&grids, &[&embeddings("position_embedding.weight")], Layout::FlatGrid(positions));
    names.map("embed.norm", &format!("{prefix}pre_layrnorm"), true); // spelt so
    names.map("stack.norm", &format!("{prefix}post_layernorm"), true);
    finish(&mut names, &model, Tower::Image, &prefix, dense.is_some());
    Ok(Description { model, task, names })
}

fn texts(checkpoint: &Checkpoint) -> Result<Description, PretrainedError> {
    let settings = &checkpoint.settings;
    let mut model = model(settings, [512, 2048, 8])?;
    let size = |key: &str, default: usize| match settings.get(key) {
        Some(_) => settings.size(key),
        None => Ok(default),
    };
    let (vocabulary, context) = (size("vocab_size", 49_408)?, size("max_position_embeddings", 77)?);
    let dense = projection(checkpoint, Tower::Text)?;
    let end = settings.id("eos_token_id")?.unwrap_or(49_407);
    let task = text::represented_at_end(checkpoint, vocabulary, context, end, dense)?;
    let kind = task.kind("text").to_string();
    model.attention.rules =
        vec![LayerRule { query: kind.clone(), key: kind, rule: Rule::causal(), layers: vec![] }];

    let mut names = NameMap::default();
    let prefix = checkpoint.prefix("text_model.");
    let embeddings = |name: &str| format!("{prefix}embeddings.{name}.weight");
    names.one(&task.embedding("text", "table"), &embeddings("token_embedding"));
    names.one(&task.embedding("text", "index"), &embeddings("position_embedding"));
    names.map("stack.norm", &format!("{prefix}final_layer_norm"), true);
    finish(&mut names, &model, Tower::Text, &prefix, dense.is_some());
    Ok(Description { model, task, names })
}

/// Map the blocks and the projection.
fn finish(names: &mut NameMap, model: &ModelConfig, tower: Tower, prefix: &str, projects: bool) {
    blocks::each(names, model, &format!("{prefix}encoder.layers"), |block| {
        block.norm("attention_norm", "layer_norm1");
        block.attention(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"]);
        block.norm("mlp_norm", "layer_norm2");
        block.mlp(["mlp.fc1", "mlp.fc2"]);
    });
    if projects {
        let [.., projection] = tower.names();
        names.map("head.embedding", projection, false);
    }
    names.unread(&["embeddings.position_ids"]);
}
