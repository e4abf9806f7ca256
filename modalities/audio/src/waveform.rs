//! Decoded sound.

use smalti_contract::TokenizeError;
use std::ops::RangeInclusive;

/// The sample rates that are accepted, in Hz; what lies outside is a broken header rather than sound.
pub const SAMPLE_RATES: RangeInclusive<u32> = 1_000..=384_000;

/// The largest amplitude that is accepted, either way: far beyond full scale, and far from where the sum of
/// a few squares overflows.
const MAX_AMPLITUDE: f32 = 1e6;

/// Sound of one channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Waveform {
    /// Samples in a second, in Hz.
    pub sample_rate: u32,
    /// Amplitudes, nominally in -1..=1. Nothing clips them: a float file may go beyond,
    /// up to a million.
    pub samples: Vec<f32>,
}

impl Waveform {
    /// This many seconds of silence, rounded to whole samples; none where `seconds` is negative or NaN.
    pub fn silence(sample_rate: u32, seconds: f32) -> Self {
        Self { sample_rate, samples: vec![0.0; samples_in(seconds, sample_rate)] }
    }

    /// How long it lasts, in seconds.
    pub fn seconds(&self) -> f32 {
        self.samples.len() as f32 / self.sample_rate as f32
    }

    /// Puts `next` behind it, so that spoken digits, and [silence](Self::silence) between them, become a
    /// sentence.
    ///
    /// # Errors
    /// [`TokenizeError::Input`] where the sample rates differ; [`resample`](Self::resample) first.
    pub fn append(&mut self, next: &Waveform) -> Result<(), TokenizeError> {
        if next.sample_rate != self.sample_rate {
            return Err(TokenizeError::Input(format!(
                "a clip of {} Hz cannot be appended to one of {} Hz",
                next.sample_rate, self.sample_rate
            )));
        }
        self.samples.extend_from_slice(&next.samples);
        Ok(())
    }

    /// What keeps this from being sound, if anything: its sample rate, its length, a sample that is no
    /// finite number or out of all bounds.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !SAMPLE_RATES.contains(&self.sample_rate) {
            return Err(wrong_rate(self.sample_rate));
        }
        if self.samples.is_empty() {
            return Err("the clip has no samples".into());
        }
        match not_sound(&self.samples) {
            None => Ok(()),
            Some((at, problem)) => Err(format!("sample {at} {problem}")),
        }
    }
}

/// The first sample that is no finite number or out of all bounds, and what is wrong with it.
pub(crate) fn not_sound(samples: &[f32]) -> Option<(usize, String)> {
    const BLOCK: usize = 1024;
    let sound = |sample: &f32| sample.abs() <= MAX_AMPLITUDE;
    // Whole blocks are tried without a branch for each sample, which is what makes this fast.
    let all_sound = |block: &[f32]| block.iter().fold(true, |all, sample| all & sound(sample));
    let block = samples.chunks(BLOCK).position(|block| !all_sound(block))?;
    let at = block * BLOCK + samples[block * BLOCK..].iter().position(|sample| !sound(sample))?;
    let (sample, most) = (samples[at], MAX_AMPLITUDE);
    Some((at, format!("is {sample:?}; samples must be finite, between -{most} and {most}")))
}

/// What is wrong with a sample rate outside of [`SAMPLE_RATES`].
pub(crate) fn wrong_rate(sample_rate: u32) -> String {
    let (least, most) = (SAMPLE_RATES.start(), SAMPLE_RATES.end());
    format!("the sample rate is {sample_rate} Hz; {least} to {most} Hz are accepted")
}

/// `seconds` in whole samples, rounded; 0 where `seconds` is negative or NaN.
pub(crate) fn samples_in(seconds: f32, sample_rate: u32) -> usize {
    (f64::from(seconds) * f64::from(sample_rate)).round() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clips_are_joined_with_silence_between() {
        let digit = Waveform { sample_rate: 8000, samples: vec![0.5; 80] };
        let mut spoken = digit.clone();
        spoken.append(&Waveform::silence(8000, 0.005)).unwrap();
        spoken.append(&digit).unwrap();
        assert_eq!(spoken.samples.len(), 80 + 40 + 80);
        assert_eq!(spoken.samples[79..121], [&[0.5][..], &[0.0; 40], &[0.5]].concat());
        assert_eq!(spoken.seconds(), 0.025);
    }

    #[test]
    fn clips_of_other_rates_do_not_mix() {
        let error = Waveform::silence(8000, 1.0).append(&Waveform::silence(16000, 1.0)).unwrap_err();
        assert_eq!(error.to_string(), "a clip of 16000 Hz cannot be appended to one of 8000 Hz");
    }

    #[test]
    fn silence_of_no_length_is_empty() {
        for seconds in [0.0, -1.0, f32::NAN] {
            assert!(Waveform::silence(8000, seconds).samples.is_empty());
        }
    }
}
