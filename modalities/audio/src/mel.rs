//! How sound becomes a mel spectrogram.

use crate::{MelNorm, MelScale};
use serde::{Deserialize, Serialize};

/// How sound becomes a mel spectrogram. The default is Whisper's, at 16 kHz.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MelConfig {
    /// Samples in a Fourier transform.
    pub n_fft: usize,
    /// Samples under the Hann window, which stands in the middle of the transform; `None` for `n_fft`.
    pub win_length: Option<usize>,
    /// Samples from one frame to the next.
    pub hop_length: usize,
    /// Bands.
    pub n_mels: usize,
    /// Where the lowest band begins, in Hz.
    pub fmin: f32,
    /// Where the highest band ends, in Hz; `None` for half the sample rate.
    pub fmax: Option<f32>,
    /// The spacing of the bands.
    pub scale: MelScale,
    /// The weight of the bands.
    pub norm: MelNorm,
    /// What the ends of a clip are padded with.
    pub padding: Padding,
    /// What the bands sum up.
    pub spectrum: Spectrum,
}

/// What a clip continues with beyond its ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// Its mirror image, around its first and its last sample and over again where it is shorter than half
    /// a transform (as `numpy.pad` does). Frame `t` is centred on sample `t · hop_length`.
    #[default]
    Reflect,
    /// Silence. Frame `t` is centred on sample `t · hop_length`.
    Zero,
    /// Nothing: frame `t` begins at sample `t · hop_length`, and no frame reaches beyond the end, unless
    /// the clip is shorter than one.
    None,
}

/// What the bands sum up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spectrum {
    /// The magnitude.
    Magnitude,
    /// The square of the magnitude.
    #[default]
    Power,
}

impl Default for MelConfig {
    fn default() -> Self {
        Self {
            n_fft: 400,
            win_length: None,
            hop_length: 160,
            n_mels: 80,
            fmin: 0.0,
            fmax: None,
            scale: MelScale::Slaney,
            norm: MelNorm::Slaney,
            padding: Padding::Reflect,
            spectrum: Spectrum::Power,
        }
    }
}

/// The longest Fourier transform, in samples: a minute at 16 kHz, a wrong number rather than a setting.
const MAX_N_FFT: usize = 1 << 20;

impl MelConfig {
    pub(crate) fn check(&self, sample_rate: u32) -> Result<(), String> {
        let Self { n_fft, hop_length, n_mels, fmin, .. } = *self;
        let nyquist = sample_rate as f32 / 2.0;
        let fmax = self.fmax.unwrap_or(nyquist);
        let win_length = self.win_length.unwrap_or(n_fft);
        if !(2..=MAX_N_FFT).contains(&n_fft) {
            return Err(format!("n_fft is {n_fft}; it must be 2 to {MAX_N_FFT}"));
        }
        if !(2..=n_fft).contains(&win_length) {
            return Err(format!("win_length is {win_length}; it must be 2 to n_fft, which is {n_fft}"));
        }
        if hop_length == 0 || n_mels == 0 {
            return Err(format!("hop_length is {hop_length} and n_mels {n_mels}; they must be at least 1"));
        }
        if !(0.0 <= fmin && fmin < fmax && fmax <= nyquist) {
            return Err(format!(
                "fmin is {fmin} Hz and fmax {fmax} Hz; they must keep 0 <= fmin < fmax <= {nyquist}, half the \
                 sample rate"
            ));
        }
        Ok(())
    }
}
