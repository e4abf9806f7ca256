//! Resizing with results equal to Pillow's, to the last bit.

mod filter;
mod weights;

pub use filter::Filter;

use crate::{image::Image, read::MAX_PIXELS};
use pulp::Arch;
use smalti_contract::TokenizeError;
use std::borrow::Cow;
use std::ops::Range;
use weights::{Weights, clip};

/// The target of one side of an image: it is resized to `whole` pixels, of which those in `kept` are computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Side {
    pub(crate) whole: usize,
    pub(crate) kept: Range<usize>,
}

impl Side {
    /// A side of `whole` pixels without a crop.
    pub(crate) fn all(whole: usize) -> Self {
        Self { whole, kept: 0..whole }
    }

    /// The centre of a side of `whole` pixels; an odd rest puts it half a pixel before the centre, as in `center_crop`
    /// of transformers.
    pub(crate) fn middle(whole: usize, kept: usize) -> Self {
        let start = whole.saturating_sub(kept) / 2;
        Self { whole, kept: start..(start + kept).min(whole) }
    }
}

/// Resize an image, whose sides are not 0, and crop it: `Image.resize(size, filter)` of Pillow, then the kept part.
///
/// # Errors
/// [`TokenizeError::Input`] if no pixel or more than [`MAX_PIXELS`] are kept.
pub(crate) fn resize<'a>(
    image: &'a Image,
    [down, across]: [Side; 2],
    filter: Filter,
) -> Result<Cow<'a, Image>, TokenizeError> {
    let &Image { width, height, channels, .. } = image;
    let (rows, columns) = (down.kept.len(), across.kept.len());
    if rows.checked_mul(columns).is_none_or(|pixels| pixels == 0 || pixels > MAX_PIXELS) {
        return Err(TokenizeError::Input(format!(
            "image of {height}×{width} pixels cannot become {rows}×{columns}; 1 to {MAX_PIXELS} pixels are allowed"
        )));
    }
    if [down.whole, across.whole] == [height, width] {
        return Ok(match [&down, &across] == [&Side::all(height), &Side::all(width)] {
            true => Cow::Borrowed(image),
            false => Cow::Owned(image.cut(down.kept, across.kept)),
        });
    }
    let pixels = match (filter, channels) {
        (Filter::Nearest, _) => pick(image, &nearest(height, &down), &nearest(width, &across)),
        (_, 1) => convolve::<1>(image, &down, &across, filter),
        _ => convolve::<3>(image, &down, &across, filter),
    };
    Image::new(columns, rows, channels, pixels).map(Cow::Owned)
}

/// Select the pixels in these rows and columns.
fn pick(image: &Image, rows: &[usize], columns: &[usize]) -> Vec<u8> {
    let channels = image.channels;
    let mut pixels = Vec::with_capacity(rows.len() * columns.len() * channels);
    for row in rows {
        let line = &image.pixels[row * image.width * channels..][..image.width * channels];
        columns.iter().for_each(|column| pixels.extend(&line[column * channels..][..channels]));
    }
    pixels
}

/// The indices of the nearest pixels. Adds up steps as Pillow does (`ImagingScaleAffine`), because a product would
/// round differently.
fn nearest(side: usize, to: &Side) -> Vec<usize> {
    let step = side as f64 / to.whole as f64;
    let places = std::iter::successors(Some(step * 0.5), |place| Some(place + step));
    places.map(|place| (place as usize).min(side - 1)).skip(to.kept.start).take(to.kept.len()).collect()
}

/// Resample horizontally and then vertically, or the other way round, with whole pixel values in between.
fn convolve<const CHANNELS: usize>(image: &Image, down: &Side, across: &Side, filter: Filter) -> Vec<u8> {
    let &Image { width, height, ref pixels, .. } = image;
    let (vertical, horizontal) = (Weights::new(height, down, filter), Weights::new(width, across, filter));
    let rows = vertical.sources();
    // A column of a million pixels could grow a lot before it shrinks. If one order gives more than MAX_PIXELS in
    // between, the other order cannot: the product of the two counts is at most that of source and target.
    let down_first = match down_first([height, width], [down.whole, across.whole]) {
        true => down.kept.len() * width <= MAX_PIXELS,
        false => rows.len() * across.kept.len() > MAX_PIXELS,
    };
    if !down_first {
        let line = width * CHANNELS;
        let between = go_across::<CHANNELS>(&pixels[rows.start * line..rows.end * line], width, &horizontal);
        return go_down(&between, across.kept.len() * CHANNELS, rows.start, &vertical);
    }
    go_across::<CHANNELS>(&go_down(pixels, width * CHANNELS, 0, &vertical), width, &horizontal)
}

/// Whether Pillow resamples vertically first. Since version 13 it does if that removes more than twice as many pixels
/// as the horizontal pass (measured for 3,000 sizes; earlier versions always resample horizontally first). In the other
/// order, a quarter of the values of an image with sharp edges would differ by 1.
fn down_first([height, width]: [usize; 2], [to_height, to_width]: [usize; 2]) -> bool {
    let lost = |from: usize, to: usize| from as i128 - to as i128;
    to_height < height && lost(height, to_height) > 2 * lost(width, to_width)
}

/// Resample each row of `width` pixels.
fn go_across<const CHANNELS: usize>(pixels: &[u8], width: usize, weights: &Weights) -> Vec<u8> {
    let (line, to) = (width * CHANNELS, weights.len() * CHANNELS);
    let target = vec![0; pixels.len() / line * to]; // [rows, to]
    // A pixel is read and written as four bytes, which fill a vector; the next pixel overwrites the surplus bytes. The
    // last pixel of a row needs spare bytes after it.
    let (padded, made) = (vec![0; line + 4], vec![0; to + 4]);
    vectorize(
        #[inline(always)]
        move || {
            let (mut target, mut padded, mut made) = (target, padded, made);
            for (row, source) in target.chunks_exact_mut(to).zip(pixels.chunks_exact(line)) {
                padded[..line].copy_from_slice(source);
                for (i, (first, weights)) in weights.iter().enumerate() {
                    let mut sums = [weights::HALF; 4];
                    let taps = padded[first * CHANNELS..].windows(4).step_by(CHANNELS);
                    for (values, weight) in taps.zip(weights) {
                        for (sum, &value) in sums.iter_mut().zip(values) {
                            *sum += i32::from(value) * weight;
                        }
                    }
                    made[i * CHANNELS..][..4].copy_from_slice(&sums.map(clip));
                }
                row.copy_from_slice(&made[..to]);
            }
            target
        },
    )
}

/// Resample columns: rows of `line` bytes from source rows, of which `pixels` holds those from `first_row` on.
fn go_down(pixels: &[u8], line: usize, first_row: usize, weights: &Weights) -> Vec<u8> {
    let (target, sums) = (vec![0; weights.len() * line], vec![0; line]); // [to, line]
    vectorize(
        #[inline(always)]
        move || {
            let (mut target, mut sums) = (target, sums);
            for (row, (first, weights)) in target.chunks_exact_mut(line).zip(weights.iter()) {
                sums.fill(weights::HALF);
                for (source, weight) in pixels[(first - first_row) * line..].chunks_exact(line).zip(weights) {
                    for (sum, &value) in sums.iter_mut().zip(source) {
                        *sum += i32::from(value) * weight;
                    }
                }
                row.iter_mut().zip(&sums).for_each(|(to, &sum)| *to = clip(sum));
            }
            target
        },
    )
}

/// Run `f`, which must consume its captures, with the widest vector instructions of the processor. Only the body of a
/// closure that can be called once is compiled for them.
#[inline(always)]
fn vectorize<R>(f: impl FnOnce() -> R) -> R {
    Arch::new().dispatch(f)
}

#[cfg(test)]
mod tests;
