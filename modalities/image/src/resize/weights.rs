//! What each pixel along one side of a resized image is made of.

use super::{Filter, Side};
use std::ops::Range;

/// Weights are whole numbers of this many binary places: 8 bits for a pixel, and 2 because weights below 0 and above 1
/// let sums leave the pixels' range (`PRECISION_BITS` of Pillow's `Resample.c`, which this follows step by step).
const BITS: u32 = 32 - 8 - 2;
/// What a sum begins with, so that cutting off its places rounds it.
pub(super) const HALF: i32 = 1 << (BITS - 1);

/// A weighted sum as the pixel value that it is nearest to.
#[inline(always)]
pub(super) fn clip(sum: i32) -> u8 {
    (sum >> BITS).clamp(0, 255) as u8
}

/// For each pixel, the first of the pixels that it is made of, and their weights.
pub(super) struct Weights {
    /// The first source pixel, and where the pixel's weights lie.
    pixels: Vec<(usize, Range<usize>)>,
    weights: Vec<i32>,
}

impl Weights {
    /// The weights that take a side of `from` pixels to what is kept of another.
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

    /// How many pixels are made.
    pub(super) fn len(&self) -> usize {
        self.pixels.len()
    }

    /// The source pixels that are needed.
    pub(super) fn sources(&self) -> Range<usize> {
        let end = |(first, weights): &(usize, Range<usize>)| first + weights.len();
        let first = self.pixels.first().map_or(0, |(first, _)| *first);
        first..self.pixels.last().map_or(first, end)
    }

    /// For each pixel, its first source and the weights of that and of those behind it.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.pixels.iter().map(|(first, weights)| (*first, &self.weights[weights.clone()]))
    }
}

fn fixed(weight: f64) -> i32 {
    let half = if weight < 0.0 { -0.5 } else { 0.5 };
    (half + weight * f64::from(1 << BITS)) as i32
}
