//! Beam search as in transformers 5.24 (`_beam_search`): length penalty 1, heuristic early stopping.

use super::rules::log_sum_exp;
use super::search::{Hypothesis, WindowDecoder};
use crate::inference::PredictError;
use crate::model::Cache;

/// A beam search over the texts of one window.
pub(super) struct BeamSearch<'a> {
    decoder: &'a WindowDecoder<'a>,
    /// The number of beams; also the most finished hypotheses that are kept.
    num_beams: usize,
    running: Vec<Beam>,
    /// The cache of all beams, in their order.
    cache: Cache,
    /// The finished hypotheses, best first, with their mean log-probability per id.
    finished: Vec<(f32, Hypothesis)>,
}

/// An unfinished hypothesis.
struct Beam {
    hypothesis: Hypothesis,
    /// The sum of log-probabilities by which beams are ranked. Unlike [`Hypothesis::logprob`], it is not normalized over the ids
    /// that the rules allow.
    score: f32,
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
        let logits = decoder.first_logits().to_vec();
        let beam = Beam { hypothesis: Hypothesis::default(), score: 0.0, logits };
        Ok(Self { decoder, num_beams, running: vec![beam], cache: decoder.cache()?, finished: vec![] })
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

    /// Replace the beams by these candidates, all of which the model reads in one step.
    fn advance(&mut self, candidates: Vec<Candidate>) -> Result<(), PredictError> {
        let hypotheses: Vec<Hypothesis> =
            candidates.iter().map(|candidate| self.hypothesis(candidate)).collect();
        let beams: Vec<usize> = candidates.iter().map(|candidate| candidate.beam).collect();
        if !beams.iter().copied().eq(0..self.running.len()) {
            self.cache = self.cache.select(&beams)?;
        }
        let n = hypotheses.first().map_or(0, |hypothesis| hypothesis.ids.len() - 1);
        let logits =
            self.decoder.step(&mut self.cache, candidates.iter().map(|candidate| candidate.id), n)?;
        let beams = candidates.iter().zip(hypotheses).zip(logits);
        self.running = beams
            .map(|((candidate, hypothesis), logits)| Beam { hypothesis, score: candidate.score, logits })
            .collect();
        Ok(())
    }
}
