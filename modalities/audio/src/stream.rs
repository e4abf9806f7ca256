//! Slices of sound that is still being heard.

use crate::frame::Clip;
use crate::resample::ResampleStream;
use crate::waveform::{not_sound, wrong_rate};
use crate::{AudioTokenizer, SAMPLE_RATES};
use smalti_contract::{TokenizeError, Tokenizer, Tokens};

/// Turns sound that comes in pieces of any size into slices: those that
/// [`encode`](smalti_contract::Tokenizer::encode) gives for the whole, to the last bit, each as soon as its samples
/// are there.
///
/// Where clips have a fixed length ([`clip_seconds`](crate::AudioConfig::clip_seconds)), every stretch of that length
/// is a clip of its own, and its slices come when it is full. Sound of another rate is resampled as it comes, and
/// cut into clips after that.
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
    /// Samples that came in.
    heard: usize,
    /// At the tokenizer's rate: those that frames or clips to come can see.
    samples: Vec<f32>,
    /// Samples that were there before them.
    first: usize,
    /// The number of the next frame.
    frame: usize,
    /// The frames from the beginning of the next slice on.
    frames: Vec<f32>,
    /// The number of the next slice.
    slice: usize,
}

impl AudioTokenizer {
    /// Listens to sound of `sample_rate` Hz.
    ///
    /// # Errors
    /// [`TokenizeError::Input`] for a rate outside of [`SAMPLE_RATES`]; [`TokenizeError::Config`] for settings under
    /// which the first slice depends on the last sample: a logarithm that is bounded by the loudest of an open clip,
    /// or [`clip_frames`](crate::AudioConfig::clip_frames).
    pub fn stream(&self, sample_rate: u32) -> Result<SliceStream<'_>, TokenizeError> {
        let config = self.config();
        let refused = |problem: &str| {
            Err(TokenizeError::Config {
                tokenizer: Self::NAME,
                problem: format!("cannot be streamed: {problem}"),
            })
        };
        if !SAMPLE_RATES.contains(&sample_rate) {
            return Err(TokenizeError::Input(wrong_rate(sample_rate)));
        }
        if config.clip_frames.is_some() {
            return refused("clip_frames cuts a clip at a frame; leave it out, or set clip_seconds");
        }
        if config.clip_seconds.is_none() && config.mel.looks_at_the_whole_clip() {
            return refused(
                "its logarithm is bounded by the loudest of the whole clip; set clip_seconds, so that clips end, or a \
                 mel.log other than whisper without top_db",
            );
        }
        Ok(SliceStream {
            tokenizer: self,
            resample: ResampleStream::new(sample_rate, config.sample_rate),
            heard: 0,
            samples: vec![],
            first: 0,
            frame: 0,
            frames: vec![],
            slice: 0,
        })
    }
}

impl SliceStream<'_> {
    /// Takes the next samples and gives the slices that they complete: of an open clip at most one group of tokens,
    /// whose `order` and `time` go on where the last ended; of clips of a fixed length one for each that is full.
    ///
    /// # Errors
    /// [`TokenizeError::Input`] for a sample that is not finite or beyond a million, and for more slices than
    /// [`max_slices`](crate::AudioConfig::max_slices). The stream is of no use after that.
    pub fn push(&mut self, samples: &[f32]) -> Result<Vec<Tokens>, TokenizeError> {
        if let Some((at, problem)) = not_sound(samples) {
            return Err(TokenizeError::Input(format!("sample {} {problem}", self.heard + at)));
        }
        self.heard += samples.len();
        self.resample.push(samples, &mut self.samples);
        match self.tokenizer.window() {
            Some(window) => self.windows(window),
            None => self.slices(self.frames_seen(), false),
        }
    }

    /// The slices that end with the last sample: an open clip is padded as its settings say, one of a fixed length
    /// filled up with silence. Nothing where nothing came.
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

    /// The clips that are full.
    fn windows(&mut self, window: usize) -> Result<Vec<Tokens>, TokenizeError> {
        let full = self.samples.len() / window * window;
        let clips =
            self.samples[..full].chunks_exact(window).map(|clip| self.tokenizer.slices(clip)).collect();
        self.samples.drain(..full);
        clips
    }

    /// How many frames the samples decide, whatever follows them.
    fn frames_seen(&self) -> usize {
        let mel = &self.tokenizer.config().mel;
        let n = self.first + self.samples.len();
        let behind = mel.frame_length() - mel.lead();
        // A mirror at the beginning shows `lead` samples behind the first.
        if n <= mel.lead() || n < behind {
            return 0;
        }
        (1 + (n - behind) / mel.hop_length).min(self.tokenizer.mel.frames(n))
    }

    /// Analyses up to frame `end`, and gives the slices that are whole or, at the `last`, have begun.
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
        tokenizer.centre(&mut self.frames[before..]);
        if slices == 0 {
            return Ok(vec![]);
        }
        config.fit((self.slice + slices) * slicing.hop).map_err(TokenizeError::Input)?;
        let under = self.frames[..slicing.frames_of(slices) * n_mels].to_vec();
        let tokens = tokenizer.tokens(under, self.slice);
        self.frames.drain(..slices * slicing.hop * n_mels);
        self.slice += slices;
        Ok(vec![tokens])
    }

    /// Lets go of the samples that no frame to come can see, in a mirror either, which shows half a frame.
    fn forget(&mut self) {
        let mel = &self.tokenizer.config().mel;
        let start = (self.frame * mel.hop_length).saturating_sub(mel.lead() + mel.frame_length());
        let unseen = start.saturating_sub(self.first).min(self.samples.len());
        self.samples.drain(..unseen);
        self.first += unseen;
    }
}
