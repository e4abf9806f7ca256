//! Mel spectrograms.

use crate::analysis::Analysis;
use crate::frame::Clip;
use crate::{Log, MelConfig, Padding};
use smalti_contract::TokenizeError;

/// A mel spectrogram with its logarithm.
#[derive(Clone, Debug, PartialEq)]
pub struct LogMel {
    /// `[frames, n_mels]`.
    pub values: Vec<f32>,
    /// The number of bands.
    pub n_mels: usize,
    /// The value of a silent band in this clip.
    pub floor: f32,
}

/// Computes mel spectrograms, with precomputed window, Fourier plan and filters.
pub struct MelSpectrogram {
    config: MelConfig,
    analysis: Analysis,
}

impl MelSpectrogram {
    /// Precompute the analysis of clips at `sampling_rate` Hz.
    ///
    /// # Errors
    /// [`TokenizeError::Config`] for sizes of zero, frequencies out of order or above half the sampling rate, and bands
    /// so narrow that one falls between two bins of the transform.
    pub fn new(config: MelConfig, sampling_rate: u32) -> Result<Self, TokenizeError> {
        let config_error = |problem| TokenizeError::Config { tokenizer: "audio", problem };
        config.check(sampling_rate).map_err(config_error)?;
        let analysis = Analysis::new(&config, sampling_rate).map_err(config_error)?;
        Ok(Self { config, analysis })
    }

    /// The settings of the spectrogram.
    pub fn config(&self) -> &MelConfig {
        &self.config
    }

    /// The number of frames of a clip of `n` samples: with padding `n / hop_length`, plus one if the last is
    /// [kept](MelConfig::keep_last); without padding `1 + (n - frame_length) / hop_length`. At least one, but none for
    /// an empty clip.
    pub fn frames(&self, n: usize) -> usize {
        let hop = self.config.hop_length;
        match self.config.padding {
            _ if n == 0 => 0,
            Padding::None => 1 + n.saturating_sub(self.config.frame_length()) / hop,
            _ => (n / hop + usize::from(self.config.keep_last)).max(1),
        }
    }

    /// Compute the mel spectrogram of a clip of finite samples, without logarithm: `[frames, n_mels]`.
    ///
    /// Magnitudes are not normalised by the window, as in librosa's `melspectrogram`.
    pub fn mel(&self, samples: &[f32]) -> Vec<f32> {
        let mut mel = vec![0.0; self.frames(samples.len()) * self.config.n_mels];
        self.analysis.run(Clip { samples, first: 0 }, 0, false, &mut mel);
        mel
    }

    /// Compute the log-mel spectrogram of a clip of finite samples.
    pub fn log_mel(&self, samples: &[f32]) -> LogMel {
        let mut values = vec![0.0; self.frames(samples.len()) * self.config.n_mels];
        self.log_frames(Clip { samples, first: 0 }, 0, &mut values);
        let floor = self.bound(&mut values);
        LogMel { values, n_mels: self.config.n_mels, floor }
    }

    /// Compute the logarithms of the frames of a clip from `first` on into `values`, before any [`bound`](Self::bound)
    /// by the whole clip.
    pub(crate) fn log_frames(&self, clip: Clip, first: usize, values: &mut [f32]) {
        self.analysis.run(clip, first, true, values);
    }

    /// The value of a silent band before any [`bound`](Self::bound).
    pub(crate) fn floor(&self) -> f32 {
        if self.config.log == Log::None { 0.0 } else { self.analysis.logarithm(self.config.floor) }
    }

    /// Clip values that are too far below the clip's maximum, and scale for Whisper; returns the resulting value of a
    /// silent band.
    fn bound(&self, values: &mut [f32]) -> f32 {
        let whisper = self.config.log == Log::Whisper;
        let Some(range) = self.config.top_db.or(whisper.then_some(8.0)) else { return self.floor() };
        let scale = |log: f32| if whisper { (log + 4.0) / 4.0 } else { log };
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                let floor = self.floor();
                let floor = (largest(values, floor) - range).max(floor);
                for value in &mut *values {
                    *value = scale(if *value > floor { *value } else { floor });
                }
                scale(floor)
            },
        )
    }
}

/// The maximum of these values and `least`, computed in several lanes.
#[inline(always)]
fn largest(values: &[f32], least: f32) -> f32 {
    const LANES: usize = 32;
    let larger = |a: f32, b: f32| if a > b { a } else { b };
    let mut lanes = [least; LANES];
    let blocks = values.chunks_exact(LANES);
    let rest = blocks.remainder().iter().copied().fold(least, larger);
    for block in blocks {
        lanes.iter_mut().zip(block).for_each(|(lane, value)| *lane = larger(*lane, *value));
    }
    lanes.into_iter().fold(rest, larger)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MelScale;
    use std::f64::consts::TAU;

    #[test]
    fn a_tone_is_loudest_in_its_band() {
        let mel = MelSpectrogram::new(MelConfig::default(), 16000).unwrap();
        let tone: Vec<f32> =
            (0..16000).map(|i| (TAU * 1000.0 * f64::from(i) / 16000.0).sin() as f32).collect();
        let frames = mel.mel(&tone);
        assert_eq!(frames.len(), 100 * 80);
        let middle = &frames[50 * 80..51 * 80];
        let loudest = (0..80).max_by(|&a, &b| middle[a].total_cmp(&middle[b])).unwrap();
        // 1 kHz is 15 mels of 45.245, in 81 steps: between the centres of bands 25 and 26.
        assert!((25..=26).contains(&loudest), "band {loudest}");
    }

    #[test]
    fn clips_of_any_length_have_frames() {
        for padding in [Padding::Reflect, Padding::Zero, Padding::Edge, Padding::None] {
            for log in [Log::None, Log::Ln, Log::Log10, Log::Db, Log::Whisper] {
                let mel =
                    MelSpectrogram::new(MelConfig { padding, log, ..MelConfig::default() }, 16000).unwrap();
                for n in [1, 2, 3, 159, 160, 199, 200, 201, 399, 400, 401, 1000] {
                    let log_mel = mel.log_mel(&vec![0.25; n]);
                    assert_eq!(log_mel.values.len(), mel.frames(n) * 80, "{n} samples");
                    assert!(!log_mel.values.is_empty());
                    assert!(log_mel.values.iter().all(|v| v.is_finite() && *v >= log_mel.floor));
                }
                assert_eq!(mel.log_mel(&[]).values, [0.0; 0]);
            }
        }
    }

    #[test]
    fn the_last_frame_is_kept_if_set() {
        let frames = |keep_last| {
            let config = MelConfig { keep_last, ..MelConfig::default() };
            MelSpectrogram::new(config, 16000).unwrap().frames(16000)
        };
        assert_eq!((frames(false), frames(true)), (100, 101));
    }

    #[test]
    fn silence_is_the_floor() {
        let silent = |log, top_db| {
            let config = MelConfig { log, top_db, floor: 1e-10, ..MelConfig::default() };
            let silence = MelSpectrogram::new(config, 16000).unwrap().log_mel(&[0.0; 1600]);
            assert_eq!(silence.values, vec![silence.floor; 800], "{log:?}");
            silence.floor
        };
        let expected = [
            (Log::Whisper, None, -1.5),
            (Log::Log10, None, -10.0),
            (Log::Db, Some(80.0), -100.0),
            (Log::Ln, None, -23.025_85),
            (Log::None, None, 0.0),
        ];
        for (log, top_db, floor) in expected {
            assert!((silent(log, top_db) - floor).abs() <= 1e-6 * floor.abs(), "{log:?}");
        }
    }

    #[test]
    fn no_band_is_more_than_top_db_below_the_loudest() {
        let mut clip = vec![0.0; 16000];
        clip[8000] = 1.0;
        let config = MelConfig { log: Log::Db, top_db: Some(30.0), ..MelConfig::default() };
        let log_mel = MelSpectrogram::new(config, 16000).unwrap().log_mel(&clip);
        let (low, high) = log_mel.values.iter().fold((f32::MAX, f32::MIN), |(l, h), &v| (l.min(v), h.max(v)));
        assert!((high - low - 30.0).abs() < 1e-4, "{low} to {high}");
        assert_eq!(low, log_mel.floor);
    }

    #[test]
    fn invalid_settings_are_errors() {
        let error_of = |config| match MelSpectrogram::new(config, 16000) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("expected an error"),
        };
        let standard = MelConfig::default;
        assert!(error_of(MelConfig { hop_length: 0, ..standard() }).contains("hop_length is 0"));
        assert!(error_of(MelConfig { n_fft: 1, ..standard() }).contains("n_fft is 1; it must be 2 to"));
        assert!(error_of(MelConfig { n_mels: 0, ..standard() }).contains("n_mels 0"));
        assert!(error_of(MelConfig { n_mels: 1 << 31, ..standard() }).contains("at most 1048576 and 4096"));
        assert!(
            error_of(MelConfig { hop_length: 1 << 40, ..standard() }).contains("at most 1048576 and 4096")
        );
        assert!(error_of(MelConfig { win_length: Some(401), ..standard() }).contains("win_length is 401"));
        assert!(
            error_of(MelConfig { frame_length: Some(401), ..standard() }).contains("frame_length is 401")
        );
        assert!(error_of(MelConfig { fmax: Some(8001.0), ..standard() }).contains("fmax 8001 Hz"));
        assert!(error_of(MelConfig { fmin: f32::NAN, ..standard() }).contains("fmin is NaN"));
        assert!(error_of(MelConfig { n_mels: 500, ..standard() }).contains("falls between two FFT bins"));
        assert!(error_of(MelConfig { scale: MelScale::Kaldi, ..standard() }).contains("norm must be none"));
        assert!(error_of(MelConfig { preemphasis: 1.5, ..standard() }).contains("preemphasis is 1.5"));
        assert!(error_of(MelConfig { floor: 0.0, ..standard() }).contains("floor is 0"));
        assert!(error_of(MelConfig { top_db: Some(80.0), ..standard() }).contains("it needs log = \"db\""));
        let db = MelConfig { log: Log::Db, top_db: Some(-1.0), ..standard() };
        assert!(error_of(db).contains("top_db is -1"));
    }
}
