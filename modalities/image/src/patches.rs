//! Cutting of an image into square patches, and the inverse.

use crate::image::Image;
use crate::normalise::Normaliser;
use smalti_contract::{Content, Group, TokenizeError};
use std::ops::Range;

/// A grid of patches on an image: `patch` pixels a side, one every `stride` pixels, `stride <= patch`.
///
/// Patches are centred, `ceil(side / stride)` along a side, and padded with the mean beyond the image.
#[derive(Clone, Copy)]
pub(crate) struct Tiling {
    pub(crate) patch: usize,
    pub(crate) stride: usize,
}

impl Tiling {
    /// The number of patches along a side of `side` pixels.
    pub(crate) fn count(self, side: usize) -> usize {
        side.div_ceil(self.stride)
    }

    /// The number of pixels by which the first patch begins before the image; less than a patch. `side` is at least 1.
    fn lead(self, side: usize) -> usize {
        ((self.count(side) - 1) * self.stride + self.patch - side) / 2
    }

    /// The pixels of the side that patch `number` covers, and the number of border pixels before them.
    fn covered(self, number: usize, side: usize) -> (Range<usize>, usize) {
        let (begin, lead) = (number * self.stride, self.lead(side));
        (begin.saturating_sub(lead)..(begin + self.patch - lead).min(side), lead.saturating_sub(begin))
    }

    /// The pixels of the side in the middle of patch `number`, such that each pixel belongs to one patch. The first and
    /// the last patch also own the pixels up to the image's edge.
    fn middle(self, number: usize, side: usize) -> Range<usize> {
        let begin = |number: usize| match number {
            0 => 0,
            n if n == self.count(side) => side,
            n => n * self.stride + (self.patch - self.stride) / 2 - self.lead(side),
        };
        begin(number)..begin(number + 1)
    }
}

/// Cut an image into patches, row by row.
pub(crate) fn cut(image: &Image, tiling: Tiling, normaliser: &Normaliser) -> Group {
    let &Image { width, height, channels, ref pixels } = image;
    let (rows, columns) = (tiling.count(height), tiling.count(width));
    let dim = tiling.patch * tiling.patch * channels;
    let mut values = vec![0.0; rows * columns * dim]; // [rows * columns, patch * patch * channels]; 0 is the mean
    let mut positions = Vec::with_capacity(rows * columns * 2);
    for (i, patch) in values.chunks_exact_mut(dim).enumerate() {
        let (row, column) = (i / columns, i % columns);
        positions.extend([row as u32, column as u32]);
        let ((lines, above), (places, before)) = (tiling.covered(row, height), tiling.covered(column, width));
        let (begin, n) = (before * channels, places.len() * channels);
        for (y, line) in lines.zip(patch.chunks_exact_mut(tiling.patch * channels).skip(above)) {
            let start = (y * width + places.start) * channels;
            normaliser.write(&pixels[start..start + n], &mut line[begin..begin + n]);
        }
    }
    Group { positions, ..Group::sequence(Content::Features { values, dim }) }
}

/// Join patches at their positions to an image; overlapping patches contribute their middle.
///
/// The image has `size`, `[height, width]`, if that gives this number of patches; otherwise its sides are whole
/// strides.
///
/// # Errors
/// [`TokenizeError::Input`] if the positions are not those of a full grid, each once.
pub(crate) fn join(
    values: &[f32],
    positions: &[u32],
    tiling: Tiling,
    (size, channels): (Option<[usize; 2]>, usize),
    normaliser: &Normaliser,
) -> Result<Image, TokenizeError> {
    let input_error = |problem| Err(TokenizeError::Input(problem));
    let places = || positions.chunks_exact(2).map(|place| (place[0] as usize, place[1] as usize));
    let n = places().len();
    let Some(rows) = places().map(|(row, _)| row + 1).max() else {
        return input_error("expected at least 1 patch; found 0".into());
    };
    let columns = places().map(|(_, column)| column + 1).max().unwrap_or(0);
    if rows.checked_mul(columns) != Some(n) {
        return input_error(format!("{n} patches do not fill a grid of {rows}×{columns}"));
    }
    let whole = [rows, columns].map(|patches| patches * tiling.stride);
    let [height, width] =
        size.filter(|size| size.map(|side| tiling.count(side)) == [rows, columns]).unwrap_or(whole);
    let Tiling { patch, stride } = tiling;
    let mut seen = vec![false; n];
    let mut pixels = vec![0; height * width * channels];
    for ((row, column), values) in places().zip(values.chunks_exact(patch * patch * channels)) {
        if std::mem::replace(&mut seen[row * columns + column], true) {
            return input_error(format!("two patches are at row {row}, column {column}"));
        }
        let (lines, places) = (tiling.middle(row, height), tiling.middle(column, width));
        let first = places.start + tiling.lead(width) - column * stride;
        for y in lines {
            let line = y + tiling.lead(height) - row * stride;
            let features = &values[(line * patch + first) * channels..][..places.len() * channels];
            let target = &mut pixels[(y * width + places.start) * channels..][..features.len()];
            target.iter_mut().zip(normaliser.pixels(features)).for_each(|(to, pixel)| *to = pixel);
        }
    }
    Image::new(width, height, channels, pixels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(patch: usize) -> Tiling {
        Tiling { patch, stride: patch }
    }

    #[test]
    fn features_are_ordered_by_row_column_channel() {
        // 2×4 RGB pixels in patches of 2×2; feature = pixel / 255.
        let image = Image::new(4, 2, 3, (0..24).collect()).unwrap();
        let group = cut(&image, plain(2), &Normaliser::new(&[0.0; 3], &[1.0; 3]));
        let first: Vec<f32> = [0, 1, 2, 3, 4, 5, 12, 13, 14, 15, 16, 17].map(|p| p as f32 / 255.0).into();
        assert_eq!(group.content.features().unwrap()[..12], first);
        assert_eq!(group.positions, [0, 0, 0, 1]);
        assert_eq!((group.order, group.time), (vec![0, 1], vec![0, 1]));
    }

    #[test]
    fn patches_are_joined_by_position() {
        let normaliser = Normaliser::new(&[0.0], &[1.0]);
        let join = |positions: &[u32]| {
            let values: Vec<f32> = (0..positions.len() / 2).map(|i| i as f32 / 255.0).collect();
            join(&values, positions, plain(1), (None, 1), &normaliser)
        };
        assert_eq!(join(&[1, 1, 0, 0, 0, 1, 1, 0]).unwrap().pixels, [1, 2, 3, 0]);
        let error_of = |positions| join(positions).unwrap_err().to_string();
        assert_eq!(error_of(&[]), "expected at least 1 patch; found 0");
        assert_eq!(error_of(&[0, 0, 1, 1]), "2 patches do not fill a grid of 2×2");
        assert_eq!(error_of(&[0, 1, 0, 1]), "two patches are at row 0, column 1");
    }

    #[test]
    fn overlapping_patches_are_centred_and_padded_with_the_mean() {
        // Four pixels in a row, patches of 3 every 2: they cover one more pixel, at the bottom and at the right.
        let image = Image::new(4, 1, 1, vec![10, 20, 30, 40]).unwrap();
        let normaliser = Normaliser::new(&[0.2], &[1.0]);
        let group = cut(&image, Tiling { patch: 3, stride: 2 }, &normaliser);
        let pixel = |p: u8| f32::from(p) / 255.0 - 0.2;
        let [a, b, c, d] = [10, 20, 30, 40].map(pixel);
        let (none, zero) = ([0.0; 3], 0.0); // the mean
        let expected = [none, [a, b, c], none, none, [c, d, zero], none].concat();
        assert_eq!(group.content.features().unwrap(), expected);
        assert_eq!(group.positions, [0, 0, 0, 1]);
    }

    #[test]
    fn overlapping_patches_survive_a_round_trip() {
        let normaliser = Normaliser::new(&[0.3], &[0.2]);
        for (patch, stride) in [(1, 1), (3, 2), (4, 2), (5, 4), (7, 1), (8, 3), (6, 6)] {
            let tiling = Tiling { patch, stride };
            for (height, width) in [(1, 1), (1, 9), (8, 6), (13, 11), (24, 30)] {
                let pixels = (0..height * width).map(|i| (i * 37 % 256) as u8).collect();
                let image = Image::new(width, height, 1, pixels).unwrap();
                let group = cut(&image, tiling, &normaliser);
                assert_eq!(group.len(), height.div_ceil(stride) * width.div_ceil(stride));
                let values = group.content.features().unwrap();
                let size = Some([height, width]);
                let back = join(values, &group.positions, tiling, (size, 1), &normaliser).unwrap();
                assert_eq!(back, image, "{height}×{width} in patches of {patch} every {stride}");
            }
        }
    }
}
