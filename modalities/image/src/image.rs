//! One image, and its conversion between grey and RGB.

use crate::resize::{Filter, Side, resize};
use smalti_contract::TokenizeError;
use std::borrow::Cow;
use std::ops::Range;

/// An image of 8-bit pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
    /// 1 for grey, 3 for RGB.
    pub channels: usize,
    /// Row-major `[height, width, channels]`.
    pub pixels: Vec<u8>,
}

impl Image {
    /// Build an image from pixels, row-major `[height, width, channels]`.
    ///
    /// # Errors
    /// [`TokenizeError::Input`] if a side is 0, `channels` is neither 1 nor 3, or the number of values is not `height *
    /// width * channels`.
    pub fn new(width: usize, height: usize, channels: usize, pixels: Vec<u8>) -> Result<Self, TokenizeError> {
        let image = Self { width, height, channels, pixels };
        image.check()?;
        Ok(image)
    }

    /// The check of [`Image::new`]. The fields are public, so users of an image check again.
    pub(crate) fn check(&self) -> Result<(), TokenizeError> {
        let Self { width, height, channels, ref pixels } = *self;
        let problem = if width == 0 || height == 0 {
            format!("image is {height}×{width} pixels; both sides must be at least 1")
        } else if ![1, 3].contains(&channels) {
            format!("image has {channels} channels; it must have 1 (grey) or 3 (RGB)")
        } else if Some(pixels.len()) != height.checked_mul(width).and_then(|n| n.checked_mul(channels)) {
            let found = pixels.len();
            format!("image of {height}×{width} pixels and {channels} channels cannot have {found} values")
        } else {
            return Ok(());
        };
        Err(TokenizeError::Input(problem))
    }

    /// Resize the image to `[height, width]` in pixels, as `Image.resize` of Pillow.
    ///
    /// # Errors
    /// [`TokenizeError::Input`] for an image that [`Image::new`] rejects, for a side of 0, and for more than
    /// [`MAX_PIXELS`](crate::MAX_PIXELS).
    pub fn resize(&self, size: [usize; 2], filter: Filter) -> Result<Image, TokenizeError> {
        self.check()?;
        resize(self, size.map(Side::all), filter).map(Cow::into_owned)
    }

    /// Crop the image to these rows and columns, which must lie inside.
    pub(crate) fn cut(&self, rows: Range<usize>, columns: Range<usize>) -> Self {
        let line = self.width * self.channels;
        let mut pixels = Vec::with_capacity(rows.len() * columns.len() * self.channels);
        for row in rows.clone() {
            let begin = row * line + columns.start * self.channels;
            pixels.extend_from_slice(&self.pixels[begin..begin + columns.len() * self.channels]);
        }
        Self { width: columns.len(), height: rows.len(), channels: self.channels, pixels }
    }

    /// Fill these rows and columns, which must lie inside, with one colour.
    pub(crate) fn fill(&mut self, rows: Range<usize>, columns: Range<usize>, colour: &[u8]) {
        let (channels, line) = (self.channels, self.width * self.channels);
        for row in self.pixels.chunks_exact_mut(line).skip(rows.start).take(rows.len()) {
            let part = &mut row[columns.start * channels..columns.end * channels];
            part.chunks_exact_mut(channels).for_each(|pixel| pixel.copy_from_slice(colour));
        }
    }

    /// Paste another image with the same number of channels at `[row, column]`; it must lie inside.
    pub(crate) fn place(&mut self, other: &Image, [row, column]: [usize; 2]) {
        let (line, other_line) = (self.width * self.channels, other.width * other.channels);
        let rows = self.pixels.chunks_exact_mut(line).skip(row);
        for (to, from) in rows.zip(other.pixels.chunks_exact(other_line)) {
            to[column * other.channels..][..other_line].copy_from_slice(from);
        }
    }

    /// Convert the image to 1 or 3 channels; for another number it stays unchanged.
    ///
    /// Grey is ITU-R 601 luma in the 16-bit fixed point of Pillow's mode "L"; RGB of a grey image repeats it.
    pub fn to_channels(&self, channels: usize) -> Cow<'_, Image> {
        let pixels = match (self.channels, channels) {
            (1, 3) => self.pixels.iter().flat_map(|&grey| [grey; 3]).collect(),
            (3, 1) => {
                let luma = |rgb: &[u8]| {
                    let weighted =
                        rgb.iter().zip([19595, 38470, 7471]).map(|(&c, weight)| u32::from(c) * weight);
                    ((weighted.sum::<u32>() + 0x8000) >> 16) as u8
                };
                self.pixels.chunks_exact(3).map(luma).collect()
            }
            _ => return Cow::Borrowed(self),
        };
        Cow::Owned(Image { channels, pixels, ..*self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grey_matches_pillow() {
        // Image.new("RGB", (1, 1), c).convert("L") for pure red, green, blue, white and (12, 200, 99).
        let pixels = vec![255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255, 12, 200, 99];
        let image = Image::new(5, 1, 3, pixels).unwrap();
        assert_eq!(image.to_channels(1).pixels, [76, 150, 29, 255, 132]);
    }

    #[test]
    fn grey_to_rgb_and_back_is_unchanged() {
        let grey = Image::new(16, 16, 1, (0..=255).collect()).unwrap();
        assert_eq!(*grey.to_channels(3).to_channels(1), grey);
        assert!(matches!(grey.to_channels(1), Cow::Borrowed(_)));
    }

    #[test]
    fn rectangles_are_cropped_and_filled() {
        let mut image = Image::new(4, 3, 1, (0..12).collect()).unwrap();
        assert_eq!(image.cut(1..3, 2..4), Image::new(2, 2, 1, vec![6, 7, 10, 11]).unwrap());
        image.fill(0..2, 1..3, &[99]);
        assert_eq!(image.pixels, [0, 99, 99, 3, 4, 99, 99, 7, 8, 9, 10, 11]);
        image.place(&Image::new(2, 1, 1, vec![50, 51]).unwrap(), [2, 1]);
        assert_eq!(image.pixels[8..], [8, 50, 51, 11]);
        let mut colours = Image::new(2, 1, 3, vec![0, 1, 2, 3, 4, 5]).unwrap();
        assert_eq!(colours.cut(0..1, 1..2).pixels, [3, 4, 5]);
        colours.fill(0..1, 0..1, &[7, 8, 9]);
        assert_eq!(colours.pixels, [7, 8, 9, 3, 4, 5]);
    }

    #[test]
    fn sides_must_match_the_pixels() {
        let error_of = |w, h, c, n| Image::new(w, h, c, vec![0; n]).unwrap_err().to_string();
        assert_eq!(error_of(0, 32, 1, 0), "image is 32×0 pixels; both sides must be at least 1");
        assert_eq!(error_of(2, 2, 4, 16), "image has 4 channels; it must have 1 (grey) or 3 (RGB)");
        assert_eq!(error_of(2, 3, 3, 17), "image of 3×2 pixels and 3 channels cannot have 17 values");
        assert!(error_of(usize::MAX, 2, 3, 4).contains("cannot have 4 values"));
    }
}
