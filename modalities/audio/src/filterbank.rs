//! Triangular mel filters.

use serde::{Deserialize, Serialize};

/// The formula of the mel scale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MelScale {
    /// Linear below 1 kHz, logarithmic above (Slaney's Auditory Toolbox; the default of librosa).
    #[default]
    Slaney,
    /// `2595 · log10(1 + f / 700)` (the Hidden Markov Model Toolkit).
    Htk,
    /// `1127 · ln(1 + f / 700)`, with triangles that are linear over mels instead of Hz (Kaldi). A band so narrow that
    /// it falls between two bins of the transform is always silent, as in Kaldi; with the other scales it is an error.
    Kaldi,
}

/// The scaling of a filter's weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MelNorm {
    /// Every triangle has unit area over frequency in Hz, so that white noise is flat.
    #[default]
    Slaney,
    /// Every triangle peaks at 1.
    None,
}

/// Slaney's scale: Hz in a mel below 1 kHz.
const HZ_PER_MEL: f64 = 200.0 / 3.0;
/// Slaney's scale: the frequency from which it is logarithmic, in Hz.
const LOG_START: f64 = 1000.0;
/// Slaney's scale: the factor of frequency for 27 mels above `LOG_START`.
const LOG_FACTOR: f64 = 6.4;

impl MelScale {
    fn mel(self, hz: f64) -> f64 {
        match self {
            MelScale::Slaney if hz < LOG_START => hz / HZ_PER_MEL,
            MelScale::Slaney => LOG_START / HZ_PER_MEL + 27.0 * (hz / LOG_START).ln() / LOG_FACTOR.ln(),
            MelScale::Htk => 2595.0 * (1.0 + hz / 700.0).log10(),
            MelScale::Kaldi => 1127.0 * (1.0 + hz / 700.0).ln(),
        }
    }

    fn hz(self, mel: f64) -> f64 {
        let log_start = LOG_START / HZ_PER_MEL;
        match self {
            MelScale::Slaney if mel < log_start => mel * HZ_PER_MEL,
            MelScale::Slaney => LOG_START * LOG_FACTOR.powf((mel - log_start) / 27.0),
            MelScale::Htk => 700.0 * (10.0_f64.powf(mel / 2595.0) - 1.0),
            MelScale::Kaldi => 700.0 * ((mel / 1127.0).exp() - 1.0),
        }
    }
}

/// The filters of a mel spectrogram, each with its nonzero bins only.
#[derive(Clone, Debug)]
pub(crate) struct Filterbank {
    filters: Vec<Filter>,
    /// The weights of all filters, concatenated.
    weights: Vec<f64>,
}

#[derive(Clone, Copy, Debug)]
struct Filter {
    first_bin: usize,
    bins: usize,
}

impl Filterbank {
    /// `n_mels` triangles whose corners divide `fmin..=fmax` (Hz) evenly in mels, over the bins of an FFT of
    /// `n_fft` samples.
    ///
    /// # Errors
    /// If a filter falls between two bins and so would always be 0, unless the scale is Kaldi's.
    pub(crate) fn new(
        (n_fft, sampling_rate): (usize, u32),
        n_mels: usize,
        (fmin, fmax): (f64, f64),
        scale: MelScale,
        norm: MelNorm,
    ) -> Result<Self, String> {
        let bin_hz = f64::from(sampling_rate) / n_fft as f64;
        let (low, high) = (scale.mel(fmin), scale.mel(fmax));
        let corner = |i: usize| low + (high - low) * i as f64 / (n_mels + 1) as f64;
        let mut bank = Self { filters: vec![], weights: vec![] };
        for m in 0..n_mels {
            let hz = [corner(m), corner(m + 1), corner(m + 2)].map(|mel| scale.hz(mel));
            let first_bin = (hz[0] / bin_hz) as usize;
            let last_bin = ((hz[2] / bin_hz) as usize).min(n_fft / 2);
            let height = match norm {
                MelNorm::Slaney => 2.0 / (hz[2] - hz[0]),
                MelNorm::None => 1.0,
            };
            let weight = |bin: usize| {
                let at = bin as f64 * bin_hz;
                let triangle = if scale == MelScale::Kaldi {
                    kaldi_rise([low, high], m, n_mels, at)
                } else {
                    rise(hz, at)
                };
                (bin, height * triangle)
            };
            let mut nonzero =
                (first_bin..=last_bin).map(weight).filter(|(_, weight)| *weight > 0.0).peekable();
            let first_bin = nonzero.peek().map_or(0, |(bin, _)| *bin);
            let before = bank.weights.len();
            bank.weights.extend(nonzero.map(|(_, weight)| weight));
            let bins = bank.weights.len() - before;
            if bins == 0 && scale != MelScale::Kaldi {
                let [left, _, right] = hz;
                return Err(format!(
                    "band {m} of {n_mels}, {left:.0} to {right:.0} Hz, falls between two FFT bins, which are \
                     {bin_hz:.1} Hz apart; n_mels must be lower or n_fft higher"
                ));
            }
            bank.filters.push(Filter { first_bin, bins });
        }
        Ok(bank)
    }

    /// The number of filters.
    pub(crate) fn len(&self) -> usize {
        self.filters.len()
    }

    /// Apply the filters: `[n_fft / 2 + 1]` bins become `[n_mels]` bands.
    #[inline(always)]
    pub(crate) fn apply(&self, spectrum: &[f64], bands: &mut [f32]) {
        let mut weights = &self.weights[..];
        for (filter, band) in self.filters.iter().zip(bands) {
            let (these, rest) = weights.split_at(filter.bins);
            let bins = &spectrum[filter.first_bin..];
            *band = these.iter().zip(bins).map(|(weight, bin)| weight * bin).sum::<f64>() as f32;
            weights = rest;
        }
    }
}

/// The height at `at` of a triangle with corners of height 0, 1 and 0; negative outside.
fn rise([left, centre, right]: [f64; 3], at: f64) -> f64 {
    ((at - left) / (centre - left)).min((right - at) / (right - centre))
}

/// The height at `hz` of band `m` of `n_mels` between two mels, in single precision and in the order of operations of
/// torchaudio's `compliance.kaldi.get_mel_banks`: triangles of one or two bins are sensitive to the rounding of their
/// corners.
fn kaldi_rise([low, high]: [f64; 2], m: usize, n_mels: usize, hz: f64) -> f64 {
    let delta = ((high - low) / (n_mels + 1) as f64) as f32;
    let corner = |i: usize| low as f32 + i as f32 * delta;
    let (left, centre, right) = (corner(m), corner(m + 1), corner(m + 2));
    let at = 1127.0 * libm::logf(1.0 + hz as f32 / 700.0);
    let (up, down) = ((at - left) / (centre - left), (right - at) / (right - centre));
    up.min(down).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hz_is_the_inverse_of_mel() {
        for scale in [MelScale::Slaney, MelScale::Htk, MelScale::Kaldi] {
            for hz in [0.0, 20.0, 999.0, 1000.0, 1001.0, 8000.0] {
                assert!((scale.hz(scale.mel(hz)) - hz).abs() < 1e-9, "{scale:?} at {hz} Hz");
            }
        }
        assert!((MelScale::Slaney.mel(1000.0) - 15.0).abs() < 1e-12);
        assert!((MelScale::Slaney.mel(6400.0) - 42.0).abs() < 1e-12);
        assert!((MelScale::Htk.mel(1000.0) - 1000.0).abs() < 0.02);
    }

    #[test]
    fn triangles_without_norm_add_up_to_1() {
        for scale in [MelScale::Htk, MelScale::Kaldi] {
            let bank = Filterbank::new((512, 16000), 20, (0.0, 8000.0), scale, MelNorm::None).unwrap();
            let mut covered = vec![0.0; 257];
            let mut weights = bank.weights.iter();
            for filter in &bank.filters {
                for (sum, weight) in
                    covered[filter.first_bin..].iter_mut().zip(weights.by_ref().take(filter.bins))
                {
                    *sum += weight;
                }
            }
            // Between the first and the last centre, two neighbours add up to 1.
            assert!(covered[10..200].iter().all(|sum| (sum - 1.0).abs() < 1e-5), "{covered:?}");
        }
    }

    #[test]
    fn an_empty_filter_is_an_error_or_silent() {
        let bank = |scale| Filterbank::new((64, 16000), 80, (0.0, 8000.0), scale, MelNorm::None);
        let error = bank(MelScale::Slaney).unwrap_err();
        assert!(error.contains("falls between two FFT bins, which are 250.0 Hz apart"), "{error}");
        let mut bands = vec![1.0; 80];
        bank(MelScale::Kaldi).unwrap().apply(&[1.0; 33], &mut bands);
        assert_eq!(bands[0], 0.0, "Kaldi's are silent instead");
        assert!(bands[70] > 0.0);
    }
}
