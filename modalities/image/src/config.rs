//! The settings of an image tokenizer.

use crate::patches::Tiling;
use crate::preset::WHITE;
use crate::read::MAX_PIXELS;
use crate::resize::Side;
use crate::shape::{self, Resize};
use crate::{Augment, Blend, Filter};
use serde::{Deserialize, Serialize};

/// Colour, size, patches and normalisation of an [`ImageTokenizer`](crate::ImageTokenizer).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageConfig {
    /// 1 for grey, 3 for RGB; images of the other sort are converted.
    pub channels: usize,
    /// The side of a square patch, in pixels.
    pub patch: usize,
    /// Pixels from the start of a patch to that of the next, up to `patch`; below it, patches overlap. They lie
    /// centred, `ceil(side / stride)` along each side, and what they cover beyond the image is the mean.
    /// `None` lays them edge to edge and wants sides that are multiples of `patch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<usize>,
    /// `[height, width]` in pixels that every image is brought to; `None` leaves sizes different.
    #[serde(default)]
    pub size: Option<[usize; 2]>,
    /// How an image is brought to its size.
    #[serde(default)]
    pub resize: Resize,
    /// How the pixels of a resized image are made of those around them.
    #[serde(default)]
    pub filter: Filter,
    /// The colour, red, green and blue, that transparent images are laid over when a file is read.
    #[serde(default = "white")]
    pub background: [u8; 3],
    /// The most `[rows, columns]` of patches in an image: the sizes of the axes `row` and `column`.
    pub max_patches: [usize; 2],
    /// The mean of each channel, of pixels in 0..=1.
    pub mean: Vec<f32>,
    /// The standard deviation of each channel, of pixels in 0..=1.
    pub std: Vec<f32>,
    /// Random variations of training images.
    #[serde(default)]
    pub augment: Augment,
    /// Training images blended with others.
    #[serde(default, skip_serializing_if = "Blend::is_default")]
    pub blend: Blend,
}

fn white() -> [u8; 3] {
    WHITE
}

/// The most features of one image: those of [`MAX_PIXELS`] in three channels, and a little more.
const MAX_FEATURES: usize = 200_000_000;

impl ImageConfig {
    /// `Err` says which settings cannot work.
    pub(crate) fn check(&self) -> Result<(), String> {
        if ![1, 3].contains(&self.channels) {
            return Err(format!("channels is {}; it must be 1 (grey) or 3 (RGB)", self.channels));
        }
        // The bound keeps patch² · channels far from overflow; a larger patch is a whole photo.
        if !(1..=4096).contains(&self.patch) {
            return Err(format!("patch_size is {} pixels; it must be within 1..=4096", self.patch));
        }
        if self.stride.is_some_and(|stride| !(1..=self.patch).contains(&stride)) {
            let (stride, patch) = (self.tiling().stride, self.patch);
            return Err(format!("stride is {stride} pixels; it must be within 1..={patch}, the patch_size"));
        }
        let [rows, columns] = self.max_patches;
        if rows == 0 || columns == 0 {
            return Err(format!("max_patches is {rows}×{columns}; both must be at least 1"));
        }
        self.resize.check(self.size)?;
        self.check_size()?;
        self.check_normalisation()?;
        if self.augment.crop.is_some() && self.size.is_none() && self.resize == Resize::Stretch {
            return Err("augment.crop is set; it needs an image_size that parts are brought to".into());
        }
        if !self.blend.is_off() && self.size.is_none() {
            return Err(
                "blend is set; it needs an image_size: images of different sizes cannot be blended".into()
            );
        }
        self.blend.check()?;
        self.augment.check()
    }

    /// What an image of `[height, width]`, neither 0, is resized to, and which part of that is kept.
    pub(crate) fn sides(&self, of: [usize; 2]) -> [Side; 2] {
        match (self.resize, self.size) {
            (Resize::Stretch, None) => of.map(Side::all),
            (Resize::Stretch, Some(size)) => size.map(Side::all),
            (Resize::Crop { shortest_edge }, size) => shape::crop(of, shortest_edge, size.unwrap_or(of)),
            (Resize::Native { patches }, _) => {
                let stride = self.tiling().stride;
                shape::native(of, patches, self.max_patches).map(|patches| Side::all(patches * stride))
            }
        }
    }

    /// How many `[rows, columns]` of patches an image of `[height, width]`, neither 0, is cut into, whatever
    /// `max_patches` says of other than native sizes: what to measure on the images that a model shall know.
    pub fn patches_of(&self, of: [usize; 2]) -> [usize; 2] {
        // These settings may not have been checked: a stride of 0 is for the tokenizer to refuse.
        let stride = self.tiling().stride.max(1);
        self.sides(of).map(|side| side.kept.len().div_ceil(stride))
    }

    /// How patches lie on an image.
    pub(crate) fn tiling(&self) -> Tiling {
        Tiling { patch: self.patch, stride: self.stride.unwrap_or(self.patch) }
    }

    fn check_size(&self) -> Result<(), String> {
        let Some(size @ [height, width]) = self.size else { return Ok(()) };
        if height.checked_mul(width).is_none_or(|pixels| pixels > MAX_PIXELS) {
            return Err(format!(
                "image_size is {height}×{width} pixels; at most {MAX_PIXELS} pixels are allowed"
            ));
        }
        self.grid(size).map(drop).map_err(|problem| format!("image_size does not fit: {problem}"))
    }

    /// How many `[rows, columns]` of patches an image of `[height, width]` has; `Err` says why it cannot
    /// be cut.
    pub(crate) fn grid(&self, [height, width]: [usize; 2]) -> Result<[usize; 2], String> {
        let (patch, tiling) = (self.patch, self.tiling());
        for (side, name) in [(height, "height"), (width, "width")] {
            if side == 0 {
                return Err(format!("image is {height}×{width} pixels; {name} must be at least {patch}"));
            }
            if self.stride.is_none() && side % patch != 0 {
                return Err(format!(
                    "image is {height}×{width} pixels; {name} must be a multiple of the patch size {patch}"
                ));
            }
        }
        let [rows, columns] = [height, width].map(|side| tiling.count(side));
        let [max_rows, max_columns] = self.max_patches;
        if rows > max_rows || columns > max_columns {
            return Err(format!(
                "image has {rows}×{columns} patches; at most {max_rows}×{max_columns} are allowed"
            ));
        }
        // Patches of a large side that begin at every pixel hold each pixel a million times.
        let features = [columns, patch, patch, self.channels].iter().try_fold(rows, |n, &m| n.checked_mul(m));
        if features.is_none_or(|features| features > MAX_FEATURES) {
            let (stride, most) = (tiling.stride, MAX_FEATURES);
            return Err(format!(
                "image of {height}×{width} pixels in patches of {patch} every {stride} has more than {most} features"
            ));
        }
        Ok([rows, columns])
    }

    fn check_normalisation(&self) -> Result<(), String> {
        for (name, values) in [("mean", &self.mean), ("std", &self.std)] {
            if values.len() != self.channels {
                let (found, channels) = (values.len(), self.channels);
                return Err(format!(
                    "{name} has {found} values; it must have one for each of {channels} channels"
                ));
            }
        }
        if let Some(mean) = self.mean.iter().find(|mean| !(0.0..=1.0).contains(*mean)) {
            return Err(format!("mean {mean} must be within 0..=1, as pixels are"));
        }
        // Below 1e-6 features lose the precision to come back as the same pixel.
        if let Some(std) = self.std.iter().find(|std| !(1e-6..=1.0).contains(*std)) {
            return Err(format!("std {std} must be within 1e-6..=1, of pixels in 0..=1"));
        }
        Ok(())
    }
}
