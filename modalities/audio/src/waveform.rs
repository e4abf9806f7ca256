//! Decoded valid.

use smalti_contract::TokenizeError;
use std::ops::RangeInclusive;

/// The supported sampling rates, in Hz; a header with another rate is corrupt.
pub const SAMPLING_RATES: RangeInclusive<u32> = 1_000..=384_000;

/// The maximal magnitude of a sample: far beyond full scale, but small enough that sums of squares do not overflow.
const MAX_AMPLITUDE: f32 = 1e6;

/// A clip of one channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Waveform {
    /// The sampling rate in Hz.
    pub sampling_rate: u32,
    /// Amplitudes, nominally in -1..=1. They are not clipped: a float file may go beyond, up to a million.
    pub samples: Vec<f32>,
}

impl Waveform {
    /// Silence of this many seconds, rounded to whole samples; empty if `seconds` is negative or NaN.
    pub fn silence(sampling_rate: u32, seconds: f32) -> Self {
        Self { sampling_rate, samples: vec![0.0; samples_in(seconds, sampling_rate)] }
    }

    /// The length in seconds.
    pub fn seconds(&self) -> f32 {
        self.samples.len() as f32 / self.sampling_rate as f32
    }

    /// Append another clip, for example spoken digits with [silence](Self::silence) between them.
    ///
    /// # Errors
    /// [`TokenizeError::Input`] if the sampling rates differ; [`resample`](Self::resample) first.
    pub fn append(&mut self, next: &Waveform) -> Result<(), TokenizeError> {
        if next.sampling_rate != self.sampling_rate {
            return Err(TokenizeError::Input(format!(
                "a clip of {} Hz cannot be appended to one of {} Hz",
                next.sampling_rate, self.sampling_rate
            )));
        }
        self.samples.extend_from_slice(&next.samples);
        Ok(())
    }

    /// Check the sampling rate, the length, and that samples are finite and in range.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !SAMPLING_RATES.contains(&self.sampling_rate) {
            return Err(wrong_rate(self.sampling_rate));
        }
        if self.samples.is_empty() {
            return Err("the clip has no samples".into());
        }
        match invalid_sample(&self.samples) {
            None => Ok(()),
            Some((at, problem)) => Err(format!("sample {at} {problem}")),
        }
    }
}

/// The first sample that is not finite or out of range, and the problem.
pub(crate) fn invalid_sample(samples: &[f32]) -> Option<(usize, String)> {
    const BLOCK: usize = 1024;
    let valid = |sample: &f32| sample.abs() <= MAX_AMPLITUDE;
    // Whole blocks are checked without a branch for each sample, which is faster.
    let all_valid = |block: &[f32]| block.iter().fold(true, |all, sample| all & valid(sample));
    let block = samples.chunks(BLOCK).position(|block| !all_valid(block))?;
    let at = block * BLOCK + samples[block * BLOCK..].iter().position(|sample| !valid(sample))?;
    let (sample, most) = (samples[at], MAX_AMPLITUDE);
    Some((at, format!("is {sample:?}; samples must be finite, between -{most} and {most}")))
}

/// The error message for a sampling rate outside of [`SAMPLING_RATES`].
pub(crate) fn wrong_rate(sampling_rate: u32) -> String {
    let (least, most) = (SAMPLING_RATES.start(), SAMPLING_RATES.end());
    format!("the sampling rate is {sampling_rate} Hz; {least} to {most} Hz are accepted")
}

/// `seconds` in whole samples, rounded; 0 if `seconds` is negative or NaN.
pub(crate) fn samples_in(seconds: f32, sampling_rate: u32) -> usize {
    (f64::from(seconds) * f64::from(sampling_rate)).round() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clips_are_appended_with_silence_between() {
        let digit = Waveform { sampling_rate: 8000, samples: vec![0.5; 80] };
        let mut spoken = digit.clone();
        spoken.append(&Waveform::silence(8000, 0.005)).unwrap();
        spoken.append(&digit).unwrap();
        assert_eq!(spoken.samples.len(), 80 + 40 + 80);
        assert_eq!(spoken.samples[79..121], [&[0.5][..], &[0.0; 40], &[0.5]].concat());
        assert_eq!(spoken.seconds(), 0.025);
    }

    #[test]
    fn clips_of_different_rates_cannot_be_appended() {
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
