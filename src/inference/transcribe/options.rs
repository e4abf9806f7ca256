//! The options of transcription.

use crate::inference::PredictError;
use crate::sample::Decoding;

/// The options of transcription. Those left out (`None`) are as in the model's settings, if it has them.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Code of the spoken language; left out, that of the model's settings, or the most likely one.
    pub language: Option<String>,
    /// `transcribe` or `translate`.
    pub task: Option<String>,
    /// Whether to predict timestamps. Clips of several windows always have them, if the model has timestamps.
    pub timestamps: Option<bool>,
    /// Number of beams at temperature 0; 1 is greedy decoding.
    pub beams: Option<usize>,
    /// Temperatures for the fallback, tried one after another; 0 is greedy, above it ids are sampled.
    pub temperatures: Vec<f64>,
    /// Try the next temperature if the compression ratio of a text is above this.
    pub compression_ratio: Option<f64>,
    /// Try the next temperature if the mean log-probability of a text's ids is below this.
    pub logprob: Option<f64>,
    /// Leave a window out if its text is below `logprob` and its no-speech probability above this.
    pub no_speech: Option<f64>,
    /// Whether each window is conditioned on the text of the windows before it.
    pub condition: bool,
    /// Seed of sampling.
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

    /// Check that no option is set: none applies to CTC.
    pub(super) fn check_for_ctc(&self, output: &str) -> Result<(), PredictError> {
        let Options { seed, .. } = *self;
        if *self == (Options { seed, ..Options::default() }) {
            return Ok(());
        }
        let options = [
            ("language", self.language.is_some()),
            ("task", self.task.is_some()),
            ("timestamps", self.timestamps.is_some()),
            ("beams", self.beams.is_some()),
            ("compression-ratio", self.compression_ratio.is_some()),
            ("logprob", self.logprob.is_some()),
            ("no-speech", self.no_speech.is_some()),
            ("condition", self.condition),
        ];
        let option = options.iter().find(|(_, is_set)| *is_set).map_or("temperature", |(option, _)| option);
        refuse(
            option,
            format!("applies to outputs with head = \"generate\" only; leave it out for outputs.{output}"),
        )
    }

    pub(super) fn check(&self, decoding: &Decoding) -> Result<(), PredictError> {
        if self.temperatures.is_empty() || !self.temperatures.iter().all(|t| (0.0..=100.0).contains(t)) {
            let problem = format!("expected numbers from 0 to 100; found {:?}", self.temperatures);
            return refuse("temperature", problem);
        }
        let beams = self.beams.or(decoding.beams).unwrap_or(1);
        if !(1..=64).contains(&beams) {
            return refuse("beams", format!("expected 1 to 64; found {beams}"));
        }
        if self.timestamps == Some(true) && decoding.no_timestamps.is_none() {
            return refuse("timestamps", "the model has no timestamps (decoding.no_timestamps)");
        }
        if self.no_speech.is_some() && self.logprob.is_none() {
            return refuse("no-speech", "requires --logprob: a window with a likely text is not left out");
        }
        if self.no_speech.is_some() && decoding.no_timestamps.is_none_or(|id| id == 0) {
            return refuse("no-speech", "the model has no id for no speech (decoding.no_timestamps)");
        }
        if self.condition && decoding.previous.is_none() {
            return refuse("condition", "the model has no id for earlier text (decoding.previous)");
        }
        Ok(())
    }
}

pub(super) fn refuse<T>(option: &'static str, problem: impl Into<String>) -> Result<T, PredictError> {
    Err(PredictError::Option { option, problem: problem.into() })
}
