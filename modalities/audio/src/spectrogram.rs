//! Mel spectrograms.

use crate::filterbank::Filterbank;
use crate::{MelConfig, Padding, Spectrum};
use realfft::{RealFftPlanner, RealToComplex, num_complex::Complex};
use smalti_contract::TokenizeError;
use std::f64::consts::TAU;
use std::sync::Arc;

/// Whisper's logarithm of a mel spectrogram.
#[derive(Clone, Debug, PartialEq)]
pub struct LogMel {
    /// `[frames, n_mels]`: `(log10(mel) + 4) / 4`, nothing more than 2 (80 dB) below the loudest.
    pub values: Vec<f32>,
    /// Bands in a frame.
    pub n_mels: usize,
    /// What a silent band would hold in this clip.
    pub floor: f32,
}

/// A mel spectrogram made ready: window, Fourier plan and filters.
pub struct MelSpectrogram {
    config: MelConfig,
    window: Vec<f64>,
    fft: Arc<dyn RealToComplex<f64>>,
    filterbank: Filterbank,
}

impl MelSpectrogram {
    /// Makes the spectrogram of clips of `sample_rate` Hz ready.
    ///
    /// # Errors
    /// [`TokenizeError::Config`] for sizes of zero, frequencies out of order or above half the sample rate,
    /// and bands so narrow that one would fall between two bins of the transform.
    pub fn new(config: MelConfig, sample_rate: u32) -> Result<Self, TokenizeError> {
        let refused = |problem| TokenizeError::Config { tokenizer: "audio", problem };
        config.check(sample_rate).map_err(refused)?;
        let fmax = config.fmax.map_or(f64::from(sample_rate) / 2.0, f64::from);
        let filterbank = Filterbank::new(
            (config.n_fft, sample_rate),
            config.n_mels,
            (f64::from(config.fmin), fmax),
            config.scale,
            config.norm,
        )
        .map_err(refused)?;
        let window = hann(config.win_length.unwrap_or(config.n_fft), config.n_fft);
        let fft = RealFftPlanner::new().plan_fft_forward(config.n_fft);
        Ok(Self { config, window, fft, filterbank })
    }

    /// The settings that it was made of.
    pub fn config(&self) -> &MelConfig {
        &self.config
    }

    /// Frames in [`mel`](Self::mel) of a clip of `n` samples: `1 + n / hop_length` where its ends are padded,
    /// and `1 + (n - n_fft) / hop_length` where they are not. At least one, and none of nothing.
    pub fn frames(&self, n: usize) -> usize {
        match (n, self.config.padding) {
            (0, _) => 0,
            (_, Padding::None) => 1 + n.saturating_sub(self.config.n_fft) / self.config.hop_length,
            (_, Padding::Reflect | Padding::Zero) => 1 + n / self.config.hop_length,
        }
    }

    /// Frames in [`log_mel`](Self::log_mel) of a clip of `n` samples: one fewer than [`frames`](Self::frames)
    /// where its ends are padded, so that each stands for one hop. At least one, and none of nothing.
    pub fn log_frames(&self, n: usize) -> usize {
        match self.config.padding {
            Padding::None => self.frames(n),
            Padding::Reflect | Padding::Zero => self.frames(n).saturating_sub(1).max(usize::from(n > 0)),
        }
    }

    /// The mel spectrogram of a clip of finite samples: `[frames, n_mels]`.
    ///
    /// Magnitudes are those of the plain sum of windowed samples, as in librosa's `melspectrogram`.
    pub fn mel(&self, samples: &[f32]) -> Vec<f32> {
        self.first_frames(samples, self.frames(samples.len()))
    }

    /// The mel spectrogram on Whisper's logarithmic scale, clipped 80 dB below the clip's loudest band.
    ///
    /// Follows `WhisperFeatureExtractor`, whose clips are padded to 30 seconds first.
    pub fn log_mel(&self, samples: &[f32]) -> LogMel {
        let mut values = self.first_frames(samples, self.log_frames(samples.len()));
        for value in &mut values {
            // Silence, of which padded clips are full, need not be sent through the logarithm.
            *value = if *value > 1e-10 { value.log10() } else { -10.0 };
        }
        let loudest = values.iter().fold(-10.0_f32, |most, &value| most.max(value));
        let floor = (loudest - 8.0).max(-10.0);
        let scale = |log: f32| (log + 4.0) / 4.0;
        values.iter_mut().for_each(|value| *value = scale(value.max(floor)));
        LogMel { values, n_mels: self.config.n_mels, floor: scale(floor) }
    }

    fn first_frames(&self, samples: &[f32], frames: usize) -> Vec<f32> {
        let MelConfig { n_fft, hop_length, n_mels, padding, spectrum, .. } = self.config;
        let mut windowed = self.fft.make_input_vec();
        let mut bins = self.fft.make_output_vec();
        let mut scratch = self.fft.make_scratch_vec();
        let mut heights = vec![0.0; bins.len()];
        let mut mel = vec![0.0; frames * n_mels];
        let lead = if padding == Padding::None { 0 } else { n_fft / 2 };
        for (t, bands) in mel.chunks_exact_mut(n_mels).enumerate() {
            cut_frame(samples, (t * hop_length) as isize - lead as isize, padding, &mut windowed);
            // Most of a short clip padded to 30 seconds is silence.
            if windowed.iter().all(|&sample| sample == 0.0) {
                continue;
            }
            windowed.iter_mut().zip(&self.window).for_each(|(sample, weight)| *sample *= weight);
            self.fft
                .process_with_scratch(&mut windowed, &mut bins, &mut scratch)
                .expect("the plan made these buffers");
            for (height, bin) in heights.iter_mut().zip(&bins) {
                *height = match spectrum {
                    Spectrum::Magnitude => Complex::norm(*bin),
                    Spectrum::Power => bin.norm_sqr(),
                };
            }
            self.filterbank.apply(&heights, bands);
        }
        mel
    }
}

/// A periodic Hann window of `win_length` samples in the middle of `n_fft`.
fn hann(win_length: usize, n_fft: usize) -> Vec<f64> {
    let mut window = vec![0.0; n_fft];
    let start = (n_fft - win_length) / 2;
    for (i, weight) in window[start..start + win_length].iter_mut().enumerate() {
        *weight = 0.5 - 0.5 * (TAU * i as f64 / win_length as f64).cos();
    }
    window
}

/// Copies the samples from `start` on, which may lie before the clip, into `frame`.
fn cut_frame(samples: &[f32], start: isize, padding: Padding, frame: &mut [f64]) {
    let inside = usize::try_from(start).ok().and_then(|start| samples.get(start..start + frame.len()));
    if let Some(inside) = inside {
        frame.iter_mut().zip(inside).for_each(|(to, &from)| *to = f64::from(from));
        return;
    }
    for (i, to) in (start..).zip(frame) {
        let from = match padding {
            Padding::Reflect => samples.get(mirrored(i, samples.len())),
            Padding::Zero | Padding::None => usize::try_from(i).ok().and_then(|i| samples.get(i)),
        };
        *to = from.copied().map_or(0.0, f64::from);
    }
}

/// Where in a clip of `n` samples the sample is that mirrors show at `i`.
fn mirrored(i: isize, n: usize) -> usize {
    let last = n.saturating_sub(1);
    if last == 0 {
        return 0;
    }
    let place = i.rem_euclid(2 * last as isize) as usize;
    place.min(2 * last - place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_repeat_like_numpy_pad() {
        // numpy.pad([0, 1, 2], 5, mode="reflect")
        let padded: Vec<usize> = (-5..8).map(|i| mirrored(i, 3)).collect();
        assert_eq!(padded, [1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1]);
        assert_eq!(mirrored(-7, 1), 0);
    }

    #[test]
    fn a_tone_is_loudest_in_its_band() {
        let mel = MelSpectrogram::new(MelConfig::default(), 16000).unwrap();
        let tone: Vec<f32> =
            (0..16000).map(|i| (TAU * 1000.0 * f64::from(i) / 16000.0).sin() as f32).collect();
        let frames = mel.mel(&tone);
        assert_eq!(frames.len(), 101 * 80);
        let middle = &frames[50 * 80..51 * 80];
        let loudest = (0..80).max_by(|&a, &b| middle[a].total_cmp(&middle[b])).unwrap();
        // 1 kHz is 15 mels of 45.245, in 81 steps: between the centres of bands 25 and 26.
        assert!((25..=26).contains(&loudest), "band {loudest}");
    }

    #[test]
    fn clips_of_any_length_have_frames() {
        for padding in [Padding::Reflect, Padding::Zero, Padding::None] {
            let mel = MelSpectrogram::new(MelConfig { padding, ..MelConfig::default() }, 16000).unwrap();
            for n in [1, 2, 3, 159, 160, 199, 200, 201, 399, 400, 401, 1000] {
                let log_mel = mel.log_mel(&vec![0.25; n]);
                assert_eq!(log_mel.values.len(), mel.log_frames(n) * 80, "{n} samples");
                assert!(!log_mel.values.is_empty());
                assert!(log_mel.values.iter().all(|v| v.is_finite() && *v >= log_mel.floor));
            }
            assert_eq!(mel.log_mel(&[]).values, [0.0; 0]);
        }
    }

    #[test]
    fn silence_is_the_floor() {
        let mel = MelSpectrogram::new(MelConfig::default(), 16000).unwrap();
        let silence = mel.log_mel(&[0.0; 1600]);
        assert_eq!(silence.values, [-1.5; 800]);
        assert_eq!(silence.floor, -1.5);
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let refused = |config| match MelSpectrogram::new(config, 16000) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("accepted"),
        };
        let standard = MelConfig::default;
        assert!(refused(MelConfig { hop_length: 0, ..standard() }).contains("hop_length is 0"));
        assert!(refused(MelConfig { n_fft: 1, ..standard() }).contains("n_fft is 1; it must be 2 to"));
        assert!(refused(MelConfig { n_mels: 0, ..standard() }).contains("n_mels 0"));
        assert!(refused(MelConfig { win_length: Some(401), ..standard() }).contains("win_length is 401"));
        assert!(refused(MelConfig { fmax: Some(8001.0), ..standard() }).contains("fmax 8001 Hz"));
        assert!(refused(MelConfig { fmin: f32::NAN, ..standard() }).contains("fmin is NaN"));
        assert!(refused(MelConfig { n_mels: 500, ..standard() }).contains("falls between two FFT bins"));
    }
}
