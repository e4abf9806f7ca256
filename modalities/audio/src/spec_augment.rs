//! SpecAugment (Park et al. 2019): time warping, and masking of frames and of bands.

use crate::Augment;
use crate::slices::Slicing;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use smalti_contract::{Content, Tokens};
use std::ops::Range;

impl Augment {
    /// Warp the slices of a clip in time and mask frames and bands. Masked features become the mean of all features.
    pub(crate) fn mask(&self, mut tokens: Tokens, slicing: Slicing, seed: u64) -> Tokens {
        if [self.time_warp, self.time_mask, self.frequency_mask] == [0; 3] {
            return tokens;
        }
        let mut rng = Pcg64::seed_from_u64(seed);
        for group in &mut tokens.groups {
            let Content::Features { values, .. } = &mut group.content else { continue };
            let mut frames = slicing.join(values);
            if frames.is_empty() {
                continue;
            }
            self.warp(&mut frames, slicing.n_mels, &mut rng);
            self.hide(&mut frames, slicing.n_mels, &mut rng);
            *values = slicing.cut(frames);
        }
        tokens
    }

    /// Move one frame to an earlier or later time, and stretch or compress both sides linearly.
    fn warp(&self, frames: &mut Vec<f32>, n_mels: usize, rng: &mut Pcg64) {
        let (n, most) = (frames.len() / n_mels, self.time_warp);
        // The frame is further than `most` from either end, so that it can move either way.
        if most == 0 || n <= 2 * most + 2 {
            return;
        }
        let from = rng.random_range(most + 1..n - 1 - most);
        let to = from + rng.random_range(0..=2 * most) - most;
        if to == from {
            return;
        }
        let old = std::mem::take(frames);
        for t in 0..n {
            // Linear interpolation between the ends and the moved frame gives the source of frame t.
            let source = match t {
                t if t < to => t as f64 * from as f64 / to as f64,
                t => from as f64 + (t - to) as f64 * (n - 1 - from) as f64 / (n - 1 - to) as f64,
            };
            let before = (source as usize).min(n - 1);
            let after = (before + 1).min(n - 1);
            let share = (source - before as f64) as f32;
            let row = |t: usize| &old[t * n_mels..(t + 1) * n_mels];
            frames.extend(row(before).iter().zip(row(after)).map(|(a, b)| a + share * (b - a)));
        }
    }

    fn hide(&self, frames: &mut [f32], n_mels: usize, rng: &mut Pcg64) {
        let n = frames.len() / n_mels;
        let mean = (frames.iter().copied().map(f64::from).sum::<f64>() / frames.len() as f64) as f32;
        let longest = self.time_mask.min((f64::from(self.time_mask_share) * n as f64) as usize);
        for _ in 0..self.time_masks {
            let hidden = span(longest, n, rng);
            frames[hidden.start * n_mels..hidden.end * n_mels].fill(mean);
        }
        for _ in 0..self.frequency_masks {
            let hidden = span(self.frequency_mask, n_mels, rng);
            frames.chunks_mut(n_mels).for_each(|frame| frame[hidden.clone()].fill(mean));
        }
    }
}

/// Draw a range of up to `most` of `of` items, with uniform length and position.
fn span(most: usize, of: usize, rng: &mut Pcg64) -> Range<usize> {
    let width = rng.random_range(0..=most.min(of));
    let start = rng.random_range(0..=of - width);
    start..start + width
}

#[cfg(test)]
mod tests {
    use super::*;
    use smalti_contract::Group;

    const SLICING: Slicing = Slicing { n_mels: 4, frames: 5, hop: 3, bands: 4, band_hop: 4 };

    /// A rising line in each band, in overlapping slices.
    fn tokens(frames: usize) -> Tokens {
        let values = (0..frames).flat_map(|t| (0..4).map(move |band| (4 * t + band) as f32)).collect();
        let content = Content::Features { values: SLICING.cut(values), dim: SLICING.dim() };
        Tokens::new(vec![Group::sequence(content)])
    }

    fn frames(tokens: &Tokens) -> Vec<f32> {
        SLICING.join(tokens.groups[0].content.features().unwrap())
    }

    #[test]
    fn the_number_and_length_of_masks_are_kept() {
        let augment = Augment {
            time_mask: 9,
            time_masks: 3,
            frequency_mask: 1,
            frequency_masks: 2,
            ..Augment::default()
        };
        let (before, mut most) = (tokens(98), (0, 0));
        for seed in 0..200 {
            let masked = frames(&augment.mask(before.clone(), SLICING, seed));
            let clear = frames(&before);
            let hidden = |t: usize, band: usize| masked[4 * t + band] != clear[4 * t + band];
            let hidden_frames = (0..98).filter(|&t| (0..4).all(|band| hidden(t, band))).count();
            let hidden_bands = (0..4).filter(|&band| (0..98).all(|t| hidden(t, band))).count();
            most = (most.0.max(hidden_frames), most.1.max(hidden_bands));
        }
        assert!((19..=27).contains(&most.0), "three masks of up to 9 frames: {most:?}");
        assert_eq!(most.1, 2, "two masks of one band");
    }

    #[test]
    fn a_mask_is_limited_by_its_share() {
        let augment = Augment { time_mask: 50, time_mask_share: 0.1, ..Augment::default() };
        let before = tokens(98);
        let most = (0..100).map(|seed| {
            let masked = frames(&augment.mask(before.clone(), SLICING, seed));
            masked.iter().zip(frames(&before)).filter(|(a, b)| *a != b).count()
        });
        assert_eq!(most.max(), Some(9 * 4));
    }

    #[test]
    fn a_warp_keeps_the_ends_and_the_order() {
        let augment = Augment { time_warp: 20, ..Augment::default() };
        let before = tokens(98);
        let mut moved = 0;
        for seed in 0..50 {
            let warped = augment.mask(before.clone(), SLICING, seed);
            assert_eq!(warped, augment.mask(before.clone(), SLICING, seed));
            let (warped, clear) = (frames(&warped), frames(&before));
            assert_eq!(warped.len(), clear.len());
            assert_eq!((&warped[..4], &warped[97 * 4..]), (&clear[..4], &clear[97 * 4..]));
            let first_band: Vec<f32> = warped.iter().step_by(4).copied().collect();
            assert!(first_band.windows(2).all(|pair| pair[0] < pair[1]), "{first_band:?}");
            // A line of slope 4: no frame moves by more than 20.
            assert!(warped.iter().zip(&clear).all(|(a, b)| (a - b).abs() <= 80.001));
            moved += usize::from(warped != clear);
        }
        assert!(moved > 40, "{moved} of 50 moved");
        let short = tokens(38);
        assert_eq!(augment.mask(short.clone(), SLICING, 1), short, "too short to be warped by 20 frames");
    }

    #[test]
    fn amounts_of_zero_change_nothing() {
        let before = tokens(38);
        assert_eq!(Augment::default().mask(before.clone(), SLICING, 3), before);
        assert_eq!(Augment::default().mask(Tokens::default(), SLICING, 3), Tokens::default());
    }
}
