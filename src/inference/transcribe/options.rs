//! How audio is transcribed, as a user asks for it.

use crate::inference::PredictError;
use crate::sample::Decoding;

/// How audio is transcribed.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The language that is spoken, by its code. Left out, that of the model's settings, or the most likely.
    pub language: Option<String>,
    /// `transcribe` or `translate`. Left out, that of the model's settings.
    pub task: Option<String>,
    /// Whether timestamps are predicted; for clips of several windows they always are, if the model has timestamps. Left
    /// out, as in the model's settings.
    pub timestamps: Option<bool>,
    /// Beams at temperature 0; 1 is greedy. Left out, as in the model's settings.
    pub beams: Option<usize>,
    /// Temperatures that are tried one after the other until a text is good enough; 0 takes the most likely id, above it
    /// ids are drawn.
    pub temperatures: Vec<f64>,
    /// A text that zlib compresses by more than this factor repeats itself: the next temperature is tried.
    pub compression_ratio: Option<f64>,
    /// A text whose mean log-probability is below this is unlikely: the next temperature is tried.
    pub logprob: Option<f64>,
    /// If a text is unlikely, and the probability of no speech above this, the window is left out.
    pub no_speech: Option<f64>,
    /// Whether each window is decoded after the text of those before it.
    pub condition: bool,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            language: None,
            task: None,
            timestamps: None,
            beams: None,
            temperatures: vec![0.0],
            compression_ratio: None,
            logprob: None,
            no_speech: None,
            condition: false,
            seed: 1337,
        }
    }
}

impl Options {
    /// Whisper's temperatures.
    pub const FALLBACK: [f64; 6] = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0];

    /// Refuses what does not apply to CTC.
    pub(super) fn refuse_for_ctc(&self, output: &str) -> Result<(), PredictError> {
        let Options { seed, .. } = *self;
        if *self == (Options { seed, ..Options::default() }) {
            return Ok(());
        }
        let asked = [
            ("language", self.language.is_some()),
            ("task", self.task.is_some()),
            ("timestamps", self.timestamps.is_some()),
            ("beams", self.beams.is_some()),
            ("compression-ratio", self.compression_ratio.is_some()),
            ("logprob", self.logprob.is_some()),
            ("no-speech", self.no_speech.is_some()),
            ("condition", self.condition),
        ];
        let option = asked.iter().find(|(_, asked)| *asked).map_or("temperature", |(option, _)| option);
        refuse(option, format!("applies to text that is generated token by token; outputs.{output} is not"))
    }

    pub(super) fn check(&self, decoding: &Decoding) -> Result<(), PredictError> {
        if self.temperatures.is_empty() || !self.temperatures.iter().all(|t| (0.0..=100.0).contains(t)) {
            let problem = format!("must be numbers between 0 and 100; found {:?}", self.temperatures);
            return refuse("temperature", problem);
        }
        let beams = self.beams.or(decoding.beams).unwrap_or(1);
        if !(1..=64).contains(&beams) {
            return refuse("beams", format!("must be 1 to 64; found {beams}"));
        }
        if self.timestamps == Some(true) && decoding.no_timestamps.is_none() {
            return refuse("timestamps", "the model has no timestamps (decoding.no_timestamps)");
        }
        if self.no_speech.is_some() && self.logprob.is_none() {
            return refuse("no-speech", "requires --logprob: a window with a likely text is not left out");
        }
        if self.no_speech.is_some() && decoding.no_timestamps.is_none_or(|id| id == 0) {
            return refuse("no-speech", "the model has no id for it (decoding.no_timestamps)");
        }
        if self.condition && decoding.previous.is_none() {
            return refuse("condition", "the model has no id for it (decoding.previous)");
        }
        Ok(())
    }
}

pub(super) fn refuse<T>(option: &'static str, problem: impl Into<String>) -> Result<T, PredictError> {
    Err(PredictError::Option { option, problem: problem.into() })
}
