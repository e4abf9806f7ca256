//! Beam search as in transformers 5.24 (`_beam_search`): length penalty 1, heuristic early stopping.

use super::rules::log_sum_exp;
use super::search::{Hypothesis, WindowDecoder};
use crate::inference::PredictError;
use crate::model::Cache;
use std::collections::BTreeMap;

/// A beam search over the texts of one window.
pub(super) struct BeamSearch<'a> {
    decoder: &'a WindowDecoder<'a>,
    /// The number of beams; also the most finished hypotheses that are kept.
    num_beams: usize,
    running: Vec<Beam>,
    /// The finished hypotheses, best first, with their mean log-probability per id.
    finished: Vec<(f32, Hypothesis)>,
}

/// An unfinished hypothesis.
struct Beam {
    hypothesis: Hypothesis,
    /// The sum of log-probabilities by which beams are ranked. Unlike [`Hypothesis::logprob`], it is not normalized over the ids
    /// that the rules allow.
    score: f32,
    cache: Cache,
    /// The logits of the next id.
    logits: Vec<f32>,
}

/// A beam with one more id.
struct Candidate {
    score: f32,
    /// The beam's index.
    beam: usize,
    id: u32,
    logprob: f64,
}

impl<'a> BeamSearch<'a> {
    /// A search that begins with one empty beam.
    pub fn new(decoder: &'a WindowDecoder<'a>, num_beams: usize) -> Result<Self, PredictError> {
        let beam = Beam {
            hypothesis: Hypothesis::default(),
            score: 0.0,
            cache: decoder.cache()?,
            logits: decoder.first_logits().to_vec(),
        };
        Ok(Self { decoder, num_beams, running: vec![beam], finished: vec![] })
    }

    /// The best hypothesis.
    pub fn search(mut self) -> Result<Hypothesis, PredictError> {
        for length in 1.. {
            let (finished, running): (Vec<_>, Vec<_>) =
                self.candidates().into_iter().enumerate().partition(|(_, candidate)| {
                    candidate.id == self.decoder.end || self.decoder.is_full(length)
                });
            // Candidates after the first `num_beams` are spare: they fill the beams, and never finish.
            let finished = finished.into_iter().filter(|(place, _)| *place < self.num_beams);
            for (_, candidate) in finished {
                let hypothesis = self.hypothesis(&candidate);
                self.finished.push((candidate.score / length as f32, hypothesis));
            }
            self.finished.sort_by(|(a, _), (b, _)| b.total_cmp(a));
            self.finished.truncate(self.num_beams);
            let running: Vec<Candidate> =
                running.into_iter().take(self.num_beams).map(|(_, candidate)| candidate).collect();
            let Some(best) = running.first() else { break };
            let enough = self.finished.len() == self.num_beams;
            if enough && self.finished.last().is_some_and(|(worst, _)| best.score / length as f32 <= *worst) {
                break;
            }
            self.advance(running)?;
        }
        Ok(self.finished.into_iter().next().map(|(_, hypothesis)| hypothesis).unwrap_or_default())
    }

    /// The `2·num_beams` most likely continuations of all beams, best first.
    fn candidates(&self) -> Vec<Candidate> {
        let mut all: Vec<Candidate> = vec![];
        for (place, beam) in self.running.iter().enumerate() {
            let total = log_sum_exp(&beam.logits);
            let mut scores: Vec<f32> = beam.logits.iter().map(|logit| logit - total).collect();
            self.decoder.rules.apply(&beam.hypothesis.ids, &mut scores);
            let allowed = log_sum_exp(&scores);
            let candidates = (0..).zip(&scores).filter(|(_, score)| score.is_finite());
            all.extend(candidates.map(|(id, score)| Candidate {
                score: beam.score + score,
                beam: place,
                id,
                logprob: f64::from(score - allowed),
            }));
        }
        let better = |a: &Candidate, b: &Candidate| {
            b.score.total_cmp(&a.score).then((a.beam, a.id).cmp(&(b.beam, b.id)))
        };
        if all.len() > 2 * self.num_beams {
            all.select_nth_unstable_by(2 * self.num_beams, better);
            all.truncate(2 * self.num_beams);
        }
        all.sort_by(better);
        all
    }

    /// The hypothesis of a candidate.
    fn hypothesis(&self, candidate: &Candidate) -> Hypothesis {
        let mut hypothesis = self.running[candidate.beam].hypothesis.clone();
        hypothesis.ids.push(candidate.id);
        hypothesis.logprob += candidate.logprob;
        hypothesis
    }

    /// Replace the beams by these candidates. The last candidate of a beam takes its cache; the others take copies.
    fn advance(&mut self, candidates: Vec<Candidate>) -> Result<(), PredictError> {
        let hypotheses: Vec<Hypothesis> =
            candidates.iter().map(|candidate| self.hypothesis(candidate)).collect();
        let mut n_uses: BTreeMap<usize, usize> = BTreeMap::new();
        candidates.iter().for_each(|candidate| *n_uses.entry(candidate.beam).or_default() += 1);
        let mut caches: Vec<Option<Cache>> = self.running.drain(..).map(|beam| Some(beam.cache)).collect();
        for (candidate, hypothesis) in candidates.into_iter().zip(hypotheses) {
            let (uses_left, cache) = (n_uses.entry(candidate.beam).or_default(), &mut caches[candidate.beam]);
            *uses_left -= 1;
            let cache =
                if *uses_left == 0 { cache.take() } else { cache.as_ref().map(Cache::fork).transpose()? };
            let Some(mut cache) = cache else { continue }; // unreachable: only the last use takes it
            let logits = self.decoder.step(&mut cache, candidate.id, hypothesis.ids.len() - 1)?;
            self.running.push(Beam { hypothesis, score: candidate.score, cache, logits });
        }
        Ok(())
    }
}
