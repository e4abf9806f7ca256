//! The settings of an image tokenizer.

use crate::patches::Tiling;
use crate::read::MAX_PIXELS;
use serde::{Deserialize, Serialize};

/// Colour, size, patches and normalisation of an [`ImageTokenizer`](crate::ImageTokenizer).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageConfig {
    /// 1 for grey, 3 for RGB; pictures of the other sort are converted.
    pub channels: usize,
    /// The side of a square patch, in pixels.
    pub patch: usize,
    /// Pixels from the start of a patch to that of the next, up to `patch`; below it, patches overlap. They lie
    /// centred, `ceil(side / stride)` along each side, and what they cover beyond the picture is the mean.
    /// `None` lays them edge to edge and wants sides that are multiples of `patch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<usize>,
    /// `[height, width]` in pixels that every picture is resized to, whatever its aspect ratio; `None`
    /// keeps each picture's own size.
    #[serde(default)]
    pub size: Option<[usize; 2]>,
    /// The most `[rows, columns]` of patches in a picture: the sizes of the axes `row` and `column`.
    pub max_patches: [usize; 2],
    /// The mean of each channel, of pixels in 0..=1.
    pub mean: Vec<f32>,
    /// The standard deviation of each channel, of pixels in 0..=1.
    pub std: Vec<f32>,
    /// Random variations of training pictures.
    #[serde(default)]
    pub augment: Augment,
}

/// How far a training picture is varied at random; by default not at all.
///
/// The variations are one affine map about the picture's centre, sampled bilinearly. What comes from
/// outside the picture is black (0).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augment {
    /// Moved by up to this many pixels along each axis, measured after resizing. Where nothing is turned or scaled,
    /// a whole number moves by whole pixels: the random crop of a padded picture, as CIFAR-10 is varied with 4.
    pub shift: f32,
    /// Turned by up to this many degrees either way.
    pub rotate: f32,
    /// Enlarged or shrunk by up to this fraction: 0.1 is 0.9 to 1.1 times.
    pub scale: f32,
    /// Mirrored left to right, one time in two.
    pub flip: bool,
}

/// The most features of one picture: those of [`MAX_PIXELS`] in three channels, and a little more.
const MAX_FEATURES: usize = 200_000_000;

impl ImageConfig {
    /// A picture of any size resized to `[height, width]` and brought to -1..=1 (mean and standard
    /// deviation 0.5), as the published vision transformers have it; no augmentation.
    pub fn vit(channels: usize, patch: usize, size: [usize; 2]) -> Self {
        Self {
            channels,
            patch,
            stride: None,
            size: Some(size),
            max_patches: size.map(|side| side.checked_div(patch).unwrap_or(0)),
            mean: vec![0.5; channels],
            std: vec![0.5; channels],
            augment: Augment::default(),
        }
    }

    /// `Err` says which settings cannot work.
    pub(crate) fn check(&self) -> Result<(), String> {
        if ![1, 3].contains(&self.channels) {
            return Err(format!("channels is {}; it must be 1 (grey) or 3 (RGB)", self.channels));
        }
        // The bound keeps patch² · channels far from overflow; a larger patch is a whole photo.
        if !(1..=4096).contains(&self.patch) {
            return Err(format!("patch is {} pixels; it must be within 1..=4096", self.patch));
        }
        if self.stride.is_some_and(|stride| !(1..=self.patch).contains(&stride)) {
            let (stride, patch) = (self.tiling().stride, self.patch);
            return Err(format!("stride is {stride} pixels; it must be within 1..={patch}, the patch"));
        }
        let [rows, columns] = self.max_patches;
        if rows == 0 || columns == 0 {
            return Err(format!("max_patches is {rows}×{columns}; both must be at least 1"));
        }
        self.check_size()?;
        self.check_normalisation()?;
        self.augment.check()
    }

    /// How patches lie on a picture.
    pub(crate) fn tiling(&self) -> Tiling {
        Tiling { patch: self.patch, stride: self.stride.unwrap_or(self.patch) }
    }

    fn check_size(&self) -> Result<(), String> {
        let Some(size @ [height, width]) = self.size else { return Ok(()) };
        if height.checked_mul(width).is_none_or(|pixels| pixels > MAX_PIXELS) {
            return Err(format!("size is {height}×{width} pixels; at most {MAX_PIXELS} pixels are allowed"));
        }
        self.grid(size).map(drop).map_err(|problem| format!("size does not fit: {problem}"))
    }

    /// How many `[rows, columns]` of patches a picture of `[height, width]` has; `Err` says why it cannot
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

impl Augment {
    fn check(&self) -> Result<(), String> {
        for (name, value, most) in
            [("shift", self.shift, 1e6), ("rotate", self.rotate, 180.0), ("scale", self.scale, 0.9)]
        {
            if !(0.0..=most).contains(&value) {
                return Err(format!("augment.{name} is {value}; it must be within 0..={most}"));
            }
        }
        Ok(())
    }
}
