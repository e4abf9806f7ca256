//! Clips to slices.

use crate::decode::read_value;
use crate::resample::{resample, resampled_len};
use crate::slices::Slicing;
use crate::waveform::samples_in;
use crate::{AudioConfig, AudioSettings, MelSpectrogram, Waveform, read};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use smalti_contract::{
    Content, ContentSpec, Group, KindSpec, Records, TokenSpec, TokenizeError, Tokenizer, Tokens, Value,
    Values,
};

/// Turns sound into slices of a log-mel spectrogram.
///
/// A token of the one kind, `slice`, holds `frames_per_slice · n_mels` features, frame by frame. Slice `i`
/// begins at frame `i · slice_hop` and has order `i` and time `i`; there are no other positions.
pub struct AudioTokenizer {
    config: AudioConfig,
    pub(crate) mel: MelSpectrogram,
    spec: TokenSpec,
    /// Mean and standard deviation of every band, or none.
    bands: Vec<(f32, f32)>,
}

impl AudioTokenizer {
    pub(crate) fn into_config(self) -> AudioConfig {
        self.config
    }

    pub(crate) fn slicing(&self) -> Slicing {
        let AudioConfig { mel, frames_per_slice, .. } = &self.config;
        Slicing { n_mels: mel.n_mels, frames: *frames_per_slice, hop: self.config.hop() }
    }

    /// How many samples every clip has, where they are padded and cut.
    pub(crate) fn window(&self) -> Option<usize> {
        self.config.clip_seconds.map(|seconds| samples_in(seconds, self.config.sample_rate))
    }

    /// How many samples, after resampling, a clip of `raw`'s length has.
    pub(crate) fn clip_len(&self, raw: &Waveform) -> usize {
        let whole = resampled_len(raw.samples.len(), raw.sample_rate, self.config.sample_rate);
        match (self.window(), self.config.clip_frames) {
            (Some(window), _) => window,
            // What lies behind the last frame that is kept, and can be seen from it, matters only to its mirror.
            (None, Some(frames)) if !self.config.mel.looks_at_the_whole_clip() => {
                whole.min(frames * self.config.mel.hop_length + 2 * self.config.mel.frame_length())
            }
            _ => whole,
        }
    }

    /// The slices of a clip whose samples have our rate, and the length that [`clip_len`](Self::clip_len) says.
    pub(crate) fn slices(&self, samples: &[f32]) -> Result<Tokens, TokenizeError> {
        Ok(self.tokens(self.frames(samples)?, 0))
    }

    /// The frames under these slices, `[frames, n_mels]`.
    pub(crate) fn frames(&self, samples: &[f32]) -> Result<Vec<f32>, TokenizeError> {
        let n_mels = self.config.mel.n_mels;
        let kept = self.config.clip_frames.unwrap_or(self.mel.frames(samples.len()));
        let slices = self.config.fit(kept).map_err(TokenizeError::Input)?;
        let log_mel = self.mel.log_mel(samples);
        let silence = if self.config.clip_frames.is_some() { 0.0 } else { log_mel.floor };
        let mut frames = log_mel.values;
        frames.truncate(kept * n_mels);
        frames.resize(self.slicing().frames_of(slices) * n_mels, silence); // whole slices
        self.centre(&mut frames);
        Ok(frames)
    }

    /// Takes its mean off each band and divides it by its deviation.
    pub(crate) fn centre(&self, frames: &mut [f32]) {
        for frame in frames.chunks_exact_mut(self.config.mel.n_mels).filter(|_| !self.bands.is_empty()) {
            frame.iter_mut().zip(&self.bands).for_each(|(value, (mean, std))| *value = (*value - mean) / std);
        }
    }

    /// The slices, from number `first` on, that these frames fill.
    pub(crate) fn tokens(&self, frames: Vec<f32>, first: usize) -> Tokens {
        let (slicing, dim) = (self.slicing(), self.slicing().dim());
        let values = slicing.cut(frames); // [slices, frames_per_slice * n_mels]
        let places: Vec<u32> = (first..first + values.len() / dim).map(|slice| slice as u32).collect();
        Tokens::new(vec![Group {
            content: Content::Features { values, dim },
            positions: vec![],
            order: places.clone(),
            time: places,
        }])
    }

    /// The clip's samples at our rate, as many as `len`.
    pub(crate) fn prepare(&self, raw: &Waveform, len: usize) -> Vec<f32> {
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
    type Settings = AudioSettings;
    type Config = AudioConfig;
    type Raw = Waveform;

    /// What the settings leave out is that of their preset or, without one, of the configuration `before`. The mean and
    /// the deviation of each band are fitted to at most 256 clips, spread evenly, as
    /// [`normalize`](AudioSettings::normalize) documents.
    ///
    /// # Errors
    /// [`TokenizeError::Config`] for settings that cannot work together, and without a clip to fit the bands to; as of
    /// [`read`](Tokenizer::read) and [`encode`](Tokenizer::encode) for a value that is no clip.
    fn fit(
        settings: AudioSettings,
        before: Option<AudioConfig>,
        values: &dyn Values,
    ) -> Result<AudioConfig, TokenizeError> {
        settings.fit(before, values)
    }

    fn new(config: AudioConfig) -> Result<Self, TokenizeError> {
        let refused = |problem| TokenizeError::Config { tokenizer: Self::NAME, problem };
        config.check().map_err(refused)?;
        let mel = MelSpectrogram::new(config.mel.clone(), config.sample_rate)?;
        if let Some(seconds) = config.clip_seconds {
            let frames = mel.frames(samples_in(seconds, config.sample_rate));
            config.fit(frames).map_err(|problem| refused(format!("clip_seconds is {seconds}: {problem}")))?;
        }
        if let Some(frames) = config.clip_frames {
            config.fit(frames).map_err(|problem| refused(format!("clip_frames is {frames}: {problem}")))?;
        }
        let spec = TokenSpec::single(KindSpec {
            name: "slice".into(),
            content: ContentSpec::Features { dim: config.mel.n_mels * config.frames_per_slice },
            axes: vec![],
            time_steps: Some(config.max_slices),
        });
        Ok(Self { bands: config.bands(), config, mel, spec })
    }

    fn config(&self) -> &AudioConfig {
        &self.config
    }

    fn spec(&self) -> &TokenSpec {
        &self.spec
    }

    /// An encoded clip, in any format that [`read`] knows.
    fn read(&self, value: Value) -> Result<Waveform, TokenizeError> {
        read_value(value)
    }

    fn varies(&self) -> bool {
        self.config.augment != crate::Augment::default()
    }

    /// The clips at the rate of the configuration, with silences of up to `gap_seconds` between them.
    fn concat(&self, raws: Vec<Waveform>, seed: u64) -> Result<Waveform, TokenizeError> {
        let rate = self.config.sample_rate;
        let mut random = Pcg64::seed_from_u64(seed);
        let mut joined = Waveform { sample_rate: rate, samples: vec![] };
        for (number, raw) in raws.into_iter().enumerate() {
            if number > 0 {
                let gap = self.config.gap_seconds * random.random::<f32>();
                joined.append(&Waveform::silence(rate, gap))?;
            }
            joined.append(&raw.resample(rate)?)?;
        }
        Ok(joined)
    }

    /// The one clip of a file in any format that [`read`] knows.
    fn records<'a>(&'a self, bytes: &'a [u8]) -> Records<'a, Waveform> {
        Box::new(std::iter::once_with(|| read(bytes)))
    }

    /// Speed, shift, gain and noise, in this order, as [`AudioConfig::augment`] allows; masks and warps are for
    /// tokens, by [`augment_tokens`](Tokenizer::augment_tokens).
    fn augment(&self, raw: Waveform, seed: u64) -> Waveform {
        self.config.augment.vary(raw, seed)
    }

    /// Warps the tokens of a clip in time and hides runs of frames and of bands (SpecAugment, Park et al. 2019), as
    /// the settings of [`Augment`](crate::Augment) allow.
    ///
    /// What is hidden becomes the mean of the clip's features; all runs are drawn evenly, and slices that share
    /// frames go on sharing them. `tokens` are what [`encode`](Tokenizer::encode) gave.
    fn augment_tokens(&self, tokens: Tokens, seed: u64) -> Tokens {
        self.config.augment.mask(tokens, self.slicing(), seed)
    }

    /// The slices of a clip.
    ///
    /// # Errors
    /// [`TokenizeError::Input`] for a clip without samples, with one that is not finite or beyond a million,
    /// of a rate outside of [`SAMPLE_RATES`](crate::SAMPLE_RATES), or of more slices than [`max_slices`](AudioConfig::max_slices).
    fn encode(&self, raw: &Waveform) -> Result<Tokens, TokenizeError> {
        raw.check().map_err(TokenizeError::Input)?;
        let len = self.clip_len(raw);
        self.slices(&self.prepare(raw, len))
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
