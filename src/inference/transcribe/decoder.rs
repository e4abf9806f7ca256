//! A clip's windows, decoded one after another.

use super::fallback::{Tried, try_temperatures};
use super::options::{Options, refuse};
use super::prefix::Prefix;
use super::rules::{Rules, Times, log_sum_exp};
use super::search::{Reader, likeliest};
use super::segments::{Stretch, carried, stretches};
use super::{Segment, Transcriber, Transcript};
use crate::inference::PredictError;
use crate::inference::generate::NextToken;
use crate::modalities::audio::Windows;
use crate::random;
use crate::sample::Decoding;
use rand_pcg::Pcg64Mcg;
use smalti_contract::Tokenizer;

/// A clip whose text is generated token by token.
pub(super) struct Decoder<'a> {
    of: &'a Transcriber<'a>,
    next: NextToken<'a>,
    decoding: &'a Decoding,
    options: &'a Options,
    windows: Windows<'a>,
    /// The most ids of a text, with those that begin it.
    context: usize,
    /// The id after a text.
    end: u32,
    timestamps: bool,
    rules: Rules,
    prefix: Prefix,
    segments: Vec<Segment>,
    random: Pcg64Mcg,
}

impl<'a> Decoder<'a> {
    /// A decoder of the windows of a clip.
    pub fn new(
        of: &'a Transcriber<'a>,
        next: NextToken<'a>,
        windows: Windows<'a>,
        options: &'a Options,
    ) -> Result<Self, PredictError> {
        const NOTHING: &Decoding = &Decoding::nothing();
        let decoding = of.task.outputs()[of.output].decoding.as_deref().unwrap_or(NOTHING);
        options.check(decoding)?;
        let long = windows.frames() > windows.window();
        if long && options.timestamps == Some(false) && decoding.no_timestamps.is_some() {
            let problem = "a clip of several windows is cut at its timestamps; leave the option out";
            return refuse("timestamps", problem);
        }
        let wanted = options.timestamps.unwrap_or(decoding.timestamps) || long;
        let end = next.part.added.end.unwrap_or(u32::MAX);
        let times = decoding.no_timestamps.filter(|_| wanted).map(|none| Times {
            none,
            end,
            max_initial: decoding.max_initial_timestamp,
        });
        let begin = &next.part.added.begin;
        Ok(Self {
            prefix: Prefix::new(begin, decoding, options, times.is_some())?,
            context: next.part.capacity().map_or(usize::MAX, |most| most + begin.len()),
            end,
            timestamps: times.is_some(),
            rules: Rules {
                begin_suppress: decoding.begin_suppress.clone(),
                suppress: decoding.suppress.clone(),
                times,
            },
            random: random::generator(options.seed),
            segments: vec![],
            of,
            next,
            decoding,
            options,
            windows,
        })
    }

    /// The transcript of all windows.
    pub fn run(mut self) -> Result<Transcript, PredictError> {
        if self.prefix.detects {
            let language = self.detect_language()?;
            self.prefix.set_language(language);
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
            let ids = tried.written.ids.strip_suffix(&[self.end]).unwrap_or(&tried.written.ids);
            let (stretches, done) = stretches(ids, self.decoding.first_time(), frames / hop);
            for stretch in stretches {
                let segment = self.segment(seek, stretch, &tried, no_speech)?;
                self.segments.push(segment);
            }
            seek += done.map_or(frames, |slices| slices * hop);
        }
        let ids: Vec<u32> = self.segments.iter().flat_map(|segment| segment.ids.iter().copied()).collect();
        let language = self.prefix.language().and_then(|id| self.decoding.language_of(id));
        Ok(Transcript {
            text: self.text(&ids)?,
            language: language.map(String::from),
            timestamps: self.timestamps,
            segments: self.segments,
        })
    }

    /// The text of the window at frame `seek`, after the text of `earlier` ones; and the probability of no speech there, if
    /// it matters.
    fn window(&mut self, seek: usize, earlier: &[u32]) -> Result<(Tried, Option<f64>), PredictError> {
        let prefix = [earlier, &self.prefix.ids()].concat();
        // What is given does not count, up to half of the context.
        let given = prefix.len().min((self.context / 2).saturating_sub(1));
        let most = self.decoding.max_length.map_or(self.context, |most| self.context.min(most + given));
        let reader = self.reader(seek, &prefix, most)?;
        let no_speech = self.options.no_speech.and(self.decoding.no_timestamps).map(|none| {
            let logits = reader.after(earlier.len());
            let silence = logits.get(none as usize - 1).copied().unwrap_or(f32::NEG_INFINITY);
            f64::from(silence - log_sum_exp(logits)).exp()
        });
        let beams = self.options.beams.or(self.decoding.beams).unwrap_or(1);
        let (vocabulary, least) = (self.next.part.vocabulary().unwrap_or(0), no_speech.unwrap_or(0.0));
        let mut random = self.random.clone();
        let tried = try_temperatures(&reader, self.options, beams, vocabulary, least, &mut random)?;
        self.random = random;
        Ok((tried, no_speech))
    }

    /// The window at frame `seek` and the prefix of its text, which has `most` ids at most.
    fn reader(&self, seek: usize, prefix: &[u32], most: usize) -> Result<Reader<'_>, PredictError> {
        let window = self.of.task.sample_of_tokens(self.of.input, self.windows.tokens(seek), 0)?;
        Reader::new(self.next, window, prefix, (&self.rules, self.end, most))
    }

    /// The most likely language of the first window.
    fn detect_language(&self) -> Result<u32, PredictError> {
        let reader = self.reader(0, &[self.prefix.start()], self.context)?;
        // In the order of ids, so that the first of equals is that of the lowest.
        let mut languages: Vec<u32> = self.decoding.languages.values().copied().collect();
        languages.sort_unstable();
        let logit = |id: &u32| reader.first().get(*id as usize).copied().unwrap_or(f32::NEG_INFINITY);
        let scores: Vec<f32> = languages.iter().map(logit).collect();
        Ok(languages[likeliest(&scores) as usize])
    }

    /// The last of the text so far, half of the context, after which a window is decoded.
    fn earlier(&self) -> Vec<u32> {
        let Some(previous) = self.decoding.previous.filter(|_| !self.segments.is_empty()) else {
            return vec![];
        };
        let first = self.decoding.first_time();
        let text: Vec<u32> =
            self.segments.iter().flat_map(|segment| carried(&segment.ids, first)).copied().collect();
        let kept = (self.context / 2).saturating_sub(1);
        [&[previous], &text[text.len().saturating_sub(kept)..]].concat()
    }

    fn frames_per_slice(&self) -> usize {
        let config = Tokenizer::config(self.of.audio);
        config.slice_hop.unwrap_or(config.frames_per_slice)
    }

    fn segment(
        &self,
        seek: usize,
        stretch: Stretch,
        tried: &Tried,
        no_speech_prob: Option<f64>,
    ) -> Result<Segment, PredictError> {
        let at = |slices: usize| {
            (seek + slices * self.frames_per_slice()) as f64 * self.windows.seconds_per_frame()
        };
        Ok(Segment {
            start: at(stretch.start),
            end: at(stretch.end),
            text: self.text(&stretch.ids)?,
            temperature: tried.temperature,
            avg_logprob: tried.written.mean_logprob(),
            compression_ratio: tried.compression_ratio,
            no_speech_prob,
            ids: stretch.ids,
        })
    }

    /// The text of ids, without timestamps.
    fn text(&self, ids: &[u32]) -> Result<String, PredictError> {
        let first = self.decoding.first_time();
        let words = ids.iter().copied().filter(|id| first.is_none_or(|first| *id < first));
        Ok(self.of.task.decode(self.of.output, &words.collect::<Vec<_>>())?.into_text()?)
    }
}
