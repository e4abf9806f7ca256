//! CIFAR-10's binary file format: samples of a label and a colour image of 32×32 pixels.
//!
//! A sample is 3,073 bytes: the label, then the red, the green and the blue pixels, each row by row (A. Krizhevsky,
//! <https://www.cs.toronto.edu/~kriz/cifar.html>). There is no header.

use crate::image::Image;
use smalti_contract::TokenizeError;

/// Height and width.
const SIDE: usize = 32;
const PIXELS: usize = SIDE * SIDE;
const SAMPLE: usize = 1 + 3 * PIXELS;
const CLASSES: u8 = 10;

/// Read the images of a file, each with its label.
///
/// # Errors
/// [`TokenizeError::Format`] if the file is empty, does not hold whole samples, or a label is not below 10.
pub fn images(bytes: &[u8]) -> Result<Vec<(Image, u8)>, TokenizeError> {
    let unreadable = |problem| TokenizeError::Format { format: "CIFAR-10", problem };
    let samples = bytes.chunks_exact(SAMPLE);
    if bytes.is_empty() || !samples.remainder().is_empty() {
        return Err(unreadable(format!("{} bytes; expected whole samples of {SAMPLE}", bytes.len())));
    }
    let image = |(i, sample): (usize, &[u8])| {
        let (label, planes) = (sample[0], &sample[1..]);
        if label >= CLASSES {
            return Err(unreadable(format!("sample {i} has label {label}; expected 0 to {}", CLASSES - 1)));
        }
        let colours = (0..PIXELS).flat_map(|pixel| [0, 1, 2].map(|plane| planes[plane * PIXELS + pixel]));
        Ok((Image::new(SIDE, SIDE, 3, colours.collect())?, label))
    };
    samples.enumerate().map(image).collect()
}
