//! How sound becomes a mel spectrogram.

use crate::{MelNorm, MelScale, Window};
use serde::{Deserialize, Serialize};

/// How sound becomes a mel spectrogram. The default is Whisper's, at 16 kHz.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MelConfig {
    /// Samples in a Fourier transform.
    pub n_fft: usize,
    /// Samples in a frame; zeros fill up the transform. `None` for `n_fft`; Kaldi's are 25 ms in a transform of
    /// the next power of two.
    pub frame_length: Option<usize>,
    /// Samples under the window, which stands in the middle of the frame; `None` for the whole frame.
    pub win_length: Option<usize>,
    /// The curve that fades a frame in and out.
    pub window: Window,
    /// Whether the window is one turn of its cosine without the last sample; else it ends as it begins.
    pub periodic: bool,
    /// Samples from one frame to the next.
    pub hop_length: usize,
    /// What the ends of a clip are padded with.
    pub padding: Padding,
    /// Where the ends are padded, whether the frame at the clip's end stays: librosa's does. Without it each frame
    /// stands for one hop, as Whisper's do.
    pub keep_last: bool,
    /// Whether each frame's mean is taken off it.
    pub remove_dc: bool,
    /// The share of the sample before it that is taken off each sample of a frame (Kaldi's is 0.97); the first
    /// counts as its own predecessor. 0 is off.
    pub preemphasis: f32,
    /// What the bands sum up.
    pub spectrum: Spectrum,
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
    /// The logarithm of a band.
    pub log: Log,
    /// The least that a band counts as, before the logarithm.
    pub floor: f32,
    /// How far below the clip's loudest band any band may lie, in dB; `None` for as far as `floor`. For `db` alone:
    /// `whisper` has its own 80.
    pub top_db: Option<f32>,
}

/// What a clip continues with beyond its ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// Its mirror image, around its first and its last sample and over again where it is shorter than half
    /// a frame (as `numpy.pad` does). Frame `t` is centred on sample `t · hop_length`.
    #[default]
    Reflect,
    /// Silence. Frame `t` is centred on sample `t · hop_length`.
    Zero,
    /// Its first and its last sample. Frame `t` is centred on sample `t · hop_length`.
    Edge,
    /// Nothing: frame `t` begins at sample `t · hop_length`, and no frame reaches beyond the end, unless
    /// the clip is shorter than one (Kaldi's `snip_edges`).
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

/// The logarithm of a band.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Log {
    /// None: the band itself.
    None,
    /// The natural logarithm.
    Ln,
    /// The logarithm to base 10.
    Log10,
    /// Decibels: 10 times the logarithm to base 10 of a power, 20 times that of a magnitude.
    Db,
    /// `(log10 + 4) / 4`, and nothing more than 2 (80 dB) below the clip's loudest band.
    #[default]
    Whisper,
}

impl Default for MelConfig {
    fn default() -> Self {
        Self {
            n_fft: 400,
            frame_length: None,
            win_length: None,
            window: Window::Hann,
            periodic: true,
            hop_length: 160,
            padding: Padding::Reflect,
            keep_last: false,
            remove_dc: false,
            preemphasis: 0.0,
            spectrum: Spectrum::Power,
            n_mels: 80,
            fmin: 0.0,
            fmax: None,
            scale: MelScale::Slaney,
            norm: MelNorm::Slaney,
            log: Log::Whisper,
            floor: 1e-10,
            top_db: None,
        }
    }
}

/// The longest Fourier transform, in samples: a minute at 16 kHz, a wrong number rather than a setting.
const MAX_N_FFT: usize = 1 << 20;

impl MelConfig {
    /// Kaldi's filter bank as torchaudio's `compliance.kaldi.fbank` and the Audio Spectrogram Transformer take it,
    /// with a Hann window: frames of 25 ms every 10 ms, their mean taken off and emphasised, `n_mels` bands from
    /// 20 Hz on, natural logarithm. `sample_rate` in Hz.
    pub fn kaldi(sample_rate: u32, n_mels: usize) -> Self {
        let frame_length = sample_rate as usize / 40;
        Self {
            n_fft: frame_length.next_power_of_two(),
            frame_length: Some(frame_length),
            periodic: false,
            hop_length: sample_rate as usize / 100,
            padding: Padding::None,
            remove_dc: true,
            preemphasis: 0.97,
            n_mels,
            fmin: 20.0,
            scale: MelScale::Kaldi,
            norm: MelNorm::None,
            log: Log::Ln,
            floor: f32::EPSILON,
            ..Self::default()
        }
    }

    /// librosa's `power_to_db(melspectrogram(…))`: frames of 2,048 samples every 512, 128 bands, dB, 80 at most
    /// below the loudest.
    pub fn librosa() -> Self {
        Self {
            n_fft: 2048,
            hop_length: 512,
            padding: Padding::Zero,
            keep_last: true,
            n_mels: 128,
            log: Log::Db,
            top_db: Some(80.0),
            ..Self::default()
        }
    }

    /// Samples in a frame.
    pub(crate) fn frame_length(&self) -> usize {
        self.frame_length.unwrap_or(self.n_fft)
    }

    /// Samples by which a frame begins before the place that it stands for.
    pub(crate) fn lead(&self) -> usize {
        if self.padding == Padding::None { 0 } else { self.frame_length() / 2 }
    }

    /// Whether a value depends on the whole clip.
    pub(crate) fn looks_at_the_whole_clip(&self) -> bool {
        self.log == Log::Whisper || self.top_db.is_some()
    }

    pub(crate) fn check(&self, sample_rate: u32) -> Result<(), String> {
        let Self { n_fft, hop_length, n_mels, fmin, preemphasis, floor, .. } = *self;
        let nyquist = sample_rate as f32 / 2.0;
        let fmax = self.fmax.unwrap_or(nyquist);
        let frame_length = self.frame_length();
        let win_length = self.win_length.unwrap_or(frame_length);
        if !(2..=MAX_N_FFT).contains(&n_fft) {
            return Err(format!("n_fft is {n_fft}; it must be 2 to {MAX_N_FFT}"));
        }
        if !(2..=n_fft).contains(&frame_length) {
            return Err(format!("frame_length is {frame_length}; it must be 2 to n_fft, which is {n_fft}"));
        }
        if !(2..=frame_length).contains(&win_length) {
            return Err(format!(
                "win_length is {win_length}; it must be 2 to the length of a frame, which is {frame_length}"
            ));
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
        if self.scale == MelScale::Kaldi && self.norm != MelNorm::None {
            return Err("norm must be none where scale is kaldi, whose triangles all peak at 1".into());
        }
        if !(0.0..=1.0).contains(&preemphasis) {
            return Err(format!("preemphasis is {preemphasis}; it must be 0 to 1"));
        }
        if !(floor.is_finite() && floor >= f32::MIN_POSITIVE) && self.log != Log::None {
            return Err(format!("floor is {floor}; a logarithm wants one above 0, such as 1e-10"));
        }
        match self.top_db {
            Some(_) if self.log != Log::Db => Err("top_db is for log db alone".into()),
            Some(top) if !(top.is_finite() && top > 0.0) => {
                Err(format!("top_db is {top}; it must be finite and above 0"))
            }
            _ => Ok(()),
        }
    }
}
