//! The settings of a mel spectrogram.

use crate::{MelNorm, MelScale, Window};
use serde::{Deserialize, Serialize};

/// The settings of a mel spectrogram. The default is Whisper's, at 16 kHz.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MelConfig {
    /// The length of the Fourier transform, in samples.
    pub n_fft: usize,
    /// The length of a frame, in samples, padded with zeros to `n_fft`; `None` for `n_fft`. Kaldi's frames are 25 ms in
    /// a transform of the next power of two.
    pub frame_length: Option<usize>,
    /// The length of the window, in samples, which is centred in the frame; `None` for the whole frame.
    pub win_length: Option<usize>,
    /// The window function.
    pub window: Window,
    /// Whether the window is periodic; otherwise it is symmetric.
    pub periodic: bool,
    /// Samples from the start of a frame to the start of the next.
    pub hop_length: usize,
    /// The padding of a clip's ends.
    pub padding: Padding,
    /// With padding, whether the frame centred on the clip's end is kept, as in librosa. Without it there is one frame
    /// for each hop, as in Whisper.
    pub keep_last: bool,
    /// Whether each frame's mean is subtracted.
    pub remove_dc: bool,
    /// Pre-emphasis: subtract this share of the previous sample from each sample of a frame (Kaldi: 0.97); the first
    /// sample is its own predecessor. 0 is off.
    pub preemphasis: f32,
    /// The quantity that bands sum up.
    pub spectrum: Spectrum,
    /// The number of mel bands.
    pub n_mels: usize,
    /// The lower end of the lowest band, in Hz.
    pub fmin: f32,
    /// The upper end of the highest band, in Hz; `None` for half the sampling rate.
    pub fmax: Option<f32>,
    /// The mel scale of the bands.
    pub scale: MelScale,
    /// The scaling of the filters.
    pub norm: MelNorm,
    /// The logarithm of a band.
    pub log: Log,
    /// The minimum of a band before the logarithm.
    pub floor: f32,
    /// The maximal distance of a band below the clip's loudest band, in dB; `None` for no limit but `floor`. Only with
    /// `log = db`; `whisper` always uses 80.
    pub top_db: Option<f32>,
}

/// The padding of a clip beyond its ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// Reflection at the first and the last sample, repeated if the clip is shorter than half a frame (as in
    /// `numpy.pad`). Frame `t` is centred on sample `t · hop_length`.
    #[default]
    Reflect,
    /// Zeros. Frame `t` is centred on sample `t · hop_length`.
    Zero,
    /// The first and the last sample, repeated. Frame `t` is centred on sample `t · hop_length`.
    Edge,
    /// No padding: frame `t` begins at sample `t · hop_length`, and no frame extends beyond the end, unless the clip is
    /// shorter than one frame (Kaldi's `snip_edges`).
    None,
}

/// The quantity that bands sum up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Spectrum {
    /// The magnitude.
    Magnitude,
    /// The square of the magnitude.
    #[default]
    Power,
}

/// The logarithm of a band.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Log {
    /// No logarithm.
    None,
    /// The natural logarithm.
    Ln,
    /// The logarithm to base 10.
    Log10,
    /// Decibels: 10 times the logarithm to base 10 of a power, 20 times that of a magnitude.
    Db,
    /// `(log10 + 4) / 4`, with bands clipped to at most 2 (80 dB) below the clip's loudest band.
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

/// The maximal `n_fft`: a minute at 16 kHz; more is a mistake.
const MAX_N_FFT: usize = 1 << 20;

/// The maximal `n_mels`; published models have up to 128.
const MAX_N_MELS: usize = 1 << 12;

impl MelConfig {
    /// Kaldi's filter bank as in torchaudio's `compliance.kaldi.fbank` and the Audio Spectrogram Transformer, with a
    /// Hann window: frames of 25 ms every 10 ms, mean subtracted, pre-emphasis, `n_mels` bands from 20 Hz on, natural
    /// logarithm. `sampling_rate` in Hz.
    pub fn kaldi(sampling_rate: u32, n_mels: usize) -> Self {
        let frame_length = sampling_rate as usize / 40;
        Self {
            n_fft: frame_length.next_power_of_two(),
            frame_length: Some(frame_length),
            periodic: false,
            hop_length: sampling_rate as usize / 100,
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

    /// librosa's `power_to_db(melspectrogram(…))`: frames of 2,048 samples every 512, 128 bands, in dB, at most 80
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

    /// The length of a frame, in samples.
    pub(crate) fn frame_length(&self) -> usize {
        self.frame_length.unwrap_or(self.n_fft)
    }

    /// Samples from a frame's start to its reference sample.
    pub(crate) fn lead(&self) -> usize {
        if self.padding == Padding::None { 0 } else { self.frame_length() / 2 }
    }

    /// Whether a band depends on the whole clip.
    pub(crate) fn depends_on_the_whole_clip(&self) -> bool {
        self.log == Log::Whisper || self.top_db.is_some()
    }

    pub(crate) fn check(&self, sampling_rate: u32) -> Result<(), String> {
        let Self { n_fft, hop_length, n_mels, fmin, preemphasis, floor, .. } = *self;
        let nyquist = sampling_rate as f32 / 2.0;
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
        if hop_length > MAX_N_FFT || n_mels > MAX_N_MELS {
            return Err(format!(
                "hop_length is {hop_length} and n_mels {n_mels}; they must be at most {MAX_N_FFT} and {MAX_N_MELS}"
            ));
        }
        if hop_length == 0 || n_mels == 0 {
            return Err(format!("hop_length is {hop_length} and n_mels {n_mels}; they must be at least 1"));
        }
        if !(0.0 <= fmin && fmin < fmax && fmax <= nyquist) {
            return Err(format!(
                "fmin is {fmin} Hz and fmax {fmax} Hz; they must keep 0 <= fmin < fmax <= {nyquist}, half the \
                 sampling rate"
            ));
        }
        if self.scale == MelScale::Kaldi && self.norm != MelNorm::None {
            return Err("norm must be none if scale is kaldi, whose triangles all peak at 1".into());
        }
        if !(0.0..=1.0).contains(&preemphasis) {
            return Err(format!("preemphasis is {preemphasis}; it must be 0 to 1"));
        }
        if !(floor.is_finite() && floor >= f32::MIN_POSITIVE) && self.log != Log::None {
            return Err(format!("floor is {floor}; with a logarithm it must be above 0, such as 1e-10"));
        }
        match self.top_db {
            Some(_) if self.log != Log::Db => Err("top_db is set; it needs log = \"db\"".into()),
            Some(top) if !(top.is_finite() && top > 0.0) => {
                Err(format!("top_db is {top}; it must be finite and above 0"))
            }
            _ => Ok(()),
        }
    }
}
