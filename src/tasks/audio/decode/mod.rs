//! Texts of recordings, written token by token: the decoding of Whisper (Radford et al. 2022), as transformers 5.24 does
//! it in `WhisperGenerationMixin.generate`, id by id.
//!
//! A recording is read window by window. Each window's text begins with a prefix that says language, task and whether
//! there are times; rules strike out what may not come next; where the text is not good enough, it is drawn again at a
//! higher temperature; the times in it say where the next window begins. A model that says nothing of languages, tasks and
//! times is decoded in the same way, with windows end to end.

mod beam;
mod fallback;
mod prefix;
mod rules;
mod search;
mod segments;
mod settings;

pub use settings::{Decoding, Options};

use super::{AudioTask, Reading};
use crate::model::Model;
use crate::random;
use crate::tasks::TaskError;
use fallback::{Tried, try_temperatures};
use prefix::Prefix;
use rand_pcg::Pcg64Mcg;
use rules::{Rules, Times, log_sum_exp};
use search::{Reader, likeliest};
use segments::{carried, stretches};
use serde::Serialize;
use smalti_audio::{Waveform, Windows};

/// What a recording says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Transcript {
    /// All of its text.
    pub text: String,
    /// The code of its language, where the model knows languages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Whether times were written; without them, a segment is a window.
    pub timestamps: bool,
    /// Stretches of it, in order.
    pub segments: Vec<Segment>,
}

/// A stretch of a recording.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Segment {
    /// In seconds from the recording's start.
    pub start: f64,
    /// In seconds from the recording's start.
    pub end: f64,
    /// What is said.
    pub text: String,
    /// The ids of the text, with times.
    pub ids: Vec<u32>,
    /// The temperature at which its window was written.
    pub temperature: f64,
    /// The mean log-probability of the ids of its window.
    pub avg_logprob: f64,
    /// How much smaller zlib makes the ids of its window.
    pub compression_ratio: f64,
    /// The probability that nothing is said in its window, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_speech_prob: Option<f64>,
}

impl AudioTask {
    /// Writes a recording down as the options say. `number` is the task's among the model's.
    ///
    /// # Errors
    /// Where the recording cannot become tokens, or an option asks for what the model does not know: a CTC model knows none
    /// of them.
    pub fn decode(
        &self,
        model: &Model,
        number: usize,
        clip: &Waveform,
        options: &Options,
    ) -> Result<Transcript, TaskError> {
        if self.reading() == Reading::Ctc {
            options.refuse_for_ctc()?;
            let text = self.spelled_by_slices(model, number, clip)?;
            return Ok(Transcript { text, language: None, timestamps: false, segments: vec![] });
        }
        let windows = self.tokenizer().windows(clip)?;
        Decoder::new(self, model, number, windows, options)?.run()
    }
}

/// A recording on its way to a text.
struct Decoder<'a> {
    task: &'a AudioTask,
    model: &'a Model,
    number: usize,
    decoding: &'a Decoding,
    options: &'a Options,
    windows: Windows<'a>,
    timestamps: bool,
    rules: Rules,
    prefix: Prefix,
    segments: Vec<Segment>,
    random: Pcg64Mcg,
}

impl<'a> Decoder<'a> {
    fn new(
        task: &'a AudioTask,
        model: &'a Model,
        number: usize,
        windows: Windows<'a>,
        options: &'a Options,
    ) -> Result<Self, TaskError> {
        let decoding = task.decoding();
        options.check(decoding)?;
        let long = windows.frames() > windows.window();
        if long && options.timestamps == Some(false) && decoding.no_timestamps.is_some() {
            let problem = "a recording of several windows is read by them";
            return settings::refuse("timestamps", problem);
        }
        let wanted = options.timestamps.unwrap_or(decoding.timestamps) || long;
        let times = decoding.no_timestamps.filter(|_| wanted).map(|none| Times {
            none,
            end: task.end(),
            max_initial: decoding.max_initial_timestamp,
        });
        Ok(Self {
            prefix: Prefix::new(&task.beginning(), decoding, options, times.is_some())?,
            timestamps: times.is_some(),
            rules: Rules {
                begin_suppress: decoding.begin_suppress.clone(),
                suppress: decoding.suppress.clone(),
                times,
            },
            random: random::generator(options.seed),
            segments: vec![],
            task,
            model,
            number,
            decoding,
            options,
            windows,
        })
    }

    fn run(mut self) -> Result<Transcript, TaskError> {
        if self.prefix.hear {
            let language = self.hear_language()?;
            self.prefix.heard(language);
        }
        let hop = self.frames_per_slice();
        let (mut seek, mut conditioned) = (0, self.options.condition);
        while seek < self.windows.frames() {
            let frames = self.windows.window().min(self.windows.frames() - seek);
            let earlier = if conditioned { self.earlier() } else { vec![] };
            let (tried, no_speech) = self.window(seek, &earlier)?;
            conditioned = self.options.condition && tried.is_calm();
            if tried.silent {
                seek += frames;
                continue;
            }
            let ids = tried.written.ids.strip_suffix(&[self.task.end()]).unwrap_or(&tried.written.ids);
            let (stretches, done) = stretches(ids, self.decoding.first_time(), frames / hop);
            for stretch in stretches {
                self.segments.push(self.segment(seek, stretch, &tried, no_speech));
            }
            seek += done.map_or(frames, |slices| slices * hop);
        }
        let ids: Vec<u32> = self.segments.iter().flat_map(|segment| segment.ids.iter().copied()).collect();
        let language = self.prefix.language().and_then(|id| self.decoding.language_of(id));
        Ok(Transcript {
            text: self.text(&ids),
            language: language.map(String::from),
            timestamps: self.timestamps,
            segments: self.segments,
        })
    }

    /// What is written of the window at frame `seek`, behind the text of `earlier` ones; and the probability that nothing is
    /// said there, where it matters.
    fn window(&mut self, seek: usize, earlier: &[u32]) -> Result<(Tried, Option<f64>), TaskError> {
        let prefix = [earlier, &self.prefix.ids()].concat();
        let context = self.task.context();
        // What is given does not count, up to half of the context.
        let given = prefix.len().min((context / 2).saturating_sub(1));
        let most = self.decoding.max_length.map_or(context, |most| context.min(most + given));
        let slices = self.windows.tokens(seek);
        let settings = (&self.rules, self.task.end(), most);
        let reader = Reader::new(self.task, self.model, self.number, slices, &prefix, settings)?;
        let no_speech = self.options.no_speech.and(self.decoding.no_timestamps).map(|none| {
            let logits = reader.behind(earlier.len());
            let said = logits.get(none as usize - 1).copied().unwrap_or(f32::NEG_INFINITY);
            f64::from(said - log_sum_exp(logits)).exp()
        });
        let beams = self.options.beams.or(self.decoding.beams).unwrap_or(1);
        let (vocabulary, least) = (self.task.alphabet.len(), no_speech.unwrap_or(0.0));
        let tried = try_temperatures(&reader, self.options, beams, vocabulary, least, &mut self.random)?;
        Ok((tried, no_speech))
    }

    /// The likeliest language of the first window.
    fn hear_language(&self) -> Result<u32, TaskError> {
        let settings = (&self.rules, self.task.end(), self.task.context());
        let prefix = [self.prefix.start()];
        let slices = self.windows.tokens(0);
        let reader = Reader::new(self.task, self.model, self.number, slices, &prefix, settings)?;
        // In the order of ids, so that the first of equals is that of the lowest.
        let mut languages: Vec<u32> = self.decoding.languages.values().copied().collect();
        languages.sort_unstable();
        let logit = |id: &u32| reader.first().get(*id as usize).copied().unwrap_or(f32::NEG_INFINITY);
        let scores: Vec<f32> = languages.iter().map(logit).collect();
        Ok(languages[likeliest(&scores) as usize])
    }

    /// What a window is read with of the text before it: the last of it, half of the context.
    fn earlier(&self) -> Vec<u32> {
        let Some(previous) = self.decoding.previous.filter(|_| !self.segments.is_empty()) else {
            return vec![];
        };
        let first = self.decoding.first_time();
        let text: Vec<u32> =
            self.segments.iter().flat_map(|segment| carried(&segment.ids, first)).copied().collect();
        let kept = (self.task.context() / 2).saturating_sub(1);
        [&[previous], &text[text.len().saturating_sub(kept)..]].concat()
    }

    fn frames_per_slice(&self) -> usize {
        let config = smalti_contract::Tokenizer::config(self.task.tokenizer());
        config.slice_hop.unwrap_or(config.frames_per_slice)
    }

    fn segment(
        &self,
        seek: usize,
        stretch: segments::Stretch,
        tried: &Tried,
        no_speech_prob: Option<f64>,
    ) -> Segment {
        let at = |slices: usize| {
            (seek + slices * self.frames_per_slice()) as f64 * self.windows.seconds_per_frame()
        };
        Segment {
            start: at(stretch.start),
            end: at(stretch.end),
            text: self.text(&stretch.ids),
            temperature: tried.temperature,
            avg_logprob: tried.written.mean_logprob(),
            compression_ratio: tried.compression_ratio,
            no_speech_prob,
            ids: stretch.ids,
        }
    }

    /// The text of ids, without times.
    fn text(&self, ids: &[u32]) -> String {
        let first = self.decoding.first_time();
        let said = ids.iter().copied().filter(|id| first.is_none_or(|first| *id < first));
        self.task.alphabet.text(&said.collect::<Vec<_>>())
    }
}
