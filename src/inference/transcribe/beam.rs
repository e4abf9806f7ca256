//! Beam search as transformers' `_beam_search` (5.24) does it: length penalty 1, early stopping by its heuristic.

use super::rules::log_sum_exp;
use super::search::{Reader, Written};
use crate::inference::PredictError;
use crate::model::Cache;
use std::collections::BTreeMap;

/// Texts that are followed side by side.
pub(super) struct Beams<'a> {
    reader: &'a Reader<'a>,
    /// The most texts that are followed, and kept once they are done.
    width: usize,
    running: Vec<Beam>,
    /// What is done, best first, by the mean log-probability of an id.
    done: Vec<(f32, Written)>,
}

/// A text that is continued.
struct Beam {
    written: Written,
    /// The sum of log-probabilities that texts are compared by; unlike [`Written::logprob`] it is not normalised over the ids
    /// that the rules allow.
    score: f32,
    cache: Cache,
    /// Of the next id.
    logits: Vec<f32>,
}

/// A text with one more id.
struct Candidate {
    score: f32,
    /// The text's place among those that run.
    beam: usize,
    id: u32,
    logprob: f64,
}

impl<'a> Beams<'a> {
    /// One empty text.
    pub fn new(reader: &'a Reader<'a>, width: usize) -> Result<Self, PredictError> {
        let beam = Beam {
            written: Written::default(),
            score: 0.0,
            cache: reader.cache()?,
            logits: reader.first().to_vec(),
        };
        Ok(Self { reader, width, running: vec![beam], done: vec![] })
    }

    /// The best text.
    pub fn search(mut self) -> Result<Written, PredictError> {
        for length in 1.. {
            let (done, going): (Vec<_>, Vec<_>) = self
                .candidates()
                .into_iter()
                .enumerate()
                .partition(|(_, candidate)| candidate.id == self.reader.end || self.reader.full(length));
            // Those after the first `width` are spare, so that enough texts continue.
            let finished = done.into_iter().filter(|(place, _)| *place < self.width);
            for (_, candidate) in finished {
                let written = self.written(&candidate);
                self.done.push((candidate.score / length as f32, written));
            }
            self.done.sort_by(|(a, _), (b, _)| b.total_cmp(a));
            self.done.truncate(self.width);
            let going: Vec<Candidate> = going.into_iter().take(self.width).map(|(_, going)| going).collect();
            let Some(best) = going.first() else { break };
            let full = self.done.len() == self.width;
            if full && self.done.last().is_some_and(|(worst, _)| best.score / length as f32 <= *worst) {
                break;
            }
            self.go_on(going)?;
        }
        Ok(self.done.into_iter().next().map(|(_, written)| written).unwrap_or_default())
    }

    /// The likeliest continuations of all texts, twice as many as are followed, best first.
    fn candidates(&self) -> Vec<Candidate> {
        let mut all: Vec<Candidate> = vec![];
        for (place, beam) in self.running.iter().enumerate() {
            let total = log_sum_exp(&beam.logits);
            let mut scores: Vec<f32> = beam.logits.iter().map(|logit| logit - total).collect();
            self.reader.rules.apply(&beam.written.ids, &mut scores);
            let left = log_sum_exp(&scores);
            let candidates = (0..).zip(&scores).filter(|(_, score)| score.is_finite());
            all.extend(candidates.map(|(id, score)| Candidate {
                score: beam.score + score,
                beam: place,
                id,
                logprob: f64::from(score - left),
            }));
        }
        let better = |a: &Candidate, b: &Candidate| {
            b.score.total_cmp(&a.score).then((a.beam, a.id).cmp(&(b.beam, b.id)))
        };
        if all.len() > 2 * self.width {
            all.select_nth_unstable_by(2 * self.width, better);
            all.truncate(2 * self.width);
        }
        all.sort_by(better);
        all
    }

    /// The text of a candidate.
    fn written(&self, candidate: &Candidate) -> Written {
        let mut written = self.running[candidate.beam].written.clone();
        written.ids.push(candidate.id);
        written.logprob += candidate.logprob;
        written
    }

    /// Puts these candidates in place of the texts that they come from. Keys and values move with the last one of a text,
    /// and are copied for the others.
    fn go_on(&mut self, candidates: Vec<Candidate>) -> Result<(), PredictError> {
        let texts: Vec<Written> = candidates.iter().map(|candidate| self.written(candidate)).collect();
        let mut heirs: BTreeMap<usize, usize> = BTreeMap::new();
        candidates.iter().for_each(|candidate| *heirs.entry(candidate.beam).or_default() += 1);
        let mut caches: Vec<Option<Cache>> = self.running.drain(..).map(|beam| Some(beam.cache)).collect();
        for (candidate, written) in candidates.into_iter().zip(texts) {
            let (heirs, cache) = (heirs.entry(candidate.beam).or_default(), &mut caches[candidate.beam]);
            *heirs -= 1;
            let kept =
                if *heirs == 0 { cache.take() } else { cache.as_ref().map(Cache::fork).transpose()? };
            let Some(mut cache) = kept else { continue }; // never: the last heir alone takes it
            let logits = self.reader.step(&mut cache, candidate.id, written.ids.len() - 1)?;
            self.running.push(Beam { written, score: candidate.score, cache, logits });
        }
        Ok(())
    }
}
