//! Transcripts of audio.
//!
//! For an output with CTC, the transcript is decoded greedily: the most likely label of each token. Text that is generated token
//! by token is decoded as in Whisper (Radford et al. 2022), with the ids of transformers 5.24
//! (`WhisperGenerationMixin.generate`):
//!
//! 1. A clip is decoded window by window.
//! 2. Each window's text begins with a prefix: language, task, and whether there are timestamps.
//! 3. Rules suppress the ids that may not come next.
//! 4. Temperature fallback decodes a window again if its text is unlikely or repeats itself.
//! 5. The next window begins at the last timestamp.
//!
//! A model without languages, tasks and timestamps ([`Decoding`](crate::sample::Decoding)) is decoded in the same way, with
//! windows end to end.

mod beam;
mod decoder;
mod fallback;
mod options;
mod prefix;
mod rules;
mod search;
mod segments;

pub use options::Options;

use super::generate::NextToken;
use super::predict::predict_samples;
use super::{PredictError, Sampling};
use crate::modalities::audio::{AudioTokenizer, Waveform};
use crate::model::Model;
use crate::sample::{Composition, GetField, Part, ReadSite, Role};
use decoder::ClipDecoder;
use serde::Serialize;
use smalti_contract::{Tokenizer, Value};

/// The transcript of a clip.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Transcript {
    /// All of its text.
    pub text: String,
    /// The code of its language, if the model has languages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Whether timestamps were predicted; without them, each segment is a window.
    pub timestamps: bool,
    /// Its segments, in order; none with CTC.
    pub segments: Vec<Segment>,
}

/// A segment of a clip.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Segment {
    /// Start, in seconds from the clip's start.
    pub start: f64,
    /// End, in seconds from the clip's start.
    pub end: f64,
    /// Its text.
    pub text: String,
    /// The ids of its text, with timestamps.
    pub ids: Vec<u32>,
    /// The temperature at which its window was decoded.
    pub temperature: f64,
    /// The mean log-probability of the ids of its window.
    pub avg_logprob: f64,
    /// The compression ratio of its window: the bytes of the ids divided by the bytes after zlib compression.
    pub compression_ratio: f64,
    /// The no-speech probability of its window, if an option needs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_speech_prob: Option<f64>,
}

/// Transcribes audio with a task that has an audio input and an output of text, generated or by CTC.
pub struct Transcriber<'a> {
    model: &'a Model,
    /// The task's number among the model's.
    number: usize,
    task: &'a Composition,
    /// The number of the part that is audio.
    input: usize,
    audio: &'a AudioTokenizer,
    output: usize,
}

impl<'a> Transcriber<'a> {
    /// A transcriber for the first audio input and the first text output of task number `number` of the model.
    ///
    /// # Errors
    /// [`PredictError::Parts`] if the task lacks either.
    pub fn new(model: &'a Model, number: usize, task: &'a Composition) -> Result<Self, PredictError> {
        Self::find(model, number, task, |_| true)
    }

    /// As [`new`](Self::new), for the first output that `is_wanted`.
    fn find(
        model: &'a Model,
        number: usize,
        task: &'a Composition,
        is_wanted: impl Fn(usize) -> bool,
    ) -> Result<Self, PredictError> {
        let generated = |output: usize| {
            let own = task.parts().iter().find(|part| part.role == Role::Generated(output));
            own.is_some_and(|part| !part.windows)
        };
        let find = || {
            let (input, audio) = task.parts().iter().enumerate().find_map(|(number, part)| {
                let reads = part.role == Role::Input && !part.series;
                Some((number, part.tokenizer.as_any().downcast_ref().filter(|_| reads)?))
            })?;
            let mut outputs = task.outputs().iter().enumerate().filter(|(output, _)| is_wanted(*output));
            let (output, _) = outputs.find(|(output, of)| {
                generated(*output) || of.labels.is_some() && of.site == ReadSite::InputTokens { part: input }
            })?;
            Some(Self { model, number, task, input, audio, output })
        };
        find().ok_or_else(|| PredictError::Parts {
            expected: "an input of modality audio, and an output of text with head generate or ctc",
            found: task.listed(),
        })
    }

    /// The audio input.
    pub fn input(&self) -> &'a Part {
        &self.task.parts()[self.input]
    }

    /// The transcript of a clip.
    ///
    /// # Errors
    /// If the clip cannot be tokenized, or an option does not apply to the model; none applies to CTC.
    pub fn transcribe(&self, clip: &Waveform, options: &Options) -> Result<Transcript, PredictError> {
        let output = &self.task.outputs()[self.output];
        let refuse = |error| self.input().error(error);
        if output.labels.is_none() {
            let next = NextToken::new(self.model, self.number, self.task, self.output)?;
            return ClipDecoder::new(self, next, self.audio.windows(clip).map_err(refuse)?, options)?.run();
        }
        options.check_for_ctc(&output.name)?;
        let mut sample =
            self.task.sample_of_tokens(self.input, self.audio.encode(clip).map_err(refuse)?, 0)?;
        sample.outputs.retain(|output| output.head == self.output);
        let mut predicted = predict_samples(self.model, self.task, &[(self.number, sample)])?.remove(0);
        let prediction = predicted.remove(&output.name);
        let text = prediction.map(|prediction| prediction.value.into_text()).transpose()?.unwrap_or_default();
        Ok(Transcript { text, language: None, timestamps: false, segments: vec![] })
    }
}

/// Transcribe a row's clip by output number `output` and its decoding rules; `None` without a clip.
pub(super) fn of_row(
    (model, number, task): (&Model, usize, &Composition),
    output: usize,
    get: GetField,
    sampling: &Sampling,
) -> Result<Option<Value>, PredictError> {
    let transcriber = Transcriber::find(model, number, task, |known| known == output)?;
    let value = Part::value(&task.parts()[transcriber.input].fields, get)?;
    if value.is_missing() {
        return Ok(None);
    }
    let options =
        Options { temperatures: vec![sampling.temperature], seed: sampling.seed, ..Options::default() };
    let transcript = transcriber.transcribe(&transcriber.audio.read(value)?, &options)?;
    Ok(Some(Value::Text(transcript.text)))
}
