//! The mean and standard deviation of a data set.

use crate::image::Image;
use smalti_contract::TokenizeError;
use std::borrow::Borrow;

/// Measure the mean and standard deviation of each of `channels` over all pixels, scaled to 0..=1: for
/// [`ImageConfig::mean`](crate::ImageConfig) and `std`.
///
/// Images keep their size and are converted to 1 or 3 channels. A constant channel has a deviation of 1. The sums are
/// of integers, so the result does not depend on the order.
///
/// # Errors
/// [`TokenizeError::Input`] for no images, an image with a side of 0, or channels other than 1 and 3.
pub fn normalisation(
    images: impl IntoIterator<Item = impl Borrow<Image>>,
    channels: usize,
) -> Result<(Vec<f32>, Vec<f32>), TokenizeError> {
    if ![1, 3].contains(&channels) {
        return Err(TokenizeError::Input(format!("channels is {channels}; it must be 1 (grey) or 3 (RGB)")));
    }
    let mut histogram = Histogram::new(channels);
    for image in images {
        image.borrow().check()?;
        histogram.add(image.borrow());
    }
    let none = || TokenizeError::Input("expected at least 1 image; found 0".into());
    histogram.normalisation().ok_or_else(none)
}

/// Histograms of each channel, over images that are added one by one.
pub(crate) struct Histogram {
    counts: Vec<[u64; 256]>,
}

impl Histogram {
    pub(crate) fn new(channels: usize) -> Self {
        Self { counts: vec![[0; 256]; channels] }
    }

    /// Add an image, converted to the histogram's channels.
    pub(crate) fn add(&mut self, image: &Image) {
        let channels = self.counts.len();
        for pixel in image.to_channels(channels).pixels.chunks_exact(channels) {
            pixel.iter().zip(&mut self.counts).for_each(|(&value, counts)| counts[value as usize] += 1);
        }
    }

    /// The mean and the standard deviation of each channel; `None` without pixels.
    pub(crate) fn normalisation(&self) -> Option<(Vec<f32>, Vec<f32>)> {
        let any = self.counts.iter().flatten().any(|&count| count > 0);
        any.then(|| self.counts.iter().map(moments).unzip())
    }
}

/// Mean and standard deviation of pixels scaled to 0..=1, from a histogram.
fn moments(counts: &[u64; 256]) -> (f32, f32) {
    let average = |of: &dyn Fn(f64) -> f64| {
        let total: f64 =
            counts.iter().enumerate().map(|(p, &count)| of(p as f64 / 255.0) * count as f64).sum();
        total / counts.iter().sum::<u64>() as f64
    };
    let mean = average(&|pixel| pixel);
    let std = average(&|pixel| (pixel - mean).powi(2)).sqrt();
    let constant = counts.iter().filter(|&&count| count > 0).count() == 1;
    (mean as f32, if constant { 1.0 } else { std as f32 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_deviation_are_per_channel() {
        let image = Image::new(2, 1, 3, vec![0, 51, 7, 255, 102, 7]).unwrap();
        let (mean, std) = normalisation([&image, &image], 3).unwrap();
        assert_eq!(mean, [0.5, 0.3, 7.0 / 255.0]);
        assert_eq!((std[0], std[2]), (0.5, 1.0), "a constant channel is not scaled");
        assert!((std[1] - 0.1).abs() < 1e-6);
    }

    #[test]
    fn grey_and_rgb_images_can_be_mixed() {
        let grey = Image::new(1, 1, 1, vec![0]).unwrap();
        let rgb = Image::new(1, 1, 3, vec![255; 3]).unwrap();
        assert_eq!(normalisation([grey, rgb], 1).unwrap(), (vec![0.5], vec![0.5]));
    }

    #[test]
    fn no_images_are_an_error() {
        assert!(normalisation(Vec::<Image>::new(), 1).is_err());
        assert!(normalisation([Image { width: 0, height: 1, channels: 1, pixels: vec![] }], 1).is_err());
        assert!(normalisation([Image::new(1, 1, 1, vec![0]).unwrap()], 2).is_err());
    }
}
