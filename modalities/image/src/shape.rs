//! The size to which an image is resized before it is cut into patches.

use crate::read::MAX_PIXELS;
use crate::resize::Side;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// How an image is resized before it is cut into patches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Resize {
    /// Resize to [`image_size`](crate::ImageConfig::image_size), ignoring the aspect ratio; without one, the image
    /// keeps its size.
    #[default]
    Stretch,
    /// Resize the shorter side, keeping the aspect ratio, and crop `image_size` from the centre.
    Crop {
        /// The shorter side in pixels; at least the longer side of `image_size`.
        shortest_edge: usize,
    },
    /// Resize to `size`, ignoring the aspect ratio, and crop `image_size` from the centre, as DeiT does.
    StretchCrop {
        /// `[height, width]` in pixels; at least `image_size`.
        size: [usize; 2],
    },
    /// Resize to `size`, ignoring the aspect ratio, and cut off rows at the bottom and columns at the right that do not
    /// fill a patch, down to `image_size`, as a convolution without padding does: SigLIP's 384 pixels in patches of 14.
    StretchTrim {
        /// `[height, width]` in pixels; at least `image_size`.
        size: [usize; 2],
    },
    /// Resize to the largest sides that are multiples of the patches' stride, nearly keep the aspect ratio, and give at
    /// most `patches` patches (NaFlex, Tschannen et al. 2025; NaViT, Dehghani et al. 2023). Excludes `image_size`; no
    /// image has more than [`max_patches`](crate::ImageConfig::max_patches) rows and columns.
    Native {
        /// The maximal number of patches of an image.
        patches: usize,
    },
}

impl Resize {
    /// Check that this setting is compatible with `image_size`.
    pub(crate) fn check(self, size: Option<[usize; 2]>) -> Result<(), String> {
        match (self, size) {
            (Resize::Stretch, _) => Ok(()),
            (Resize::Crop { .. }, None) => Err("resize is a crop; it needs an image_size".into()),
            (Resize::Crop { shortest_edge }, Some(size)) => {
                let longest = size[0].max(size[1]);
                match (longest..=MAX_PIXELS).contains(&shortest_edge) {
                    true => Ok(()),
                    false => Err(format!(
                        "resize.crop.shortest_edge is {shortest_edge} pixels; it must be within \
                         {longest}..={MAX_PIXELS}, from the longer side of image_size on"
                    )),
                }
            }
            (Resize::StretchCrop { .. } | Resize::StretchTrim { .. }, None) => {
                Err("resize is a crop; it needs an image_size".into())
            }
            (
                Resize::StretchCrop { size: [height, width] } | Resize::StretchTrim { size: [height, width] },
                Some([rows, columns]),
            ) => {
                let name = if matches!(self, Resize::StretchCrop { .. }) { "crop" } else { "trim" };
                match (rows..=MAX_PIXELS).contains(&height) && (columns..=MAX_PIXELS).contains(&width) {
                    true => Ok(()),
                    false => Err(format!(
                        "resize.stretch_{name}.size is {height}×{width} pixels; each side must be within that of \
                         image_size, {rows}×{columns}, and {MAX_PIXELS}"
                    )),
                }
            }
            (Resize::Native { .. }, Some([height, width])) => {
                Err(format!("resize is native and image_size is {height}×{width}; set only one of them"))
            }
            (Resize::Native { patches }, None) => match (1..=MAX_PIXELS).contains(&patches) {
                true => Ok(()),
                false => {
                    Err(format!("resize.native.patches is {patches}; it must be within 1..={MAX_PIXELS}"))
                }
            },
        }
    }
}

/// The sides of an image of `[height, width]` resized so that the shorter has `shortest` pixels, and the centre crop of
/// `size`. The longer side is rounded down to whole pixels, as in torchvision and transformers.
pub(crate) fn crop(of: [usize; 2], shortest: usize, size: [usize; 2]) -> [Side; 2] {
    let shorter = of[0].min(of[1]).max(1) as u128;
    // Products of two numbers below 64 million and a quotient of at least the shorter side's: both fit.
    let whole = of.map(|side| (side as u128 * shortest as u128 / shorter) as usize);
    [0, 1].map(|i| Side::middle(whole[i], size[i]))
}

/// The maximal `[rows, columns]` of patches to which an image of `[height, width]`, neither 0, can be resized.
///
/// SigLIP 2 searches for it in floating point (`get_image_size_for_max_num_patches` in transformers); this is exact:
/// the image grows, and the side that first needs another patch gets it, as long as there are at most `patches` in
/// total and `most` along a side.
pub(crate) fn native([height, width]: [usize; 2], patches: usize, most: [usize; 2]) -> [usize; 2] {
    let (mut rows, mut columns) = (1, 1);
    loop {
        // Rows are full at a scale of `rows / height`, columns at `columns / width`.
        let (more_rows, more_columns) = match (rows * width).cmp(&(columns * height)) {
            Ordering::Less => (rows + 1, columns),
            Ordering::Equal => (rows + 1, columns + 1),
            Ordering::Greater => (rows, columns + 1),
        };
        if more_rows * more_columns > patches || more_rows > most[0] || more_columns > most[1] {
            return [rows, columns];
        }
        (rows, columns) = (more_rows, more_columns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: [usize; 2] = [usize::MAX; 2];

    /// `get_image_size_for_max_num_patches` of transformers, whose result is a size in pixels.
    fn searched([height, width]: [usize; 2], patch: usize, patches: usize) -> [usize; 2] {
        let scaled = |scale: f64, side: usize| {
            let size = (side as f64 * scale / patch as f64).ceil() * patch as f64;
            size.max(patch as f64) as usize
        };
        let (mut low, mut high) = (1e-5 / 10.0, 100.0);
        while high - low >= 1e-5 {
            let scale = (low + high) / 2.0;
            let fits = (scaled(scale, height) / patch) * (scaled(scale, width) / patch) <= patches;
            if fits { low = scale } else { high = scale }
        }
        [scaled(low, height), scaled(low, width)]
    }

    #[test]
    fn native_sizes_match_siglip() {
        for (size, patches) in [
            ([480, 640], 256),
            ([375, 500], 196),
            ([1000, 30], 64),
            ([33, 2000], 100),
            ([224, 224], 196),
            ([17, 19], 1024),
            ([3000, 4000], 729),
            ([512, 512], 1),
        ] {
            let grid = native(size, patches, FREE);
            assert_eq!(grid.map(|side| side * 16), searched(size, 16, patches), "{size:?} {patches}");
        }
    }

    #[test]
    fn native_sizes_fill_the_budget_and_are_stable() {
        for height in 1..40 {
            for width in 1..40 {
                let grid = native([height, width], 30, FREE);
                assert!(grid[0] * grid[1] <= 30);
                assert_eq!(native(grid.map(|side| side * 8), 30, FREE), grid, "{height}×{width}");
            }
        }
        assert_eq!(native([1, 1_000_000], 50, FREE), [1, 50]);
        assert_eq!(native([1, 1_000_000], 50, [8, 9]), [1, 9]);
        assert_eq!(native([300, 200], 1000, [12, 12]), [12, 8]);
    }

    #[test]
    fn the_longer_side_is_rounded_down() {
        assert_eq!(crop([375, 500], 256, [224, 224]).map(|side| side.whole), [256, 341]);
        assert_eq!(crop([500, 375], 256, [224, 224])[0], Side { whole: 341, kept: 58..282 });
        assert_eq!(crop([1, 64_000_000], 256, [224, 224])[1].whole, 64_000_000 * 256);
    }
}
