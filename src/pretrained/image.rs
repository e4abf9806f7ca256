//! The task of an image checkpoint: the preparation of images, and the classes.

use super::interpolate::Grid;
use super::settings::Settings;
use super::task::{ImportedTask, TaskBuilder};
use super::{Checkpoint, PretrainedError, preprocessor};
use crate::head::{Classify, Dense, Represent};
use crate::modalities::image::{ImageConfig, ImageTokenizer, Resize};
use crate::sample::{Composition, Pool};
use serde_json::{Map, Value, json};
use smalti_contract::Tokenizer;

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

/// The classifier of DeiT's class token, and that of its distillation token: the class is predicted by their mean.
pub(super) const TEACHER: [&str; 2] = ["cls_classifier", "distillation_classifier"];

/// The class of an image, or without a classifier, the embedding of its class token, mapped by `dense` if there is one.
pub(super) fn task(
    checkpoint: &Checkpoint,
    registers: Registers,
    dense: Option<Dense>,
) -> Result<ImportedTask, PretrainedError> {
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
    let pool = class_pool(checkpoint);
    if let Some(pool) = pool {
        output["pool"] = json!(pool);
        output["field"] = "label".into();
        let name = checkpoint.classes.as_deref().unwrap_or("class");
        builder.output(name, output, &Classify::new(classes(settings)?), None)?.finish()
    } else {
        output["pool"] = json!(Pool::ClassToken);
        if let Some(dense) = dense {
            output["dense"] = json!(dense);
        }
        builder.output("embedding", output, &Represent::new(false, dense), None)?.finish()
    }
}

/// What the classifier reads; `None` without a classifier.
fn class_pool(checkpoint: &Checkpoint) -> Option<Pool> {
    let has = |layer: &str| checkpoint.has(&format!("{layer}.weight"));
    if TEACHER.into_iter().all(has) {
        return Some(Pool::ClassTokenAndRegisters);
    }
    let mean = checkpoint.kind().starts_with("dinov2") && !checkpoint.class_token_only;
    has("classifier").then_some(if mean { Pool::ClassTokenAndMean } else { Pool::ClassToken })
}

/// Each number in f64 with the same decimal digits.
fn decimal(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().map(|&number| number.to_string().parse().unwrap_or(f64::from(number))).collect()
}

/// The preparation of images: size, crop, patches and normalization.
fn image_config(checkpoint: &Checkpoint) -> Result<ImageConfig, PretrainedError> {
    let settings = &checkpoint.settings;
    let size = settings.sides("image_size", 224)?;
    let clip = checkpoint.kind().starts_with("clip");
    let [patch, other] = settings.sides("patch_size", if clip { 32 } else { 16 })?;
    if patch != other {
        return Err(settings.refuse("patch_size", format!("expected a square patch; found {patch}×{other}")));
    }
    let channels = settings.count("num_channels")?.unwrap_or(3);
    let usual = match (clip, size) {
        (true, [height, width]) if height == width => ImageConfig::clip(patch, height),
        _ => ImageConfig::vit(channels, patch, size),
    };
    Ok(preprocessor::read(checkpoint, channels, patch)?.unwrap_or(usual))
}

/// The names of the classes, by number.
pub(super) fn classes(settings: &Settings) -> Result<Vec<String>, PretrainedError> {
    let refuse =
        |found: &Value| settings.refuse("id2label", format!("expected names for 0, 1, …; found {found}"));
    let Some(value) = settings.get("id2label") else {
        // The default names of transformers.
        let n = settings.count("num_labels")?.unwrap_or(2);
        return Ok((0..n).map(|i| format!("LABEL_{i}")).collect());
    };
    let names = value.as_object().ok_or_else(|| refuse(value))?;
    let name = |i: usize| names.get(&i.to_string()).and_then(Value::as_str).map(String::from);
    (0..names.len()).map(|i| name(i).ok_or_else(|| refuse(value))).collect()
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

/// A task's preparation of images; `None` for a task without images.
pub(super) fn preparation(task: &Composition) -> Option<ImageConfig> {
    let part = task.parts().iter().find(|part| part.tokenizer.name() == ImageTokenizer::NAME)?;
    serde_json::from_value(part.tokenizer.config_json().ok()?).ok()
}

/// The name of the output that predicts classes, and the classes; `None` for a task without one.
pub(super) fn predicted_classes(task: &Composition) -> Option<(&str, &[String])> {
    let output = task.outputs().iter().find(|output| !output.head.labels().is_empty())?;
    Some((&output.name, output.head.labels()))
}

/// Update the published settings to the classes of a run, if it predicts some.
pub(super) fn set_classes(classes: &[String], config: &mut Map<String, Value>) {
    if !classes.is_empty() {
        let numbered = || classes.iter().enumerate();
        config.insert("id2label".into(), numbered().map(|(i, c)| (i.to_string(), json!(c))).collect());
        config.insert("label2id".into(), numbered().map(|(i, c)| (c.clone(), json!(i))).collect());
        config.remove("num_labels");
    }
}

/// Update the published settings to the classes and the image size of a run.
pub(super) fn adapt(
    image: &ImageConfig,
    classes: &[String],
    config: &mut Map<String, Value>,
    preprocessor: Option<&mut Map<String, Value>>,
) {
    let Some([height, width]) = image.image_size else { return };
    let size = if height == width { json!(height) } else { json!([height, width]) };
    match config.get_mut("vision_config").and_then(Value::as_object_mut) {
        Some(of_images) => _ = of_images.insert("image_size".into(), size),
        None => _ = config.insert("image_size".into(), size),
    }
    set_classes(classes, config);
    if let Some(preprocessor) = preprocessor {
        let sides = |[height, width]: [usize; 2]| json!({ "height": height, "width": width });
        let mut set = |key: &str, value: Value| _ = preprocessor.insert(key.into(), value);
        let (size, crops) = match image.resize {
            Resize::Crop { shortest_edge } => (json!({ "shortest_edge": shortest_edge }), true),
            Resize::StretchCrop { size } => (sides(size), true),
            Resize::Stretch | Resize::Native { .. } => (sides([height, width]), false),
        };
        set("size", size);
        set("do_center_crop", crops.into());
        if crops {
            set("crop_size", sides([height, width]));
        }
    }
}
