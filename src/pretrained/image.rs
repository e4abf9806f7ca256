//! The task of an image checkpoint: the preparation of images, and the classes.

use super::classifier::Classifier;
use super::task::{ImportedTask, TaskBuilder};
use super::{Checkpoint, PretrainedError, preprocessor};
use crate::head::Represent;
use crate::modalities::image::{ImageConfig, ImageTokenizer};
use crate::sample::{Composition, Pool};
use serde_json::{Map, Value, json};
use smalti_contract::Tokenizer;
use std::path::Path;

/// Register tokens (Darcet et al. 2024).
#[derive(Clone, Copy)]
pub(super) struct Registers {
    /// Number of tokens.
    pub tokens: usize,
    /// Whether they have position embeddings.
    pub positions: bool,
}

/// The class of an image, or without a classifier, the embedding of its class token.
pub(super) fn task(checkpoint: &Checkpoint, registers: Registers) -> Result<ImportedTask, PretrainedError> {
    let settings = &checkpoint.settings;
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
    let mut output = json!({
        "class_token_position": true,
        "register_tokens": registers.tokens,
        "register_positions": registers.positions,
    });
    let tokenizer = ImageTokenizer::new(image).map_err(|e| settings.refuse("image_size", e.to_string()))?;
    let builder = TaskBuilder::new("builtin:digits").input("image", input, &tokenizer)?;
    if checkpoint.has_classifier() {
        Classifier::read(checkpoint)?.add(builder, output)
    } else {
        output["pool"] = json!(Pool::ClassToken);
        builder.output("embedding", output, &Represent::default(), None)?.finish()
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
    let [patch, other] = settings.sides("patch_size", 16)?;
    if patch != other {
        return Err(settings.refuse("patch_size", format!("expected a square patch; found {patch}×{other}")));
    }
    let channels = settings.count("num_channels")?.unwrap_or(3);
    Ok(preprocessor::read(checkpoint, channels, patch)?.unwrap_or(ImageConfig::vit(channels, patch, size)))
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
    let Some(size) = image.image_size else {
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
    if published.settings.sides("image_size", 224)? != size {
        config.insert("image_size".into(), if height == width { json!(height) } else { json!(size) });
    }
    preprocessor::state(image, size, published, folder)
}
