//! Clips to slices.

use crate::resample::{resample, resampled_len};
use crate::waveform::{samples_in, wrong_rate};
use crate::{Augment, MelConfig, MelSpectrogram, SAMPLE_RATES, Waveform, read_wav};
use serde::{Deserialize, Serialize};
use smalti_contract::{
    Content, ContentSpec, Group, KindSpec, Records, TokenSpec, TokenizeError, Tokenizer, Tokens,
};

/// How clips become tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AudioConfig {
    /// The rate, in Hz, to which every clip is resampled.
    pub sample_rate: u32,
    /// The spectrogram.
    pub mel: MelConfig,
    /// Every clip is padded with silence or cut to so many seconds (Whisper's are 30); `None` leaves each as
    /// long as it is.
    pub clip_seconds: Option<f32>,
    /// Frames in a slice, which is a token. What silence would hold in this clip, its log-mel floor, fills
    /// up the last.
    pub frames_per_slice: usize,
    /// The longest clip, in slices: the size of the time axis.
    pub max_slices: usize,
    /// What varies in training.
    pub augment: Augment,
}

impl Default for AudioConfig {
    /// Whisper's spectrogram of clips as long as they are, up to 41 seconds; 25 slices a second.
    fn default() -> Self {
        Self {
            sample_rate: 16_000,
            mel: MelConfig::default(),
            clip_seconds: None,
            frames_per_slice: 4,
            max_slices: 1024,
            augment: Augment::default(),
        }
    }
}

/// The thickest slice, in frames: 40 seconds at Whisper's hop, a wrong number rather than a setting.
const MAX_FRAMES_PER_SLICE: usize = 1 << 12;

impl AudioConfig {
    fn check(&self) -> Result<(), String> {
        if !SAMPLE_RATES.contains(&self.sample_rate) {
            return Err(wrong_rate(self.sample_rate));
        }
        if !(1..=MAX_FRAMES_PER_SLICE).contains(&self.frames_per_slice) {
            let frames = self.frames_per_slice;
            return Err(format!("frames_per_slice is {frames}; it must be 1 to {MAX_FRAMES_PER_SLICE}"));
        }
        if self.max_slices == 0 {
            return Err("max_slices is 0; it must be at least 1".into());
        }
        if let Some(seconds) = self.clip_seconds.filter(|s| samples_in(*s, self.sample_rate) == 0) {
            return Err(format!("clip_seconds is {seconds}; it must be at least a sample long"));
        }
        self.augment.check()
    }

    /// How many slices so many frames fill.
    fn fit(&self, frames: usize) -> Result<usize, String> {
        let (slices, most) = (frames.div_ceil(self.frames_per_slice), self.max_slices);
        if slices > most {
            let each = self.frames_per_slice;
            return Err(format!("{frames} frames make {slices} slices of {each}; max_slices is {most}"));
        }
        Ok(slices)
    }
}

/// Turns sound into slices of a log-mel spectrogram.
///
/// A token of the one kind, `slice`, holds `frames_per_slice · n_mels` features, frame by frame. Slice `i`
/// has order `i` and time `i`; there are no other positions.
pub struct AudioTokenizer {
    config: AudioConfig,
    mel: MelSpectrogram,
    spec: TokenSpec,
}

impl AudioTokenizer {
    /// Hides one run of frames and one run of bands of the tokens of a clip, for training (SpecAugment, Park
    /// et al. 2019, without the warp).
    ///
    /// Both runs are drawn evenly, up to [`time_mask`](Augment::time_mask) frames and
    /// [`frequency_mask`](Augment::frequency_mask) bands long; what they cover becomes the mean of the clip's
    /// features. The same seed gives the same masks. `tokens` are what [`encode`](Tokenizer::encode) gave.
    pub fn mask_slices(&self, tokens: Tokens, seed: u64) -> Tokens {
        self.config.augment.mask(tokens, self.config.mel.n_mels, seed)
    }

    /// How many samples, after resampling, a clip of `raw`'s length has.
    fn clip_len(&self, raw: &Waveform) -> usize {
        match self.config.clip_seconds {
            Some(seconds) => samples_in(seconds, self.config.sample_rate),
            None => resampled_len(raw.samples.len(), raw.sample_rate, self.config.sample_rate),
        }
    }

    /// The clip's samples at our rate, as many as `len`.
    fn prepare(&self, raw: &Waveform, len: usize) -> Vec<f32> {
        // Of a long recording only what is kept need be resampled, and two seconds more, which is further
        // than the filter reaches.
        let seconds = len as f32 / self.config.sample_rate as f32 + 2.0;
        let kept = raw.samples.len().min(samples_in(seconds, raw.sample_rate));
        let mut samples = resample(&raw.samples[..kept], raw.sample_rate, self.config.sample_rate);
        samples.resize(len, 0.0);
        samples
    }
}

impl Tokenizer for AudioTokenizer {
    const NAME: &'static str = "audio";
    type Config = AudioConfig;
    type Raw = Waveform;

    fn new(config: AudioConfig) -> Result<Self, TokenizeError> {
        let refused = |problem| TokenizeError::Config { tokenizer: Self::NAME, problem };
        config.check().map_err(refused)?;
        let mel = MelSpectrogram::new(config.mel.clone(), config.sample_rate)?;
        if let Some(seconds) = config.clip_seconds {
            let frames = mel.log_frames(samples_in(seconds, config.sample_rate));
            config.fit(frames).map_err(|problem| refused(format!("clip_seconds is {seconds}: {problem}")))?;
        }
        let spec = TokenSpec::single(KindSpec {
            name: "slice".into(),
            content: ContentSpec::Features { dim: config.mel.n_mels * config.frames_per_slice },
            axes: vec![],
            time_steps: Some(config.max_slices),
        });
        Ok(Self { config, mel, spec })
    }

    fn config(&self) -> &AudioConfig {
        &self.config
    }

    fn spec(&self) -> &TokenSpec {
        &self.spec
    }

    /// The one clip of a WAV file.
    fn records<'a>(&'a self, bytes: &'a [u8]) -> Records<'a, Waveform> {
        Box::new(std::iter::once_with(|| read_wav(bytes)))
    }

    /// Speed, shift, gain and noise, in this order, as [`AudioConfig::augment`] allows; masks are drawn over
    /// tokens, by [`mask_slices`](Self::mask_slices).
    fn augment(&self, raw: Waveform, seed: u64) -> Waveform {
        self.config.augment.vary(raw, seed)
    }

    /// The slices of a clip.
    ///
    /// # Errors
    /// [`TokenizeError::Input`] for a clip without samples, with one that is not finite or beyond a million,
    /// of a rate outside of [`SAMPLE_RATES`], or of more slices than [`max_slices`](AudioConfig::max_slices).
    fn encode(&self, raw: &Waveform) -> Result<Tokens, TokenizeError> {
        raw.check().map_err(TokenizeError::Input)?;
        let len = self.clip_len(raw);
        let slices = self.config.fit(self.mel.log_frames(len)).map_err(TokenizeError::Input)?;
        let log_mel = self.mel.log_mel(&self.prepare(raw, len));
        let dim = log_mel.n_mels * self.config.frames_per_slice;
        let mut values = log_mel.values;
        values.resize(slices * dim, log_mel.floor); // [slices, frames_per_slice * n_mels]
        let places: Vec<u32> = (0..slices as u32).collect();
        Ok(Tokens::new(vec![Group {
            content: Content::Features { values, dim },
            positions: vec![],
            order: places.clone(),
            time: places,
        }]))
    }

    /// There is no way back: a slice has lost the phase.
    ///
    /// # Errors
    /// [`TokenizeError::NotInvertible`], always.
    fn decode(&self, _tokens: &Tokens) -> Result<Waveform, TokenizeError> {
        Err(TokenizeError::NotInvertible {
            tokenizer: Self::NAME,
            why: "a mel spectrogram keeps neither the phase nor the single frequencies within a band",
        })
    }
}
