//! RandAugment.

use super::colour::{
    adjust_brightness, adjust_contrast, adjust_saturation, equalize, posterize, sharpen, solarize,
    stretch_contrast,
};
use super::warp::{Affine, warp};
use super::within;
use crate::image::Image;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// Some of fourteen changes, drawn anew for each image, all of one strength (Cubuk et al. 2019). Changes and their
/// strengths are those of torchvision's `RandAugment`; turned and moved images are sampled bilinearly.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RandAugment {
    /// How many changes, one after the other.
    pub changes: usize,
    /// How strong they are, 0 to 30.
    pub magnitude: f32,
}

impl Default for RandAugment {
    /// Two changes of strength 9.
    fn default() -> Self {
        Self { changes: 2, magnitude: 9.0 }
    }
}

const MOST: f32 = 30.0;

/// The changes. What has a direction goes either way, one time in two.
#[derive(Clone, Copy, Debug)]
enum Change {
    Nothing,
    ShearAcross,
    ShearDown,
    MoveAcross,
    MoveDown,
    Turn,
    Brightness,
    Saturation,
    Contrast,
    Sharpness,
    Posterize,
    Solarize,
    StretchContrast,
    Equalize,
}

const CHANGES: [Change; 14] = [
    Change::Nothing,
    Change::ShearAcross,
    Change::ShearDown,
    Change::MoveAcross,
    Change::MoveDown,
    Change::Turn,
    Change::Brightness,
    Change::Saturation,
    Change::Contrast,
    Change::Sharpness,
    Change::Posterize,
    Change::Solarize,
    Change::StretchContrast,
    Change::Equalize,
];

impl RandAugment {
    pub(super) fn check(self) -> Result<(), String> {
        if !(1..=CHANGES.len()).contains(&self.changes) {
            let (changes, most) = (self.changes, CHANGES.len());
            return Err(format!("augment.rand_augment.changes is {changes}; it must be within 1..={most}"));
        }
        within("rand_augment.magnitude", self.magnitude, 0.0..=MOST)
    }

    pub(super) fn apply(self, mut image: Image, random: &mut impl Rng) -> Image {
        for _ in 0..self.changes {
            let change = CHANGES[random.random_range(0..CHANGES.len())];
            let sign = if random.random::<bool>() { 1.0 } else { -1.0 };
            image = change.apply(image, self.magnitude / MOST, sign);
        }
        image
    }
}

impl Change {
    /// The image changed, by a share of the most.
    fn apply(self, mut image: Image, share: f32, sign: f32) -> Image {
        let signed = sign * share;
        // An image is moved by no more than this share of its side: 150 of the 331 pixels of AutoAugment's.
        let far = signed * 150.0 / 331.0;
        let same = Affine::SAME;
        match self {
            Change::Nothing => {}
            Change::ShearAcross => return warp(&image, &Affine { xy: 0.3 * signed, ..same }),
            Change::ShearDown => return warp(&image, &Affine { yx: 0.3 * signed, ..same }),
            Change::MoveAcross => {
                return warp(&image, &Affine { shift: [far * image.width as f32, 0.0], ..same });
            }
            Change::MoveDown => {
                return warp(&image, &Affine { shift: [0.0, far * image.height as f32], ..same });
            }
            Change::Turn => return warp(&image, &Affine::turned((30.0 * signed).to_radians())),
            Change::Brightness => adjust_brightness(&mut image, 1.0 + 0.9 * signed),
            Change::Saturation => adjust_saturation(&mut image, 1.0 + 0.9 * signed),
            Change::Contrast => adjust_contrast(&mut image, 1.0 + 0.9 * signed),
            Change::Sharpness => sharpen(&mut image, 1.0 + 0.9 * signed),
            Change::Posterize => posterize(&mut image, 8 - (4.0 * share).round() as u32),
            Change::Solarize => solarize(&mut image, 255.0 * (1.0 - share)),
            Change::StretchContrast => stretch_contrast(&mut image),
            Change::Equalize => equalize(&mut image),
        }
        image
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Purpose, generator};
    use super::*;

    fn image(channels: usize) -> Image {
        let pixels = (0..24 * 16 * channels).map(|i| (20 + i * 37 % 200) as u8).collect();
        Image::new(24, 16, channels, pixels).unwrap()
    }

    #[test]
    fn every_change_changes_and_keeps_the_size() {
        for channels in [1, 3] {
            for change in CHANGES {
                let changed = change.apply(image(channels), 1.0, 1.0);
                assert_eq!((changed.width, changed.height, changed.channels), (24, 16, channels));
                let same = matches!(change, Change::Nothing)
                    || matches!(change, Change::Saturation) && channels == 1;
                assert_eq!(changed == image(channels), same, "{change:?} of {channels} channels");
            }
        }
    }

    #[test]
    fn no_strength_leaves_what_has_a_strength() {
        for change in CHANGES {
            if !matches!(change, Change::StretchContrast | Change::Equalize) {
                assert_eq!(change.apply(image(3), 0.0, -1.0), image(3), "{change:?}");
            }
        }
    }

    #[test]
    fn the_seed_decides() {
        let vary = |seed| RandAugment::default().apply(image(3), &mut generator(seed, Purpose::RandAugment));
        assert_eq!(vary(3), vary(3));
        let different: std::collections::BTreeSet<Vec<u8>> = (0..60).map(|seed| vary(seed).pixels).collect();
        assert!(different.len() > 40, "{} of 60", different.len());
    }
}
