//! The settings of an image task.

use crate::data::Bad;
use crate::tasks::{More, TaskError};
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use smalti_image::{Augment, Blend, Filter, ImageConfig, Preset, Resize};

/// `[data]` of an image task.
///
/// In a file, `preset` names published settings (`vit`, `clip`, `imagenet`, `cifar` or `mnist`), which hold for what is
/// not said beside it. What is written out is what they mean, and no preset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields, default)]
pub struct ImageTaskConfig {
    /// Folder of class folders, WebDataset tar or pattern of tars, manifest (TSV, CSV, JSON lines, Parquet) with the
    /// columns `path` and `label`, IDX files, or CIFAR-10 in its binary format.
    pub path: String,
    /// More data of the same sort, each with its weight: `more = [{ path = "b.tar", weight = 0.5 }]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<More>,
    /// The training part: an IDX pair, a folder, or archives of this name. Left out or empty, all there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train: Option<String>,
    /// The validation part. Left out or empty, a share of the training part is held out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid: Option<String>,
    /// Share of the training part that validates where `valid` is left out.
    pub holdout: f64,
    /// 1 for grey, 3 for RGB.
    pub channels: usize,
    /// Side of a square patch in pixels.
    pub patch: usize,
    /// Pixels from the start of a patch to that of the next, below `patch` where patches overlap; left out, they lie
    /// edge to edge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stride: Option<usize>,
    /// [height, width] that every image is brought to; left out, sizes differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<[usize; 2]>,
    /// How an image is brought to its size: `"stretch"`, `{ crop = { shortest_edge = 256 } }` or
    /// `{ native = { patches = 256 } }`.
    pub resize: Resize,
    /// How resized pixels are made: `nearest`, `box`, `bilinear`, `bicubic` or `lanczos`.
    pub filter: Filter,
    /// The colour, [red, green, blue], that transparent images are laid over.
    pub background: [u8; 3],
    /// The most rows and columns of patches. Left out, as many as the training images have: positions that none of
    /// them fills would not be learned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_patches: Option<[usize; 2]>,
    /// The mean of each channel, of pixels in 0..=1. Left out, that of training images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<Vec<f32>>,
    /// The standard deviation of each channel. Left out, that of training images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub std: Option<Vec<f32>>,
    /// Learned tokens beside the patches that nothing reads: registers (Darcet et al. 2024), DeiT's distillation token.
    #[serde(skip_serializing_if = "Registers::is_none")]
    pub registers: Registers,
    /// Whether the token that says the class has a learned position, as in ViT.
    pub readout_position: bool,
    /// Whether a picture that cannot be read stops the run (`fail`), or another takes its place (`skip`).
    pub bad: Bad,
    /// A folder in which tokens are kept once they are made, of samples that are always the same: those that validate, and
    /// in training those that are not varied. Left out or empty, none are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<String>,
    /// Random variation in training.
    pub augment: Augment,
    /// Training images blended with others.
    pub blend: Blend,
}

/// Learned tokens beside the patches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Registers {
    /// How many.
    pub tokens: usize,
    /// Whether they have a learned position.
    pub positions: bool,
}

impl Registers {
    fn is_none(&self) -> bool {
        self.tokens == 0
    }
}

impl Default for ImageTaskConfig {
    fn default() -> Self {
        Self {
            path: "builtin:digits".into(),
            more: vec![],
            train: None,
            valid: None,
            holdout: 0.1,
            channels: 1,
            patch: 4,
            stride: None,
            size: None,
            resize: Resize::default(),
            filter: Filter::default(),
            background: [255; 3],
            max_patches: None,
            mean: None,
            std: None,
            registers: Registers::default(),
            readout_position: false,
            bad: Bad::Fail,
            cache: None,
            augment: Augment::default(),
            blend: Blend::default(),
        }
    }
}

impl ImageTaskConfig {
    /// The settings of a preset, on the default data.
    pub fn of_preset(preset: Preset) -> Self {
        let ImageConfig { channels, patch, size, resize, filter, mean, std, .. } = preset.config();
        let (mean, std) = (Some(mean), Some(std));
        Self { channels, patch, size, resize, filter, mean, std, ..Self::default() }
    }

    /// The tokenizer's settings but what is fitted to data: the mean and the deviation where they are left out, and
    /// `max_patches`.
    pub(super) fn tokenizer(&self) -> ImageConfig {
        // Native sizes have no bound before it is measured, except that of a single row.
        let all = match self.resize {
            Resize::Native { patches } => [patches; 2],
            _ => [usize::MAX; 2],
        };
        ImageConfig {
            channels: self.channels,
            patch: self.patch,
            stride: self.stride,
            size: self.size,
            resize: self.resize,
            filter: self.filter,
            background: self.background,
            max_patches: self.max_patches.unwrap_or(all),
            mean: self.mean.clone().unwrap_or(vec![0.0; self.channels]),
            std: self.std.clone().unwrap_or(vec![1.0; self.channels]),
            augment: self.augment,
            blend: self.blend,
        }
    }

    /// What concerns more than one picture.
    pub(super) fn check(&self) -> Result<(), TaskError> {
        let refuse = |setting, problem| Err(TaskError::Setting { setting, problem });
        if let Err(problem) = self.blend.check() {
            return refuse("blend", problem);
        }
        if !self.blend.is_off() && self.size.is_none() {
            return refuse("blend", "images of different sizes cannot be blended; say data.size".into());
        }
        if self.mean.is_some() != self.std.is_some() {
            return refuse("mean", "and data.std go together; say both or neither".into());
        }
        Ok(())
    }
}

impl Serialize for ImageTaskConfig {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for ImageTaskConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde_json::{Map, Value, from_value, to_value};
        let mut said: Map<String, Value> = Map::deserialize(deserializer)?;
        let Some(preset) = said.remove("preset") else {
            return Self::deserialize(Value::Object(said)).map_err(D::Error::custom);
        };
        let preset: Preset = from_value(preset).map_err(|e| D::Error::custom(format!("preset: {e}")))?;
        let mut settings = to_value(Self::of_preset(preset)).map_err(D::Error::custom)?;
        if let Value::Object(settings) = &mut settings {
            settings.extend(said);
        }
        Self::deserialize(settings).map_err(D::Error::custom)
    }
}
