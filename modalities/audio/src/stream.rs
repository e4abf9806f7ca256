//! Slices of an audio stream.

use crate::frame::Clip;
use crate::resample::ResampleStream;
use crate::waveform::{invalid_sample, wrong_rate};
use crate::{AudioTokenizer, SAMPLING_RATES};
use smalti_contract::{TokenizeError, Tokenizer, Tokens};

/// Encodes a stream of samples in pieces of any size. The slices equal those of
/// [`encode`](smalti_contract::Tokenizer::encode) for the whole clip, to the last bit; each is returned as soon as its
/// samples have arrived.
///
/// With a fixed length of clips ([`clip_seconds`](crate::AudioConfig::clip_seconds)), the stream is cut into clips of
/// that length, and the slices of a clip are returned when it is full. Samples at another rate are resampled before
/// that.
///
/// ```
/// use smalti_audio::{AudioConfig, AudioTokenizer, MelConfig};
/// use smalti_contract::Tokenizer;
///
/// let tokenizer = AudioTokenizer::new(AudioConfig { mel: MelConfig::kaldi(16_000, 80), ..Default::default() })?;
/// let mut stream = tokenizer.stream(16_000)?;
/// let mut slices = 0;
/// for piece in [[0.1; 500], [0.2; 500], [0.3; 500]] {
///     slices += stream.push(&piece)?.iter().map(|tokens| tokens.len()).sum::<usize>();
/// }
/// assert_eq!(slices, 1, "four frames of 400 samples every 160 are 880 samples");
/// slices += stream.finish()?.iter().map(|tokens| tokens.len()).sum::<usize>();
/// assert_eq!(slices, 2, "seven frames");
/// # Ok::<(), smalti_contract::TokenizeError>(())
/// ```
pub struct SliceStream<'a> {
    tokenizer: &'a AudioTokenizer,
    resample: ResampleStream,
    /// The number of input samples.
    received: usize,
    /// Samples at the tokenizer's rate that later frames or clips need.
    samples: Vec<f32>,
    /// The number of dropped samples before them.
    first: usize,
    /// The index of the next frame.
    frame: usize,
    /// The frames from the start of the next slice on.
    frames: Vec<f32>,
    /// The index of the next slice.
    slice: usize,
}

impl AudioTokenizer {
    /// Start a stream of samples at `sampling_rate` Hz.
    ///
    /// # Errors
    /// [`TokenizeError::Input`] for a rate outside of [`SAMPLING_RATES`]; [`TokenizeError::Config`] for settings with
    /// which the first slice depends on the last sample: a logarithm that is bounded by the maximum of a clip of any
    /// length, or [`clip_frames`](crate::AudioConfig::clip_frames).
    pub fn stream(&self, sampling_rate: u32) -> Result<SliceStream<'_>, TokenizeError> {
        let config = self.config();
        let config_error = |problem: &str| {
            Err(TokenizeError::Config {
                tokenizer: Self::NAME,
                problem: format!("cannot be streamed: {problem}"),
            })
        };
        if !SAMPLING_RATES.contains(&sampling_rate) {
            return Err(TokenizeError::Input(wrong_rate(sampling_rate)));
        }
        if config.clip_frames.is_some() {
            return config_error("clip_frames cuts a clip at a frame; remove it, or set clip_seconds");
        }
        if config.bands_per_slice.is_some() {
            return config_error("bands_per_slice cuts a slice into several tokens; remove it");
        }
        if config.clip_seconds.is_none() && config.mel.depends_on_the_whole_clip() {
            return config_error(
                "its logarithm is bounded by the loudest of the whole clip; set clip_seconds, so that clips end, or a \
                 mel.log other than whisper without top_db",
            );
        }
        Ok(SliceStream {
            tokenizer: self,
            resample: ResampleStream::new(sampling_rate, config.sampling_rate),
            received: 0,
            samples: vec![],
            first: 0,
            frame: 0,
            frames: vec![],
            slice: 0,
        })
    }
}

impl SliceStream<'_> {
    /// Push the next samples and return the slices that they complete. Without a fixed length, this is at most one
    /// group of tokens, whose `order` and `time` continue those of the last; otherwise one group for each full clip.
    ///
    /// # Errors
    /// [`TokenizeError::Input`] for a sample that is not finite or beyond a million, and for more slices than
    /// [`max_slices`](crate::AudioConfig::max_slices). The stream must not be used after an error.
    pub fn push(&mut self, samples: &[f32]) -> Result<Vec<Tokens>, TokenizeError> {
        if let Some((at, problem)) = invalid_sample(samples) {
            return Err(TokenizeError::Input(format!("sample {} {problem}", self.received + at)));
        }
        self.received += samples.len();
        self.resample.push(samples, &mut self.samples);
        match self.tokenizer.window() {
            Some(window) => self.windows(window),
            None => self.slices(self.complete_frames(), false),
        }
    }

    /// Finish the stream and return the last slices. A clip of any length is padded as in its settings, a clip of fixed
    /// length with silence. An empty stream gives no slices.
    ///
    /// # Errors
    /// [`TokenizeError::Input`] for more slices than [`max_slices`](crate::AudioConfig::max_slices).
    pub fn finish(mut self) -> Result<Vec<Tokens>, TokenizeError> {
        self.resample.finish(&mut self.samples);
        let Some(window) = self.tokenizer.window() else {
            let all = self.tokenizer.mel.frames(self.first + self.samples.len());
            return self.slices(all, true);
        };
        let mut clips = self.windows(window)?;
        if !self.samples.is_empty() {
            self.samples.resize(window, 0.0);
            clips.extend(self.windows(window)?);
        }
        Ok(clips)
    }

    /// Encode the full clips.
    fn windows(&mut self, window: usize) -> Result<Vec<Tokens>, TokenizeError> {
        let full = self.samples.len() / window * window;
        let clips =
            self.samples[..full].chunks_exact(window).map(|clip| self.tokenizer.slices(clip)).collect();
        self.samples.drain(..full);
        clips
    }

    /// The number of frames that do not depend on later samples.
    fn complete_frames(&self) -> usize {
        let mel = &self.tokenizer.config().mel;
        let n = self.first + self.samples.len();
        let after_reference = mel.frame_length() - mel.lead();
        // Reflection at the beginning needs `lead` samples after the first.
        if n <= mel.lead() || n < after_reference {
            return 0;
        }
        (1 + (n - after_reference) / mel.hop_length).min(self.tokenizer.mel.frames(n))
    }

    /// Analyse up to frame `end`, and return the complete slices or, if `last`, also the incomplete one.
    fn slices(&mut self, end: usize, last: bool) -> Result<Vec<Tokens>, TokenizeError> {
        let (tokenizer, slicing) = (self.tokenizer, self.tokenizer.slicing());
        let (config, n_mels) = (tokenizer.config(), slicing.n_mels);
        let before = self.frames.len();
        self.frames.resize(before + end.saturating_sub(self.frame) * n_mels, 0.0);
        let clip = Clip { samples: &self.samples, first: self.first };
        tokenizer.mel.log_frames(clip, self.frame, &mut self.frames[before..]);
        self.frame = self.frame.max(end);
        self.forget();
        let slices = match last {
            true => config.fit(self.frame).map_err(TokenizeError::Input)? - self.slice,
            false => (self.frames.len() / n_mels + slicing.hop).saturating_sub(slicing.frames) / slicing.hop,
        };
        if last {
            self.frames.resize(slicing.frames_of(slices) * n_mels, tokenizer.mel.floor());
        }
        tokenizer.normalise(&mut self.frames[before..]);
        if slices == 0 {
            return Ok(vec![]);
        }
        config.fit((self.slice + slices) * slicing.hop).map_err(TokenizeError::Input)?;
        let covered = self.frames[..slicing.frames_of(slices) * n_mels].to_vec();
        let tokens = tokenizer.tokens(covered, self.slice);
        self.frames.drain(..slices * slicing.hop * n_mels);
        self.slice += slices;
        Ok(vec![tokens])
    }

    /// Drop the samples that no later frame needs, including reflection, which needs half a frame.
    fn forget(&mut self) {
        let mel = &self.tokenizer.config().mel;
        let start = (self.frame * mel.hop_length).saturating_sub(mel.lead() + mel.frame_length());
        let unused = start.saturating_sub(self.first).min(self.samples.len());
        self.samples.drain(..unused);
        self.first += unused;
    }
}
