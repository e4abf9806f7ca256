//! Blending of two images: mixup and cutmix.

use crate::augment::{Purpose, generator};
use crate::image::Image;
use rand::{Rng, RngExt};
use rand_distr::{Beta, Distribution};
use serde::{Deserialize, Serialize};
use smalti_contract::TokenizeError;

/// Blending of each training image with another one; off by default. The target is then both classes, weighted by the
/// shares of the images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Blend {
    /// Mixup (Zhang et al. 2017): the mean of two images, weighted by a share drawn from Beta(this, this); 0 is off.
    pub mixup: f32,
    /// Cutmix (Yun et al. 2019): a rectangle of the other image, whose share of the area is drawn from Beta(this,
    /// this); 0 is off. If mixup is on too, each is chosen with probability 0.5.
    pub cutmix: f32,
    /// The probability that an image is blended, if either is on.
    pub probability: f32,
}

impl Default for Blend {
    fn default() -> Self {
        Self { mixup: 0.0, cutmix: 0.0, probability: 1.0 }
    }
}

/// The drawn parameters of one blend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Blending {
    /// The weighted mean of two images.
    Mixup {
        /// The weight of the first image, in 0..=1.
        share: f64,
    },
    /// A rectangle from the second image.
    Cutmix {
        /// The share of the first image's area that stays, in 0..=1, if the whole rectangle lies inside the image.
        share: f64,
        /// The rectangle's centre as shares of the image's height and width, in 0..=1.
        middle: [f64; 2],
    },
}

impl Blend {
    /// Check the settings.
    ///
    /// # Errors
    /// If a distribution's parameter is not in 0..=100, or the probability not in 0..=1.
    pub fn check(&self) -> Result<(), String> {
        let settings = [
            ("mixup", self.mixup, 100.0),
            ("cutmix", self.cutmix, 100.0),
            ("probability", self.probability, 1.0),
        ];
        for (name, value, most) in settings {
            if !(0.0..=most).contains(&value) {
                return Err(format!("blend.{name} is {value}; it must be within 0..={most}"));
            }
        }
        Ok(())
    }

    /// Whether all settings are the defaults.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether blending is off.
    pub fn is_off(&self) -> bool {
        self.probability == 0.0 || self.mixup == 0.0 && self.cutmix == 0.0
    }

    /// Draw how the image of this seed is blended; `None` if it is not.
    pub fn draw(&self, seed: u64) -> Option<Blending> {
        let random = &mut generator(seed, Purpose::Blend);
        if self.is_off() || random.random::<f32>() >= self.probability {
            return None;
        }
        let cut = self.cutmix > 0.0 && (self.mixup == 0.0 || random.random::<bool>());
        let share = share(if cut { self.cutmix } else { self.mixup }, random);
        Some(match cut {
            true => Blending::Cutmix { share, middle: [random.random(), random.random()] },
            false => Blending::Mixup { share },
        })
    }
}

/// Draw from Beta(alpha, alpha).
fn share(alpha: f32, random: &mut impl Rng) -> f64 {
    // If the parameter is too small for the distribution, use its limit: one of the two images.
    match Beta::new(f64::from(alpha), f64::from(alpha)) {
        Ok(beta) => Some(beta.sample(random)).filter(|share| share.is_finite()),
        Err(_) => None,
    }
    .unwrap_or_else(|| f64::from(u8::from(random.random::<bool>())))
}

impl Blending {
    /// Blend two images, and return the share of the first.
    ///
    /// # Errors
    /// [`TokenizeError::Input`] if they are of different sizes or channels.
    pub fn apply(self, mut first: Image, second: &Image) -> Result<(Image, f32), TokenizeError> {
        let shape = |image: &Image| [image.height, image.width, image.channels];
        if shape(&first) != shape(second) {
            let ([a, b, c], [d, e, f]) = (shape(&first), shape(second));
            return Err(TokenizeError::Input(format!(
                "images of {a}×{b}×{c} and {d}×{e}×{f} cannot be blended; they must have the same size"
            )));
        }
        let [height, width, _] = shape(&first);
        match self {
            Blending::Mixup { share } => {
                // Fixed point with 16 binary digits, which is enough for 8-bit pixels.
                let weight = (share.clamp(0.0, 1.0) * 65536.0).round() as u32;
                for (value, &other) in first.pixels.iter_mut().zip(&second.pixels) {
                    let sum = u32::from(*value) * weight + u32::from(other) * (65536 - weight);
                    *value = ((sum + 32768) >> 16) as u8;
                }
                Ok((first, share as f32))
            }
            Blending::Cutmix { share, middle } => {
                let of_side = (1.0 - share).clamp(0.0, 1.0).sqrt();
                let span = |middle: f64, side: usize| {
                    let (middle, half) = (middle * side as f64, of_side * side as f64 / 2.0);
                    let end = ((middle + half).round() as usize).min(side);
                    ((middle - half).round().max(0.0) as usize).min(end)..end
                };
                let (rows, columns) = (span(middle[0], height), span(middle[1], width));
                let replaced = (rows.len() * columns.len()) as f32;
                if replaced > 0.0 {
                    let corner = [rows.start, columns.start];
                    first.place(&second.cut(rows, columns), corner);
                }
                Ok((first, 1.0 - replaced / (height * width) as f32))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(value: u8) -> Image {
        Image::new(10, 8, 3, vec![value; 240]).unwrap()
    }

    #[test]
    fn mixup_is_the_weighted_mean() {
        let (image, share) = Blending::Mixup { share: 0.25 }.apply(flat(100), &flat(200)).unwrap();
        assert_eq!((image, share), (flat(175), 0.25));
        for (share, value) in [(0.0, 200), (1.0, 100)] {
            assert_eq!(Blending::Mixup { share }.apply(flat(100), &flat(200)).unwrap().0, flat(value));
        }
    }

    #[test]
    fn cutmix_returns_the_share_of_the_first_image() {
        for seed in 0..300 {
            let blending = Blend { cutmix: 1.0, ..Blend::default() }.draw(seed).unwrap();
            assert!(matches!(blending, Blending::Cutmix { .. }));
            let (image, share) = blending.apply(flat(1), &flat(2)).unwrap();
            let kept = image.pixels.iter().filter(|&&value| value == 1).count();
            assert!((share - kept as f32 / 240.0).abs() < 1e-6, "{share} returned, {kept} of 240 kept");
        }
        let middle = [0.0, 0.0];
        let (image, share) = Blending::Cutmix { share: 0.0, middle }.apply(flat(1), &flat(2)).unwrap();
        assert_eq!(share, 0.75, "a corner of the rectangle lies inside");
        assert_eq!((image.pixels[0], image.pixels[239]), (2, 1));
    }

    #[test]
    fn shares_follow_the_distribution() {
        for (alpha, variance) in [(0.2_f32, 0.25 / 1.4), (1.0, 1.0 / 12.0), (4.0, 0.25 / 9.0)] {
            let blend = Blend { mixup: alpha, ..Blend::default() };
            let shares: Vec<f64> = (0..4000)
                .map(|seed| match blend.draw(seed) {
                    Some(Blending::Mixup { share }) => share,
                    other => panic!("{other:?}"),
                })
                .collect();
            let mean = shares.iter().sum::<f64>() / 4000.0;
            let found = shares.iter().map(|share| (share - mean).powi(2)).sum::<f64>() / 4000.0;
            assert!((mean - 0.5).abs() < 0.03 && (found / variance - 1.0).abs() < 0.1, "{mean} {found}");
        }
    }

    #[test]
    fn the_probability_is_kept() {
        let drawn = |blend: Blend| (0..1000).filter_map(|seed| blend.draw(seed)).collect::<Vec<_>>();
        assert!(drawn(Blend::default()).is_empty());
        let some = Blend { mixup: 0.2, cutmix: 1.0, probability: 0.4 };
        let (all, again) = (drawn(some), drawn(some));
        assert_eq!(all, again);
        let cut = all.iter().filter(|blending| matches!(blending, Blending::Cutmix { .. })).count();
        assert!((330..470).contains(&all.len()) && (140..260).contains(&cut), "{cut} of {}", all.len());
    }

    #[test]
    fn extreme_settings_work_and_invalid_ones_are_errors() {
        let tiny = Blend { mixup: 1e-30, ..Blend::default() };
        for seed in 0..100 {
            let (image, share) = tiny.draw(seed).unwrap().apply(flat(1), &flat(2)).unwrap();
            assert!((0.0..=1.0).contains(&share) && image.pixels.len() == 240, "{share}");
        }
        let small = Image::new(1, 1, 3, vec![0; 3]).unwrap();
        let error = Blending::Mixup { share: 0.5 }.apply(flat(1), &small).unwrap_err().to_string();
        assert!(error.contains("8×10×3 and 1×1×3"), "{error}");
        let problem = Blend { cutmix: -1.0, ..Blend::default() }.check().unwrap_err();
        assert_eq!(problem, "blend.cutmix is -1; it must be within 0..=100");
    }
}
