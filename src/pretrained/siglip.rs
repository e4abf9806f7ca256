//! SigLIP (Zhai et al. 2023) and SigLIP 2 (Tschannen et al. 2025) with images of one size: the tower of images and the tower of
//! texts, each a model of its own.

use super::names::{Layout, NameMap};
use super::settings::Settings;
use super::towers::{self, Defaults, Tower, size};
use super::{Checkpoint, Description, PretrainedError, image, text};
use crate::head::Dense;
use crate::model::{ModelConfig, Positions};
use crate::sample::Pool;

/// The tower of a checkpoint of both.
pub(super) fn describe(checkpoint: &Checkpoint) -> Result<Description, PretrainedError> {
    Ok(towers::chosen(checkpoint, tower)?.1)
}

/// One tower of its own.
pub(super) fn tower(checkpoint: &Checkpoint, tower: Tower) -> Result<Description, PretrainedError> {
    match tower {
        Tower::Image => images(checkpoint),
        Tower::Text => texts(checkpoint),
    }
}

fn model(settings: &Settings) -> Result<ModelConfig, PretrainedError> {
    let activation = "gelu_pytorch_tanh";
    towers::model(settings, &Defaults { d_model: 768, d_ff: 3072, n_heads: 12, activation, norm_eps: 1e-6 })
}

fn images(checkpoint: &Checkpoint) -> Result<Description, PretrainedError> {
    if checkpoint.has("classifier.weight") {
        let problem = "expected a tower that embeds images; found one with a classifier";
        return Err(checkpoint.refuse("architectures", problem));
    }
    let settings = &checkpoint.settings;
    let pools = settings.flag("vision_use_head", true)?;
    let mut model = model(settings)?;
    model.embedding.positions = Positions::Grid;
    let task = image::pooled(checkpoint, if pools { Pool::Attention } else { Pool::Mean })?;
    let positions = image::positions(checkpoint, &task, 0, false)?;

    let mut names = NameMap::default();
    let prefix = checkpoint.prefix(Tower::Image.prefix());
    let theirs = |name: &str| format!("{prefix}{name}");
    let patches = image::convolution(&task);
    names.maps(&["embed.image.patch.map"], &[&theirs("embeddings.patch_embedding")], true, patches);
    let table = theirs("embeddings.position_embedding.weight");
    names.rows(&["embed.image.patch.grid"], &[&table], Layout::FlatGrid(positions));
    towers::blocks(&mut names, &model, &prefix);
    names.map("stack.norm", &theirs("post_layernorm"), true);
    if pools {
        pool(&mut names, &theirs("head"));
    }
    Ok(Description { model, task, names })
}

/// Map the head that pools by attention.
fn pool(names: &mut NameMap, theirs: &str) {
    let ours = |name: &str| format!("head.embedding.pool.{name}");
    let theirs = |name: &str| format!("{theirs}.{name}");
    names.rows(&[&ours("probe")], &[&theirs("probe")], Layout::Boxed { dims: 3 });
    for end in ["weight", "bias"] {
        // Queries, keys and values are one tensor of PyTorch's MultiheadAttention.
        let parts = ["query", "key_value"].map(|part| ours(&format!("attention.{part}.{end}")));
        names.rows(&[&parts[0], &parts[1]], &[&theirs(&format!("attention.in_proj_{end}"))], Layout::Same);
    }
    names.map(&ours("attention.output"), &theirs("attention.out_proj"), true);
    names.map(&ours("norm"), &theirs("layernorm"), true);
    names.map(&ours("mlp.inner"), &theirs("mlp.fc1"), true);
    names.map(&ours("mlp.outer"), &theirs("mlp.fc2"), true);
}

fn texts(checkpoint: &Checkpoint) -> Result<Description, PretrainedError> {
    let settings = &checkpoint.settings;
    let model = model(settings)?;
    let vocabulary = size(settings, "vocab_size", 32_000)?;
    let context = size(settings, "max_position_embeddings", 64)?;
    let dense = Dense { width: size(settings, "projection_size", model.d_model)?, activation: None };
    let pad = settings.id("pad_token_id")?.unwrap_or(1);
    let task = text::represented_with_padding(checkpoint, vocabulary, context, pad, dense)?;

    let mut names = NameMap::default();
    let prefix = checkpoint.prefix(Tower::Text.prefix());
    let theirs = |name: &str| format!("{prefix}{name}");
    names.one(&task.embedding("text", "table"), &theirs("embeddings.token_embedding.weight"));
    names.one(&task.embedding("text", "index"), &theirs("embeddings.position_embedding.weight"));
    towers::blocks(&mut names, &model, &prefix);
    names.map("stack.norm", &theirs("final_layer_norm"), true);
    names.map("head.embedding", &theirs("head"), true);
    Ok(Description { model, task, names })
}
