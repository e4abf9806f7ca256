//! What a model knows of decoding, and what is asked of it.

pub use crate::sample::Decoding;
use crate::tasks::TaskError;

/// How a recording is to be written down.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The language that is spoken, by its code. Left out, as the model says or hears.
    pub language: Option<String>,
    /// `transcribe` or `translate`. Left out, as the model says.
    pub task: Option<String>,
    /// Whether times are written; for recordings of several windows they always are, where the model has times. Left
    /// out, as the model says.
    pub timestamps: Option<bool>,
    /// How many texts are followed at temperature 0; 1 takes the likeliest id each time. Left out, as the model says.
    pub beams: Option<usize>,
    /// Tried one after the other until a text is good enough; 0 takes the likeliest, above it is drawn.
    pub temperatures: Vec<f64>,
    /// A text that zlib makes smaller than by this factor repeats itself: the next temperature is tried.
    pub compression_ratio: Option<f64>,
    /// A text whose mean log-probability is below this is unlikely: the next temperature is tried.
    pub logprob: Option<f64>,
    /// Where a text is unlikely, and the probability that nothing is said above this, the window is passed over.
    pub no_speech: Option<f64>,
    /// Whether a window is read with the text of those before it.
    pub condition: bool,
    /// Of the draws.
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

    /// Refuses whatever a CTC model has no use for.
    pub(super) fn refuse_for_ctc(&self) -> Result<(), TaskError> {
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
        refuse(option, "is for models that write token by token; the run's data.reading is ctc")
    }

    pub(super) fn check(&self, decoding: &Decoding) -> Result<(), TaskError> {
        if self.temperatures.is_empty() || !self.temperatures.iter().all(|t| (0.0..=100.0).contains(t)) {
            let problem = format!("must be numbers between 0 and 100; found {:?}", self.temperatures);
            return refuse("temperature", problem);
        }
        let beams = self.beams.or(decoding.beams).unwrap_or(1);
        if !(1..=64).contains(&beams) {
            return refuse("beams", format!("must be 1 to 64; found {beams}"));
        }
        if self.timestamps == Some(true) && decoding.no_timestamps.is_none() {
            return refuse("timestamps", "the model has no ids that are times (data.decoding.no_timestamps)");
        }
        if self.no_speech.is_some() && self.logprob.is_none() {
            return refuse("no-speech", "wants --logprob: what is likely is not passed over");
        }
        if self.no_speech.is_some() && decoding.no_timestamps.is_none_or(|id| id == 0) {
            return refuse("no-speech", "the model has no id that says so (data.decoding.no_timestamps)");
        }
        if self.condition && decoding.previous.is_none() {
            return refuse("condition", "the model has no id for it (data.decoding.previous)");
        }
        Ok(())
    }
}

pub(super) fn refuse<T>(option: &'static str, problem: impl Into<String>) -> Result<T, TaskError> {
    Err(TaskError::Generate { option, problem: problem.into() })
}
