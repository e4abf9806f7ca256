//! Images of observations: one for each step of a camera, as stored in the log.

mod layout;
#[cfg(test)]
mod tests;

use crate::TrajectoryError;
use bytes::Bytes;
use layout::{Layout, MOST_CHANNELS};
use std::ops::Range;

/// The images of one camera, one for each step. Slices and clones share their bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Images {
    /// Pixels of 8 bits; all images have the same size.
    Frames {
        /// In pixels.
        height: usize,
        /// In pixels.
        width: usize,
        /// 1 for grey, 3 for RGB.
        channels: usize,
        /// Row-major `[steps, height, width, channels]`.
        pixels: Bytes,
    },
    /// `[steps]`: the content of an image file, such as a PNG, for each step.
    Encoded(Vec<Bytes>),
    /// `[steps]`: the path of an image file for each step, relative to the log's folder or, in LeRobot's layout, to the
    /// data set's.
    Files(Vec<String>),
}

/// One image, as stored in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image<'a> {
    /// Pixels of 8 bits.
    Frame {
        /// In pixels.
        height: usize,
        /// In pixels.
        width: usize,
        /// 1 for grey, 3 for RGB.
        channels: usize,
        /// Row-major `[height, width, channels]`.
        pixels: &'a [u8],
    },
    /// The content of an image file.
    Encoded(&'a [u8]),
    /// The path of an image file.
    File(&'a str),
}

impl Images {
    /// Convert a row-major array of 8-bit numbers to images of 1 or 3 channels.
    ///
    /// The array is `[steps, height, width]`, or has channels last or before height and width, or is a stack of such frames
    /// at each step, `[steps, frames, …]`. An axis of 1 or 3 is that of the channels, first the last axis; otherwise it is
    /// the shorter one. More channels are stacked frames: RGB if 3 divides their number, otherwise grey. The frames of a step
    /// become one image, side by side: `[height, frames · width, channels]`.
    ///
    /// # Errors
    /// If the shape is not that of images, or differs from the number of bytes.
    pub(crate) fn of_array(shape: &[usize], array: Vec<u8>) -> Result<Self, String> {
        let layout = Layout::of(shape).ok_or_else(|| {
            format!(
                "expected [steps, height, width] for images, with at most {MOST_CHANNELS} channels last or before the \
                 height, or [steps, frames, …]; found {shape:?}"
            )
        })?;
        let size = shape[1..].iter().try_fold(1_usize, |product, &side| product.checked_mul(side));
        let numbers = size.filter(|&size| size > 0).and_then(|size| size.checked_mul(shape[0]));
        if numbers != Some(array.len()) {
            return Err(format!("the shape {shape:?} cannot have {} elements", array.len()));
        }
        let Layout { stack, frames, height, width, channels, .. } = layout;
        let pixels = match layout.is_image() {
            true => array,
            false => layout.side_by_side(shape[0], &array),
        };
        Ok(Self::Frames { height, width: stack * frames * width, channels, pixels: pixels.into() })
    }

    /// Convert a row-major array of numbers to images, as [`of_array`](Self::of_array) does: `whole` numbers are bytes; real
    /// ones are either from 0 to 1, which becomes 255, or all whole numbers.
    ///
    /// # Errors
    /// If a number is no pixel, and those of [`of_array`](Self::of_array).
    pub(crate) fn of_numbers(shape: &[usize], numbers: &[f64], whole: bool) -> Result<Self, String> {
        let is_share = !whole && numbers.iter().all(|number| (0.0..=1.0).contains(number));
        let is_byte = |number: &f64| (0.0..=255.0).contains(number) && number.fract() == 0.0;
        match numbers.iter().find(|number| !is_share && !is_byte(number)) {
            Some(found) => {
                Err(format!("pixels must be from 0 to 1, or whole numbers from 0 to 255; found {found}"))
            }
            None => {
                let scale = if is_share { 255.0 } else { 1.0 };
                Self::of_array(shape, numbers.iter().map(|number| (number * scale).round() as u8).collect())
            }
        }
    }

    /// The number of time steps.
    pub fn len(&self) -> usize {
        match self {
            Self::Frames { height, width, channels, pixels } => {
                let size = height.checked_mul(*width).and_then(|area| area.checked_mul(*channels));
                size.and_then(|size| pixels.len().checked_div(size)).unwrap_or(0)
            }
            Self::Encoded(files) => files.len(),
            Self::Files(paths) => paths.len(),
        }
    }

    /// True when there is no image.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The image of a step.
    pub fn get(&self, step: usize) -> Option<Image<'_>> {
        if step >= self.len() {
            return None;
        }
        Some(match self {
            &Self::Frames { height, width, channels, ref pixels } => {
                let size = height * width * channels;
                Image::Frame { height, width, channels, pixels: &pixels[step * size..][..size] }
            }
            Self::Encoded(files) => Image::Encoded(&files[step]),
            Self::Files(paths) => Image::File(&paths[step]),
        })
    }

    /// The images of these time steps, cut at the end.
    pub fn slice(&self, steps: Range<usize>) -> Self {
        let end = steps.end.min(self.len());
        let start = steps.start.min(end);
        match self {
            &Self::Frames { height, width, channels, ref pixels } => {
                let size = height * width * channels;
                let pixels = pixels.slice(start * size..end * size);
                Self::Frames { height, width, channels, pixels }
            }
            Self::Encoded(files) => Self::Encoded(files[start..end].to_vec()),
            Self::Files(paths) => Self::Files(paths[start..end].to_vec()),
        }
    }

    /// The images of several ranges of time steps, which are ascending and within the images.
    pub(crate) fn keep(&self, ranges: &[Range<usize>]) -> Self {
        match self {
            _ if ranges.len() == 1 => self.slice(ranges[0].clone()),
            &Self::Frames { height, width, channels, ref pixels } => {
                let size = height * width * channels;
                let kept: Vec<&[u8]> =
                    ranges.iter().map(|range| &pixels[range.start * size..range.end * size]).collect();
                Self::Frames { height, width, channels, pixels: kept.concat().into() }
            }
            Self::Encoded(files) => Self::Encoded(kept(files, ranges)),
            Self::Files(paths) => Self::Files(kept(paths, ranges)),
        }
    }

    /// Check that there is an image for each of `steps`.
    pub(crate) fn validate(&self, array: &str, steps: usize) -> Result<(), TrajectoryError> {
        let invalid = |expected: String, found: String| {
            Err(TrajectoryError::Shape { array: array.into(), expected, found })
        };
        if let Self::Frames { height, width, channels, pixels } = self {
            let sides = [steps, *height, *width, *channels];
            let bytes = sides.iter().try_fold(1_usize, |product, &side| product.checked_mul(side));
            if ![1, 3].contains(channels) || sides.contains(&0) || bytes != Some(pixels.len()) {
                let found =
                    format!("{} bytes of {height}×{width} pixels in {channels} channels", pixels.len());
                return invalid(format!("frames of 1 or 3 channels for each of the {steps} rewards"), found);
            }
        }
        match self.len() {
            found if found == steps => Ok(()),
            found => invalid(format!("an image for each of the {steps} rewards"), found.to_string()),
        }
    }
}

fn kept<T: Clone>(all: &[T], ranges: &[Range<usize>]) -> Vec<T> {
    ranges.iter().flat_map(|range| all[range.clone()].iter().cloned()).collect()
}
