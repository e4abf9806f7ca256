//! A picture cut into square patches, and put together again.

use crate::normalise::Normaliser;
use crate::picture::Image;
use smalti_contract::{Content, Group, TokenizeError};

/// The patches of a picture whose sides are multiples of `patch`, row by row.
pub(crate) fn cut(image: &Image, patch: usize, normaliser: &Normaliser) -> Group {
    let (rows, columns) = (image.height / patch, image.width / patch);
    let mut values = Vec::with_capacity(image.pixels.len()); // [rows * columns, patch * patch * channels]
    let mut positions = Vec::with_capacity(rows * columns * 2);
    for row in 0..rows {
        for column in 0..columns {
            positions.extend([row as u32, column as u32]);
            for line in row * patch..(row + 1) * patch {
                let start = (line * image.width + column * patch) * image.channels;
                values.extend(normaliser.features(&image.pixels[start..start + patch * image.channels]));
            }
        }
    }
    let dim = patch * patch * image.channels;
    Group { positions, ..Group::sequence(Content::Features { values, dim }) }
}

/// The picture of patches, each put where its position says.
///
/// # Errors
/// [`TokenizeError::Input`] where the positions are not every place of a grid, each once.
pub(crate) fn join(
    values: &[f32],
    positions: &[u32],
    patch: usize,
    channels: usize,
    normaliser: &Normaliser,
) -> Result<Image, TokenizeError> {
    let refused = |problem| Err(TokenizeError::Input(problem));
    let places = || positions.chunks_exact(2).map(|place| (place[0] as usize, place[1] as usize));
    let n = places().len();
    let Some(rows) = places().map(|(row, _)| row + 1).max() else {
        return refused("there are no patches; an image has at least 1".into());
    };
    let columns = places().map(|(_, column)| column + 1).max().unwrap_or(0);
    if rows.checked_mul(columns) != Some(n) {
        return refused(format!("{n} patches do not fill a grid of {rows}×{columns}"));
    }
    let mut seen = vec![false; n];
    let (height, width) = (rows * patch, columns * patch);
    let mut pixels = vec![0; height * width * channels];
    for ((row, column), values) in places().zip(values.chunks_exact(patch * patch * channels)) {
        if std::mem::replace(&mut seen[row * columns + column], true) {
            return refused(format!("two patches are at row {row}, column {column}"));
        }
        for (y, line) in values.chunks_exact(patch * channels).enumerate() {
            let start = ((row * patch + y) * width + column * patch) * channels;
            let target = &mut pixels[start..start + patch * channels];
            target.iter_mut().zip(normaliser.pixels(line)).for_each(|(to, pixel)| *to = pixel);
        }
    }
    Image::new(width, height, channels, pixels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inside_a_patch_are_row_column_channel() {
        // 2×4 RGB pixels in patches of 2×2; feature = pixel / 255.
        let image = Image::new(4, 2, 3, (0..24).collect()).unwrap();
        let group = cut(&image, 2, &Normaliser::new(&[0.0; 3], &[1.0; 3]));
        let first: Vec<f32> = [0, 1, 2, 3, 4, 5, 12, 13, 14, 15, 16, 17].map(|p| p as f32 / 255.0).into();
        assert_eq!(group.content.features().unwrap()[..12], first);
        assert_eq!(group.positions, [0, 0, 0, 1]);
        assert_eq!((group.order, group.time), (vec![0, 1], vec![0, 1]));
    }

    #[test]
    fn patches_are_put_where_their_position_says() {
        let normaliser = Normaliser::new(&[0.0], &[1.0]);
        let join = |positions: &[u32]| {
            let values: Vec<f32> = (0..positions.len() / 2).map(|i| i as f32 / 255.0).collect();
            join(&values, positions, 1, 1, &normaliser)
        };
        assert_eq!(join(&[1, 1, 0, 0, 0, 1, 1, 0]).unwrap().pixels, [1, 2, 3, 0]);
        let refusal = |positions| join(positions).unwrap_err().to_string();
        assert_eq!(refusal(&[]), "there are no patches; an image has at least 1");
        assert_eq!(refusal(&[0, 0, 1, 1]), "2 patches do not fill a grid of 2×2");
        assert_eq!(refusal(&[0, 1, 0, 1]), "two patches are at row 0, column 1");
    }
}
