//! Writing a picture file.

use crate::Image;
use image::{ExtendedColorType, codecs::jpeg::JpegEncoder};
use smalti_contract::TokenizeError;

/// A picture as a JPEG file of `quality` 1 to 100.
///
/// # Errors
/// [`TokenizeError::Input`] for what [`Image::new`] refuses and for a side of more than 65,535 pixels.
pub fn write_jpeg(image: &Image, quality: u8) -> Result<Vec<u8>, TokenizeError> {
    image.check()?;
    let color = if image.channels == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
    let size = |side: usize| u16::try_from(side).map(u32::from).map_err(|_| too_large(image));
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality.clamp(1, 100))
        .encode(&image.pixels, size(image.width)?, size(image.height)?, color)
        .map_err(|e| TokenizeError::Input(e.to_string()))?;
    Ok(bytes)
}

fn too_large(image: &Image) -> TokenizeError {
    let Image { width, height, .. } = image;
    TokenizeError::Input(format!("image is {height}×{width} pixels; a JPEG has at most 65535 a side"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read;

    #[test]
    fn what_is_written_is_read_again() {
        for channels in [1, 3] {
            let pixels: Vec<u8> = (0..40 * 24 * channels).map(|i| (i / channels % 40 * 5) as u8).collect();
            let image = Image::new(40, 24, channels, pixels.clone()).unwrap();
            let again = read(&write_jpeg(&image, 95).unwrap()).unwrap();
            assert_eq!((again.width, again.height, again.channels), (40, 24, channels));
            let off = again.pixels.iter().zip(&pixels).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(off <= Some(12), "{off:?}");
        }
    }

    #[test]
    fn what_no_jpeg_holds_is_refused() {
        let long = Image::new(70_000, 1, 1, vec![0; 70_000]).unwrap();
        assert!(write_jpeg(&long, 90).unwrap_err().to_string().contains("1×70000"));
        let wrong = Image { width: 2, height: 2, channels: 2, pixels: vec![0; 8] };
        assert!(write_jpeg(&wrong, 90).is_err());
    }
}
