//! Windows of clips that are longer than a model's input.

use crate::resample::resampled_len;
use crate::{AudioTokenizer, Waveform};
use smalti_contract::{TokenizeError, Tokenizer, Tokens};

/// The spectrogram of a whole clip, with windows of a model's input length from any frame on.
///
/// Logarithms are bounded by the maximum of the whole clip, as in Whisper's transcription of long audio, not by that of
/// a window.
pub struct Windows<'a> {
    tokenizer: &'a AudioTokenizer,
    /// `[frames, n_mels]`.
    values: Vec<f32>,
    window: usize,
}

impl AudioTokenizer {
    /// The windows of a clip of any length: of [`clip_seconds`](crate::AudioConfig::clip_seconds), or the whole clip as
    /// one window if it is not set.
    ///
    /// # Errors
    /// As of [`encode`](smalti_contract::Tokenizer::encode); a clip may be longer than a window.
    pub fn windows(&self, raw: &Waveform) -> Result<Windows<'_>, TokenizeError> {
        raw.check().map_err(TokenizeError::Input)?;
        if self.config().bands_per_slice.is_some() {
            let problem =
                "bands_per_slice: expected none for windows of a clip, in which a slice is a token".into();
            return Err(TokenizeError::Config { tokenizer: Self::NAME, problem });
        }
        let whole = resampled_len(raw.samples.len(), raw.sampling_rate, self.config().sampling_rate);
        let window = self.window().map(|samples| self.mel.frames(samples));
        let (values, window) = match window.filter(|window| self.mel.frames(whole) > *window) {
            Some(window) => {
                let mut values = self.mel.log_mel(&self.prepare(raw, whole)?).values;
                self.normalise(&mut values);
                (values, window)
            }
            None => {
                let values = self.frames(&self.prepare(raw, self.clip_len(raw))?)?;
                let window = values.len() / self.config().mel.n_mels;
                (values, window)
            }
        };
        Ok(Windows { tokenizer: self, values, window })
    }
}

impl Windows<'_> {
    /// The number of frames of the whole clip.
    pub fn frames(&self) -> usize {
        self.values.len() / self.tokenizer.config().mel.n_mels
    }

    /// The number of frames of a window.
    pub fn window(&self) -> usize {
        self.window
    }

    /// Seconds from one frame to the next.
    pub fn seconds_per_frame(&self) -> f64 {
        let config = self.tokenizer.config();
        config.mel.hop_length as f64 / f64::from(config.sampling_rate)
    }

    /// Encode the window that begins at frame `first`, padded with zeros after the clip's end.
    pub fn tokens(&self, first: usize) -> Tokens {
        let n_mels = self.tokenizer.config().mel.n_mels;
        let whole = self.tokenizer.slicing().whole(self.window);
        let from = (first * n_mels).min(self.values.len());
        let to = ((first + self.window) * n_mels).min(self.values.len());
        let mut frames = self.values[from..to].to_vec();
        frames.resize(whole * n_mels, 0.0);
        self.tokenizer.tokens(frames, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AudioConfig;

    fn noise(n: usize) -> Waveform {
        let samples = (0..n).map(|i| ((i * i) as f32 * 0.37).sin() * 0.3).collect();
        Waveform { sampling_rate: 16_000, samples }
    }

    #[test]
    fn a_single_window_equals_the_clip() {
        for clip_seconds in [None, Some(1.0)] {
            let config = AudioConfig { clip_seconds, ..AudioConfig::default() };
            let tokenizer = AudioTokenizer::new(config).unwrap();
            let clip = noise(12_800);
            let windows = tokenizer.windows(&clip).unwrap();
            let expected = if clip_seconds.is_some() { 100 } else { 80 };
            assert_eq!((windows.frames(), windows.window()), (expected, expected));
            assert_eq!(windows.tokens(0), tokenizer.encode(&clip).unwrap());
        }
    }

    #[test]
    fn logarithms_are_bounded_by_the_whole_clip() {
        let config = AudioConfig { clip_seconds: Some(1.0), ..AudioConfig::default() };
        let tokenizer = AudioTokenizer::new(config).unwrap();
        let whole = AudioTokenizer::new(AudioConfig::default()).unwrap();
        let mut clip = noise(40_000);
        clip.samples[..20_000].iter_mut().for_each(|sample| *sample *= 1e-6);
        let windows = tokenizer.windows(&clip).unwrap();
        assert_eq!((windows.frames(), windows.window(), windows.seconds_per_frame()), (250, 100, 0.01));
        let features = |tokens: &Tokens| tokens.groups[0].content.features().unwrap().to_vec();
        let all = features(&whole.encode(&clip).unwrap());
        assert_eq!(features(&windows.tokens(0)), all[..100 * 80]);
        let last = features(&windows.tokens(200));
        assert_eq!(last[..50 * 80], all[200 * 80..250 * 80]);
        assert!(last[50 * 80..].iter().all(|value| *value == 0.0));
    }
}
