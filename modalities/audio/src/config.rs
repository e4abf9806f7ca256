//! The configuration of the audio tokenizer.

use crate::waveform::{samples_in, wrong_rate};
use crate::{AudioTokenizer, Augment, MAX_SAMPLES, MelConfig, SAMPLING_RATES, Waveform};
use serde::{Deserialize, Serialize};
use smalti_contract::{TokenizeError, Tokenizer};

/// The configuration of the audio tokenizer.
///
/// In JSON it may be the name of a [preset](AudioConfig::preset), or settings that override those of the preset that
/// `preset` names:
///
/// ```
/// # use smalti_audio::AudioConfig;
/// let config: AudioConfig = serde_json::from_str(r#"{"preset": "whisper", "mel": {"n_mels": 40}}"#)?;
/// assert_eq!((config.clip_seconds, config.mel.n_fft, config.mel.n_mels), (Some(30.0), 400, 40));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields, default)]
pub struct AudioConfig {
    /// The rate, in Hz, to which every clip is resampled.
    pub sampling_rate: u32,
    /// The spectrogram.
    pub mel: MelConfig,
    /// Pad with silence or cut every clip to this many seconds (Whisper: 30); `None` keeps each clip's length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_seconds: Option<f32>,
    /// Pad with zeros or cut every spectrogram to this many frames (AST: 1,024), before bands are normalised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_frames: Option<usize>,
    /// The number of frames in a slice, which is a token. The last slice is padded with the clip's log-mel floor, the
    /// value of silence.
    pub frames_per_slice: usize,
    /// Frames from the start of a slice to the start of the next; below `frames_per_slice`, slices overlap (as the
    /// patches of AST, Gong et al. 2021). `None` places them end to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slice_hop: Option<usize>,
    /// The number of bands in a token, of which a slice has several (AST: 16); `None` for one token of all bands. Frames
    /// and bands that fill no whole token are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bands_per_slice: Option<usize>,
    /// Bands from the start of a token to the start of the next; below `bands_per_slice`, tokens overlap. `None` places
    /// them end to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub band_hop: Option<usize>,
    /// The maximal length of a clip, in slices: the size of the time axis.
    pub max_slices: usize,
    /// The mean of each band, or one for all, which is subtracted; [`fit_bands`](AudioConfig::fit_bands) measures it.
    /// Empty, as for Whisper, without normalisation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub band_mean: Vec<f32>,
    /// The standard deviation of each band, or one for all: the divisor after that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub band_std: Vec<f32>,
    /// The maximal silence between the concatenated clips of several rows, in seconds.
    #[serde(skip_serializing_if = "is_default_gap")]
    pub gap_seconds: f32,
    /// Random augmentation of training clips.
    pub augment: Augment,
}

/// The default of `gap_seconds`.
const GAP_SECONDS: f32 = 0.1;

#[allow(clippy::trivially_copy_pass_by_ref)] // the signature that serde requires
fn is_default_gap(seconds: &f32) -> bool {
    *seconds == GAP_SECONDS
}

impl Default for AudioConfig {
    /// Whisper's spectrogram, without padding, of clips of up to 41 seconds; 25 slices a second.
    fn default() -> Self {
        Self {
            sampling_rate: 16_000,
            mel: MelConfig::default(),
            clip_seconds: None,
            clip_frames: None,
            frames_per_slice: 4,
            slice_hop: None,
            bands_per_slice: None,
            band_hop: None,
            max_slices: 1024,
            band_mean: vec![],
            band_std: vec![],
            gap_seconds: GAP_SECONDS,
            augment: Augment::default(),
        }
    }
}

/// The maximal number of frames of a clip: a week at Whisper's hop; more is a mistake.
const MAX_FRAMES: usize = 1 << 26;
/// The maximal number of frames in a slice: 40 seconds at Whisper's hop; more is a mistake.
const MAX_FRAMES_PER_SLICE: usize = 1 << 12;

impl AudioConfig {
    pub(crate) fn check(&self) -> Result<(), String> {
        if !SAMPLING_RATES.contains(&self.sampling_rate) {
            return Err(wrong_rate(self.sampling_rate));
        }
        if !(1..=MAX_FRAMES_PER_SLICE).contains(&self.frames_per_slice) {
            let frames = self.frames_per_slice;
            return Err(format!("frames_per_slice is {frames}; it must be 1 to {MAX_FRAMES_PER_SLICE}"));
        }
        if !(1..=self.frames_per_slice).contains(&self.hop()) {
            let (hop, frames) = (self.hop(), self.frames_per_slice);
            return Err(format!("slice_hop is {hop}; it must be 1 to frames_per_slice, {frames}"));
        }
        let (bands, all) = (self.bands_per_slice, self.mel.n_mels);
        if let Some(bands) = bands.filter(|bands| !(1..=all).contains(bands)) {
            return Err(format!("bands_per_slice is {bands}; it must be 1 to mel.n_mels, {all}"));
        }
        if let Some(hop) = self.band_hop.filter(|hop| !(1..=bands.unwrap_or(0)).contains(hop)) {
            return Err(format!("band_hop is {hop}; it must be 1 to bands_per_slice, which must be set"));
        }
        if self.max_slices == 0 {
            return Err("max_slices is 0; it must be at least 1".into());
        }
        if let Some(seconds) = self.clip_seconds.filter(|s| samples_in(*s, self.sampling_rate) == 0) {
            return Err(format!("clip_seconds is {seconds}; it must be at least a sample long"));
        }
        if let Some(seconds) = self.clip_seconds.filter(|s| samples_in(*s, self.sampling_rate) > MAX_SAMPLES)
        {
            return Err(format!(
                "clip_seconds is {seconds}; a clip must be at most {MAX_SAMPLES} samples long"
            ));
        }
        if let Some(frames) = self.clip_frames.filter(|frames| *frames > MAX_FRAMES) {
            return Err(format!("clip_frames is {frames}; it must be at most {MAX_FRAMES}"));
        }
        if let Some(frames) = self.clip_frames.filter(|frames| *frames == 0 || self.clip_seconds.is_some()) {
            let problem =
                if frames == 0 { "must be at least 1" } else { "and clip_seconds exclude each other" };
            return Err(format!("clip_frames is {frames}; it {problem}"));
        }
        let (mean, std, bands) = (self.band_mean.len(), self.band_std.len(), self.mel.n_mels);
        if mean != std || ![0, 1, bands].contains(&mean) {
            return Err(format!(
                "band_mean and band_std hold {mean} and {std} numbers; they must hold one for each of {bands} bands, \
                 one for all, or none"
            ));
        }
        if !self.band_mean.iter().all(|m| m.is_finite())
            || !self.band_std.iter().all(|s| s.is_finite() && *s > 0.0)
        {
            return Err("band_mean must be finite, and band_std finite and above 0".into());
        }
        if !(0.0..=60.0).contains(&self.gap_seconds) {
            return Err(format!("gap_seconds is {}; it must be within 0..=60", self.gap_seconds));
        }
        self.augment.check()
    }

    /// Fit the mean and standard deviation of each band to clips, so that the model's inputs are normalised.
    ///
    /// # Errors
    /// [`TokenizeError`] if there is no clip, one cannot be encoded, or settings conflict.
    pub fn fit_bands<E: From<TokenizeError>>(
        self,
        clips: impl IntoIterator<Item = Result<Waveform, E>>,
    ) -> Result<Self, E> {
        let mut plain = Self { band_mean: vec![], band_std: vec![], ..self.clone() };
        if plain.bands_per_slice.take().is_some() {
            // Slices of all bands, with those that are not whole.
            (plain.band_hop, plain.max_slices) = (None, u32::MAX as usize);
        }
        let mut moments = Moments::new(self.mel.n_mels);
        let tokenizer = AudioTokenizer::new(plain)?;
        for clip in clips {
            let tokens = tokenizer.encode(&clip?)?;
            let values = tokens.groups.iter().filter_map(|group| group.content.features()).flatten();
            moments.add(values.copied());
        }
        let (band_mean, band_std) = moments.mean_and_std().ok_or(TokenizeError::Config {
            tokenizer: AudioTokenizer::NAME,
            problem: "expected at least 1 clip to fit the bands to; found 0".into(),
        })?;
        Ok(Self { band_mean, band_std, ..self })
    }

    /// Frames from the start of a slice to the start of the next.
    pub(crate) fn hop(&self) -> usize {
        self.slice_hop.unwrap_or(self.frames_per_slice)
    }

    /// The mean and standard deviation of every band; empty without normalisation.
    pub(crate) fn bands(&self) -> Vec<(f32, f32)> {
        let bands: Vec<_> = self.band_mean.iter().copied().zip(self.band_std.iter().copied()).collect();
        if let [one] = bands[..] { vec![one; self.mel.n_mels] } else { bands }
    }

    /// The number of slices of `frames`: those that begin there, or, if they are cut by bands, those that end there.
    pub(crate) fn n_slices(&self, frames: usize) -> usize {
        match self.bands_per_slice {
            None => frames.div_ceil(self.hop()),
            Some(_) => 1 + frames.saturating_sub(self.frames_per_slice) / self.hop(),
        }
    }

    /// The number of slices of `frames`, at most `max_slices`.
    pub(crate) fn fit(&self, frames: usize) -> Result<usize, String> {
        let (slices, most) = (self.n_slices(frames), self.max_slices);
        if slices > most {
            let each = self.hop();
            return Err(format!("{frames} frames make {slices} slices of {each}; max_slices is {most}"));
        }
        Ok(slices)
    }
}

/// The minimum of a band's standard deviation, so that a silent band can be divided.
const MIN_STD: f64 = 1e-3;

/// Sums over the frames of many clips for each band. Log-mel values are small, so that sums of squares in double
/// precision are exact enough.
struct Moments {
    frames: f64,
    sums: Vec<f64>,
    squares: Vec<f64>,
}

impl Moments {
    fn new(n_mels: usize) -> Self {
        Self { frames: 0.0, sums: vec![0.0; n_mels], squares: vec![0.0; n_mels] }
    }

    /// Add whole frames.
    fn add(&mut self, values: impl Iterator<Item = f32>) {
        let n_mels = self.sums.len();
        for (i, value) in values.map(f64::from).enumerate() {
            self.sums[i % n_mels] += value;
            self.squares[i % n_mels] += value * value;
            self.frames += 1.0 / n_mels as f64;
        }
    }

    fn mean_and_std(self) -> Option<(Vec<f32>, Vec<f32>)> {
        if self.frames == 0.0 {
            return None;
        }
        let mean = |sum: &f64| sum / self.frames;
        let std = |(sum, squares): (&f64, &f64)| (mean(squares) - mean(sum).powi(2)).max(0.0).sqrt();
        let deviations = self.sums.iter().zip(&self.squares).map(std);
        Some((
            self.sums.iter().map(|sum| mean(sum) as f32).collect(),
            deviations.map(|std| std.max(MIN_STD) as f32).collect(),
        ))
    }
}
