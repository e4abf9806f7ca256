//! Images of observations: one for each step of a camera, as stored in the log.

use crate::TrajectoryError;
use bytes::Bytes;
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

/// The most channels of an image, with those of all its stacked frames.
const MOST_CHANNELS: usize = 64;

/// The axes of an array of images.
#[derive(Clone, Copy)]
struct Layout {
    /// Frames in an axis before the image.
    stack: usize,
    /// Frames in the axis of the channels.
    frames: usize,
    height: usize,
    width: usize,
    /// Of one frame: 1 or 3.
    channels: usize,
    channels_first: bool,
}

impl Layout {
    fn of(shape: &[usize]) -> Option<Self> {
        let (stack, [a, b, c]) = match *shape {
            [_, height, width] => (1, [height, width, 1]),
            [_, a, b, c] => (1, [a, b, c]),
            [_, stack, a, b, c] => (stack, [a, b, c]),
            _ => return None,
        };
        let known = |side| side == 1 || side == 3;
        let channels_first = !known(c) && (known(a) || a < c);
        let (all, height, width) = if channels_first { (a, b, c) } else { (c, a, b) };
        let channels = if all.is_multiple_of(3) { 3 } else { 1 };
        let frames = all / channels;
        (all <= MOST_CHANNELS).then_some(Self { stack, frames, height, width, channels, channels_first })
    }

    /// Whether the array is one image for each step, with its channels last.
    fn is_image(self) -> bool {
        self.stack * self.frames == 1 && (self.channels == 1 || !self.channels_first)
    }

    /// Move the channels last and the frames of a step side by side.
    fn side_by_side(self, steps: usize, array: &[u8]) -> Vec<u8> {
        let Self { stack, frames, height, width, channels, channels_first } = self;
        let all = frames * channels;
        let at = |image: usize, y: usize, x: usize, channel: usize| match channels_first {
            true => ((image * all + channel) * height + y) * width + x,
            false => ((image * height + y) * width + x) * all + channel,
        };
        let mut pixels = Vec::with_capacity(array.len());
        for (step, y) in (0..steps).flat_map(|step| (0..height).map(move |y| (step, y))) {
            for (k, frame) in (0..stack).flat_map(|k| (0..frames).map(move |frame| (k, frame))) {
                for x in 0..width {
                    let channels = frame * channels..(frame + 1) * channels;
                    pixels.extend(channels.map(|channel| array[at(step * stack + k, y, x, channel)]));
                }
            }
        }
        pixels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(shape: &[usize]) -> Result<Images, String> {
        Images::of_array(shape, (0..shape.iter().product::<usize>()).map(|i| i as u8).collect())
    }

    #[test]
    fn channels_are_moved_last() {
        let grey = array(&[2, 2, 4]).unwrap();
        assert_eq!(grey, array(&[2, 2, 4, 1]).unwrap());
        assert_eq!(grey, array(&[2, 1, 2, 4]).unwrap());
        let colours = array(&[2, 3, 1, 2]).unwrap();
        let pixels: &[u8] = &[6, 8, 10, 7, 9, 11];
        assert_eq!(colours.get(1), Some(Image::Frame { height: 1, width: 2, channels: 3, pixels }));
        assert_eq!(colours.get(2), None);
        assert_eq!((colours.len(), colours.slice(1..9).len(), colours.slice(7..9).len()), (2, 1, 0));
    }

    #[test]
    fn stacked_frames_are_side_by_side() {
        let size = |shape: &[usize]| match array(shape).unwrap() {
            Images::Frames { height, width, channels, .. } => [height, width, channels],
            other => panic!("{other:?}"),
        };
        for (shape, expected) in [
            (&[2, 84, 84, 4][..], [84, 4 * 84, 1]),
            (&[2, 4, 84, 84], [84, 4 * 84, 1]),
            (&[2, 16, 16, 9], [16, 3 * 16, 3]),
            (&[2, 6, 8, 8], [8, 2 * 8, 3]),
            (&[2, 5, 8, 8, 3], [8, 5 * 8, 3]),
            (&[2, 5, 3, 8, 8], [8, 5 * 8, 3]),
            (&[2, 2, 8, 8, 4], [8, 8 * 8, 1]),
            (&[2, 1, 1, 1, 1], [1, 1, 1]),
        ] {
            assert_eq!(size(shape), expected, "{shape:?}");
        }
        // Two grey frames of 2×2 pixels: 0 to 3 and 4 to 7.
        let pixels = |images: Images| match images {
            Images::Frames { pixels, .. } => pixels.to_vec(),
            other => panic!("{other:?}"),
        };
        let side_by_side = [0, 1, 4, 5, 2, 3, 6, 7];
        assert_eq!(pixels(array(&[1, 2, 2, 2, 1]).unwrap()), side_by_side);
        let last = Images::of_array(&[1, 2, 2, 2], vec![0, 4, 1, 5, 2, 6, 3, 7]).unwrap();
        assert_eq!(pixels(last), side_by_side);
        // Two RGB frames of 1×2 pixels, with channels before height and width.
        assert_eq!(pixels(array(&[1, 2, 3, 1, 2]).unwrap()), [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
        assert_eq!(pixels(array(&[1, 6, 1, 7]).unwrap())[..6], [0, 7, 14, 1, 8, 15]);
    }

    #[test]
    fn other_shapes_are_errors() {
        for shape in [&[2, 70, 70, 70][..], &[2, 1, 1, 1, 1, 1], &[2, 0, 3], &[2, 3]] {
            assert!(array(shape).unwrap_err().contains(&format!("{shape:?}")), "{shape:?}");
        }
        assert!(Images::of_array(&[usize::MAX, 2, 3], vec![]).is_err());
        for steps in [0, 1] {
            let huge = [steps, usize::MAX / 4, 1, usize::MAX / 4, 3];
            assert!(Images::of_array(&huge, vec![]).is_err());
        }
    }

    #[test]
    fn a_missing_image_is_an_error() {
        let error =
            |images: Images, steps| images.validate("observations.front", steps).unwrap_err().to_string();
        assert_eq!(
            error(Images::Files(vec!["a.png".into()]), 2),
            "observations.front must have an image for each of the 2 rewards; found 1"
        );
        assert!(error(array(&[2, 2, 3]).unwrap(), 1).ends_with("found 12 bytes of 2×3 pixels in 1 channels"));
        let huge = Images::Frames { height: usize::MAX, width: 2, channels: 3, pixels: Bytes::new() };
        assert!(huge.is_empty() && huge.get(0).is_none());
        assert!(error(huge, 1).contains("frames of 1 or 3 channels"));
    }
}
