//! Resizing as Pillow does it.

use crate::{picture::Image, read::MAX_PIXELS};
use fast_image_resize::images::{Image as Target, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use smalti_contract::TokenizeError;

/// The picture at `[height, width]` pixels, neither 0: bilinear, with the filter widened to the scale when
/// shrinking (`Image.resize(size, BILINEAR)` of Pillow).
pub(crate) fn resize(image: &Image, [height, width]: [usize; 2]) -> Result<Image, TokenizeError> {
    // Pillow rounds to whole pixel values between its two passes, across first. Asked for both at once,
    // `fast_image_resize` goes down first, and in a picture of sharp edges one value in four differs by 1.
    let across_first = image.height.checked_mul(width).is_some_and(|between| between <= MAX_PIXELS);
    // A column of a million pixels would grow on the way to a small picture. Where going across first makes
    // more than MAX_PIXELS, going down first cannot: the two counts multiply to those of source and target.
    let [h, w] = if across_first { [image.height, width] } else { [height, image.width] };
    pass(&pass(image, [h, w])?, [height, width])
}

fn pass(image: &Image, [height, width]: [usize; 2]) -> Result<Image, TokenizeError> {
    let failed = |problem: String| {
        let Image { height: h, width: w, .. } = image;
        TokenizeError::Input(format!(
            "image of {h}×{w} pixels cannot be resized to {height}×{width}: {problem}"
        ))
    };
    let side = |pixels: usize| u32::try_from(pixels).map_err(|e| failed(e.to_string()));
    let pixel = if image.channels == 1 { PixelType::U8 } else { PixelType::U8x3 };
    let source = ImageRef::new(side(image.width)?, side(image.height)?, &image.pixels, pixel)
        .map_err(|e| failed(e.to_string()))?;
    let mut target = Target::new(side(width)?, side(height)?, pixel);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    Resizer::new().resize(&source, &mut target, &options).map_err(|e| failed(e.to_string()))?;
    Image::new(width, height, image.channels, target.into_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shrinking_averages_and_keeps_flat_colour() {
        let stripes = Image::new(8, 4, 1, [0, 200].repeat(16)).unwrap();
        let small = resize(&stripes, [4, 2]).unwrap();
        assert!(small.pixels.iter().all(|p| p.abs_diff(100) <= 15), "{:?}", small.pixels);
        let flat = Image::new(5, 7, 3, [10, 20, 30].repeat(35)).unwrap();
        assert_eq!(resize(&flat, [3, 9]).unwrap().pixels, [10, 20, 30].repeat(27));
    }

    #[test]
    fn the_thinnest_pictures_stay_small_on_the_way() {
        // 100,000 by 4,000 pixels in between would be 400 megabytes.
        for (width, height, to) in [(1, 100_000, [2, 4000]), (100_000, 1, [4000, 2])] {
            let small = resize(&Image::new(width, height, 1, vec![77; 100_000]).unwrap(), to).unwrap();
            assert_eq!([small.height, small.width], to);
            // Fixed-point weights of 50,000 pixels for one leave the last unit open.
            assert!(small.pixels.iter().all(|pixel| pixel.abs_diff(77) <= 1), "{}", small.pixels[0]);
        }
    }
}
