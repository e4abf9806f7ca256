//! Decoding the windows of a clip one after another.

use super::fallback::{WindowResult, decode_with_fallback};
use super::options::{Options, refuse};
use super::prefix::Prefix;
use super::rules::{Rules, TimestampRules, log_sum_exp};
use super::search::WindowDecoder;
use super::segments::{TimedIds, conditioning_ids, split_at_timestamps};
use super::{Segment, Transcriber, Transcript};
use crate::inference::PredictError;
use crate::inference::generate::NextToken;
use crate::inference::sampling::argmax;
use crate::modalities::audio::Windows;
use crate::random;
use crate::sample::Decoding;
use rand_pcg::Pcg64Mcg;
use smalti_contract::Tokenizer;

/// Generates the text of a clip token by token.
pub(super) struct ClipDecoder<'a> {
    transcriber: &'a Transcriber<'a>,
    next: NextToken<'a>,
    decoding: &'a Decoding,
    options: &'a Options,
    windows: Windows<'a>,
    /// The most ids of a text, with its prefix.
    context: usize,
    /// The id that ends a text.
    end: u32,
    timestamps: bool,
    rules: Rules,
    prefix: Prefix,
    segments: Vec<Segment>,
    random: Pcg64Mcg,
}

impl<'a> ClipDecoder<'a> {
    /// A decoder of the windows of a clip.
    pub fn new(
        transcriber: &'a Transcriber<'a>,
        next: NextToken<'a>,
        windows: Windows<'a>,
        options: &'a Options,
    ) -> Result<Self, PredictError> {
        const NO_RULES: &Decoding = &Decoding::none();
        let output = &transcriber.task.outputs()[transcriber.output];
        let decoding = output.decoding.as_deref().unwrap_or(NO_RULES);
        options.check(decoding)?;
        let long = windows.frames() > windows.window();
        if long && options.timestamps == Some(false) && decoding.no_timestamps.is_some() {
            let problem = "a clip of several windows is split at its timestamps; leave the option out";
            return refuse("timestamps", problem);
        }
        let with_timestamps = options.timestamps.unwrap_or(decoding.timestamps) || long;
        let end = next.part.special_ids.end.first().copied().unwrap_or(u32::MAX);
        let timestamps = decoding.no_timestamps.filter(|_| with_timestamps);
        let max_initial = decoding.max_initial_timestamp;
        let timestamps = timestamps.map(|no_timestamps| TimestampRules { no_timestamps, end, max_initial });
        let begin = &next.part.special_ids.begin;
        Ok(Self {
            prefix: Prefix::new(begin, decoding, options, timestamps.is_some())?,
            context: next.part.capacity().map_or(usize::MAX, |most| most + begin.len()),
            end,
            timestamps: timestamps.is_some(),
            rules: Rules {
                begin_suppress: decoding.begin_suppress.clone(),
                suppress: decoding.suppress.clone(),
                timestamps,
            },
            random: random::generator(options.seed),
            segments: vec![],
            transcriber,
            next,
            decoding,
            options,
            windows,
        })
    }

    /// The transcript of all windows.
    pub fn run(mut self) -> Result<Transcript, PredictError> {
        if self.prefix.detects_language {
            let language = self.detect_language()?;
            self.prefix.set_language(language);
        }
        let hop = self.frames_per_slice();
        let (mut seek, mut conditioned) = (0, self.options.condition);
        while seek < self.windows.frames() {
            let frames = self.windows.window().min(self.windows.frames() - seek);
            let earlier = if conditioned { self.earlier_ids() } else { vec![] };
            let (result, no_speech_prob) = self.decode_window(seek, &earlier)?;
            conditioned = self.options.condition && result.conditions_next();
            if result.is_silent {
                seek += frames;
                continue;
            }
            let ids = &result.hypothesis.ids;
            let ids = ids.strip_suffix(&[self.end]).unwrap_or(ids);
            let (pieces, decoded) = split_at_timestamps(ids, self.decoding.first_timestamp(), frames / hop);
            for piece in pieces {
                let segment = self.segment(seek, piece, &result, no_speech_prob)?;
                self.segments.push(segment);
            }
            seek += decoded.map_or(frames, |slices| slices * hop);
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

    /// Decode the window at frame `seek` after the ids of `earlier` windows. Also the no-speech probability, if an option needs
    /// it.
    fn decode_window(
        &mut self,
        seek: usize,
        earlier: &[u32],
    ) -> Result<(WindowResult, Option<f64>), PredictError> {
        let prefix = [earlier, &self.prefix.ids()].concat();
        // The prefix does not count towards the maximum length, up to half of the context.
        let not_counted = prefix.len().min((self.context / 2).saturating_sub(1));
        let max_length =
            self.decoding.max_length.map_or(self.context, |most| self.context.min(most + not_counted));
        let decoder = self.window_decoder(seek, &prefix, max_length)?;
        let no_speech_prob = self.options.no_speech.and(self.decoding.no_timestamps).map(|no_timestamps| {
            let logits = decoder.prefix_logits(earlier.len());
            let no_speech = logits.get(no_timestamps as usize - 1).copied().unwrap_or(f32::NEG_INFINITY);
            f64::from(no_speech - log_sum_exp(logits)).exp()
        });
        let num_beams = self.options.beams.or(self.decoding.beams).unwrap_or(1);
        let vocabulary = self.next.part.vocabulary().unwrap_or(0);
        let mut random = self.random.clone();
        let result = decode_with_fallback(
            &decoder,
            self.options,
            num_beams,
            vocabulary,
            no_speech_prob.unwrap_or(0.0),
            &mut random,
        )?;
        self.random = random;
        Ok((result, no_speech_prob))
    }

    /// A decoder of the window at frame `seek`, whose text begins with `prefix` and has at most `max_length` ids.
    fn window_decoder(
        &self,
        seek: usize,
        prefix: &[u32],
        max_length: usize,
    ) -> Result<WindowDecoder<'_>, PredictError> {
        let tokens = self.windows.tokens(seek);
        let window = self.transcriber.task.sample_of_tokens(self.transcriber.input, tokens, 0)?;
        WindowDecoder::new(self.next, window, prefix, (&self.rules, self.end, max_length))
    }

    /// The most likely language of the first window.
    fn detect_language(&self) -> Result<u32, PredictError> {
        let decoder = self.window_decoder(0, &[self.prefix.start()], self.context)?;
        // Sorted, so that of equal scores the lowest id wins.
        let mut languages: Vec<u32> = self.decoding.languages.values().copied().collect();
        languages.sort_unstable();
        let logit = |id: &u32| decoder.first_logits().get(*id as usize).copied().unwrap_or(f32::NEG_INFINITY);
        let scores: Vec<f32> = languages.iter().map(logit).collect();
        Ok(languages[argmax(&scores) as usize])
    }

    /// The last ids of the text so far, at most half of the context, that precede the next window's prefix.
    fn earlier_ids(&self) -> Vec<u32> {
        let Some(previous) = self.decoding.previous.filter(|_| !self.segments.is_empty()) else {
            return vec![];
        };
        let first = self.decoding.first_timestamp();
        let text: Vec<u32> =
            self.segments.iter().flat_map(|segment| conditioning_ids(&segment.ids, first)).copied().collect();
        let kept = (self.context / 2).saturating_sub(1);
        [&[previous], &text[text.len().saturating_sub(kept)..]].concat()
    }

    fn frames_per_slice(&self) -> usize {
        let config = Tokenizer::config(self.transcriber.audio);
        config.slice_hop.unwrap_or(config.frames_per_slice)
    }

    fn segment(
        &self,
        seek: usize,
        piece: TimedIds,
        result: &WindowResult,
        no_speech_prob: Option<f64>,
    ) -> Result<Segment, PredictError> {
        let seconds = |slices: usize| {
            (seek + slices * self.frames_per_slice()) as f64 * self.windows.seconds_per_frame()
        };
        Ok(Segment {
            start: seconds(piece.start),
            end: seconds(piece.end),
            text: self.text(&piece.ids)?,
            temperature: result.temperature,
            avg_logprob: result.hypothesis.mean_logprob(),
            compression_ratio: result.compression_ratio,
            no_speech_prob,
            ids: piece.ids,
        })
    }

    /// The text of ids, without timestamps.
    fn text(&self, ids: &[u32]) -> Result<String, PredictError> {
        let first = self.decoding.first_timestamp();
        let text = ids.iter().copied().filter(|id| first.is_none_or(|first| *id < first));
        let Transcriber { task, output, .. } = self.transcriber;
        Ok(task.decode(*output, &text.collect::<Vec<_>>())?.into_text()?)
    }
}
