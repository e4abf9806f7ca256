//! Random variations of training images.

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

/// How far a training image is varied at random; by default not at all.
///
/// In this order: a random part is cut out and resized; the image is moved, turned, scaled and mirrored, which is one
/// affine map about its centre, sampled bilinearly; RandAugment; colours; a rectangle is erased. What comes from outside
/// the image is black (0). Each draws from the seed for itself, so that one setting does not change another's luck.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augment {
    /// Moved by up to this many pixels along each axis, measured after resizing. Where nothing is turned or scaled,
    /// a whole number moves by whole pixels: the random crop of a padded image, as CIFAR-10 is varied with 4.
    pub shift: f32,
    /// Turned by up to this many degrees either way.
    pub rotate: f32,
    /// Enlarged or shrunk by up to this fraction: 0.1 is 0.9 to 1.1 times.
    pub scale: f32,
    /// Mirrored left to right, one time in two.
    pub flip: bool,
    /// A random part of the image in place of the whole; wants a `size`, or `resize` to be native.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop: Option<RandomCrop>,
    /// RandAugment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rand_augment: Option<RandAugment>,
    /// Brightness, contrast, saturation and hue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Jitter>,
    /// A rectangle is erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub erase: Option<Erase>,
}

/// What random numbers are for: each purpose has its own.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Warp = 0,
    Crop = 1,
    RandAugment = 2,
    Jitter = 3,
    Erase = 4,
    Blend = 5,
}

/// The numbers that an image's seed gives for a purpose.
pub(crate) fn generator(seed: u64, purpose: Purpose) -> Pcg64Mcg {
    // The golden ratio in 64 bits, as in SplitMix64: seeds that follow each other do not meet.
    Pcg64Mcg::seed_from_u64(seed.wrapping_add((purpose as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

impl Augment {
    /// The part of an image that is to be looked at, where it is a random one.
    pub(crate) fn part(&self, image: &Image, seed: u64) -> Option<Image> {
        let crop = self.crop?;
        let [rows, columns] = crop.draw([image.height, image.width], &mut generator(seed, Purpose::Crop));
        Some(image.cut(rows, columns))
    }

    /// An image of the size that the model sees, varied; what is erased becomes `mean`, a pixel.
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

    /// `Err` says which setting cannot work.
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

/// `Err` where a setting of `augment` lies elsewhere, or is no number.
fn within(name: &str, value: f32, range: std::ops::RangeInclusive<f32>) -> Result<(), String> {
    match range.contains(&value) {
        true => Ok(()),
        false => {
            let (least, most) = range.into_inner();
            Err(format!("augment.{name} is {value}; it must be within {least}..={most}"))
        }
    }
}

/// `Err` where two settings are no range between `least` and `most`.
fn ordered(name: &str, [from, to]: [f32; 2], least: f32, most: f32) -> Result<(), String> {
    match least <= from && from <= to && to <= most {
        true => Ok(()),
        false => Err(format!(
            "augment.{name} is [{from}, {to}]; it must be a range, the least first, within {least}..={most}"
        )),
    }
}
