//! Guessing the channels, the size and the patches of images from their headers.

use crate::Resize;
use crate::read::{channels, header, read_value};
use crate::settings::ImageSettings;
use image::metadata::Orientation;
use smalti_contract::{TokenizeError, Value, Values};

/// The maximal number of images whose headers are read.
const GUESS_FROM: usize = 200;
/// The most patches of an image whose size is guessed.
const MOST_PATCHES: usize = 256;
/// The longest side of images of several sizes, in pixels.
const LONGEST_SIDE: usize = 224;
/// The sides of patches, in pixels; of two that fit equally well, the first is taken.
const PATCH_SIZES: [usize; 7] = [2, 4, 8, 16, 32, 7, 14];
/// The sides of patches for a size that can be rounded to a multiple of them.
const POWERS_OF_TWO: [usize; 5] = [2, 4, 8, 16, 32];

impl ImageSettings {
    /// Whether neither the size of images nor their patches are set.
    pub(crate) fn lacks_geometry(&self) -> bool {
        let Self { patch_size, stride, image_size, max_patches, .. } = self;
        [patch_size, stride].iter().all(|side| side.is_none())
            && [image_size, max_patches].iter().all(|size| size.is_none())
            && matches!(self.resize, None | Some(Resize::Stretch))
    }

    /// Whether the channels can be found in the images alone.
    fn lacks_channels(&self) -> bool {
        self.num_channels.is_none() && self.mean.is_none() && self.std.is_none()
    }

    /// Set the side of patches by the size of images, if only that is set.
    pub(crate) fn with_patch_of_size(mut self) -> Self {
        if let (None, None, Some(size)) = (self.patch_size, self.stride, self.image_size) {
            self.patch_size = patch_of(size, usize::MAX);
        }
        self
    }

    /// Set the channels and, unless a setting shapes them, the size and the patches of images by the headers of at most
    /// 200 images, spread evenly; the note says what is set. All stays unset if there is no image.
    ///
    /// # Errors
    /// As of [`read_value`] for a value that is not an image.
    pub(crate) fn guessed(
        mut self,
        background: [u8; 3],
        values: &dyn Values,
    ) -> Result<(Self, Option<String>), TokenizeError> {
        let (lacks_channels, lacks_geometry) = (self.lacks_channels(), self.lacks_geometry());
        if !lacks_channels && !lacks_geometry {
            return Ok((self, None));
        }
        let found = Found::of(background, values)?;
        let Some(any) = found.sizes.first() else { return Ok((self, None)) };
        let (mut texts, mut names) = (vec![], vec![]);
        if lacks_geometry {
            let differ = found.sizes.iter().any(|size| size != any);
            let (size, patch) = found.geometry();
            (self.image_size, self.patch_size) = (Some(size), Some(patch));
            let of = if differ || size != *any { "resized to " } else { "" };
            texts.push(format!("{of}{}×{} pixels", size[0], size[1]));
            names.push("image_size");
        }
        if lacks_channels {
            self.num_channels = Some(found.channels);
            let s = if found.channels == 1 { "" } else { "s" };
            texts.push(format!("{} channel{s}", found.channels));
            names.push("num_channels");
        }
        if let (true, Some(patch)) = (lacks_geometry, self.patch_size) {
            texts.push(format!("patches of {patch}×{patch}"));
            names.push("patch_size");
        }
        let (texts, read, all) = (texts.join(", "), found.sizes.len(), values.len());
        let (names, them) = (names.join(", "), if names.len() == 1 { "it" } else { "them" });
        Ok((self, Some(format!("{texts}, from {read} of {all} images; set {names} to change {them}"))))
    }
}

/// What headers tell.
struct Found {
    /// 3 if an image has colours, else 1.
    channels: usize,
    /// The `[height, width]` of each image, in pixels.
    sizes: Vec<[usize; 2]>,
}

impl Found {
    fn of(background: [u8; 3], values: &dyn Values) -> Result<Self, TokenizeError> {
        let mut found = Self { channels: 1, sizes: vec![] };
        for value in values.spread(GUESS_FROM) {
            let value = value?;
            if value.is_missing() {
                continue;
            }
            let (size, channels) = measure(value, background)?;
            found.channels = found.channels.max(channels);
            found.sizes.push(size);
        }
        Ok(found)
    }

    /// The `[height, width]` of images and the side of their patches: the size of all images, if patches can fill it;
    /// else a square whose side is near the median of all sides, and at most 224.
    fn geometry(&self) -> ([usize; 2], usize) {
        if let [first, rest @ ..] = &self.sizes[..]
            && rest.iter().all(|size| size == first)
            && let Some(patch) = patch_of(*first, MOST_PATCHES)
        {
            return (*first, patch);
        }
        let mut sides = self.sizes.concat();
        sides.sort_unstable();
        let side = sides.get(sides.len() / 2).map_or(1, |median| (*median).clamp(1, LONGEST_SIDE));
        let patch = nearest(&POWERS_OF_TWO, [side; 2]).unwrap_or(POWERS_OF_TWO[0]);
        let rounded = ((side + patch / 2) / patch).max(1) * patch;
        ([rounded; 2], patch)
    }
}

/// The side of patches that fill an image of `[height, width]`, at most `most` of them; `None` if no side does.
fn patch_of(size: [usize; 2], most: usize) -> Option<usize> {
    let fills = |patch: &usize| {
        let counts = size.map(|side| side / patch);
        size.iter().all(|side| *side > 0 && side % patch == 0) && counts[0].saturating_mul(counts[1]) <= most
    };
    let filling: Vec<usize> = PATCH_SIZES.into_iter().filter(fills).collect();
    nearest(&filling, size)
}

/// The side of patches with which an image of `[height, width]` has about as many patches along a side as a patch has
/// pixels: 2 for 8×8, 4 for 28×28 and 32×32, 8 for 64×64, 16 for 224×224.
fn nearest(patches: &[usize], [height, width]: [usize; 2]) -> Option<usize> {
    let pixels = height as f64 * width as f64;
    let distance = |patch: usize| {
        let ratio = (patch as f64).powi(4) / pixels;
        ratio.max(pixels / (patch as f64).powi(4))
    };
    patches.iter().copied().min_by(|a, b| distance(*a).total_cmp(&distance(*b)))
}

/// The `[height, width]` of an image and its channels: by the header of a file, if it can be read.
fn measure(value: Value, background: [u8; 3]) -> Result<([usize; 2], usize), TokenizeError> {
    if let Value::File(file) = &value
        && let Ok(header) = header(&file.bytes)
    {
        let [width, height] = header.size.map(|side| side as usize);
        let is_turned = matches!(
            header.orientation,
            Orientation::Rotate90
                | Orientation::Rotate270
                | Orientation::Rotate90FlipH
                | Orientation::Rotate270FlipH
        );
        let size = if is_turned { [width, height] } else { [height, width] };
        return Ok((size, channels(header.color, background)));
    }
    // An array, or an error with the reader's message.
    let image = read_value(value, background)?;
    Ok(([image.height, image.width], image.channels))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry(sizes: &[[usize; 2]]) -> ([usize; 2], usize) {
        Found { channels: 1, sizes: sizes.to_vec() }.geometry()
    }

    #[test]
    fn patches_fit_the_size() {
        for (size, patch) in [
            ([4, 4], 2),
            ([8, 8], 2),
            ([28, 28], 4),
            ([32, 32], 4),
            ([64, 64], 8),
            ([84, 84], 7),
            ([96, 96], 8),
            ([96, 128], 8),
            ([196, 196], 14),
            ([224, 224], 16),
            ([512, 512], 32),
        ] {
            assert_eq!(geometry(&[size; 3]), (size, patch));
        }
    }

    #[test]
    fn other_sizes_become_a_square() {
        for (sizes, side, patch) in [
            (vec![[28, 29]; 2], 28, 4),
            (vec![[480, 640]; 2], 224, 16),
            (vec![[4000, 3000]; 2], 224, 16),
            (vec![[300, 200], [100, 100], [90, 120]], 120, 8),
            (vec![[64, 64], [64, 65], [64, 60]], 64, 8),
            (vec![[1, 1]], 2, 2),
            (vec![[1, 1_000_000]], 224, 16),
        ] {
            assert_eq!(geometry(&sizes), ([side; 2], patch), "{sizes:?}");
        }
    }

    #[test]
    fn a_given_size_gets_patches_of_any_number() {
        assert_eq!(patch_of([1024, 1024], usize::MAX), Some(32));
        assert_eq!(patch_of([1024, 1024], MOST_PATCHES), None);
        assert_eq!(patch_of([9, 8], usize::MAX), None);
        assert_eq!(patch_of([0, 8], usize::MAX), None);
    }

    #[test]
    fn an_image_that_lies_on_its_side_is_measured_upright() {
        for (name, size) in [("orientation-2", [11, 19]), ("orientation-7", [19, 11])] {
            let bytes = std::fs::read(format!("tests/files/jpeg/{name}.jpg")).unwrap();
            let value = Value::File(smalti_contract::File { name: name.into(), bytes });
            assert_eq!(measure(value, [255; 3]).unwrap(), (size, 3), "{name}");
        }
    }
}
