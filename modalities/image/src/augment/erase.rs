//! Random erasing.

use super::crop::{place, rectangle};
use super::{ordered, within};
use crate::image::Image;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// A random rectangle becomes the mean, a feature of 0 (Zhong et al. 2017): the `RandomErasing` of torchvision.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Erase {
    /// The probability that a rectangle of an image is erased.
    pub probability: f32,
    /// The least and the largest share of the image's area.
    pub area: [f32; 2],
    /// The least and the largest aspect ratio, width by height; its logarithm is drawn.
    pub ratio: [f32; 2],
}

impl Default for Erase {
    /// Probability 0.5; 2% to 33% of the area, ratio 3:10 to 10:3.
    fn default() -> Self {
        Self { probability: 0.5, area: [0.02, 0.33], ratio: [0.3, 3.3] }
    }
}

/// The number of draws, any of which may not fit, before the image is left unchanged.
const TRIES: usize = 10;

impl Erase {
    pub(super) fn check(self) -> Result<(), String> {
        within("erase.probability", self.probability, 0.0..=1.0)?;
        ordered("erase.area", self.area, 1e-4, 1.0)?;
        ordered("erase.ratio", self.ratio, 1e-2, 1e2)
    }

    pub(super) fn apply(self, image: &mut Image, mean: &[u8], random: &mut impl Rng) {
        if random.random::<f32>() >= self.probability {
            return;
        }
        let size = [image.height, image.width];
        for _ in 0..TRIES {
            let sides = rectangle(self.area, self.ratio, size, random);
            if sides[0] < size[0] && sides[1] < size[1] {
                let [rows, columns] = place(sides, size, random);
                return image.fill(rows, columns, mean);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Purpose, generator};
    use super::*;

    #[test]
    fn probability_and_area_are_kept() {
        let erase = Erase { area: [0.1, 0.2], ..Erase::default() };
        let mut erased = 0;
        for seed in 0..400 {
            let mut image = Image::new(40, 30, 3, vec![200; 3600]).unwrap();
            erase.apply(&mut image, &[1, 2, 3], &mut generator(seed, Purpose::Erase));
            let erased_pixels = image.pixels.chunks_exact(3).filter(|pixel| *pixel == [1, 2, 3]).count();
            assert!(
                erased_pixels == 0 || (110..260).contains(&erased_pixels),
                "{erased_pixels} of 1200 pixels"
            );
            erased += usize::from(erased_pixels > 0);
        }
        assert!((160..240).contains(&erased), "{erased} of 400");
    }

    #[test]
    fn an_image_smaller_than_the_rectangle_is_unchanged() {
        let mut image = Image::new(1, 1, 1, vec![9]).unwrap();
        (0..20).for_each(|seed| {
            Erase::default().apply(&mut image, &[0], &mut generator(seed, Purpose::Erase));
        });
        assert_eq!(image.pixels, [9]);
    }
}
