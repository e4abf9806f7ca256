//! The task of an image checkpoint: the preparation of images, and the classes.

use super::classifier::Classifier;
use super::interpolate::Grid;
use super::names::Layout;
use super::task::{ImportedTask, TaskBuilder};
use super::{Checkpoint, PretrainedError, preprocessor};
use crate::head::{Dense, Represent};
use crate::modalities::image::{Filter, ImageConfig, ImageTokenizer, Resize};
use crate::sample::{Composition, Pool};
use serde_json::{Map, Value, json};
use smalti_contract::{TokenizeError, Tokenizer};
use std::path::Path;

/// The most positions to which published ones are interpolated: those of 4096×4096 pixels in patches of 16.
const MOST_POSITIONS: usize = 1 << 16;

/// Register tokens (Darcet et al. 2024).
#[derive(Clone, Copy)]
pub(super) struct Registers {
    /// Number of tokens.
    pub tokens: usize,
    /// Whether they have position embeddings.
    pub positions: bool,
}

/// A task that reads images, without an output.
fn reads_images(checkpoint: &Checkpoint) -> Result<TaskBuilder, PretrainedError> {
    let image = image_config(checkpoint)?;
    let input = json!({
        "modality": "image",
        "num_channels": image.num_channels,
        "patch_size": image.patch_size,
        "image_size": image.image_size,
        "resize": image.resize,
        "filter": image.filter,
        "mean": decimal(&image.mean),
        "std": decimal(&image.std),
    });
    let refuse = |e: TokenizeError| checkpoint.refuse("image_size", e);
    let tokenizer = ImageTokenizer::new(image).map_err(refuse)?;
    TaskBuilder::new("builtin:digits").input("image", input, &tokenizer)
}

/// The embedding of an image by this pooling of its patches.
pub(super) fn pooled(checkpoint: &Checkpoint, pool: Pool) -> Result<ImportedTask, PretrainedError> {
    let represent = Represent::new(false, None);
    reads_images(checkpoint)?.output("embedding", json!({ "pool": pool }), &represent, None)?.finish()
}

/// The class of an image, or without a classifier, the embedding of its class token, mapped by `dense` if there is one.
pub(super) fn task(
    checkpoint: &Checkpoint,
    registers: Registers,
    dense: Option<Dense>,
) -> Result<ImportedTask, PretrainedError> {
    let mut output = json!({
        "class_token_position": true,
        "register_tokens": registers.tokens,
        "register_positions": registers.positions,
    });
    let builder = reads_images(checkpoint)?;
    if checkpoint.has_classifier() {
        Classifier::read(checkpoint)?.add(builder, output)
    } else {
        output["pool"] = json!(Pool::ClassToken);
        if let Some(dense) = dense {
            output["dense"] = json!(dense);
        }
        builder.output("embedding", output, &Represent::new(false, dense), None)?.finish()
    }
}

/// Each number in f64 with the same decimal digits.
pub(super) fn decimal(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().map(|&number| number.to_string().parse().unwrap_or(f64::from(number))).collect()
}

/// The preparation of images: size, crop, patches and normalization.
fn image_config(checkpoint: &Checkpoint) -> Result<ImageConfig, PretrainedError> {
    let settings = &checkpoint.settings;
    let size = settings.sides("image_size", 224)?;
    let clip = checkpoint.kind().starts_with("clip");
    let siglip = checkpoint.kind().starts_with("siglip");
    let [patch, other] = settings.sides("patch_size", if clip { 32 } else { 16 })?;
    if patch != other {
        return Err(settings.refuse("patch_size", format!("expected a square patch; found {patch}×{other}")));
    }
    let channels = settings.count("num_channels")?.unwrap_or(3);
    if ![1, 3].contains(&channels) {
        return Err(
            settings.refuse("num_channels", format!("expected 1 (grey) or 3 (RGB); found {channels}"))
        );
    }
    let (resize, kept) = preprocessor::whole_patches(Resize::Stretch, size, patch);
    let stretched = ImageConfig { resize, ..ImageConfig::vit(channels, patch, kept) };
    let usual = match (clip, size) {
        (true, [height, width]) if height == width => ImageConfig::clip(patch, height),
        _ if siglip => ImageConfig { filter: Filter::Bicubic, ..stretched },
        _ => stretched,
    };
    Ok(preprocessor::read(checkpoint, channels, patch)?.unwrap_or(usual))
}

/// The published grid of positions, after `before` positions of learned tokens, and that of images as they are prepared, to
/// which transformers interpolates it.
pub(super) fn positions(
    checkpoint: &Checkpoint,
    task: &ImportedTask,
    before: usize,
    antialias: bool,
) -> Result<Grid, PretrainedError> {
    let published = checkpoint.settings.sides("image_size", 224)?;
    let image = preparation(&task.task);
    let patch = image.as_ref().map_or(1, |image| image.patch_size.max(1));
    let prepared = image.and_then(|image| image.image_size).unwrap_or(published);
    let [from, to] = [published, prepared].map(|sides| sides.map(|side| side / patch));
    if from != to && to.iter().product::<usize>() > MOST_POSITIONS {
        let problem = format!("expected at most {MOST_POSITIONS} patches; found {}×{}", to[0], to[1]);
        return Err(PretrainedError::Setting {
            file: preprocessor::FILE.into(),
            setting: "size".into(),
            problem,
        });
    }
    Ok(Grid { before, from, to, antialias })
}

/// The layout of the convolution that embeds patches.
pub(super) fn convolution(task: &ImportedTask) -> Layout {
    let image = preparation(&task.task);
    let (channels, patch) = image.map_or((0, 0), |image| (image.num_channels, image.patch_size));
    Layout::Conv2d { channels, patch: [patch; 2] }
}

/// A task's preparation of images; `None` for a task without images.
pub(super) fn preparation(task: &Composition) -> Option<ImageConfig> {
    let part = task.parts().iter().find(|part| part.tokenizer.name() == ImageTokenizer::NAME)?;
    serde_json::from_value(part.tokenizer.config_json().ok()?).ok()
}

/// State a run's preparation of images in `config` and in the files of `folder`. Files that say the same stay as they are.
///
/// # Errors
/// If images keep their own size, or a file cannot be read or written.
pub(super) fn state(
    image: &ImageConfig,
    published: &Checkpoint,
    config: &mut Map<String, Value>,
    folder: &Path,
) -> Result<(), PretrainedError> {
    let trimmed = if let Resize::StretchTrim { size } = image.resize { Some(size) } else { None };
    let Some(size) = trimmed.or(image.image_size) else {
        let problem = "expected a height and a width, to export it; found none".into();
        return Err(PretrainedError::Format { file: "image_size".into(), problem });
    };
    let [height, width] = size;
    if published.kind().starts_with("dinov2") && height != width {
        // transformers takes the positions of DINOv2 for those of a square.
        let problem =
            format!("expected a square, as transformers' DINOv2 does, to export it; found {height}×{width}");
        return Err(PretrainedError::Format { file: "image_size".into(), problem });
    }
    let side = if height == width { json!(height) } else { json!(size) };
    match config.get_mut("vision_config").and_then(Value::as_object_mut) {
        // Of CLIP and SigLIP, whose settings are those of two models.
        Some(of_images) => _ = of_images.insert("image_size".into(), side),
        None if published.settings.sides("image_size", 224)? == size => {}
        None => _ = config.insert("image_size".into(), side),
    }
    preprocessor::state(image, size, published, folder)
}
