//! The weights of source pixels along one side of a resized image.

use super::{Filter, Side};
use std::ops::Range;

/// Weights are fixed-point numbers with this many binary digits: of 32 bits, 8 are for a pixel, and 2 because weights
/// below 0 and above 1 let sums leave the pixels' range (`PRECISION_BITS` of Pillow's `Resample.c`, which this follows
/// step by step).
const BITS: u32 = 32 - 8 - 2;
/// The initial value of a sum, so that cutting off its fraction rounds it.
pub(super) const HALF: i32 = 1 << (BITS - 1);

/// The pixel value nearest to a weighted sum.
#[inline(always)]
pub(super) fn clip(sum: i32) -> u8 {
    (sum >> BITS).clamp(0, 255) as u8
}

/// For each target pixel, its first source pixel, and the weights of its source pixels.
pub(super) struct Weights {
    /// For each target pixel, the first source pixel and its range of `weights`.
    pixels: Vec<(usize, Range<usize>)>,
    weights: Vec<i32>,
}

impl Weights {
    /// The weights that resample a side of `from` pixels to the kept pixels of `to`.
    pub(super) fn new(from: usize, to: &Side, filter: Filter) -> Self {
        let scale = from as f64 / to.whole as f64;
        let widened = scale.max(1.0);
        let reach = filter.reach() * widened;
        let (mut pixels, mut weights) = (Vec::with_capacity(to.kept.len()), Vec::new());
        let mut exact: Vec<f64> = Vec::new();
        for pixel in to.kept.clone() {
            let centre = (pixel as f64 + 0.5) * scale;
            let first = (centre - reach + 0.5).max(0.0) as usize;
            let end = ((centre + reach + 0.5) as usize).min(from);
            exact.clear();
            exact.extend(
                (0..end - first)
                    .map(|i| filter.weight(((i + first) as f64 - centre + 0.5) * (1.0 / widened))),
            );
            let total: f64 = exact.iter().sum();
            let begin = weights.len();
            weights.extend(
                exact.iter().map(|weight| fixed(if total == 0.0 { *weight } else { weight / total })),
            );
            pixels.push((first, begin..weights.len()));
        }
        Self { pixels, weights }
    }

    /// The number of target pixels.
    pub(super) fn len(&self) -> usize {
        self.pixels.len()
    }

    /// The source pixels that contribute.
    pub(super) fn sources(&self) -> Range<usize> {
        let end = |(first, weights): &(usize, Range<usize>)| first + weights.len();
        let first = self.pixels.first().map_or(0, |(first, _)| *first);
        first..self.pixels.last().map_or(first, end)
    }

    /// For each target pixel, its first source pixel, and the weights of that one and those after it.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.pixels.iter().map(|(first, weights)| (*first, &self.weights[weights.clone()]))
    }
}

fn fixed(weight: f64) -> i32 {
    let half = if weight < 0.0 { -0.5 } else { 0.5 };
    (half + weight * f64::from(1 << BITS)) as i32
}
