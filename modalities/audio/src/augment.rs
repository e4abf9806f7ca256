//! Random variation for training: speed, shift, gain and noise of the waveform; masks and warps are SpecAugment's.

use crate::Waveform;
use crate::resample::resample;
use crate::waveform::samples_in;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use serde::{Deserialize, Serialize};
use std::f64::consts::TAU;

/// How far a clip may vary in training. Every amount is the most that is drawn, and 0, the default, is off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augment {
    /// Speed and pitch vary together, by resampling: a fraction below 0.5; 0.1 draws from 0.9 to 1.1, in
    /// steps of a thousandth.
    pub speed: f32,
    /// Loudness varies by plus or minus so many dB.
    pub gain_db: f32,
    /// Gaussian noise: its standard deviation as a fraction of the clip's root mean square.
    pub noise: f32,
    /// The clip moves by plus or minus so many seconds: what leaves it is lost and silence moves in, so that
    /// it keeps its length.
    pub time_shift: f32,
    /// Frames by which a place of the clip moves, and what lies around it is stretched or squeezed (W of
    /// SpecAugment).
    pub time_warp: usize,
    /// Frames, in a row, that a mask hides (T).
    pub time_mask: usize,
    /// How many such masks there are (mT).
    pub time_masks: usize,
    /// The share of a clip's frames that one such mask hides at most, whatever `time_mask` says (p).
    pub time_mask_share: f32,
    /// Neighbouring bands that a mask hides (F).
    pub frequency_mask: usize,
    /// How many such masks there are (mF).
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

impl Augment {
    /// The published policy for LibriSpeech, LD: warps by up to 80 frames, two masks of up to 100 frames, two of up
    /// to 27 bands (SpecAugment, Park et al. 2019, table 1); for frames of 10 ms and 80 bands.
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
        let amounts = [("gain_db", self.gain_db), ("noise", self.noise), ("time_shift", self.time_shift)];
        match amounts.into_iter().find(|(_, amount)| !(amount.is_finite() && *amount >= 0.0)) {
            None => Ok(()),
            Some((name, amount)) => {
                Err(format!("augment.{name} is {amount}; it must be finite and not negative"))
            }
        }
    }

    /// The clip at another speed, moved, louder or softer, and noisier. What is no sound, which encoding
    /// will refuse, stays as it is.
    pub(crate) fn vary(&self, mut clip: Waveform, seed: u64) -> Waveform {
        if clip.check().is_err() {
            return clip;
        }
        let mut rng = Pcg64::seed_from_u64(seed);
        if self.speed > 0.0 {
            let most = (self.speed * 1000.0) as i32;
            // Whole thousandths keep the ratio of rates, and with it the resampler's blocks, small.
            let speed = 1000 + rng.random_range(-most..=most);
            clip.samples = resample(&clip.samples, speed as u32, 1000);
        }
        if self.time_shift > 0.0 {
            let by = rng.random_range(-self.time_shift..=self.time_shift);
            shift(&mut clip.samples, samples_in(by.abs(), clip.sample_rate), by > 0.0);
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

/// Moves samples by `by` places, to later or to earlier, silence behind them.
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

/// A draw from the standard normal distribution (Box and Muller), alike on every platform.
fn normal(rng: &mut Pcg64) -> f64 {
    let (radius, angle): (f64, f64) = (rng.random(), rng.random());
    libm::sqrt(-2.0 * libm::log(1.0 - radius)) * libm::cos(TAU * angle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clip() -> Waveform {
        let samples = (0..4000).map(|i| 0.5 * (i as f32 * 0.1).sin()).collect();
        Waveform { sample_rate: 8000, samples }
    }

    fn rms(samples: &[f32]) -> f32 {
        (samples.iter().map(|s| s * s).sum::<f32>() / samples.len() as f32).sqrt()
    }

    #[test]
    fn nothing_varies_unless_asked() {
        assert_eq!(Augment::default().vary(clip(), 1), clip());
    }

    #[test]
    fn a_seed_gives_one_variation() {
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
    fn shift_keeps_the_length_and_moves_in_silence() {
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
    fn what_is_no_sound_stays_as_it_is() {
        let augment = Augment { speed: 0.1, gain_db: 6.0, noise: 0.1, time_shift: 9.0, ..Augment::default() };
        for samples in [vec![], vec![3e38; 9], vec![f32::INFINITY, -1.0]] {
            let clip = Waveform { sample_rate: 8000, samples };
            assert_eq!(augment.vary(clip.clone(), 1), clip);
        }
    }
}
