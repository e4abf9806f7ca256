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
    /// Frames from the start of a slice to that of the next; below `frames_per_slice`, slices overlap (as the
    /// patches of AST do, Gong et al. 2021). `None` lays them end to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slice_hop: Option<usize>,
    /// The longest clip, in slices: the size of the time axis.
    pub max_slices: usize,
    /// Mean of each band, subtracted from it; [`fit_bands`](AudioConfig::fit_bands) measures it. Empty, as for
    /// Whisper, for nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub band_mean: Vec<f32>,
    /// Standard deviation of each band, by which it is then divided.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub band_std: Vec<f32>,
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
            slice_hop: None,
            max_slices: 1024,
            band_mean: vec![],
            band_std: vec![],
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
        if !(1..=self.frames_per_slice).contains(&self.hop()) {
            let (hop, frames) = (self.hop(), self.frames_per_slice);
            return Err(format!("slice_hop is {hop}; it must be 1 to frames_per_slice, {frames}"));
        }
        if self.max_slices == 0 {
            return Err("max_slices is 0; it must be at least 1".into());
        }
        if let Some(seconds) = self.clip_seconds.filter(|s| samples_in(*s, self.sample_rate) == 0) {
            return Err(format!("clip_seconds is {seconds}; it must be at least a sample long"));
        }
        let lengths = (self.band_mean.len(), self.band_std.len());
        if lengths != (0, 0) && lengths != (self.mel.n_mels, self.mel.n_mels) {
            let (mean, std) = lengths;
            let bands = self.mel.n_mels;
            return Err(format!(
                "band_mean and band_std hold {mean} and {std} numbers; there are {bands} bands"
            ));
        }
        if !self.band_mean.iter().all(|m| m.is_finite())
            || !self.band_std.iter().all(|s| s.is_finite() && *s > 0.0)
        {
            return Err("band_mean must be finite, and band_std finite and above 0".into());
        }
        self.augment.check()
    }

    /// These settings with the mean and standard deviation of each band over some clips, so that what the model
    /// reads of them is centred and of size one.
    ///
    /// # Errors
    /// [`TokenizeError`] where there is no clip, one cannot be encoded, or the settings cannot work together.
    pub fn fit_bands<E: From<TokenizeError>>(
        self,
        clips: impl IntoIterator<Item = Result<Waveform, E>>,
    ) -> Result<Self, E> {
        let n_mels = self.mel.n_mels;
        let (plain, mut moments) =
            (Self { band_mean: vec![], band_std: vec![], ..self }, Moments::new(n_mels));
        let tokenizer = AudioTokenizer::new(plain.clone())?;
        for clip in clips {
            let tokens = tokenizer.encode(&clip?)?;
            let values = tokens.groups.iter().filter_map(|group| group.content.features()).flatten();
            moments.add(values.copied());
        }
        let (band_mean, band_std) = moments.mean_and_std().ok_or(TokenizeError::Config {
            tokenizer: AudioTokenizer::NAME,
            problem: "there is no clip to fit the bands to".into(),
        })?;
        Ok(Self { band_mean, band_std, ..plain })
    }

    /// Frames from slice to slice.
    pub(crate) fn hop(&self) -> usize {
        self.slice_hop.unwrap_or(self.frames_per_slice)
    }

    /// How many slices begin in so many frames.
    fn fit(&self, frames: usize) -> Result<usize, String> {
        let (slices, most) = (frames.div_ceil(self.hop()), self.max_slices);
        if slices > most {
            let each = self.hop();
            return Err(format!("{frames} frames make {slices} slices of {each}; max_slices is {most}"));
        }
        Ok(slices)
    }
}

/// A band's standard deviation is taken to be at least this, so that one that is always silent can be divided.
const LEAST_STD: f64 = 1e-3;

/// Sums over the frames of many clips, band by band. Log-mel values are within a few units, so that sums of
/// squares in double precision lose nothing that matters.
struct Moments {
    frames: f64,
    sums: Vec<f64>,
    squares: Vec<f64>,
}

impl Moments {
    fn new(n_mels: usize) -> Self {
        Self { frames: 0.0, sums: vec![0.0; n_mels], squares: vec![0.0; n_mels] }
    }

    /// Whole frames, one after another.
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
            deviations.map(|std| std.max(LEAST_STD) as f32).collect(),
        ))
    }
}

/// Turns sound into slices of a log-mel spectrogram.
///
/// A token of the one kind, `slice`, holds `frames_per_slice · n_mels` features, frame by frame. Slice `i`
/// begins at frame `i · slice_hop` and has order `i` and time `i`; there are no other positions.
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
        self.config.augment.mask(tokens, self.config.mel.n_mels, self.config.hop(), seed)
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
        let (dim, hop) = (log_mel.n_mels * self.config.frames_per_slice, log_mel.n_mels * self.config.hop());
        let mut frames = log_mel.values;
        frames.resize(slices.saturating_sub(1) * hop + dim, log_mel.floor); // whole slices
        if !self.config.band_mean.is_empty() {
            let bands = || self.config.band_mean.iter().zip(&self.config.band_std);
            for frame in frames.chunks_exact_mut(log_mel.n_mels) {
                frame.iter_mut().zip(bands()).for_each(|(value, (mean, std))| *value = (*value - mean) / std);
            }
        }
        let values = match hop == dim {
            true => frames,
            false => (0..slices).flat_map(|slice| &frames[slice * hop..slice * hop + dim]).copied().collect(),
        }; // [slices, frames_per_slice * n_mels]
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
