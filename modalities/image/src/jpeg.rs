//! Reading and writing of JPEG files as by libjpeg-turbo, which Pillow and torchvision use.

use crate::exif;
use crate::image::Image;
use crate::read::{Header, MAX_PIXELS, check_size, unreadable};
use image::{ColorType, DynamicImage, GrayImage, RgbImage, metadata::Orientation};
use libjpeg_turbo_rs::{DecodeLimits, Decoder, JpegError, PixelFormat, Subsampling, compress};
use smalti_contract::{TokenizeError, memory};

/// The maximal number of scans of a progressive file, each of which decodes all blocks again. Encoders write about ten;
/// libjpeg-turbo recommends this limit for untrusted files.
const MAX_SCANS: usize = 500;

/// Read a JPEG file, grey or RGB, and its EXIF orientation.
///
/// Every value equals that of libjpeg-turbo, and so of Pillow and torchvision: exact inverse transform ("islow"),
/// smooth upsampling of colour, and smoothing if the last scans of a progressive file are missing. CMYK becomes RGB as
/// by Pillow's `convert`; if its colours are sampled more coarsely than black, they may differ by a few values, mostly
/// in the last column. Bytes after the image are ignored. Some cameras write theirs in the place of the end marker; such
/// a file is read if it has one scan, whose Huffman codes show that it is complete.
///
/// # Errors
/// [`TokenizeError::Format`] for corrupt or truncated bytes (libjpeg-turbo fills in grey), for more than
/// [`MAX_PIXELS`], for unusual sampling, and for files that Pillow does not read either: 12 bits, two components.
pub(crate) fn decode(bytes: &[u8]) -> Result<(DynamicImage, Orientation), TokenizeError> {
    let has_end = has_end_marker(bytes);
    let truncated = || unreadable("the JPEG has no end marker; the file is truncated");
    let explain = |error: JpegError| if has_end { unreadable(error) } else { truncated() };
    let mut decoder = Decoder::new_with_limits(bytes, limits()).map_err(explain)?;
    if !has_end && (decoder.has_multiple_scans() || decoder.is_arithmetic()) {
        return Err(truncated());
    }
    let format = check(&decoder, bytes.len())?;
    let [width, height] = [decoder.header().width, decoder.header().height].map(u32::from);
    let orientation = decoder.exif_data().and_then(exif::orientation);
    decoder.set_output_format(format);
    decoder.set_block_smoothing(true);
    let pixels = decoder.decode_image().map_err(explain)?.into_vec();
    let image = match format {
        PixelFormat::Grayscale => GrayImage::from_raw(width, height, pixels).map(Into::into),
        PixelFormat::Cmyk => RgbImage::from_raw(width, height, rgb_of_cmyk(&pixels)).map(Into::into),
        _ => RgbImage::from_raw(width, height, pixels).map(Into::into),
    };
    let image = image.ok_or_else(|| unreadable("the decoded JPEG has another size than its header"))?;
    Ok((image, orientation.unwrap_or(Orientation::NoTransforms)))
}

/// Read the header of a JPEG file, without its pixels.
///
/// # Errors
/// As of [`decode`], for what the header tells.
pub(crate) fn header(bytes: &[u8]) -> Result<Header, TokenizeError> {
    let decoder = Decoder::new_with_limits(bytes, limits()).map_err(unreadable)?;
    let color = match check(&decoder, bytes.len())? {
        PixelFormat::Grayscale => ColorType::L8,
        _ => ColorType::Rgb8,
    };
    let orientation = decoder.exif_data().and_then(exif::orientation).unwrap_or(Orientation::NoTransforms);
    let size = [decoder.header().width, decoder.header().height].map(u32::from);
    Ok(Header { size, color, orientation })
}

fn limits() -> DecodeLimits {
    DecodeLimits {
        max_scans: MAX_SCANS,
        // A progressive file in RGB needs memory for pixels, components, and their coefficients of 16 bits.
        max_memory: Some(memory::unpack_limit().min(16 * MAX_PIXELS as u64)),
        ..DecodeLimits::default()
    }
}

/// Check the header before decoding: fail for a size that `length` bytes cannot hold and for unsupported formats.
/// Returns the pixel format to decode to.
fn check(decoder: &Decoder, length: usize) -> Result<PixelFormat, TokenizeError> {
    let frame = decoder.header();
    let [width, height] = [frame.width, frame.height].map(u32::from);
    check_size(width, height)?;
    if width == 0 || height == 0 {
        return Err(unreadable(format!("a JPEG of {height}×{width} pixels; both sides must be at least 1")));
    }
    // A decoder would take long to fill a corrupt size. Huffman codes give a safe upper bound; other formats have none.
    if !decoder.is_arithmetic() && most_pixels(length) < u64::from(width) * u64::from(height) {
        return Err(unreadable(format!("{height}×{width} pixels in {length} bytes; the JPEG is truncated")));
    }
    let format = match (frame.components.len(), frame.precision) {
        (1, 8) => PixelFormat::Grayscale,
        (3, 8) => PixelFormat::Rgb,
        (4, 8) => PixelFormat::Cmyk,
        (components, bits) => {
            let found = format!("a JPEG of {components} components of {bits} bits");
            return Err(unreadable(found + "; 1, 3 or 4 components of 8 bits are read"));
        }
    };
    let sampling: Vec<_> =
        frame.components.iter().map(|it| (it.horizontal_sampling, it.vertical_sampling)).collect();
    if !is_usual(&sampling) {
        return Err(unreadable(format!(
            "a JPEG whose components are sampled as {sampling:?}; luma must be the finest, and both chroma components alike"
        )));
    }
    Ok(format)
}

/// Whether components are sampled as the decoder assumes: none finer than the first, luma; with four components, both
/// chroma components alike and black as fine as luma. Encoders write nothing else by default.
fn is_usual(sampling: &[(u8, u8)]) -> bool {
    let finest = sampling[0];
    let none_finer =
        sampling.iter().all(|&(x, y)| (1..=finest.0).contains(&x) && (1..=finest.1).contains(&y));
    none_finer && (sampling.len() != 4 || (sampling[1] == sampling[2] && sampling[3] == finest))
}

/// Convert CMYK as stored in a file, where 255 is no ink, to RGB: `Image.convert("RGB")` of Pillow.
pub(crate) fn rgb_of_cmyk(pixels: &[u8]) -> Vec<u8> {
    let (pixels, _) = pixels.as_chunks::<4>();
    let mut rgb = Vec::with_capacity(pixels.len() * 3);
    for &[cyan, magenta, yellow, white] in pixels {
        rgb.extend([cyan, magenta, yellow].map(|paper| {
            // Ink absorbs its share of the light that black leaves, rounded to a whole value.
            let product = u32::from(255 - paper) * u32::from(white) + 128;
            (u32::from(white) - (((product >> 8) + product) >> 8)) as u8
        }));
    }
    rgb
}

/// Write an image as a JPEG file of `quality` 1 to 100, with colour at half the resolution (4:2:0), as Pillow and
/// torchvision do.
///
/// # Errors
/// [`TokenizeError::Input`] for an image that [`Image::new`] rejects and for a side of more than 65,500 pixels.
pub fn write_jpeg(image: &Image, quality: u8) -> Result<Vec<u8>, TokenizeError> {
    const LONGEST: usize = 65_500;
    image.check()?;
    let &Image { width, height, channels, ref pixels } = image;
    if width.max(height) > LONGEST {
        return Err(TokenizeError::Input(format!(
            "image is {height}×{width} pixels; a JPEG has at most {LONGEST} a side"
        )));
    }
    let format = if channels == 1 { PixelFormat::Grayscale } else { PixelFormat::Rgb };
    compress(pixels, width, height, format, quality.clamp(1, 100), Subsampling::S420)
        .map_err(|e| TokenizeError::Input(e.to_string()))
}

/// The maximal number of pixels in a file of `bytes` with Huffman codes: every block of 8×8 needs at least one bit, the
/// code of its mean.
fn most_pixels(bytes: usize) -> u64 {
    8 * 64 * bytes as u64
}

/// Whether a JPEG file's markers lead to its end-of-image marker (ITU-T T.81, annex B) before the bytes end.
///
/// Decoders silently fill missing scans with grey, so a truncated file could become a blurred image.
fn has_end_marker(bytes: &[u8]) -> bool {
    const END_OF_IMAGE: u8 = 0xd9;
    let mut rest = bytes;
    while let Some(marker) = next_marker(&mut rest) {
        match marker {
            END_OF_IMAGE => return true,
            // Start of image, restarts and TEM have no length; a restart is followed by more of the scan.
            0xd8 | 0xd0..=0xd7 | 0x01 => {}
            // All others have a length, which includes itself. They may contain another image, a thumbnail.
            _ => {
                let Some(&[high, low]) = rest.first_chunk() else { return false };
                let Some(after) = rest.get(u16::from_be_bytes([high, low]) as usize..) else { return false };
                rest = after;
            }
        }
    }
    false
}

/// Find the next marker and move `rest` past it; returns its code. Skips coded data, in which 0xff is followed by 0x00,
/// and fill bytes, 0xff before the 0xff of a marker.
fn next_marker(rest: &mut &[u8]) -> Option<u8> {
    loop {
        let start = memchr::memchr(0xff, rest)?;
        let marker = *rest.get(start + 1)?;
        match marker {
            0xff => *rest = &rest[start + 1..],
            _ => *rest = &rest[start + 2..],
        }
        if !matches!(marker, 0x00 | 0xff) {
            return Some(marker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read;

    /// Start; an application segment that contains an end marker; a scan with a stuffed 0xff and a restart; end.
    const WHOLE: [u8; 20] =
        [0xff, 0xd8, 0xff, 0xe1, 0, 4, 0xff, 0xd9, 0xff, 0xda, 0, 2, 7, 0xff, 0, 0xff, 0xd3, 9, 0xff, 0xd9];

    #[test]
    fn only_the_whole_file_has_its_end_marker() {
        assert!(has_end_marker(&WHOLE));
        assert!(
            has_end_marker(&[&WHOLE[..18], &[0xff, 0xff, 0xd9, 1, 2]].concat()),
            "fill bytes, and a tail"
        );
        for length in 0..WHOLE.len() {
            assert!(!has_end_marker(&WHOLE[..length]), "{length} bytes");
        }
    }

    #[test]
    fn a_written_image_is_read_back() {
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
    fn images_that_jpeg_cannot_hold_are_errors() {
        let long = Image::new(70_000, 1, 1, vec![0; 70_000]).unwrap();
        assert!(write_jpeg(&long, 90).unwrap_err().to_string().contains("1×70000"));
        let wrong = Image { width: 2, height: 2, channels: 2, pixels: vec![0; 8] };
        assert!(write_jpeg(&wrong, 90).is_err());
    }
}
