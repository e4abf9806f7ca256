//! Triangular filters that are evenly spaced in perceived pitch.

use serde::{Deserialize, Serialize};

/// Which formula says how pitch is perceived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MelScale {
    /// Linear below 1 kHz, logarithmic above (Slaney's Auditory Toolbox; the default of librosa).
    #[default]
    Slaney,
    /// `2595 · log10(1 + f / 700)` (the Hidden Markov Model Toolkit).
    Htk,
}

/// How a filter's weights are scaled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
/// Slaney's scale: where it turns logarithmic, in Hz.
const LOG_START: f64 = 1000.0;
/// Slaney's scale: 27 mels above its turn a frequency has grown by this factor.
const LOG_FACTOR: f64 = 6.4;

impl MelScale {
    fn mel(self, hz: f64) -> f64 {
        match self {
            MelScale::Slaney if hz < LOG_START => hz / HZ_PER_MEL,
            MelScale::Slaney => LOG_START / HZ_PER_MEL + 27.0 * (hz / LOG_START).ln() / LOG_FACTOR.ln(),
            MelScale::Htk => 2595.0 * (1.0 + hz / 700.0).log10(),
        }
    }

    fn hz(self, mel: f64) -> f64 {
        let turn = LOG_START / HZ_PER_MEL;
        match self {
            MelScale::Slaney if mel < turn => mel * HZ_PER_MEL,
            MelScale::Slaney => LOG_START * LOG_FACTOR.powf((mel - turn) / 27.0),
            MelScale::Htk => 700.0 * (10.0_f64.powf(mel / 2595.0) - 1.0),
        }
    }
}

/// The filters of a mel spectrogram, each kept over its nonzero bins alone.
#[derive(Clone, Debug)]
pub(crate) struct Filterbank {
    filters: Vec<Filter>,
}

#[derive(Clone, Debug)]
struct Filter {
    first_bin: usize,
    weights: Vec<f64>,
}

impl Filterbank {
    /// `n_mels` triangles whose corners divide `fmin..=fmax` (Hz) evenly in mels, over the bins of an FFT of
    /// `n_fft` samples.
    ///
    /// # Errors
    /// The first filter that would lie between two bins and so be deaf.
    pub(crate) fn new(
        (n_fft, sample_rate): (usize, u32),
        n_mels: usize,
        (fmin, fmax): (f64, f64),
        scale: MelScale,
        norm: MelNorm,
    ) -> Result<Self, String> {
        let bin_hz = f64::from(sample_rate) / n_fft as f64;
        let (low, high) = (scale.mel(fmin), scale.mel(fmax));
        let corner = |i: usize| scale.hz(low + (high - low) * i as f64 / (n_mels + 1) as f64);
        let filters = (0..n_mels).map(|m| {
            let (left, centre, right) = (corner(m), corner(m + 1), corner(m + 2));
            let height = match norm {
                MelNorm::Slaney => 2.0 / (right - left),
                MelNorm::None => 1.0,
            };
            let weight = |bin: usize| {
                let hz = bin as f64 * bin_hz;
                height * ((hz - left) / (centre - left)).min((right - hz) / (right - centre))
            };
            let first_bin = (left / bin_hz) as usize;
            let last_bin = ((right / bin_hz) as usize).min(n_fft / 2);
            let bins: Vec<usize> = (first_bin..=last_bin).filter(|&bin| weight(bin) > 0.0).collect();
            match bins.first() {
                Some(&first_bin) => {
                    Ok(Filter { first_bin, weights: bins.iter().map(|&bin| weight(bin)).collect() })
                }
                None => Err(format!(
                    "band {m} of {n_mels}, {left:.0} to {right:.0} Hz, falls between two FFT bins, which are \
                     {bin_hz:.1} Hz apart; n_mels must be lower or n_fft higher"
                )),
            }
        });
        Ok(Self { filters: filters.collect::<Result<_, _>>()? })
    }

    /// What each filter lets through: `[n_fft / 2 + 1]` bins become `[n_mels]` bands.
    pub(crate) fn apply(&self, spectrum: &[f64], bands: &mut [f32]) {
        for (filter, band) in self.filters.iter().zip(bands) {
            let bins = &spectrum[filter.first_bin..];
            *band = filter.weights.iter().zip(bins).map(|(weight, bin)| weight * bin).sum::<f64>() as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_their_own_inverse() {
        for scale in [MelScale::Slaney, MelScale::Htk] {
            for hz in [0.0, 20.0, 999.0, 1000.0, 1001.0, 8000.0] {
                assert!((scale.hz(scale.mel(hz)) - hz).abs() < 1e-9, "{scale:?} at {hz} Hz");
            }
        }
        assert!((MelScale::Slaney.mel(1000.0) - 15.0).abs() < 1e-12);
        assert!((MelScale::Slaney.mel(6400.0) - 42.0).abs() < 1e-12);
        assert!((MelScale::Htk.mel(1000.0) - 1000.0).abs() < 0.02);
    }

    #[test]
    fn triangles_without_norm_tile_the_band() {
        let bank = Filterbank::new((512, 16000), 20, (0.0, 8000.0), MelScale::Htk, MelNorm::None).unwrap();
        let mut covered = vec![0.0; 257];
        for filter in &bank.filters {
            for (i, weight) in filter.weights.iter().enumerate() {
                covered[filter.first_bin + i] += weight;
            }
        }
        // Between the first and the last centre two neighbours add up to 1.
        assert!(covered[10..200].iter().all(|sum| (sum - 1.0).abs() < 1e-9), "{covered:?}");
    }

    #[test]
    fn a_deaf_filter_is_refused() {
        let error =
            Filterbank::new((64, 16000), 80, (0.0, 8000.0), MelScale::Slaney, MelNorm::Slaney).unwrap_err();
        assert!(error.contains("falls between two FFT bins, which are 250.0 Hz apart"), "{error}");
    }
}
