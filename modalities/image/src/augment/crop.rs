//! A random crop of an image.

use super::ordered;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// A crop of random size, aspect ratio and position, resized to the model's input size (Szegedy et al. 2015): the
/// `RandomResizedCrop` of torchvision.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RandomCrop {
    /// The least and the largest share of the image's area.
    pub area: [f32; 2],
    /// The least and the largest aspect ratio, width by height; its logarithm is drawn.
    pub ratio: [f32; 2],
}

impl Default for RandomCrop {
    /// 8% to all of the area, 3:4 to 4:3.
    fn default() -> Self {
        Self { area: [0.08, 1.0], ratio: [3.0 / 4.0, 4.0 / 3.0] }
    }
}

/// The number of draws, any of which may not fit, before the centre is taken.
const TRIES: usize = 10;

impl RandomCrop {
    pub(super) fn check(self) -> Result<(), String> {
        ordered("crop.area", self.area, 1e-4, 1.0)?;
        ordered("crop.ratio", self.ratio, 1e-2, 1e2)
    }

    /// Draw the rows and columns of a crop of an image of `[height, width]`.
    pub(super) fn draw(self, [height, width]: [usize; 2], random: &mut impl Rng) -> [Range<usize>; 2] {
        for _ in 0..TRIES {
            let sides = rectangle(self.area, self.ratio, [height, width], random);
            if sides[0] <= height && sides[1] <= width {
                return place(sides, [height, width], random);
            }
        }
        // The centre, with the allowed ratio that is nearest to the image's.
        let ratio = (width as f32 / height as f32).clamp(self.ratio[0], self.ratio[1]);
        let sides = match ratio > width as f32 / height as f32 {
            true => [(width as f32 / ratio).round() as usize, width],
            false => [height, (height as f32 * ratio).round() as usize],
        };
        let middle = |side: usize, all: usize| {
            let side = side.clamp(1, all);
            (all - side) / 2..(all - side) / 2 + side
        };
        [middle(sides[0], height), middle(sides[1], width)]
    }
}

/// Draw the height and width, at least 1, of a rectangle of random area, as a share of that of `[height, width]`, and
/// random aspect ratio. The rectangle may not fit.
pub(super) fn rectangle(
    area: [f32; 2],
    ratio: [f32; 2],
    [height, width]: [usize; 2],
    random: &mut impl Rng,
) -> [usize; 2] {
    let area = (height * width) as f32 * random.random_range(area[0]..=area[1]);
    let ratio = random.random_range(ratio[0].ln()..=ratio[1].ln()).exp();
    [(area / ratio).sqrt(), (area * ratio).sqrt()].map(|side| (side.round() as usize).max(1))
}

/// Draw the position of a rectangle in `[height, width]`: its rows and columns.
pub(super) fn place(sides: [usize; 2], within: [usize; 2], random: &mut impl Rng) -> [Range<usize>; 2] {
    let mut somewhere = |side: usize, all: usize| {
        let begin = random.random_range(0..=all - side);
        begin..begin + side
    };
    [somewhere(sides[0], within[0]), somewhere(sides[1], within[1])]
}

#[cfg(test)]
mod tests {
    use super::super::{Purpose, generator};
    use super::*;

    #[test]
    fn crops_lie_inside_and_keep_the_area_and_ratio() {
        let crop = RandomCrop::default();
        for seed in 0..500 {
            let [rows, columns] = crop.draw([375, 500], &mut generator(seed, Purpose::Crop));
            assert!(rows.end <= 375 && columns.end <= 500);
            let share = (rows.len() * columns.len()) as f32 / (375.0 * 500.0);
            let ratio = columns.len() as f32 / rows.len() as f32;
            assert!((0.079..=1.0).contains(&share), "{share}");
            assert!((0.74..1.35).contains(&ratio), "{ratio}");
        }
    }

    #[test]
    fn very_thin_images_are_cropped_at_the_centre() {
        let crop = RandomCrop { area: [1.0, 1.0], ..RandomCrop::default() };
        let draw = |size| crop.draw(size, &mut generator(1, Purpose::Crop));
        assert_eq!(draw([3, 1000]), [0..3, 498..502]);
        assert_eq!(draw([1000, 3]), [498..502, 0..3]);
        assert_eq!(draw([1, 1]), [0..1, 0..1]);
    }
}
