//! The image settings that a user writes, and their fit to training images.

use crate::fit::Histogram;
use crate::preset::WHITE;
use crate::read::read_value;
use crate::{Augment, Blend, Filter, ImageConfig, ImageTokenizer, Preset, Resize};
use serde::{Deserialize, Serialize};
use smalti_contract::{TokenizeError, Tokenizer, Values};

/// The settings of images: the keys of an input or output in `run.toml`.
///
/// ```
/// # use smalti_contract::{Array, Numbers, Tokenizer, Value};
/// # use smalti_image::{ImageSettings, ImageTokenizer};
/// let settings = ImageSettings { patch_size: Some(7), ..ImageSettings::default() };
/// let pixels = (0..28 * 28).map(|i| if i % 4 == 0 { 255 } else { 0 }).collect();
/// let rows = vec![Value::Array(Array { shape: vec![28, 28], numbers: Numbers::U8(pixels) })];
/// let config = ImageTokenizer::fit(settings, None, &rows)?;
/// assert_eq!((config.num_channels, config.max_patches), (1, [4, 4]));
/// assert_eq!(config.mean, [0.25]);
/// # Ok::<(), smalti_contract::TokenizeError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ImageSettings {
    /// Published settings (`vit`, `clip`, `imagenet`, `cifar` or `mnist`) for all settings that are left out. Without a
    /// preset, a run that starts from another one keeps that run's settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// 1 for grey, 3 for RGB. Default: 3 if one of 200 training images has colours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_channels: Option<usize>,
    /// The side of a square patch, in pixels. Default: about the square root of the image's side, such as 4 for 28×28 and 16
    /// for 224×224 pixels; 4 with a `stride`, native sizes or `max_patches`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch_size: Option<usize>,
    /// Pixels from the start of a patch to the start of the next, below `patch_size` if patches overlap. Default:
    /// `patch_size`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stride: Option<usize>,
    /// `[height, width]`, in pixels, to which every image is resized. Default: the size of the training images or, if they
    /// differ or are large, a square of at most 224×224; with a `patch_size`, each image keeps its size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_size: Option<[usize; 2]>,
    /// How an image is resized: `"stretch"`, `{ crop = { shortest_edge = 256 } }`, `{ stretch_crop = { size = [256, 256] } }`
    /// or `{ native = { patches = 256 } }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resize: Option<Resize>,
    /// The resampling filter: `nearest`, `box`, `bilinear`, `bicubic` or `lanczos`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// The background of transparent images, `[red, green, blue]`. Default: white.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub background: Option<[u8; 3]>,
    /// The maximal `[rows, columns]` of patches. Default: those of the training images, because other positions would
    /// not be trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_patches: Option<[usize; 2]>,
    /// The seed of a random permutation of the patches, the same for every image: each patch is at another patch's row and
    /// column. Default: patches are in their places.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permute: Option<u64>,
    /// The mean of each channel, for pixels in 0..=1. Default: that of the training images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<Vec<f32>>,
    /// The standard deviation of each channel, for pixels in 0..=1. Default: that of the training images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub std: Option<Vec<f32>>,
    /// Random augmentation of training images.
    pub augment: Augment,
    /// Blending of training images (mixup, cutmix).
    #[serde(skip_serializing_if = "Blend::is_default")]
    pub blend: Blend,
}

/// The maximal number of images that a configuration is fitted to.
const FIT_ON: usize = 5_000;
const PATCH_SIZE: usize = 4;

impl ImageSettings {
    /// See [`ImageTokenizer::fit`](Tokenizer::fit).
    pub(crate) fn fit(
        self,
        before: Option<ImageConfig>,
        values: &dyn Values,
    ) -> Result<ImageConfig, TokenizeError> {
        let before = before.filter(|_| self.preset.is_none());
        let Some(known) = self.preset.map(Preset::config).or(before.clone()) else {
            return self.fit_unknown(values);
        };
        let mut unfitted = self.resolved(Some(known))?;
        // Learned positions stay, unless images are cut into other patches.
        let same = before.filter(|before| before.cuts_as(&unfitted.config));
        unfitted.max_patches = unfitted.max_patches.or(same.map(|before| before.max_patches));
        unfitted.config.check().map_err(config_error)?;
        unfitted.fit(values)
    }

    /// Fit without a preset and another run's configuration: channels, size and patches are guessed.
    fn fit_unknown(self, values: &dyn Values) -> Result<ImageConfig, TokenizeError> {
        let settings = self.with_patch_of_size();
        // Other settings are checked before an image is read, as if its size were known.
        let mut unguessed = settings.clone().resolved(None)?.config;
        if settings.lacks_geometry() {
            unguessed.image_size = Some([unguessed.patch_size; 2]);
        }
        unguessed.check().map_err(config_error)?;
        let (settings, note) = settings.guessed(unguessed.background, values)?;
        let config = settings.resolved(None)?.fit(values)?;
        if let Some(note) = note {
            values.note(&note);
        }
        Ok(config)
    }

    /// Merge these settings with known ones into a configuration, with placeholders for values that are not known yet.
    fn resolved(self, known: Option<ImageConfig>) -> Result<Unfitted, TokenizeError> {
        let (mean, std) = match known.clone() {
            Some(known) => (Some(self.mean.unwrap_or(known.mean)), Some(self.std.unwrap_or(known.std))),
            None => (self.mean, self.std),
        };
        if mean.is_some() != std.is_some() {
            let (found, other) = if mean.is_some() { ("mean", "std") } else { ("std", "mean") };
            return Err(config_error(format!(
                "expected both mean and std, or neither; found {found} without {other}"
            )));
        }
        let channels = self.num_channels.or(known.as_ref().map(|known| known.num_channels));
        let channels = channels.or(mean.as_ref().map(Vec::len));
        let base = known.unwrap_or_else(|| ImageConfig {
            num_channels: 1,
            // Of a size that is guessed, or that no usual patches fill.
            patch_size: PATCH_SIZE,
            stride: None,
            image_size: None,
            resize: Resize::default(),
            filter: Filter::default(),
            background: WHITE,
            max_patches: [1, 1],
            permute: None,
            mean: vec![],
            std: vec![],
            augment: Augment::default(),
            blend: Blend::default(),
        });
        // Native sizes and one size exclude each other: the one that is set takes the place of the one that is known.
        let is_native = |resize: Resize| matches!(resize, Resize::Native { .. });
        let known_resize = match self.image_size.is_some() && is_native(base.resize) {
            true => Resize::default(),
            false => base.resize,
        };
        let resize = self.resize.unwrap_or(known_resize);
        let known_size = base.image_size.filter(|_| !self.resize.is_some_and(is_native));
        // Native sizes have no bound before it is measured, except a single row of all patches.
        let unbounded = match resize {
            Resize::Native { patches } => [patches.max(1); 2],
            _ => [usize::MAX; 2],
        };
        let width = channels.unwrap_or(1);
        let config = ImageConfig {
            num_channels: width,
            patch_size: self.patch_size.unwrap_or(base.patch_size),
            stride: self.stride.or(base.stride),
            image_size: self.image_size.or(known_size),
            resize,
            filter: self.filter.unwrap_or(base.filter),
            background: self.background.unwrap_or(base.background),
            max_patches: self.max_patches.unwrap_or(unbounded),
            permute: self.permute.or(base.permute),
            mean: mean.clone().unwrap_or(vec![0.0; width]),
            std: std.unwrap_or(vec![1.0; width]),
            augment: self.augment,
            blend: self.blend,
        };
        Ok(Unfitted { channels, max_patches: self.max_patches, normalised: mean.is_some(), config })
    }
}

impl ImageConfig {
    /// Whether both configurations cut images into the same patches.
    fn cuts_as(&self, other: &Self) -> bool {
        let geometry = |it: &Self| (it.patch_size, it.stride, it.image_size, it.resize);
        geometry(self) == geometry(other)
    }
}

/// A configuration, some of whose values are not fitted yet.
struct Unfitted {
    config: ImageConfig,
    channels: Option<usize>,
    max_patches: Option<[usize; 2]>,
    /// Whether the mean and the deviation are known.
    normalised: bool,
}

impl Unfitted {
    fn fit(self, values: &dyn Values) -> Result<ImageConfig, TokenizeError> {
        let Self { mut config, mut channels, max_patches, normalised } = self;
        let measures_size = max_patches.is_none() && config.image_size.is_none();
        let mut histogram = None;
        let mut grid = config.image_size.map(|size| config.patches_of(size));
        let mut rows = values.spread(FIT_ON);
        while channels.is_none() || !normalised || measures_size {
            let Some(value) = rows.next().transpose()? else { break };
            if value.is_missing() {
                continue;
            }
            let image = read_value(value, config.background)?;
            let channels = *channels.get_or_insert(image.channels);
            if !normalised {
                histogram.get_or_insert_with(|| Histogram::new(channels)).add(&image);
            }
            if measures_size {
                let [rows, columns] = config.patches_of([image.height, image.width]);
                let [most_rows, most_columns] = grid.unwrap_or([1, 1]);
                grid = Some([most_rows.max(rows), most_columns.max(columns)]);
            }
        }
        let needs = |setting| {
            config_error(format!(
                "{setting} is not set, and there is no training image to find it in; set {setting} or a preset"
            ))
        };
        config.num_channels = channels.ok_or_else(|| needs("num_channels"))?;
        config.max_patches = max_patches.or(grid).ok_or_else(|| needs("max_patches"))?;
        if !normalised {
            let fitted = histogram.and_then(|histogram| histogram.normalisation());
            (config.mean, config.std) = fitted.ok_or_else(|| needs("mean and std"))?;
        }
        config.check().map_err(config_error)?;
        Ok(config)
    }
}

fn config_error(problem: String) -> TokenizeError {
    TokenizeError::Config { tokenizer: ImageTokenizer::NAME, problem }
}
