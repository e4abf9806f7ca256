//! The audio tokenizer.

use crate::decode::read_value;
use crate::resample::{check_len, resample, resampled_len};
use crate::slices::Slicing;
use crate::waveform::samples_in;
use crate::{AudioConfig, AudioSettings, MelSpectrogram, Waveform, read};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use smalti_contract::memory;
use smalti_contract::{
    Axis, Content, ContentSpec, Group, KindSpec, RawInputs, TokenSpec, TokenizeError, Tokenizer, Tokens,
    Value, Values,
};

/// The audio tokenizer: slices of a log-mel spectrogram.
///
/// A token of the single kind `slice` has `frames_per_slice · n_mels` features, frame by frame. Slice `i` begins at
/// frame `i · slice_hop` and has order `i` and time `i`; there are no other positions. With `bands_per_slice`, a slice is
/// several tokens, each with the features of some bands, band by band, and with two positions: its place among those
/// of the slice, and that of the slice.
pub struct AudioTokenizer {
    config: AudioConfig,
    pub(crate) mel: MelSpectrogram,
    spec: TokenSpec,
    /// The mean and standard deviation of every band; empty without normalisation.
    bands: Vec<(f32, f32)>,
}

impl AudioTokenizer {
    pub(crate) fn into_config(self) -> AudioConfig {
        self.config
    }

    pub(crate) fn slicing(&self) -> Slicing {
        let AudioConfig { mel, frames_per_slice, bands_per_slice, band_hop, .. } = &self.config;
        let bands = bands_per_slice.unwrap_or(mel.n_mels);
        Slicing {
            n_mels: mel.n_mels,
            frames: *frames_per_slice,
            hop: self.config.hop(),
            bands,
            band_hop: band_hop.unwrap_or(bands),
        }
    }

    /// The number of samples of every clip, if clips have a fixed length.
    pub(crate) fn window(&self) -> Option<usize> {
        self.config.clip_seconds.map(|seconds| samples_in(seconds, self.config.sampling_rate))
    }

    /// The number of samples of a clip after resampling.
    pub(crate) fn clip_len(&self, raw: &Waveform) -> usize {
        let whole = resampled_len(raw.samples.len(), raw.sampling_rate, self.config.sampling_rate);
        match (self.window(), self.config.clip_frames) {
            (Some(window), _) => window,
            // Samples after the last kept frame matter only for reflection.
            (None, Some(frames)) if !self.config.mel.depends_on_the_whole_clip() => {
                whole.min(frames * self.config.mel.hop_length + 2 * self.config.mel.frame_length())
            }
            _ => whole,
        }
    }

    /// Encode samples at the configured rate, whose number is [`clip_len`](Self::clip_len).
    pub(crate) fn slices(&self, samples: &[f32]) -> Result<Tokens, TokenizeError> {
        Ok(self.tokens(self.frames(samples)?, 0))
    }

    /// The frames of these slices, `[frames, n_mels]`.
    pub(crate) fn frames(&self, samples: &[f32]) -> Result<Vec<f32>, TokenizeError> {
        let n_mels = self.config.mel.n_mels;
        let kept = self.config.clip_frames.unwrap_or(self.mel.frames(samples.len()));
        let slices = self.config.fit(kept).map_err(|problem| {
            let most = self.config.n_slices(kept);
            TokenizeError::Input(format!("{problem}: try max_slices={most} in training"))
        })?;
        let bytes = self.mel.frames(samples.len()).max(kept).saturating_mul(n_mels * size_of::<f32>());
        if memory::check(bytes as u64).is_err() {
            return Err(TokenizeError::Input(format!(
                "its spectrogram of {n_mels} bands takes {} MiB: raise hop_length or lower n_mels; {}",
                bytes >> 20,
                memory::describe_limit()
            )));
        }
        let log_mel = self.mel.log_mel(samples);
        let silence = if self.config.clip_frames.is_some() { 0.0 } else { log_mel.floor };
        let mut frames = log_mel.values;
        frames.truncate(kept * n_mels);
        frames.resize(self.slicing().frames_of(slices) * n_mels, silence); // whole slices
        self.normalise(&mut frames);
        Ok(frames)
    }

    /// Normalise each band: subtract its mean, divide by its deviation.
    pub(crate) fn normalise(&self, frames: &mut [f32]) {
        for frame in frames.chunks_exact_mut(self.config.mel.n_mels).filter(|_| !self.bands.is_empty()) {
            frame.iter_mut().zip(&self.bands).for_each(|(value, (mean, std))| *value = (*value - mean) / std);
        }
    }

    /// The tokens of frames, with slices numbered from `first` on.
    pub(crate) fn tokens(&self, frames: Vec<f32>, first: usize) -> Tokens {
        let (slicing, dim) = (self.slicing(), self.slicing().dim());
        let values = slicing.cut(frames); // [slices, frames_per_slice * n_mels], or several tokens a slice
        let each = slicing.tokens_per_slice();
        let places = first * each..first * each + values.len() / dim;
        let positions = match self.config.bands_per_slice {
            None => vec![],
            Some(_) => {
                places.clone().flat_map(|place| [(place % each) as u32, (place / each) as u32]).collect()
            }
        };
        Tokens::new(vec![Group {
            content: Content::Features { values, dim },
            positions,
            time: places.clone().map(|place| (place / each) as u32).collect(),
            order: places.map(|place| place as u32).collect(),
        }])
    }

    /// Resample a clip to the configured rate, and pad or cut it to `len` samples.
    ///
    /// # Errors
    /// [`TokenizeError::Input`] for a clip that is too long for the memory.
    pub(crate) fn prepare(&self, raw: &Waveform, len: usize) -> Result<Vec<f32>, TokenizeError> {
        // Only the kept part of a long clip is resampled, and two more seconds, which is more than the filter's length.
        let seconds = len as f32 / self.config.sampling_rate as f32 + 2.0;
        let kept = raw.samples.len().min(samples_in(seconds, raw.sampling_rate));
        check_len(kept, raw.sampling_rate, self.config.sampling_rate)?;
        let mut samples = resample(&raw.samples[..kept], raw.sampling_rate, self.config.sampling_rate);
        samples.resize(len, 0.0);
        Ok(samples)
    }
}

impl Tokenizer for AudioTokenizer {
    const NAME: &'static str = "audio";
    type Settings = AudioSettings;
    type Config = AudioConfig;
    type Raw = Waveform;

    /// Settings that are left out come from the preset or, without one, from the configuration `before`. The mean and
    /// deviation of each band are fitted to at most 256 clips, spread evenly; see
    /// [`normalize`](AudioSettings::normalize).
    ///
    /// # Errors
    /// [`TokenizeError::Config`] for conflicting settings, and without a clip to fit the bands to; as of
    /// [`read`](Tokenizer::read) and [`encode`](Tokenizer::encode) for a value that is not a clip.
    fn fit(
        settings: AudioSettings,
        before: Option<AudioConfig>,
        values: &dyn Values,
    ) -> Result<AudioConfig, TokenizeError> {
        settings.fit(before, values)
    }

    fn settings_schema() -> serde_json::Value {
        schemars::schema_for!(AudioSettings).into()
    }

    fn new(config: AudioConfig) -> Result<Self, TokenizeError> {
        let config_error = |problem| TokenizeError::Config { tokenizer: Self::NAME, problem };
        config.check().map_err(config_error)?;
        let mel = MelSpectrogram::new(config.mel.clone(), config.sampling_rate)?;
        if let Some(seconds) = config.clip_seconds {
            let frames = mel.frames(samples_in(seconds, config.sampling_rate));
            config
                .fit(frames)
                .map_err(|problem| config_error(format!("clip_seconds is {seconds}: {problem}")))?;
        }
        if let Some(frames) = config.clip_frames {
            config
                .fit(frames)
                .map_err(|problem| config_error(format!("clip_frames is {frames}: {problem}")))?;
        }
        let mut tokenizer = Self { bands: config.bands(), config, mel, spec: TokenSpec { kinds: vec![] } };
        let slicing = tokenizer.slicing();
        let slices = tokenizer.config.max_slices;
        let (axes, time_steps) = match tokenizer.config.bands_per_slice {
            None => (vec![], Some(slices)),
            Some(_) => {
                let bands = Axis::new("band", slicing.tokens_per_slice());
                (vec![bands, Axis::new("slice", slices)], None)
            }
        };
        let content = ContentSpec::Features { dim: slicing.dim() };
        tokenizer.spec = TokenSpec::single(KindSpec { name: "slice".into(), content, axes, time_steps });
        Ok(tokenizer)
    }

    fn config(&self) -> &AudioConfig {
        &self.config
    }

    fn spec(&self) -> &TokenSpec {
        &self.spec
    }

    /// An encoded clip, in any format that [`read`] supports.
    fn read(&self, value: Value) -> Result<Waveform, TokenizeError> {
        read_value(value)
    }

    fn varies(&self) -> bool {
        self.config.augment != crate::Augment::default()
    }

    /// Concatenate clips at the configured rate, with silences of up to `gap_seconds` between them.
    fn concat(&self, raws: Vec<Waveform>, seed: u64) -> Result<Waveform, TokenizeError> {
        let rate = self.config.sampling_rate;
        let mut random = Pcg64::seed_from_u64(seed);
        let mut joined = Waveform { sampling_rate: rate, samples: vec![] };
        for (number, raw) in raws.into_iter().enumerate() {
            if number > 0 {
                let gap = self.config.gap_seconds * random.random::<f32>();
                joined.append(&Waveform::silence(rate, gap))?;
            }
            joined.append(&raw.resample(rate)?)?;
        }
        Ok(joined)
    }

    /// The single clip of a file in any format that [`read`] supports.
    fn raw_inputs<'a>(&'a self, bytes: &'a [u8]) -> RawInputs<'a, Waveform> {
        Box::new(std::iter::once_with(|| read(bytes)))
    }

    /// Change speed, shift, gain and noise, in this order, by [`AudioConfig::augment`]; masks and warps apply to
    /// tokens, in [`augment_tokens`](Tokenizer::augment_tokens).
    fn augment(&self, raw: Waveform, seed: u64) -> Waveform {
        self.config.augment.vary(raw, seed)
    }

    /// Warp the tokens of a clip in time and mask ranges of frames and of bands (SpecAugment, Park et al. 2019), by
    /// [`Augment`](crate::Augment).
    ///
    /// Masked features become the mean of the clip's features; ranges are uniform, and overlapping slices stay
    /// consistent. `tokens` must come from [`encode`](Tokenizer::encode).
    fn augment_tokens(&self, tokens: Tokens, seed: u64) -> Tokens {
        self.config.augment.mask(tokens, self.slicing().covered(), seed)
    }

    /// Encode a clip as slices.
    ///
    /// # Errors
    /// [`TokenizeError::Input`] for a clip without samples, with a sample that is not finite or beyond a million, with a
    /// rate outside of [`SAMPLING_RATES`](crate::SAMPLING_RATES), or with more slices than
    /// [`max_slices`](AudioConfig::max_slices).
    fn encode(&self, raw: &Waveform) -> Result<Tokens, TokenizeError> {
        raw.check().map_err(TokenizeError::Input)?;
        let len = self.clip_len(raw);
        self.slices(&self.prepare(raw, len)?)
    }

    /// Decoding is impossible, because a spectrogram has no phase.
    ///
    /// # Errors
    /// [`TokenizeError::NotInvertible`], always.
    fn decode(&self, _tokens: &Tokens) -> Result<Waveform, TokenizeError> {
        Err(TokenizeError::NotInvertible {
            tokenizer: Self::NAME,
            why: "a mel spectrogram has neither the phase nor the single frequencies within a band",
        })
    }
}
