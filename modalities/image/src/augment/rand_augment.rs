//! RandAugment.

use super::colour::{
    adjust_brightness, adjust_contrast, adjust_saturation, auto_contrast, equalize, posterize, sharpen,
    solarize,
};
use super::warp::{Affine, warp};
use super::within;
use crate::image::Image;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// Several of fourteen changes, drawn for each image, with one magnitude (Cubuk et al. 2019). The changes and their
/// strengths are those of torchvision's `RandAugment`; rotated, sheared and translated images are sampled bilinearly.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RandAugment {
    /// The number of changes applied to each image.
    pub changes: usize,
    /// The strength of the changes, 0 to 30.
    pub magnitude: f32,
}

impl Default for RandAugment {
    /// Two changes of magnitude 9.
    fn default() -> Self {
        Self { changes: 2, magnitude: 9.0 }
    }
}

const MAX_MAGNITUDE: f32 = 30.0;

/// The changes. Those with a direction go either way with probability 0.5.
#[derive(Clone, Copy, Debug)]
enum Change {
    Identity,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Brightness,
    Saturation,
    Contrast,
    Sharpness,
    Posterize,
    Solarize,
    AutoContrast,
    Equalize,
}

const CHANGES: [Change; 14] = [
    Change::Identity,
    Change::ShearX,
    Change::ShearY,
    Change::TranslateX,
    Change::TranslateY,
    Change::Rotate,
    Change::Brightness,
    Change::Saturation,
    Change::Contrast,
    Change::Sharpness,
    Change::Posterize,
    Change::Solarize,
    Change::AutoContrast,
    Change::Equalize,
];

impl RandAugment {
    pub(super) fn check(self) -> Result<(), String> {
        if !(1..=CHANGES.len()).contains(&self.changes) {
            let (changes, most) = (self.changes, CHANGES.len());
            return Err(format!("augment.rand_augment.changes is {changes}; it must be within 1..={most}"));
        }
        within("rand_augment.magnitude", self.magnitude, 0.0..=MAX_MAGNITUDE)
    }

    pub(super) fn apply(self, mut image: Image, random: &mut impl Rng) -> Image {
        for _ in 0..self.changes {
            let change = CHANGES[random.random_range(0..CHANGES.len())];
            let sign = if random.random::<bool>() { 1.0 } else { -1.0 };
            image = change.apply(image, self.magnitude / MAX_MAGNITUDE, sign);
        }
        image
    }
}

impl Change {
    /// Apply the change to an image with a share of its maximal strength.
    fn apply(self, mut image: Image, share: f32, sign: f32) -> Image {
        let signed = sign * share;
        // The maximal translation as a share of the side: AutoAugment's 150 of 331 pixels.
        let far = signed * 150.0 / 331.0;
        let same = Affine::IDENTITY;
        match self {
            Change::Identity => {}
            Change::ShearX => return warp(&image, &Affine { xy: 0.3 * signed, ..same }),
            Change::ShearY => return warp(&image, &Affine { yx: 0.3 * signed, ..same }),
            Change::TranslateX => {
                return warp(&image, &Affine { shift: [far * image.width as f32, 0.0], ..same });
            }
            Change::TranslateY => {
                return warp(&image, &Affine { shift: [0.0, far * image.height as f32], ..same });
            }
            Change::Rotate => return warp(&image, &Affine::rotation((30.0 * signed).to_radians())),
            Change::Brightness => adjust_brightness(&mut image, 1.0 + 0.9 * signed),
            Change::Saturation => adjust_saturation(&mut image, 1.0 + 0.9 * signed),
            Change::Contrast => adjust_contrast(&mut image, 1.0 + 0.9 * signed),
            Change::Sharpness => sharpen(&mut image, 1.0 + 0.9 * signed),
            Change::Posterize => posterize(&mut image, 8 - (4.0 * share).round() as u32),
            Change::Solarize => solarize(&mut image, 255.0 * (1.0 - share)),
            Change::AutoContrast => auto_contrast(&mut image),
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
    fn every_change_but_identity_has_an_effect_and_keeps_the_size() {
        for channels in [1, 3] {
            for change in CHANGES {
                let changed = change.apply(image(channels), 1.0, 1.0);
                assert_eq!((changed.width, changed.height, changed.channels), (24, 16, channels));
                let same = matches!(change, Change::Identity)
                    || matches!(change, Change::Saturation) && channels == 1;
                assert_eq!(changed == image(channels), same, "{change:?} of {channels} channels");
            }
        }
    }

    #[test]
    fn magnitude_zero_changes_nothing() {
        for change in CHANGES {
            if !matches!(change, Change::AutoContrast | Change::Equalize) {
                assert_eq!(change.apply(image(3), 0.0, -1.0), image(3), "{change:?}");
            }
        }
    }

    #[test]
    fn the_seed_determines_the_changes() {
        let vary = |seed| RandAugment::default().apply(image(3), &mut generator(seed, Purpose::RandAugment));
        assert_eq!(vary(3), vary(3));
        let different: std::collections::BTreeSet<Vec<u8>> = (0..60).map(|seed| vary(seed).pixels).collect();
        assert!(different.len() > 40, "{} of 60", different.len());
    }
}
