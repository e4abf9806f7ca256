//! Random augmentation for training: speed, shift, gain and noise of the waveform; settings of SpecAugment.

use crate::Waveform;
use crate::resample::resample;
use crate::waveform::samples_in;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use serde::{Deserialize, Serialize};
use std::f64::consts::TAU;

/// Random augmentation of training clips. Every amount is a maximum; 0, the default, is off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Augment {
    /// Change speed and pitch together, by resampling: a fraction below 0.5; 0.1 draws from 0.9 to 1.1, in steps of a
    /// thousandth.
    pub speed: f32,
    /// Change loudness by up to this many dB either way.
    pub gain_db: f32,
    /// Add Gaussian noise, with a standard deviation of up to this fraction of the clip's root mean square.
    pub noise: f32,
    /// Shift the clip by up to this many seconds either way; silence fills the gap, so that the clip keeps its length.
    pub time_shift: f32,
    /// Warp time: move a random frame by up to this many frames, and stretch or compress both sides (W of SpecAugment).
    pub time_warp: usize,
    /// The maximal number of consecutive frames that a time mask hides (T).
    pub time_mask: usize,
    /// The number of time masks (mT).
    pub time_masks: usize,
    /// The maximal share of a clip's frames that one time mask hides, in addition to `time_mask` (p).
    pub time_mask_share: f32,
    /// The maximal number of neighbouring bands that a frequency mask hides (F).
    pub frequency_mask: usize,
    /// The number of frequency masks (mF).
    pub frequency_masks: usize,
}

impl Default for Augment {
    fn default() -> Self {
        Self {
            speed: 0.0,
            gain_db: 0.0,
            noise: 0.0,
            time_shift: 0.0,
            time_warp: 0,
            time_mask: 0,
            time_masks: 1,
            time_mask_share: 1.0,
            frequency_mask: 0,
            frequency_masks: 1,
        }
    }
}

/// The maximal number of masks of a kind.
const MAX_MASKS: usize = 1 << 10;

impl Augment {
    /// The published policy LD for LibriSpeech: warps by up to 80 frames, two masks of up to 100 frames, two of up to
    /// 27 bands (SpecAugment, Park et al. 2019, table 1); for frames of 10 ms and 80 bands.
    pub fn libri_speech_double() -> Self {
        Self {
            time_warp: 80,
            time_mask: 100,
            time_masks: 2,
            time_mask_share: 1.0,
            frequency_mask: 27,
            frequency_masks: 2,
            ..Self::default()
        }
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        if !(0.0..0.5).contains(&self.speed) {
            return Err(format!("augment.speed is {}; it must be at least 0 and below 0.5", self.speed));
        }
        if !(0.0..=1.0).contains(&self.time_mask_share) {
            return Err(format!("augment.time_mask_share is {}; it must be 0 to 1", self.time_mask_share));
        }
        let masks = [("time_masks", self.time_masks), ("frequency_masks", self.frequency_masks)];
        if let Some((name, n)) = masks.into_iter().find(|(_, n)| *n > MAX_MASKS) {
            return Err(format!("augment.{name} is {n}; it must be at most {MAX_MASKS}"));
        }
        let amounts = [("gain_db", self.gain_db), ("noise", self.noise), ("time_shift", self.time_shift)];
        match amounts.into_iter().find(|(_, amount)| !(amount.is_finite() && *amount >= 0.0)) {
            None => Ok(()),
            Some((name, amount)) => {
                Err(format!("augment.{name} is {amount}; it must be finite and not negative"))
            }
        }
    }

    /// Change a clip's speed, shift, gain and noise. An invalid clip is returned unchanged, so that encoding gives the
    /// error.
    pub(crate) fn vary(&self, mut clip: Waveform, seed: u64) -> Waveform {
        if clip.check().is_err() {
            return clip;
        }
        let mut rng = Pcg64::seed_from_u64(seed);
        if self.speed > 0.0 {
            let most = (self.speed * 1000.0) as i32;
            // Whole thousandths keep the ratio of rates, and so the resampler's blocks, small.
            let speed = 1000 + rng.random_range(-most..=most);
            clip.samples = resample(&clip.samples, speed as u32, 1000);
        }
        if self.time_shift > 0.0 {
            let by = rng.random_range(-self.time_shift..=self.time_shift);
            shift(&mut clip.samples, samples_in(by.abs(), clip.sampling_rate), by > 0.0);
        }
        if self.gain_db > 0.0 {
            let gain = libm::exp10f(rng.random_range(-self.gain_db..=self.gain_db) / 20.0);
            clip.samples.iter_mut().for_each(|sample| *sample *= gain);
        }
        if self.noise > 0.0 {
            let power = clip.samples.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>();
            let rms = (power / clip.samples.len() as f64).sqrt();
            let deviation = f64::from(rng.random_range(0.0..=self.noise)) * rms;
            clip.samples.iter_mut().for_each(|sample| *sample += (deviation * normal(&mut rng)) as f32);
        }
        clip
    }
}

/// Shift samples by `by`, to later or to earlier, and fill the gap with silence.
fn shift(samples: &mut [f32], by: usize, later: bool) {
    let by = by.min(samples.len());
    let kept = samples.len() - by;
    if later {
        samples.copy_within(..kept, by);
        samples[..by].fill(0.0);
    } else {
        samples.copy_within(by.., 0);
        samples[kept..].fill(0.0);
    }
}

/// Draw from the standard normal distribution (Box and Muller), with the same result on every platform.
fn normal(rng: &mut Pcg64) -> f64 {
    let (radius, angle): (f64, f64) = (rng.random(), rng.random());
    libm::sqrt(-2.0 * libm::log(1.0 - radius)) * libm::cos(TAU * angle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clip() -> Waveform {
        let samples = (0..4000).map(|i| 0.5 * (i as f32 * 0.1).sin()).collect();
        Waveform { sampling_rate: 8000, samples }
    }

    fn rms(samples: &[f32]) -> f32 {
        (samples.iter().map(|s| s * s).sum::<f32>() / samples.len() as f32).sqrt()
    }

    #[test]
    fn default_settings_change_nothing() {
        assert_eq!(Augment::default().vary(clip(), 1), clip());
    }

    #[test]
    fn the_seed_determines_the_result() {
        let augment =
            Augment { speed: 0.1, gain_db: 6.0, noise: 0.1, time_shift: 0.05, ..Augment::default() };
        assert_eq!(augment.vary(clip(), 7), augment.vary(clip(), 7));
        assert_ne!(augment.vary(clip(), 7), augment.vary(clip(), 8));
    }

    #[test]
    fn speed_changes_length_within_its_bounds() {
        let augment = Augment { speed: 0.1, ..Augment::default() };
        let lengths: Vec<usize> = (0..40).map(|seed| augment.vary(clip(), seed).samples.len()).collect();
        assert!(lengths.iter().all(|n| (3636..=4445).contains(n)), "{lengths:?}");
        assert!(lengths.iter().any(|&n| n < 3850) && lengths.iter().any(|&n| n > 4150), "{lengths:?}");
    }

    #[test]
    fn gain_and_noise_keep_their_bounds() {
        let quiet = rms(&clip().samples);
        for seed in 0..40 {
            let louder = Augment { gain_db: 6.0, ..Augment::default() }.vary(clip(), seed);
            assert!((0.501..=1.996).contains(&(rms(&louder.samples) / quiet)));
            let noisy = Augment { noise: 0.5, ..Augment::default() }.vary(clip(), seed);
            let noise: Vec<f32> = noisy.samples.iter().zip(clip().samples).map(|(a, b)| a - b).collect();
            assert!(rms(&noise) <= 0.5 * quiet * 1.05, "4,000 draws may exceed their deviation a little");
        }
    }

    #[test]
    fn a_shift_keeps_the_length_and_fills_with_silence() {
        let mut samples = [1.0, 2.0, 3.0, 4.0];
        shift(&mut samples, 1, true);
        assert_eq!(samples, [0.0, 1.0, 2.0, 3.0]);
        shift(&mut samples, 2, false);
        assert_eq!(samples, [2.0, 3.0, 0.0, 0.0]);
        shift(&mut samples, 9, false);
        assert_eq!(samples, [0.0; 4]);
    }

    #[test]
    fn normal_draws_have_mean_0_and_deviation_1() {
        let mut rng = Pcg64::seed_from_u64(3);
        let draws: Vec<f64> = (0..100_000).map(|_| normal(&mut rng)).collect();
        let mean = draws.iter().sum::<f64>() / 1e5;
        let variance = draws.iter().map(|x| x * x).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
    }

    #[test]
    fn invalid_clips_stay_the_same() {
        let augment = Augment { speed: 0.1, gain_db: 6.0, noise: 0.1, time_shift: 9.0, ..Augment::default() };
        for samples in [vec![], vec![3e38; 9], vec![f32::INFINITY, -1.0]] {
            let clip = Waveform { sampling_rate: 8000, samples };
            assert_eq!(augment.vary(clip.clone(), 1), clip);
        }
    }
}
