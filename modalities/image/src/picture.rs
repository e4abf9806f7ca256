//! One picture, and its conversion between grey and RGB.

use smalti_contract::TokenizeError;
use std::borrow::Cow;

/// A picture of 8-bit pixels.
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
    /// A picture of these pixels, row-major `[height, width, channels]`.
    ///
    /// # Errors
    /// [`TokenizeError::Input`] where a side is 0, `channels` is neither 1 nor 3, or the number of pixels is
    /// another than the sides say.
    pub fn new(width: usize, height: usize, channels: usize, pixels: Vec<u8>) -> Result<Self, TokenizeError> {
        let image = Self { width, height, channels, pixels };
        image.check()?;
        Ok(image)
    }

    /// What [`Image::new`] asks for: the fields are public, so a reader of them checks.
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

    /// The same picture with 1 or 3 channels; of another number it is left as it is.
    ///
    /// Grey is ITU-R 601 luma in the 16-bit fixed point of Pillow's mode "L"; RGB of a grey picture repeats it.
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
    fn grey_is_what_pillow_makes_of_rgb() {
        // Image.new("RGB", (1, 1), c).convert("L") for pure red, green, blue, white and (12, 200, 99).
        let pixels = vec![255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255, 12, 200, 99];
        let image = Image::new(5, 1, 3, pixels).unwrap();
        assert_eq!(image.to_channels(1).pixels, [76, 150, 29, 255, 132]);
    }

    #[test]
    fn grey_comes_back_from_rgb() {
        let grey = Image::new(16, 16, 1, (0..=255).collect()).unwrap();
        assert_eq!(*grey.to_channels(3).to_channels(1), grey);
        assert!(matches!(grey.to_channels(1), Cow::Borrowed(_)));
    }

    #[test]
    fn sides_and_pixels_agree() {
        let refusal = |w, h, c, n| Image::new(w, h, c, vec![0; n]).unwrap_err().to_string();
        assert_eq!(refusal(0, 32, 1, 0), "image is 32×0 pixels; both sides must be at least 1");
        assert_eq!(refusal(2, 2, 4, 16), "image has 4 channels; it must have 1 (grey) or 3 (RGB)");
        assert_eq!(refusal(2, 3, 3, 17), "image of 3×2 pixels and 3 channels cannot have 17 values");
        assert!(refusal(usize::MAX, 2, 3, 4).contains("cannot have 4 values"));
    }
}
