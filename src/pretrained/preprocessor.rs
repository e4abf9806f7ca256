//! The files that prepare images and clips, and the preparation of images as transformers' image processors do it, each by its
//! own rules.

use super::image::decimal;
use super::run::write_json;
use super::settings::{MOST_SIDE, Settings};
use super::{Checkpoint, PretrainedError};
use crate::modalities::image::{Filter, ImageConfig, Resize};
use serde_json::{Map, Value, json};
use std::path::Path;

/// The settings of the preparation of images or clips, beside the weights.
pub(super) const FILE: &str = "preprocessor_config.json";
/// The settings of all processors of a model, in newer checkpoints.
pub(super) const PROCESSORS: &str = "processor_config.json";

/// The settings of the image processor among those of all processors.
const IMAGES: &str = "image_processor";
/// The settings of the feature extractor of clips among those of all processors.
const CLIPS: &str = "feature_extractor";
/// The settings that name the image processor, the older one last.
const KEYS: [&str; 2] = ["image_processor_type", "feature_extractor_type"];

/// The rules of an image processor.
struct Rules {
    /// The size if none is set.
    size: Size,
    /// Whether a size of one number is that of the shorter side; else both sides have it.
    shorter: bool,
    /// The side of the centre crop if none is set; `None` for a processor that does not crop.
    crop: Option<usize>,
    /// The number of Pillow's filter if none is set.
    filter: usize,
    mean: [f32; 3],
    std: [f32; 3],
}

const HALF: [f32; 3] = [0.5; 3];

/// The rules of the image processor with this name, without `ImageProcessor` or `FeatureExtractor`.
fn rules(name: &str) -> Option<Rules> {
    let square = |side| Size::Sides([side; 2]);
    let vit = Rules { size: square(224), shorter: false, crop: None, filter: 2, mean: HALF, std: HALF };
    match name {
        "ViT" => Some(vit),
        "Siglip" => Some(Rules { filter: 3, ..vit }),
        "DeiT" => Some(Rules { size: square(256), crop: Some(224), filter: 3, ..vit }),
        "CLIP" | "Bit" => {
            let ImageConfig { mean, std, .. } = ImageConfig::clip(16, 224);
            let three = |numbers: Vec<f32>| [numbers[0], numbers[1], numbers[2]];
            let (mean, std) = (three(mean), three(std));
            Some(Rules { size: Size::Shortest(224), shorter: true, crop: Some(224), filter: 3, mean, std })
        }
        _ => None,
    }
}

/// The size to which images are resized, in pixels.
#[derive(Clone, Copy, Debug)]
enum Size {
    /// Height and width.
    Sides([usize; 2]),
    /// The length of the shorter side.
    Shortest(usize),
}

/// Read the preparation of images into patches of `patch` pixels; `None` if the checkpoint does not state it.
///
/// # Errors
/// [`PretrainedError::Setting`] for an image processor, or a setting of one, that this build does not have.
pub(super) fn read(
    checkpoint: &Checkpoint,
    channels: usize,
    patch: usize,
) -> Result<Option<ImageConfig>, PretrainedError> {
    let Some(settings) = of_images(checkpoint)? else { return Ok(None) };
    let settings = &settings;
    let (_, rules) = named_rules(checkpoint, settings)?;
    settings.only(&[("do_resize", json!(true)), ("do_rescale", json!(true))])?;
    settings.ignore(&["processor_class", "do_convert_rgb", "data_format", "input_data_format", "device"]);
    settings.ignore(&["return_tensors", "default_to_square", "disable_grouping"]);
    let rescale = settings.number("rescale_factor", 1.0 / 255.0)?;
    if (rescale * 255.0 - 1.0).abs() > 1e-3 {
        return Err(settings.refuse("rescale_factor", format!("expected 1/255; found {rescale}")));
    }
    let filter = filter(settings, rules.filter)?;
    let (resize, size) = geometry(settings, &rules)?;
    let (resize, size) = whole_patches(resize, size, patch);
    let (mean, std) = match settings.flag("do_normalize", true)? {
        true => (
            numbers(settings, "image_mean", channels, &rules.mean)?,
            numbers(settings, "image_std", channels, &rules.std)?,
        ),
        false => {
            settings.ignore(&["image_mean", "image_std"]);
            (vec![0.0; channels], vec![1.0; channels])
        }
    };
    settings.finish()?;
    Ok(Some(ImageConfig { resize, filter, mean, std, ..ImageConfig::vit(channels, patch, size) }))
}

/// The same for images that are stretched to sides of whole patches. The convolution of a published model does not read what is
/// beyond the last whole patch.
pub(super) fn whole_patches(resize: Resize, size: [usize; 2], patch: usize) -> (Resize, [usize; 2]) {
    let kept = size.map(|side| side - side % patch.max(1));
    match resize {
        Resize::Stretch if kept != size && kept.iter().all(|side| *side > 0) => {
            (Resize::StretchTrim { size }, kept)
        }
        _ => (resize, size),
    }
}

/// The settings of the image processor, in a file of its own or in that of all processors.
fn of_images(checkpoint: &Checkpoint) -> Result<Option<Settings>, PretrainedError> {
    match checkpoint.settings_of(FILE)? {
        Some(own) => Ok(Some(own)),
        None => among_all(checkpoint, PROCESSORS, IMAGES),
    }
}

/// The settings of the feature extractor of clips, in a file of its own or in one of all processors.
pub(super) fn of_clips(checkpoint: &Checkpoint) -> Result<Option<Settings>, PretrainedError> {
    for file in [FILE, PROCESSORS] {
        if let Some(own) = among_all(checkpoint, file, CLIPS)? {
            return Ok(Some(own));
        }
    }
    checkpoint.settings_of(FILE)
}

/// The settings of the processor `key` in a file of all processors.
fn among_all(checkpoint: &Checkpoint, file: &str, key: &str) -> Result<Option<Settings>, PretrainedError> {
    let Some(all) = checkpoint.settings_of(file)? else { return Ok(None) };
    let path = checkpoint.folder.join(file).display().to_string();
    let own = all.values().get(key).filter(|own| !own.is_null());
    let own = own.map(|own| Settings::parse(&path, own.to_string().as_bytes())).transpose()?;
    Ok(own.map(|own| checkpoint.without_ignored(own)))
}

/// The short name and the rules of the named image processor, or of the usual one of this kind of model.
fn named_rules(checkpoint: &Checkpoint, settings: &Settings) -> Result<(String, Rules), PretrainedError> {
    let usual = match checkpoint.kind() {
        "deit" => "DeiT",
        "dinov2" | "dinov2_with_registers" => "Bit",
        "clip" | "clip_vision_model" => "CLIP",
        "siglip" | "siglip_vision_model" => "Siglip",
        _ => "ViT",
    };
    let names = KEYS.map(|key| settings.get(key).and_then(Value::as_str).map(|name| (key, name)));
    let (key, name) = names.into_iter().flatten().next().unwrap_or((KEYS[0], usual));
    let ends = ["ImageProcessorFast", "ImageProcessorPil", "ImageProcessor", "FeatureExtractor"];
    let short = ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
    rules(short).map(|rules| (short.to_string(), rules)).ok_or_else(|| {
        let problem = format!("expected ViT, DeiT, CLIP, Bit or SiglipImageProcessor; found {name}");
        settings.refuse(key, problem)
    })
}

fn filter(settings: &Settings, default: usize) -> Result<Filter, PretrainedError> {
    match settings.count("resample")?.unwrap_or(default) {
        0 => Ok(Filter::Nearest),
        1 => Ok(Filter::Lanczos),
        2 => Ok(Filter::Bilinear),
        3 => Ok(Filter::Bicubic),
        4 => Ok(Filter::Box),
        other => {
            Err(settings
                .refuse("resample", format!("expected one of Pillow's filters 0 to 4; found {other}")))
        }
    }
}

/// How an image is resized, and its final height and width.
fn geometry(settings: &Settings, rules: &Rules) -> Result<(Resize, [usize; 2]), PretrainedError> {
    let size = size(settings, "size", rules.shorter)?.unwrap_or(rules.size);
    let crops = settings.flag("do_center_crop", rules.crop.is_some())?;
    let side = match rules.crop {
        None if crops => {
            let problem = "expected false, because this image processor does not crop; found true";
            return Err(settings.refuse("do_center_crop", problem));
        }
        crop => crop.unwrap_or_default(),
    };
    let crop = match self::size(settings, "crop_size", false)? {
        None => [side; 2],
        Some(Size::Sides(sides)) => sides,
        Some(found) => {
            return Err(
                settings.refuse("crop_size", format!("expected a height and a width; found {found:?}"))
            );
        }
    };
    match (size, crops) {
        (Size::Sides(sides), false) => Ok((Resize::Stretch, sides)),
        (Size::Sides(sides), true) if sides == crop => Ok((Resize::Stretch, sides)),
        (Size::Sides(sides), true) => Ok((Resize::StretchCrop { size: sides }, crop)),
        (Size::Shortest(shortest_edge), true) if rules.shorter => Ok((Resize::Crop { shortest_edge }, crop)),
        (found, _) => {
            let problem = match rules.shorter {
                true => format!("expected do_center_crop with the shorter side; found {found:?} without"),
                false => format!("expected a height and a width; found {found:?}"),
            };
            Err(settings.refuse("size", problem))
        }
    }
}

/// State a run's preparation of images in the file of `folder` that the published one is in. A file that says the same stays
/// as it is.
///
/// # Errors
/// If a file cannot be read or written.
pub(super) fn state(
    image: &ImageConfig,
    sides: [usize; 2],
    published: &Checkpoint,
    folder: &Path,
) -> Result<(), PretrainedError> {
    let says = |of: &ImageConfig| (of.image_size, of.resize, of.filter, of.mean.clone(), of.std.clone());
    if read(published, image.num_channels, image.patch_size)?.is_some_and(|found| says(&found) == says(image))
    {
        return Ok(());
    }
    let file = |name: &str| published.file(name)?.map(|json| Settings::parse(name, &json)).transpose();
    if let Some(own) = file(FILE)? {
        return write_json(&folder.join(FILE), &stated(image, sides, published, &own)?);
    }
    let all = file(PROCESSORS)?.map(|all| all.values().clone()).unwrap_or_default();
    let Some(own) = all.get(IMAGES) else {
        let none = Settings::parse(FILE, b"{}")?;
        return write_json(&folder.join(FILE), &stated(image, sides, published, &none)?);
    };
    let own = stated(image, sides, published, &Settings::parse(PROCESSORS, own.to_string().as_bytes())?)?;
    let mut all = all.clone();
    all.insert(IMAGES.into(), own.into());
    write_json(&folder.join(PROCESSORS), &all)
}

/// Published settings with a run's preparation of images.
fn stated(
    image: &ImageConfig,
    sides: [usize; 2],
    published: &Checkpoint,
    settings: &Settings,
) -> Result<Map<String, Value>, PretrainedError> {
    let (name, rules) = named_rules(published, settings)?;
    let mut stated = settings.values().clone();
    let mut set = |key: &str, value: Value| _ = stated.insert(key.into(), value);
    let of = |[height, width]: [usize; 2]| json!({ "height": height, "width": width });
    let (size, crops) = match image.resize {
        Resize::Crop { shortest_edge } => (json!({ "shortest_edge": shortest_edge }), true),
        Resize::StretchCrop { size } => (of(size), true),
        Resize::Stretch | Resize::StretchTrim { .. } | Resize::Native { .. } => (of(sides), false),
    };
    // Not every image processor crops, and not every one knows a shorter side.
    let able = match image.resize {
        Resize::Crop { .. } if !rules.shorter => "Bit",
        Resize::StretchCrop { .. } if rules.crop.is_none() => "DeiT",
        _ => &name,
    };
    if able != name || KEYS.iter().all(|key| settings.get(key).is_none()) {
        set(KEYS[0], format!("{able}ImageProcessor").into());
        set(KEYS[1], Value::Null);
    }
    set("do_resize", true.into());
    set("size", size);
    if crops || rules.crop.is_some() {
        set("do_center_crop", crops.into());
        set("crop_size", of(sides));
    }
    let number = match image.filter {
        Filter::Nearest => 0,
        Filter::Lanczos => 1,
        Filter::Bilinear => 2,
        Filter::Bicubic => 3,
        Filter::Box => 4,
    };
    set("resample", number.into());
    set("do_normalize", true.into());
    set("image_mean", json!(decimal(&image.mean)));
    set("image_std", json!(decimal(&image.std)));
    stated.retain(|_, value| !value.is_null());
    Ok(stated)
}

/// A size; one number is that of the shorter side, or of both sides.
fn size(settings: &Settings, key: &str, shorter: bool) -> Result<Option<Size>, PretrainedError> {
    let Some(value) = settings.get(key) else { return Ok(None) };
    let side = |value: &Value| {
        value.as_u64().map(|side| side as usize).filter(|side| (1..=MOST_SIDE).contains(side))
    };
    let of = |key: &str| value.get(key).and_then(side);
    let known =
        |keys: &[&str]| value.as_object().is_some_and(|size| size.keys().all(|key| keys.contains(&&**key)));
    let size = match (side(value), of("height"), of("width"), of("shortest_edge")) {
        (Some(side), ..) if shorter => Some(Size::Shortest(side)),
        (Some(side), ..) => Some(Size::Sides([side; 2])),
        (_, Some(height), Some(width), _) if known(&["height", "width"]) => {
            Some(Size::Sides([height, width]))
        }
        (.., Some(shortest)) if known(&["shortest_edge"]) => Some(Size::Shortest(shortest)),
        _ => None,
    };
    size.map(Some).ok_or_else(|| {
        let problem = format!(
            "expected one side, a height and a width, or a shortest_edge, of 1 to {MOST_SIDE} pixels; found {value}"
        );
        settings.refuse(key, problem)
    })
}

/// A number for each channel.
fn numbers(
    settings: &Settings,
    key: &str,
    channels: usize,
    default: &[f32; 3],
) -> Result<Vec<f32>, PretrainedError> {
    let read = |value: &Value| match value.as_array() {
        Some(numbers) => numbers.iter().map(|x| x.as_f64().map(|x| x as f32)).collect(),
        None => value.as_f64().map(|x| vec![x as f32; channels]),
    };
    let default = || default.get(..channels).map(<[f32]>::to_vec);
    let found: Option<Vec<f32>> = settings.get(key).map_or_else(default, read);
    found.filter(|found| found.len() == channels).ok_or_else(|| {
        let found = settings.values().get(key).map_or("none".into(), Value::to_string);
        let problem = format!("expected a number for each channel, {channels} in all; found {found}");
        settings.refuse(key, problem)
    })
}
