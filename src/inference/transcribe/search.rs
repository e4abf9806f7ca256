//! Decoding one window: greedily, by sampling or by beam search.

use super::beam::BeamSearch;
use super::rules::{Rules, log_sum_exp};
use crate::data::Sample;
use crate::inference::PredictError;
use crate::inference::generate::{NextIds, NextToken, main_len};
use crate::inference::sampling::{Sampling, draw};
use crate::model::Cache;
use rand_pcg::Pcg64Mcg;

/// A text of a window.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Hypothesis {
    /// The ids after the prefix, with the end id if it was generated.
    pub ids: Vec<u32>,
    /// The sum of their log-probabilities under the rules.
    pub logprob: f64,
}

impl Hypothesis {
    /// The mean log-probability of an id, including the end.
    pub fn mean_logprob(&self) -> f64 {
        self.logprob / self.ids.len().max(1) as f64
    }
}

/// Decodes one window, with the model's state after the prefix of its text.
pub(super) struct WindowDecoder<'a> {
    next: NextToken<'a>,
    pub rules: &'a Rules,
    /// The id that ends a text.
    pub end: u32,
    /// The most ids of a text, including its prefix.
    max_length: usize,
    prefix_len: usize,
    /// Number of tokens in the main stream before the text.
    before: usize,
    cache: Cache,
    /// `[prefix_len, vocabulary]`.
    logits: Vec<Vec<f32>>,
}

impl<'a> WindowDecoder<'a> {
    /// Run the model on a window and the prefix of its text. Every text of the window continues from there.
    pub fn new(
        next: NextToken<'a>,
        mut window: Sample,
        prefix: &[u32],
        (rules, end, max_length): (&'a Rules, u32, usize),
    ) -> Result<Self, PredictError> {
        let before = main_len(&window.inputs);
        next.set(&mut window.inputs, NextIds { ids: prefix.to_vec(), first: 0, before })?;
        let mut cache = next.cache();
        let logits = next.read(vec![(0, window.inputs)], &mut cache)?.remove(0).to_vec2::<f32>()?;
        Ok(Self { next, rules, end, max_length, prefix_len: prefix.len(), before, cache, logits })
    }

    /// The logits after place `place` of the prefix.
    pub fn prefix_logits(&self, place: usize) -> &[f32] {
        self.logits.get(place).map_or(&[], Vec::as_slice)
    }

    /// The logits after the prefix.
    pub fn first_logits(&self) -> &[f32] {
        self.logits.last().map_or(&[], Vec::as_slice)
    }

    /// A copy of the cache of the window and the prefix.
    pub fn cache(&self) -> Result<Cache, PredictError> {
        Ok(self.cache.select(&[0])?)
    }

    /// Whether a text of `n` ids after the prefix has the maximum length.
    pub fn is_full(&self, n: usize) -> bool {
        self.prefix_len + n >= self.max_length
    }

    /// The logits after the ids of the texts in the cache, each of which is id number `n` after the prefix.
    pub fn step(
        &self,
        cache: &mut Cache,
        ids: impl IntoIterator<Item = u32>,
        n: usize,
    ) -> Result<Vec<Vec<f32>>, PredictError> {
        let (first, before) = (self.prefix_len + n, self.before);
        self.next.after(ids.into_iter().map(|id| NextIds { ids: vec![id], first, before }), cache)
    }

    /// Decode the window: by beam search or greedily at temperature 0, by sampling above it.
    pub fn decode(
        &self,
        temperature: f64,
        num_beams: usize,
        random: &mut Pcg64Mcg,
    ) -> Result<Hypothesis, PredictError> {
        if self.is_full(0) {
            return Ok(Hypothesis::default());
        }
        if temperature == 0.0 && num_beams > 1 {
            return BeamSearch::new(self, num_beams)?.search();
        }
        let sampling = Sampling { temperature, ..Sampling::default() };
        let mut hypothesis = Hypothesis::default();
        let (mut logits, mut cache) = (self.first_logits().to_vec(), self.cache()?);
        loop {
            self.rules.apply(&hypothesis.ids, &mut logits);
            let id = draw(&logits, &sampling, random);
            hypothesis.logprob += f64::from(logits[id as usize] - log_sum_exp(&logits));
            hypothesis.ids.push(id);
            if id == self.end || self.is_full(hypothesis.ids.len()) {
                return Ok(hypothesis);
            }
            logits = self.step(&mut cache, [id], hypothesis.ids.len() - 1)?.remove(0);
        }
    }
}
