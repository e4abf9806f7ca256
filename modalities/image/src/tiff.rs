//! Reading of TIFF files, also those of science and of maps: floats, palettes, any alpha.

use crate::exif;
use crate::jpeg::rgb_of_cmyk;
use crate::read::{Header, check_size, max_bytes, unreadable};
use image::{DynamicImage, GrayAlphaImage, GrayImage, RgbImage, RgbaImage, metadata::Orientation};
use smalti_contract::TokenizeError;
use std::borrow::Cow;
use std::io::Cursor;
use tiff::ColorType;
use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::tags::Tag;

type TiffDecoder<'a> = Decoder<Cursor<&'a [u8]>>;

/// Read the first page of a TIFF file with 8 bits for each channel, and its orientation.
///
/// As by Pillow, a palette's colours have the upper 8 of their 16 bits, CMYK becomes RGB, and colours that are multiplied
/// with their alpha are divided by it. Integers of other sizes are scaled to 0..=255, and so are floats of 0..=1.
///
/// # Errors
/// [`TokenizeError::Format`] for corrupt or truncated bytes, for more than [`MAX_PIXELS`](crate::MAX_PIXELS), for a
/// float outside of 0..=1, and for pixels and samples of other kinds.
pub(crate) fn decode(bytes: &[u8]) -> Result<(DynamicImage, Orientation), TokenizeError> {
    let (file, has_palette) = with_grey_indices(bytes);
    let (decoder, [width, height], pixel) = open(&file, has_palette)?;
    let samples = read_samples(decoder, &pixel)?;
    let (channels, pixels) = pixel.convert(samples);
    let image = match channels {
        1 => GrayImage::from_raw(width, height, pixels).map(DynamicImage::from),
        2 => GrayAlphaImage::from_raw(width, height, pixels).map(DynamicImage::from),
        3 => RgbImage::from_raw(width, height, pixels).map(DynamicImage::from),
        _ => RgbaImage::from_raw(width, height, pixels).map(DynamicImage::from),
    };
    let image = image.ok_or_else(|| unreadable("the decoded TIFF has another size than its header"))?;
    Ok((image, exif::orientation(bytes).unwrap_or(Orientation::NoTransforms)))
}

/// Read the header of the first page of a TIFF file, without its pixels.
///
/// # Errors
/// As of [`decode`], for what the header tells.
pub(crate) fn header(bytes: &[u8]) -> Result<Header, TokenizeError> {
    let (file, has_palette) = with_grey_indices(bytes);
    let (_, size, pixel) = open(&file, has_palette)?;
    let color = match (&pixel.colour, pixel.alpha) {
        (Colour::Grey, Alpha::None) => image::ColorType::L8,
        (Colour::Grey, _) => image::ColorType::La8,
        (_, Alpha::None) => image::ColorType::Rgb8,
        _ => image::ColorType::Rgba8,
    };
    Ok(Header { size, color, orientation: exif::orientation(bytes).unwrap_or(Orientation::NoTransforms) })
}

/// The decoder of a file, the `[width, height]` of its first page, and its pixels' samples.
fn open(file: &[u8], has_palette: bool) -> Result<(TiffDecoder<'_>, [u32; 2], Pixel), TokenizeError> {
    let mut decoder = Decoder::new(Cursor::new(file)).map_err(unreadable)?;
    let (width, height) = decoder.dimensions().map_err(unreadable)?;
    check_size(width, height)?;
    let pixel = Pixel::read(&mut decoder, has_palette)?;
    Ok((decoder, [width, height], pixel))
}

/// The file, and whether it has a palette. The decoder reads no palettes, so the indices become grey values for it.
fn with_grey_indices(bytes: &[u8]) -> (Cow<'_, [u8]>, bool) {
    const PHOTOMETRIC_INTERPRETATION: u16 = 262;
    const PALETTE: u32 = 3;
    const BLACK_IS_ZERO: u8 = 1;
    match exif::number(bytes, PHOTOMETRIC_INTERPRETATION) {
        Some((PALETTE, place)) => {
            let mut grey = bytes.to_vec();
            // In either byte order, the only byte that is not 0.
            if let Some(byte) = grey[place].iter_mut().find(|byte| **byte != 0) {
                *byte = BLACK_IS_ZERO;
            }
            (Cow::Owned(grey), true)
        }
        _ => (Cow::Borrowed(bytes), false),
    }
}

/// What the samples of a pixel mean.
struct Pixel {
    colour: Colour,
    /// Samples in the file's pixel: those of the colour and at most one more.
    samples: usize,
    /// Bits in a sample.
    bits: u8,
    alpha: Alpha,
}

enum Colour {
    Grey,
    Rgb,
    Cmyk,
    /// Colours by index, as many as the bits of a sample can number.
    Palette(Vec<[u8; 3]>),
}

#[derive(Clone, Copy, PartialEq)]
enum Alpha {
    None,
    Straight,
    /// The colours are multiplied with it.
    Associated,
}

impl Pixel {
    fn read(decoder: &mut TiffDecoder, has_palette: bool) -> Result<Self, TokenizeError> {
        let kind = decoder.colortype().map_err(unreadable)?;
        let (bits, samples) = (kind.bit_depth(), usize::from(kind.num_samples()));
        let extra: Vec<u16> =
            decoder.find_tag_unsigned_vec(Tag::ExtraSamples).map_err(unreadable)?.unwrap_or_default();
        let alpha = match (kind, extra.first()) {
            (ColorType::Multiband { .. } | ColorType::RGBA(_), Some(1)) => Alpha::Associated,
            (ColorType::Multiband { .. }, Some(2)) | (ColorType::RGBA(_), _) => Alpha::Straight,
            _ => Alpha::None,
        };
        let colour = match kind {
            // A palette's index or a grey value, alone or with one more sample, which need not be an alpha.
            ColorType::Gray(_) | ColorType::Multiband { .. } if samples == 1 + extra.len().min(1) => {
                match has_palette {
                    true => Colour::Palette(read_palette(decoder, bits)?),
                    false => Colour::Grey,
                }
            }
            ColorType::RGB(_) | ColorType::RGBA(_) => Colour::Rgb,
            ColorType::CMYK(_) => Colour::Cmyk,
            other => {
                let found = format!("a TIFF whose pixels are {other:?}");
                return Err(unreadable(found + "; grey, palettes, RGB and CMYK are read"));
            }
        };
        // The decoder allocates a row of a tile, which may be wider than the image and has all extra samples.
        let row = u64::from(decoder.chunk_dimensions().0) * (samples + extra.len()) as u64;
        if row * u64::from(bits.div_ceil(8)) > max_bytes() {
            return Err(unreadable(format!("a TIFF with {row} samples in a row of a tile")));
        }
        Ok(Self { colour, samples, bits, alpha })
    }

    /// Convert the samples of all pixels, of 8 bits, to channels; returns their number, which includes the alpha.
    fn convert(&self, samples: Vec<u8>) -> (usize, Vec<u8>) {
        let has_alpha = self.alpha != Alpha::None;
        let alpha_of = |pixel: &[u8]| has_alpha.then(|| pixel[pixel.len() - 1]);
        let (channels, mut pixels) = match &self.colour {
            Colour::Cmyk => (3, rgb_of_cmyk(&samples.iter().map(|ink| 255 - ink).collect::<Vec<_>>())),
            Colour::Palette(colours) => {
                let colour = |pixel: &[u8]| colours[usize::from(pixel[0])].into_iter().chain(alpha_of(pixel));
                (3, samples.chunks_exact(self.samples).flat_map(colour).collect())
            }
            Colour::Grey if self.samples == 2 && !has_alpha => (1, samples.into_iter().step_by(2).collect()),
            Colour::Grey => (1, samples),
            Colour::Rgb => (3, samples),
        };
        let channels = channels + usize::from(has_alpha);
        if self.alpha == Alpha::Associated {
            pixels.chunks_exact_mut(channels).for_each(divide_by_alpha);
        }
        (channels, pixels)
    }
}

/// Read the palette of `2^bits` colours: all values of red, then of green, then of blue.
fn read_palette(decoder: &mut TiffDecoder, bits: u8) -> Result<Vec<[u8; 3]>, TokenizeError> {
    if bits > 8 {
        return Err(unreadable(format!("a TIFF with a palette of {bits} bits; at most 8 are read")));
    }
    let values: Vec<u16> =
        decoder.find_tag_unsigned_vec(Tag::ColorMap).map_err(unreadable)?.unwrap_or_default();
    let size = 1 << bits;
    if values.len() != 3 * size {
        let (found, expected) = (values.len(), 3 * size);
        return Err(unreadable(format!("the TIFF's palette has {found} values; expected {expected}")));
    }
    Ok((0..size).map(|i| [0, 1, 2].map(|channel| (values[channel * size + i] >> 8) as u8)).collect())
}

/// Read the samples of all pixels with 8 bits each, `[height, width, samples]`.
fn read_samples(decoder: TiffDecoder, pixel: &Pixel) -> Result<Vec<u8>, TokenizeError> {
    let mut limits = Limits::default();
    limits.decoding_buffer_size = max_bytes() as usize;
    limits.intermediate_buffer_size = max_bytes() as usize;
    let mut decoder = decoder.with_limits(limits);
    let (width, _) = decoder.dimensions().map_err(unreadable)?;
    let mut samples = DecodingResult::U8(vec![]);
    let layout = decoder.read_image_to_buffer(&mut samples).map_err(unreadable)?;
    if samples.as_buffer(0).byte_len() < layout.complete_len {
        return Err(unreadable(format!(
            "a TIFF of {} bytes; at most {} are read",
            layout.complete_len,
            max_bytes()
        )));
    }
    let row = width as usize * pixel.samples / layout.planes;
    let bytes = to_bytes(samples, pixel.bits, row, matches!(pixel.colour, Colour::Palette(_)))?;
    Ok(if layout.planes > 1 { interleave(&bytes, layout.planes) } else { bytes })
}

/// Convert samples to 8 bits: integers and floats of 0..=1 are scaled to 0..=255, indices stay.
fn to_bytes(
    samples: DecodingResult,
    bits: u8,
    row: usize,
    are_indices: bool,
) -> Result<Vec<u8>, TokenizeError> {
    match samples {
        DecodingResult::U8(bytes) if bits == 8 => Ok(bytes),
        DecodingResult::U8(packed) if matches!(bits, 1 | 2 | 4) => {
            let scale = if are_indices { 1 } else { 255 / ((1 << bits) - 1) };
            Ok(unpack(&packed, bits, row).map(|sample| sample * scale).collect())
        }
        DecodingResult::U16(words) => {
            Ok(words.into_iter().map(|word| ((u32::from(word) + 128) / 257) as u8).collect())
        }
        DecodingResult::F16(values) => of_floats(values.into_iter().map(f64::from)),
        DecodingResult::F32(values) => of_floats(values.into_iter().map(f64::from)),
        DecodingResult::F64(values) => of_floats(values.into_iter()),
        _ => Err(unreadable(format!(
            "a TIFF whose samples have {bits} bits; 1, 2, 4, 8 and 16 bits without a sign, and floats, are read"
        ))),
    }
}

/// The samples of 1, 2 or 4 bits in rows of `row` samples, each of which begins at a byte.
fn unpack(packed: &[u8], bits: u8, row: usize) -> impl Iterator<Item = u8> {
    let in_byte = 8 / usize::from(bits);
    let sample = move |bytes: &[u8], i: usize| {
        let unread = 8 - bits * (1 + (i % in_byte) as u8);
        bytes[i / in_byte] >> unread & ((1 << bits) - 1)
    };
    packed.chunks_exact(row.div_ceil(in_byte)).flat_map(move |bytes| (0..row).map(move |i| sample(bytes, i)))
}

fn of_floats(values: impl Iterator<Item = f64>) -> Result<Vec<u8>, TokenizeError> {
    let level = |(at, value): (usize, f64)| match (0.0..=1.0).contains(&value) {
        true => Ok((value * 255.0).round() as u8),
        false => Err(unreadable(format!(
            "sample {at} of a TIFF of floats is {value}; scale them to 0..=1, from black to white, or save integers"
        ))),
    };
    values.enumerate().map(level).collect()
}

/// From one plane after another to one pixel after another.
fn interleave(planes: &[u8], n_planes: usize) -> Vec<u8> {
    let size = planes.len() / n_planes;
    (0..size).flat_map(|i| (0..n_planes).map(move |plane| planes[plane * size + i])).collect()
}

/// Divide colours by the alpha after them, which they are multiplied with; rounded down, as by Pillow.
fn divide_by_alpha(pixel: &mut [u8]) {
    if let Some((&mut alpha, colours)) = pixel.split_last_mut() {
        let divide = |colour: u8| u32::from(colour) * 255 / u32::from(alpha.max(1));
        colours.iter_mut().for_each(|colour| *colour = divide(*colour).min(255) as u8);
    }
}
