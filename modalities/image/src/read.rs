//! Reading an image file.

use crate::{exif, image::Image, jpeg, preset::WHITE, tiff};
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use smalti_contract::{Array, Numbers, TokenizeError, Value, caught, memory};
use std::io::Cursor;

/// The maximal number of pixels of an image. A small file can decompress to any number.
pub const MAX_PIXELS: usize = 64_000_000;

/// The maximal number of bytes that a decoder may allocate at once: [`MAX_PIXELS`] of four channels of 16 bits, or what one
/// file may unpack to.
pub(crate) fn max_bytes() -> u64 {
    memory::unpack_limit().min(8 * MAX_PIXELS as u64)
}

/// Read a PNG, JPEG, GIF, BMP, TIFF or WebP file over a white background. See [`read_over`].
///
/// # Errors
/// As of [`read_over`].
pub fn read(bytes: &[u8]) -> Result<Image, TokenizeError> {
    read_over(bytes, WHITE)
}

/// Read a PNG, JPEG, GIF, BMP, TIFF or WebP file: the first frame of an animation, the first page of a document.
///
/// Grey images have 1 channel, all others 3. 16 bits are rounded to 8; the floats of a TIFF must be within 0..=1, from
/// black to white; transparent pixels are composited over `background` (red, green, blue); the orientation of EXIF data
/// or TIFF tags is applied. Colour profiles are not applied, as in Pillow and torchvision.
///
/// # Errors
/// [`TokenizeError::Format`] for empty, unknown, corrupt or truncated bytes, for more than [`MAX_PIXELS`], and for floats
/// out of range. A JPEG without its end marker is read if its one scan is complete.
pub fn read_over(bytes: &[u8], background: [u8; 3]) -> Result<Image, TokenizeError> {
    if bytes.is_empty() {
        return Err(unreadable("the file is empty"));
    }
    let (mut image, orientation) = caught(|| decode(bytes)).unwrap_or_else(|panic| Err(failed(&panic)))?;
    image.apply_orientation(orientation);
    flatten(image, background)
}

/// Read the image of a field's value: an encoded file, or pixels `[height, width]` or `[height, width, channels]` in
/// 0..=255.
///
/// # Errors
/// [`TokenizeError::Input`] for a value of another type, [`TokenizeError::Format`] for a file that cannot be decoded.
pub(crate) fn read_value(value: Value, background: [u8; 3]) -> Result<Image, TokenizeError> {
    const EXPECTED: &str =
        "an image: a file, or an array of bytes [height, width] or [height, width, channels]";
    let unexpected = |found: String| TokenizeError::Input(format!("expected {EXPECTED}; found {found}"));
    match value {
        Value::File(file) => read_over(&file.bytes, background),
        Value::Array(Array { shape, numbers: Numbers::U8(pixels) }) => match shape[..] {
            [height, width] => Image::new(width, height, 1, pixels),
            [height, width, channels] => Image::new(width, height, channels, pixels),
            _ => Err(unexpected(format!("an array {shape:?}"))),
        },
        Value::Array(Array { shape, .. }) => Err(unexpected(format!("an array {shape:?} of real numbers"))),
        Value::Text(_) => Err(unexpected(
            "text; a column of paths of files is named path, file_name or NAME.path, such as image.path"
                .into(),
        )),
        other => Err(other.unexpected(EXPECTED)),
    }
}

/// Decode the image as stored in the file, and its orientation.
fn decode(bytes: &[u8]) -> Result<(DynamicImage, Orientation), TokenizeError> {
    let reader = recognise(bytes)?;
    match reader.format() {
        Some(ImageFormat::Jpeg) => return jpeg::decode(bytes),
        Some(ImageFormat::Tiff) => return tiff::decode(bytes),
        _ => {}
    }
    let mut decoder = reader.into_decoder().map_err(unreadable)?;
    let orientation = header_of(&mut decoder)?.orientation;
    Ok((DynamicImage::from_decoder(decoder).map_err(unreadable)?, orientation))
}

/// The header of an image, as stored in the file.
pub(crate) struct Header {
    /// `[width, height]` in pixels, before the orientation is applied.
    pub size: [u32; 2],
    /// The channels of the decoded image.
    pub color: ColorType,
    pub orientation: Orientation,
}

/// Read the header of an image, without its pixels.
///
/// # Errors
/// As of [`read_over`], for what the header tells.
pub(crate) fn header(bytes: &[u8]) -> Result<Header, TokenizeError> {
    let read = || {
        let reader = recognise(bytes)?;
        match reader.format() {
            Some(ImageFormat::Jpeg) => jpeg::header(bytes),
            Some(ImageFormat::Tiff) => tiff::header(bytes),
            _ => header_of(&mut reader.into_decoder().map_err(unreadable)?),
        }
    };
    caught(read).unwrap_or_else(|panic| Err(failed(&panic)))
}

/// The error of a file whose decoder panicked.
fn failed(panic: &str) -> TokenizeError {
    unreadable(format!("it is corrupt: the decoder failed: {panic}"))
}

/// A reader of the file's format, with a bound on memory.
fn recognise(bytes: &[u8]) -> Result<ImageReader<Cursor<&[u8]>>, TokenizeError> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(unreadable)?;
    if reader.format().is_none() {
        return Err(match bytes {
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..]
            | [b'f', b'L', b'a', b'C', ..]
            | [b'O', b'g', b'g', b'S', ..]
            | [b'I', b'D', b'3', ..] => unreadable(
                "it is an audio clip (WAV, FLAC, Ogg or MP3); set the modality of this part to audio",
            ),
            _ => unreadable("unknown format; PNG, JPEG, GIF, BMP, TIFF, WebP and IDX are known"),
        });
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(max_bytes());
    reader.limits(limits);
    Ok(reader)
}

fn header_of(decoder: &mut impl ImageDecoder) -> Result<Header, TokenizeError> {
    let (width, height) = decoder.dimensions();
    check_size(width, height)?;
    let exif = decoder.exif_metadata().map_err(unreadable)?;
    let orientation = exif.and_then(|exif| exif::orientation(&exif)).unwrap_or(Orientation::NoTransforms);
    Ok(Header { size: [width, height], color: decoder.color_type(), orientation })
}

/// The channels of an image without transparency: 1 for grey, also over a grey background, otherwise 3.
pub(crate) fn channels(color: ColorType, background: [u8; 3]) -> usize {
    let is_grey = background.iter().all(|value| *value == background[0]);
    if color.has_color() || color.has_alpha() && !is_grey { 3 } else { 1 }
}

/// Fail for more than [`MAX_PIXELS`], and for more than fit into [`memory::unpack_limit`].
pub(crate) fn check_size(width: u32, height: u32) -> Result<(), TokenizeError> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels > MAX_PIXELS as u64 {
        return Err(unreadable(format!("{height}×{width} pixels; at most {MAX_PIXELS} are read")));
    }
    // Four channels, and a copy of them.
    memory::check(8 * pixels).map_err(|e| unreadable(format!("{height}×{width} pixels: {e}")))
}

/// Convert to 8 bits without transparency.
fn flatten(image: DynamicImage, background: [u8; 3]) -> Result<Image, TokenizeError> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let color = image.color();
    let channels = channels(color, background);
    let pixels = match (channels, color.has_alpha()) {
        (1, false) => image.into_luma8().into_raw(),
        (1, true) => over([background[0]], &image.into_luma_alpha8()),
        (_, false) => image.into_rgb8().into_raw(),
        (_, true) => over(background, &image.into_rgba8()),
    };
    Image::new(width, height, channels, pixels).map_err(unreadable)
}

/// Composite pixels of `CHANNELS` and an alpha, which is not premultiplied, over a background: `Image.alpha_composite`
/// of Pillow.
fn over<const CHANNELS: usize>(background: [u8; CHANNELS], pixels: &[u8]) -> Vec<u8> {
    let mut flat = Vec::with_capacity(pixels.len() / (CHANNELS + 1) * CHANNELS);
    for pixel in pixels.chunks_exact(CHANNELS + 1) {
        let alpha = u32::from(pixel[CHANNELS]);
        let blend = |(&value, below): (&u8, u8)| {
            ((u32::from(value) * alpha + u32::from(below) * (255 - alpha) + 127) / 255) as u8
        };
        flat.extend(pixel.iter().zip(background).map(blend));
    }
    flat
}

pub(crate) fn unreadable(problem: impl ToString) -> TokenizeError {
    TokenizeError::Format { format: "image", problem: problem.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The extensions by which smalti recognises an image file (`src/data/labelled.rs`) are those of the formats that
    /// are read.
    #[test]
    fn extensions_are_those_of_the_supported_formats() {
        let formats = ["bmp", "gif", "jpeg", "jpg", "png", "tif", "tiff", "webp"]
            .map(ImageFormat::from_extension)
            .map(Option::unwrap);
        let ours = [ImageFormat::Jpeg, ImageFormat::Tiff];
        let read = |format: &ImageFormat| ours.contains(format) || format.reading_enabled();
        assert!(formats.iter().all(read));
        assert!(ImageFormat::all().filter(read).all(|read| formats.contains(&read)));
    }

    /// All files of `tests/files` that are read.
    fn files(folder: &str) -> Vec<(String, Vec<u8>)> {
        let mut files = vec![];
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.display().to_string();
            if path.is_dir() {
                files.extend(self::files(&name));
            } else {
                files.push((name, std::fs::read(&path).unwrap()));
            }
        }
        files.retain(|(_, bytes)| read(bytes).is_ok());
        files
    }

    #[test]
    fn a_header_agrees_with_its_image() {
        let files = files("tests/files");
        assert!(files.len() > 10, "{}", files.len());
        for (name, bytes) in files {
            let (header, (image, orientation)) = (header(&bytes).unwrap(), decode(&bytes).unwrap());
            assert_eq!(header.size, [image.width(), image.height()], "{name}");
            assert_eq!(header.orientation, orientation, "{name}");
            assert_eq!(channels(header.color, WHITE), read(&bytes).unwrap().channels, "{name}");
        }
    }
}
