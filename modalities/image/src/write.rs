//! Writing an image file.

use crate::image::Image;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use smalti_contract::TokenizeError;

/// Write an image as a PNG file.
///
/// # Errors
/// [`TokenizeError::Input`] for neither 1 nor 3 channels, and for a size that PNG does not support.
pub fn write_png(image: &Image) -> Result<Vec<u8>, TokenizeError> {
    image.check()?;
    let failed = |problem: String| TokenizeError::Input(format!("encoding as PNG failed: {problem}"));
    let colour = if image.channels == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
    let size = |side: usize| u32::try_from(side).map_err(|e| failed(e.to_string()));
    let (width, height) = (size(image.width)?, size(image.height)?);
    let mut bytes = vec![];
    let encoder = PngEncoder::new(&mut bytes);
    encoder.write_image(&image.pixels, width, height, colour).map_err(|e| failed(e.to_string()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_image_is_read_back() {
        for channels in [1, 3] {
            let pixels: Vec<u8> = (0..12 * channels).map(|i| (i * 37) as u8).collect();
            let image = Image::new(4, 3, channels, pixels).unwrap();
            assert_eq!(crate::read(&write_png(&image).unwrap()).unwrap(), image);
        }
        let two = Image { width: 1, height: 1, channels: 2, pixels: vec![0, 0] };
        assert!(write_png(&two).unwrap_err().to_string().contains("image has 2 channels"));
    }
}
