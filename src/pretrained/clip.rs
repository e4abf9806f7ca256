//! CLIP (Radford et al. 2021): its tower of images and its tower of texts, each a model of its own.

use super::names::{Layout, NameMap};
use super::settings::Settings;
use super::towers::{self, Defaults, Tower, size};
use super::{Checkpoint, Description, PretrainedError, image, text};
use crate::head::Dense;
use crate::model::{HeadConfig, LayerRule, ModelConfig, Positions};
use crate::rules::Rule;

/// The projection of a tower.
fn projection_of(tower: Tower) -> &'static str {
    if tower == Tower::Image { "visual_projection" } else { "text_projection" }
}

/// The tower of a checkpoint of both.
pub(super) fn describe(checkpoint: &Checkpoint) -> Result<Description, PretrainedError> {
    checkpoint.settings.ignore(&["logit_scale_init_value", "projection_dim"]);
    let (tower, mut description) = towers::chosen(checkpoint, self::tower)?;
    description.names.unread_under(&[projection_of(tower.other())]);
    Ok(description)
}

/// One tower of its own.
pub(super) fn tower(checkpoint: &Checkpoint, tower: Tower) -> Result<Description, PretrainedError> {
    match tower {
        Tower::Image => images(checkpoint),
        Tower::Text => texts(checkpoint),
    }
}

fn model(settings: &Settings, [d_model, d_ff, n_heads]: [usize; 3]) -> Result<ModelConfig, PretrainedError> {
    let usual = Defaults { d_model, d_ff, n_heads, activation: "quick_gelu", norm_eps: 1e-5 };
    let head = HeadConfig { bias: Some(false), ..HeadConfig::default() };
    Ok(ModelConfig { head, ..towers::model(settings, &usual)? })
}

/// The linear map of the pooled state; `None` for a tower without it.
fn projection(checkpoint: &Checkpoint, tower: Tower) -> Result<Option<Dense>, PretrainedError> {
    if !checkpoint.has(&format!("{}.weight", projection_of(tower))) {
        return Ok(None);
    }
    // In a checkpoint of both towers, their own settings of the width are not read.
    let settings = checkpoint.both.as_ref().unwrap_or(&checkpoint.settings);
    Ok(Some(Dense { width: size(settings, "projection_dim", 512)?, activation: None }))
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

    let mut names = NameMap::default();
    let prefix = checkpoint.prefix(Tower::Image.prefix());
    let embeddings = |name: &str| format!("{prefix}embeddings.{name}");
    let patches = image::convolution(&task);
    names.maps(&["embed.image.patch.map"], &[&embeddings("patch_embedding")], false, patches);
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
    let vocabulary = size(settings, "vocab_size", 49_408)?;
    let context = size(settings, "max_position_embeddings", 77)?;
    let dense = projection(checkpoint, Tower::Text)?;
    let end = settings.id("eos_token_id")?.unwrap_or(49_407);
    let task = text::represented_at_end(checkpoint, vocabulary, context, end, dense)?;
    let kind = task.kind("text").to_string();
    model.attention.rules =
        vec![LayerRule { query: kind.clone(), key: kind, rule: Rule::causal(), layers: vec![] }];

    let mut names = NameMap::default();
    let prefix = checkpoint.prefix(Tower::Text.prefix());
    let embeddings = |name: &str| format!("{prefix}embeddings.{name}.weight");
    names.one(&task.embedding("text", "table"), &embeddings("token_embedding"));
    names.one(&task.embedding("text", "index"), &embeddings("position_embedding"));
    names.map("stack.norm", &format!("{prefix}final_layer_norm"), true);
    finish(&mut names, &model, Tower::Text, &prefix, dense.is_some());
    Ok(Description { model, task, names })
}

/// Map the blocks and the projection.
fn finish(names: &mut NameMap, model: &ModelConfig, tower: Tower, prefix: &str, projects: bool) {
    towers::blocks(names, model, prefix);
    if projects {
        names.map("head.embedding", projection_of(tower), false);
    }
}
