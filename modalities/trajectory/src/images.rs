//! Images as part of what is seen at a step: one for each step of a camera, as the log holds them.

use crate::TrajectoryError;
use bytes::Bytes;
use std::ops::Range;

/// The images of one camera, one for each step. Slices and copies of them share their bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Images {
    /// Pixels of 8 bits, all images of one size.
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
    /// `[steps]`: the content of an image file each, such as a PNG.
    Encoded(Vec<Bytes>),
    /// `[steps]`: where an image file for each lies, seen from the log's folder, or in LeRobot's layout from the data
    /// set's.
    Files(Vec<String>),
}

/// One image, as the log holds it.
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
    /// Where an image file lies.
    File(&'a str),
}

impl Images {
    /// The images in an array of 8-bit numbers, row-major: `[steps, height, width]`, the same with 1 or 3 channels
    /// behind, or with the channels first, which are then put behind.
    ///
    /// # Errors
    /// What is wrong with the shape, or with the number of bytes.
    pub(crate) fn of_array(shape: &[usize], array: Vec<u8>) -> Result<Self, String> {
        let (size, channels_first) = match *shape {
            [_, height, width] => ([height, width, 1], false),
            [_, height, width, channels @ (1 | 3)] => ([height, width, channels], false),
            [_, channels @ (1 | 3), height, width] => ([height, width, channels], true),
            _ => {
                return Err(format!(
                    "a shape of {shape:?}; images are [steps, height, width], with 1 or 3 channels behind or \
                     after the steps"
                ));
            }
        };
        let numbers = shape.iter().try_fold(1_usize, |product, &side| product.checked_mul(side));
        if numbers != Some(array.len()) || size.contains(&0) {
            return Err(format!("a shape of {shape:?} cannot have {} numbers", array.len()));
        }
        let [height, width, channels] = size;
        let pixels = match channels_first && channels > 1 {
            true => channels_last(&array, height * width, channels),
            false => array,
        };
        Ok(Self::Frames { height, width, channels, pixels: pixels.into() })
    }

    /// How many time steps there are.
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

    /// The images of these time steps, as far as there are any.
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

    /// Checks that there is an image for each of `steps`.
    pub(crate) fn validate(&self, array: &str, steps: usize) -> Result<(), TrajectoryError> {
        let refuse = |expected: String, found: String| {
            Err(TrajectoryError::Shape { array: array.into(), expected, found })
        };
        if let Self::Frames { height, width, channels, pixels } = self {
            let sides = [steps, *height, *width, *channels];
            let bytes = sides.iter().try_fold(1_usize, |product, &side| product.checked_mul(side));
            if ![1, 3].contains(channels) || sides.contains(&0) || bytes != Some(pixels.len()) {
                let found =
                    format!("{} bytes of {height}×{width} pixels in {channels} channels", pixels.len());
                return refuse(format!("frames of 1 or 3 channels for each of the {steps} rewards"), found);
            }
        }
        match self.len() {
            found if found == steps => Ok(()),
            found => refuse(format!("an image for each of the {steps} rewards"), found.to_string()),
        }
    }
}

/// `[n, channels, area]` to `[n, area, channels]`.
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
    fn channels_are_put_behind() {
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
    fn other_arrays_are_no_images() {
        for shape in [&[4, 84, 84, 4][..], &[4, 2, 84, 84], &[2, 1, 1, 1, 1], &[2, 0, 3]] {
            assert!(array(shape).unwrap_err().starts_with(&format!("a shape of {shape:?}")), "{shape:?}");
        }
        assert!(Images::of_array(&[usize::MAX, 2, 3], vec![]).is_err());
    }

    #[test]
    fn a_step_without_its_image_is_named() {
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
