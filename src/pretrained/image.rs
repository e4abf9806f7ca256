//! The picture side of a checkpoint: how a picture is prepared, and its classes.

use super::settings::Settings;
use super::{Checkpoint, ImportedTask, PretrainedError};
use crate::tasks::image::{ImageTask, ImageTaskConfig, Registers};
use crate::tasks::modalities::image::{Filter, ImageConfig, ImageTokenizer, Resize};
use crate::tasks::{Builtin, TaskConfig};
use serde_json::{Map, Value, json};
use smalti_contract::Tokenizer;
use std::sync::Arc;

/// How pictures are prepared, as published beside the weights.
pub(super) const PREPROCESSOR: &str = "preprocessor_config.json";

/// A task of classes, or where there is no classifier, of none.
pub(super) fn task(checkpoint: &Checkpoint, registers: Registers) -> Result<ImportedTask, PretrainedError> {
    let settings = &checkpoint.settings;
    let size = settings.sides("image_size", 224)?;
    let [patch, other] = settings.sides("patch_size", 16)?;
    if patch != other {
        return Err(settings.refuse("patch_size", format!("patches must be square; found {patch}×{other}")));
    }
    let channels = settings.count("num_channels")?.unwrap_or(3);
    let image = match checkpoint.file(PREPROCESSOR)? {
        Some(json) => prepared(&Settings::parse(PREPROCESSOR, &json)?, channels, patch, size)?,
        None => ImageConfig::vit(channels, patch, size),
    };
    let classes = if checkpoint.has("classifier.weight") { classes(settings)? } else { vec![] };
    let config = ImageTaskConfig {
        channels,
        patch,
        size: image.size,
        resize: image.resize,
        filter: image.filter,
        max_patches: Some(image.max_patches),
        mean: Some(image.mean.clone()),
        std: Some(image.std.clone()),
        registers,
        readout_position: true,
        ..ImageTaskConfig::default()
    };
    let tokenizer = ImageTokenizer::new(image).map_err(|e| settings.refuse("image_size", e.to_string()))?;
    let task = ImageTask::with("image", 1.0, &config, tokenizer, classes);
    Ok(ImportedTask { config: TaskConfig::Image(config), task: Builtin::Image(Arc::new(task)) })
}

/// The names of the classes, by number.
fn classes(settings: &Settings) -> Result<Vec<String>, PretrainedError> {
    let refuse =
        |found: &Value| settings.refuse("id2label", format!("expected names for 0, 1, …; found {found}"));
    let Some(value) = settings.get("id2label") else {
        // As the published library has it where nothing is said.
        let n = settings.count("num_labels")?.unwrap_or(2);
        return Ok((0..n).map(|i| format!("LABEL_{i}")).collect());
    };
    let names = value.as_object().ok_or_else(|| refuse(value))?;
    let name = |i: usize| names.get(&i.to_string()).and_then(Value::as_str).map(String::from);
    (0..names.len()).map(|i| name(i).ok_or_else(|| refuse(value))).collect()
}

fn prepared(
    settings: &Settings,
    channels: usize,
    patch: usize,
    image_size: [usize; 2],
) -> Result<ImageConfig, PretrainedError> {
    settings.only(&[
        ("do_resize", json!(true)),
        ("do_rescale", json!(true)),
        ("do_normalize", json!(true)),
    ])?;
    settings.neutral(&[
        "image_processor_type",
        "feature_extractor_type",
        "processor_class",
        "do_convert_rgb",
    ]);
    settings.neutral(&["data_format", "input_data_format", "device", "return_tensors", "default_to_square"]);
    let rescale = settings.number("rescale_factor", 1.0 / 255.0)?;
    if (rescale * 255.0 - 1.0).abs() > 1e-3 {
        return Err(settings.refuse("rescale_factor", format!("expected 1/255; found {rescale}")));
    }
    let filter = match settings.count("resample")?.unwrap_or(2) {
        0 => Filter::Nearest,
        1 => Filter::Lanczos,
        2 => Filter::Bilinear,
        3 => Filter::Bicubic,
        4 => Filter::Box,
        other => {
            return Err(
                settings.refuse("resample", format!("expected one of Pillow's 0 to 4; found {other}"))
            );
        }
    };
    let crop = settings.flag("do_center_crop", false)?;
    let crop_size = side_or_sides(settings, "crop_size")?;
    let resize = match (side_or_sides(settings, "size")?, crop) {
        (None | Some(Size::Sides(_)), false) => Resize::Stretch,
        (Some(Size::Shortest(shortest_edge)), true) => Resize::Crop { shortest_edge },
        (Some(Size::Sides([height, width])), true) if height == width => {
            Resize::Crop { shortest_edge: height }
        }
        (found, _) => {
            let problem = format!("{found:?} with do_center_crop {crop} is not supported");
            return Err(settings.refuse("size", problem));
        }
    };
    let said = |size: Option<Size>| match size {
        Some(Size::Sides(sides)) => sides,
        _ => image_size,
    };
    let size = said(if crop { crop_size } else { side_or_sides(settings, "size")? });
    if size != image_size {
        let problem = format!("pictures of {size:?} for a model of {image_size:?}");
        return Err(settings.refuse("size", problem));
    }
    let numbers = |key: &str| -> Result<Vec<f32>, PretrainedError> {
        let read = |value: &Value| value.as_array()?.iter().map(|x| x.as_f64().map(|x| x as f32)).collect();
        let found: Option<Vec<f32>> = settings.get(key).map_or(Some(vec![0.5; channels]), read);
        match found.filter(|found| found.len() == channels) {
            Some(found) => Ok(found),
            None => Err(settings.refuse(key, format!("expected {channels} numbers"))),
        }
    };
    let (mean, std) = (numbers("image_mean")?, numbers("image_std")?);
    settings.finish()?;
    Ok(ImageConfig { resize, filter, mean, std, ..ImageConfig::vit(channels, patch, size) })
}

/// What a picture is brought to.
#[derive(Debug)]
enum Size {
    Sides([usize; 2]),
    Shortest(usize),
}

fn side_or_sides(settings: &Settings, key: &str) -> Result<Option<Size>, PretrainedError> {
    let Some(value) = settings.get(key) else { return Ok(None) };
    let side = |value: &Value| value.as_u64().map(|side| side as usize);
    let of = |key: &str| value.get(key).and_then(side);
    let size = match (side(value), of("height"), of("width"), of("shortest_edge")) {
        (Some(side), ..) => Some(Size::Sides([side; 2])),
        (_, Some(height), Some(width), _) => Some(Size::Sides([height, width])),
        (.., Some(shortest)) => Some(Size::Shortest(shortest)),
        _ => None,
    };
    size.map(Some).ok_or_else(|| settings.refuse(key, format!("expected a size; found {value}")))
}

fn tokenizer(task: &ImportedTask) -> &ImageConfig {
    match &task.task {
        Builtin::Image(task) => task.tokenizer().config(),
        _ => unreachable!("a task of pictures"),
    }
}

/// Channels of a picture.
pub(super) fn channels(task: &ImportedTask) -> usize {
    tokenizer(task).channels
}

/// The side of a patch.
pub(super) fn patch(task: &ImportedTask) -> usize {
    tokenizer(task).patch
}

/// The published settings with the classes and the size that a run has learned since.
pub(super) fn adapt(
    task: &ImageTask,
    config: &mut Map<String, Value>,
    preprocessor: Option<&mut Map<String, Value>>,
) {
    let Some([height, width]) = task.tokenizer().config().size else { return };
    config.insert("image_size".into(), if height == width { json!(height) } else { json!([height, width]) });
    if !task.classes().is_empty() {
        let numbered = || task.classes().iter().enumerate();
        config.insert("id2label".into(), numbered().map(|(i, c)| (i.to_string(), json!(c))).collect());
        config.insert("label2id".into(), numbered().map(|(i, c)| (c.clone(), json!(i))).collect());
        config.remove("num_labels");
    }
    if let Some(preprocessor) = preprocessor {
        let cropped = preprocessor.get("do_center_crop") == Some(&json!(true));
        let sides = json!({ "height": height, "width": width });
        preprocessor.insert(if cropped { "crop_size" } else { "size" }.into(), sides);
    }
}
