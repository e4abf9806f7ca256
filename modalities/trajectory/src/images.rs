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
    /// Convert a row-major array of 8-bit numbers to images: `[steps, height, width]`, the same with 1 or 3 channels
    /// last, or with the channels first, which are then moved last.
    ///
    /// # Errors
    /// If the shape is not that of images, or differs from the number of bytes.
    pub(crate) fn of_array(shape: &[usize], array: Vec<u8>) -> Result<Self, String> {
        let (size, channels_first) = match *shape {
            [_, height, width] => ([height, width, 1], false),
            [_, height, width, channels @ (1 | 3)] => ([height, width, channels], false),
            [_, channels @ (1 | 3), height, width] => ([height, width, channels], true),
            _ => {
                return Err(format!(
                    "expected [steps, height, width] for images, with 1 or 3 channels last or \
                     after the steps; found {shape:?}"
                ));
            }
        };
        let numbers = shape.iter().try_fold(1_usize, |product, &side| product.checked_mul(side));
        if numbers != Some(array.len()) || size.contains(&0) {
            return Err(format!("the shape {shape:?} cannot have {} elements", array.len()));
        }
        let [height, width, channels] = size;
        let pixels = match channels_first && channels > 1 {
            true => channels_last(&array, height * width, channels),
            false => array,
        };
        Ok(Self::Frames { height, width, channels, pixels: pixels.into() })
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

/// Transpose `[n, channels, area]` to `[n, area, channels]`.
fn channels_last(array: &[u8], area: usize, channels: usize) -> Vec<u8> {
    let pixels =
        |frame: &[u8], pixel: usize| (0..channels).map(|c| frame[c * area + pixel]).collect::<Vec<u8>>();
    let mut last = Vec::with_capacity(array.len());
    for frame in array.chunks_exact(area * channels) {
        (0..area).for_each(|pixel| last.extend(pixels(frame, pixel)));
    }
    last
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
    fn other_shapes_are_errors() {
        for shape in [&[4, 84, 84, 4][..], &[4, 2, 84, 84], &[2, 1, 1, 1, 1], &[2, 0, 3]] {
            assert!(array(shape).unwrap_err().contains(&format!("{shape:?}")), "{shape:?}");
        }
        assert!(Images::of_array(&[usize::MAX, 2, 3], vec![]).is_err());
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
