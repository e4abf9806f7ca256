//! Random augmentation of training images.

mod colour;
mod crop;
mod erase;
mod rand_augment;
mod warp;

pub use colour::Jitter;
pub use crop::RandomCrop;
pub use erase::Erase;
pub use rand_augment::RandAugment;

use crate::image::Image;
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

/// Random augmentation of training images; off by default.
///
/// In this order: a random crop is resized; the image is shifted, rotated, scaled and mirrored by one affine map about
/// its centre, sampled bilinearly; RandAugment; colour jitter; random erasing. Pixels from outside the image are black
/// (0). Each step has its own random numbers from the seed, so that one setting does not change the draws of another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Augment {
    /// Shift by up to this many pixels along each axis, after resizing. Without rotation and scaling, a whole number
    /// shifts by whole pixels: the random crop of a padded image that is usual for CIFAR-10, with 4.
    pub shift: f32,
    /// Rotate by up to this many degrees either way.
    pub rotate: f32,
    /// Scale by up to this fraction: 0.1 is 0.9 to 1.1 times.
    pub scale: f32,
    /// Mirror left to right with probability 0.5.
    pub flip: bool,
    /// A random crop of the image; needs an `image_size`, or `resize` to be native.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop: Option<RandomCrop>,
    /// RandAugment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rand_augment: Option<RandAugment>,
    /// Brightness, contrast, saturation and hue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Jitter>,
    /// Random erasing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub erase: Option<Erase>,
}

/// The purpose of random numbers; each purpose has its own sequence.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Warp = 0,
    Crop = 1,
    RandAugment = 2,
    Jitter = 3,
    Erase = 4,
    Blend = 5,
}

/// The random number generator of an image's seed and a purpose.
pub(crate) fn generator(seed: u64, purpose: Purpose) -> Pcg64Mcg {
    // The golden ratio in 64 bits, as in SplitMix64, so that the sequences of consecutive seeds do not overlap.
    Pcg64Mcg::seed_from_u64(seed.wrapping_add((purpose as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

impl Augment {
    /// Draw the random crop of an image, if it is set.
    pub(crate) fn random_crop(&self, image: &Image, seed: u64) -> Option<Image> {
        let crop = self.crop?;
        let [rows, columns] = crop.draw([image.height, image.width], &mut generator(seed, Purpose::Crop));
        Some(image.cut(rows, columns))
    }

    /// Augment an image of the model's input size; erased pixels become `mean`, one pixel.
    pub(crate) fn vary(&self, image: Image, mean: &[u8], seed: u64) -> Image {
        let mut image = warp::vary(image, self, &mut generator(seed, Purpose::Warp));
        if let Some(rand_augment) = self.rand_augment {
            image = rand_augment.apply(image, &mut generator(seed, Purpose::RandAugment));
        }
        if let Some(jitter) = self.jitter {
            jitter.apply(&mut image, &mut generator(seed, Purpose::Jitter));
        }
        if let Some(erase) = self.erase {
            erase.apply(&mut image, mean, &mut generator(seed, Purpose::Erase));
        }
        image
    }

    /// Check the settings.
    pub(crate) fn check(&self) -> Result<(), String> {
        for (name, value, most) in
            [("shift", self.shift, 1e6), ("rotate", self.rotate, 180.0), ("scale", self.scale, 0.9)]
        {
            within(name, value, 0.0..=most)?;
        }
        self.crop.map_or(Ok(()), RandomCrop::check)?;
        self.rand_augment.map_or(Ok(()), RandAugment::check)?;
        self.jitter.map_or(Ok(()), Jitter::check)?;
        self.erase.map_or(Ok(()), Erase::check)
    }
}

/// Check that a setting of `augment` is a number in `range`.
fn within(name: &str, value: f32, range: std::ops::RangeInclusive<f32>) -> Result<(), String> {
    match range.contains(&value) {
        true => Ok(()),
        false => {
            let (least, most) = range.into_inner();
            Err(format!("augment.{name} is {value}; it must be within {least}..={most}"))
        }
    }
}

/// Check that two settings are a range between `least` and `most`.
fn ordered(name: &str, [from, to]: [f32; 2], least: f32, most: f32) -> Result<(), String> {
    match least <= from && from <= to && to <= most {
        true => Ok(()),
        false => Err(format!(
            "augment.{name} is [{from}, {to}]; it must be a range, minimum first, within {least}..={most}"
        )),
    }
}
