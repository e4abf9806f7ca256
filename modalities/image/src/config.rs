//! The settings of an image tokenizer.

use crate::patches::Tiling;
use crate::preset::WHITE;
use crate::read::MAX_PIXELS;
use crate::resize::Side;
use crate::shape::{self, Resize};
use crate::{Augment, Blend, Filter};
use serde::{Deserialize, Serialize};

/// Channels, size, patches and normalisation of an [`ImageTokenizer`](crate::ImageTokenizer).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageConfig {
    /// 1 for grey, 3 for RGB; other images are converted.
    pub num_channels: usize,
    /// The side of a square patch, in pixels.
    pub patch_size: usize,
    /// Pixels from the start of a patch to the start of the next, at most `patch_size`; below it, patches overlap. They
    /// are centred, `ceil(side / stride)` along each side, and padded with the mean beyond the image. `None` places
    /// them edge to edge; then sides must be multiples of `patch_size`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<usize>,
    /// `[height, width]`, in pixels, to which every image is resized; `None` keeps each image's size.
    #[serde(default)]
    pub image_size: Option<[usize; 2]>,
    /// How an image is resized.
    #[serde(default)]
    pub resize: Resize,
    /// The resampling filter.
    #[serde(default)]
    pub filter: Filter,
    /// The background of transparent images: red, green and blue.
    #[serde(default = "white")]
    pub background: [u8; 3],
    /// The maximal `[rows, columns]` of patches in an image: the sizes of the axes `row` and `column`.
    pub max_patches: [usize; 2],
    /// The seed of a permutation of the patches, the same for every image; `None` for patches in their places.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permute: Option<u64>,
    /// The mean of each channel, of pixels in 0..=1.
    pub mean: Vec<f32>,
    /// The standard deviation of each channel, of pixels in 0..=1.
    pub std: Vec<f32>,
    /// Random augmentation of training images.
    #[serde(default)]
    pub augment: Augment,
    /// Blending of training images (mixup, cutmix).
    #[serde(default, skip_serializing_if = "Blend::is_default")]
    pub blend: Blend,
}

fn white() -> [u8; 3] {
    WHITE
}

/// The maximal number of features of one image: those of [`MAX_PIXELS`] with three channels, and a few more.
const MAX_FEATURES: usize = 200_000_000;

/// The most patches of an image in advice.
const ADVISED_PATCHES: usize = 1024;

/// The side of a patch, doubled until an image of `[height, width]` has few enough patches.
fn affordable(patch: usize, size: [usize; 2]) -> usize {
    let n = |patch: &usize| size.map(|side| side.div_ceil(*patch)).iter().product::<usize>();
    let doubled = std::iter::successors(Some(patch), |patch| Some(2 * patch));
    doubled.take_while(|patch| *patch <= 4096).find(|patch| n(patch) <= ADVISED_PATCHES).unwrap_or(patch)
}

impl ImageConfig {
    /// Check the settings.
    pub(crate) fn check(&self) -> Result<(), String> {
        if ![1, 3].contains(&self.num_channels) {
            return Err(format!("num_channels is {}; it must be 1 (grey) or 3 (RGB)", self.num_channels));
        }
        // The bound keeps patch_size² · num_channels far from overflow.
        if !(1..=4096).contains(&self.patch_size) {
            return Err(format!("patch_size is {} pixels; it must be within 1..=4096", self.patch_size));
        }
        if self.stride.is_some_and(|stride| !(1..=self.patch_size).contains(&stride)) {
            let (stride, patch) = (self.tiling().stride, self.patch_size);
            return Err(format!("stride is {stride} pixels; it must be within 1..={patch}, the patch_size"));
        }
        let [rows, columns] = self.max_patches;
        if rows == 0 || columns == 0 {
            return Err(format!("max_patches is {rows}×{columns}; both must be at least 1"));
        }
        self.resize.check(self.image_size)?;
        self.check_size()?;
        self.check_normalisation()?;
        if self.augment.crop.is_some() && self.image_size.is_none() && self.resize == Resize::Stretch {
            return Err("augment.crop is set; it needs an image_size, to which crops are resized".into());
        }
        if !self.blend.is_off() && self.image_size.is_none() {
            return Err(
                "blend is set; it needs an image_size: images of different sizes cannot be blended".into()
            );
        }
        self.blend.check()?;
        self.augment.check()
    }

    /// The size to which an image of `[height, width]`, neither 0, is resized, and the part that is kept.
    pub(crate) fn sides(&self, of: [usize; 2]) -> [Side; 2] {
        match (self.resize, self.image_size) {
            (Resize::Stretch, None) => of.map(Side::all),
            (Resize::Stretch, Some(size)) => size.map(Side::all),
            (Resize::Crop { shortest_edge }, size) => shape::crop(of, shortest_edge, size.unwrap_or(of)),
            (Resize::StretchCrop { size }, kept) => {
                let kept = kept.unwrap_or(size);
                [0, 1].map(|i| Side::middle(size[i], kept[i]))
            }
            (Resize::StretchTrim { size }, kept) => {
                let kept = kept.unwrap_or(size);
                [0, 1].map(|i| Side { whole: size[i], kept: 0..kept[i].min(size[i]) })
            }
            (Resize::Native { patches }, _) => {
                let stride = self.tiling().stride;
                shape::native(of, patches, self.max_patches).map(|patches| Side::all(patches * stride))
            }
        }
    }

    /// The `[rows, columns]` of patches of an image of `[height, width]`, neither 0. `max_patches` limits native sizes
    /// only, so that it can be measured on a data set.
    pub fn patches_of(&self, of: [usize; 2]) -> [usize; 2] {
        // These settings may not have been checked yet; the tokenizer fails for a stride of 0.
        let stride = self.tiling().stride.max(1);
        self.sides(of).map(|side| side.kept.len().div_ceil(stride))
    }

    /// The grid of patches on an image.
    pub(crate) fn tiling(&self) -> Tiling {
        Tiling { patch: self.patch_size, stride: self.stride.unwrap_or(self.patch_size) }
    }

    fn check_size(&self) -> Result<(), String> {
        let Some(size @ [height, width]) = self.image_size else { return Ok(()) };
        if height.checked_mul(width).is_none_or(|pixels| pixels > MAX_PIXELS) {
            return Err(format!(
                "image_size is {height}×{width} pixels; at most {MAX_PIXELS} pixels are allowed"
            ));
        }
        self.grid(size).map(drop).map_err(|problem| format!("image_size does not fit: {problem}"))
    }

    /// The `[rows, columns]` of patches of an image of `[height, width]`, or why it cannot be cut.
    pub(crate) fn grid(&self, [height, width]: [usize; 2]) -> Result<[usize; 2], String> {
        let (patch, tiling) = (self.patch_size, self.tiling());
        for (side, name) in [(height, "height"), (width, "width")] {
            if side == 0 {
                return Err(format!("image is {height}×{width} pixels; {name} must be at least {patch}"));
            }
        }
        if self.stride.is_none() && (height % patch != 0 || width % patch != 0) {
            return Err(self.indivisible([height, width]));
        }
        let [rows, columns] = [height, width].map(|side| tiling.count(side));
        let [max_rows, max_columns] = self.max_patches;
        if rows > max_rows || columns > max_columns {
            let [max_height, max_width] = self.max_patches.map(|n| n.saturating_mul(tiling.stride));
            return Err(format!(
                "image is {height}×{width} pixels, {rows}×{columns} patches; the model is for at most \
                 {max_height}×{max_width}, {max_rows}×{max_columns} patches (max_patches): resize it, or every image in \
                 training: try image_size=[{max_height},{max_width}]"
            ));
        }
        // With large patches and a small stride, each pixel is in up to a million patches.
        let features =
            [columns, patch, patch, self.num_channels].iter().try_fold(rows, |n, &m| n.checked_mul(m));
        if features.is_none_or(|features| features > MAX_FEATURES) {
            let (stride, most) = (tiling.stride, MAX_FEATURES);
            return Err(format!(
                "image of {height}×{width} pixels in patches of {patch} every {stride} has more than {most} features"
            ));
        }
        Ok([rows, columns])
    }

    /// The error of an image of `[height, width]` that patches do not fill, with settings to change.
    fn indivisible(&self, [height, width]: [usize; 2]) -> String {
        let patch = self.patch_size;
        let common =
            (2..=height.min(width)).filter(|n| height % n == 0 && width % n == 0).collect::<Vec<_>>();
        let other_patch = match common.iter().min_by_key(|n| n.abs_diff(patch)) {
            Some(nearest) => {
                let listed = common.iter().map(|n| format!(", {n}")).collect::<String>();
                format!("divisors of both are 1{listed}: try patch_size={nearest}; or ")
            }
            None => String::new(),
        };
        let most = self.max_patches.map(|n| n.saturating_mul(patch));
        let is_fitted = most.iter().all(|side| *side <= MAX_PIXELS);
        let larger = if is_fitted { patch } else { affordable(patch, [height, width]) };
        let [rows, columns] =
            if is_fitted { most } else { [height, width].map(|side| side.next_multiple_of(larger)) };
        let and_patch = if larger > patch { format!(" and: try patch_size={larger}") } else { String::new() };
        format!(
            "patch_size {patch} does not divide the image's {height}×{width} pixels; {other_patch}resize every image in \
             training: try image_size=[{rows},{columns}]{and_patch}"
        )
    }

    fn check_normalisation(&self) -> Result<(), String> {
        for (name, values) in [("mean", &self.mean), ("std", &self.std)] {
            if values.len() != self.num_channels {
                let (found, channels) = (values.len(), self.num_channels);
                return Err(format!(
                    "{name} has {found} values; it must have one for each of {channels} channels"
                ));
            }
        }
        if let Some(mean) = self.mean.iter().find(|mean| !(0.0..=1.0).contains(*mean)) {
            return Err(format!("mean {mean} must be within 0..=1, as pixels are"));
        }
        // Below 1e-6, features are not precise enough to be decoded to the same pixel.
        if let Some(std) = self.std.iter().find(|std| !(1e-6..=1.0).contains(*std)) {
            return Err(format!("std {std} must be within 1e-6..=1, of pixels in 0..=1"));
        }
        Ok(())
    }
}
