//! The text of one window: id by id, the likeliest or drawn, or the best of several.

use super::beam::Beams;
use super::rules::{Rules, log_sum_exp};
use crate::model::Model;
use crate::random;
use crate::tasks::TaskError;
use crate::tasks::audio::AudioTask;
use crate::transformer::Cache;
use rand_pcg::Pcg64Mcg;
use smalti_contract::Tokens;

/// What was written of a window.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Written {
    /// Behind the prefix, with the end where it was reached.
    pub ids: Vec<u32>,
    /// The sum of their log-probabilities under the rules.
    pub logprob: f64,
}

impl Written {
    /// The mean log-probability of an id, the end counted.
    pub fn mean_logprob(&self) -> f64 {
        self.logprob / self.ids.len().max(1) as f64
    }
}

/// A window as the model has read it, and the prefix of its text.
pub(super) struct Reader<'a> {
    pub task: &'a AudioTask,
    pub model: &'a Model,
    /// The task's number among the model's.
    pub number: usize,
    pub slices: Tokens,
    pub rules: &'a Rules,
    /// The id behind a text.
    pub end: u32,
    /// The most ids of a text, its prefix counted.
    pub most: usize,
    prefix: usize,
    cache: Cache,
    /// `[prefix]` rows of logits.
    logits: Vec<Vec<f32>>,
}

impl<'a> Reader<'a> {
    /// Reads a window and the prefix of its text, which is kept for every text that is tried behind it.
    pub fn new(
        task: &'a AudioTask,
        model: &'a Model,
        number: usize,
        slices: Tokens,
        prefix: &[u32],
        (rules, end, most): (&'a Rules, u32, usize),
    ) -> Result<Self, TaskError> {
        let mut cache = model.cache();
        let batch = task.batch(model, number, slices.clone(), prefix)?;
        let logits = model.step(&batch, &mut cache)?.remove(0).to_vec2::<f32>()?;
        Ok(Self { task, model, number, slices, rules, end, most, prefix: prefix.len(), cache, logits })
    }

    /// The logits of what comes behind place `place` of the prefix.
    pub fn behind(&self, place: usize) -> &[f32] {
        self.logits.get(place).map_or(&[], Vec::as_slice)
    }

    /// The logits of what comes behind the prefix.
    pub fn first(&self) -> &[f32] {
        self.logits.last().map_or(&[], Vec::as_slice)
    }

    /// What the prefix has left behind, to be written on.
    pub fn cache(&self) -> Result<Cache, TaskError> {
        Ok(self.cache.fork()?)
    }

    /// Whether a text of `n` ids behind the prefix has no room for another.
    pub fn full(&self, n: usize) -> bool {
        self.prefix + n >= self.most
    }

    /// The logits of what comes behind `id`, which is number `n` behind the prefix.
    pub fn step(&self, cache: &mut Cache, id: u32, n: usize) -> Result<Vec<f32>, TaskError> {
        let batch = self.task.next(self.model, self.number, &self.slices, id, (self.prefix + n) as u32)?;
        let logits = self.model.step(&batch, cache)?.remove(0);
        Ok(logits.get(logits.dim(0)? - 1)?.to_vec1::<f32>()?)
    }

    /// The text: at temperature 0 the likeliest of `beams`, above it drawn.
    pub fn write(&self, temperature: f64, beams: usize, random: &mut Pcg64Mcg) -> Result<Written, TaskError> {
        if self.full(0) {
            return Ok(Written::default());
        }
        if temperature == 0.0 && beams > 1 {
            return Beams::new(self, beams)?.search();
        }
        let (mut written, mut logits, mut cache) = (Written::default(), self.first().to_vec(), self.cache()?);
        loop {
            self.rules.apply(&written.ids, &mut logits);
            let id = if temperature > 0.0 { draw(&logits, temperature, random) } else { likeliest(&logits) };
            written.logprob += f64::from(logits[id as usize] - log_sum_exp(&logits));
            written.ids.push(id);
            if id == self.end || self.full(written.ids.len()) {
                return Ok(written);
            }
            logits = self.step(&mut cache, id, written.ids.len() - 1)?;
        }
    }
}

/// The id of the highest score, the first of equals.
pub(super) fn likeliest(scores: &[f32]) -> u32 {
    let better = |best: usize, id: usize| if scores[id] > scores[best] { id } else { best };
    (0..scores.len()).reduce(better).unwrap_or_default() as u32
}

/// An id of the distribution that the logits stand for, divided by the temperature.
fn draw(logits: &[f32], temperature: f64, random: &mut Pcg64Mcg) -> u32 {
    let highest = f64::from(logits[likeliest(logits) as usize]);
    let weights: Vec<f64> =
        logits.iter().map(|&logit| ((f64::from(logit) - highest) / temperature).exp()).collect();
    let mut left = random::uniform(random) * weights.iter().sum::<f64>();
    let chosen = weights.iter().position(|weight| {
        left -= weight;
        left < 0.0
    });
    chosen.map_or(likeliest(logits), |id| id as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_the_distribution() {
        assert_eq!(likeliest(&[f32::NEG_INFINITY, 1.0, 3.0, 3.0]), 2);
        let logits = [0.0, f32::NEG_INFINITY, 2_f32.ln()];
        let mut random = random::generator(1);
        let mut counts = [0; 3];
        (0..30_000).for_each(|_| counts[draw(&logits, 1.0, &mut random) as usize] += 1);
        assert!(counts[1] == 0 && (9_600..10_400).contains(&counts[0]), "{counts:?}");
        assert!((0..1000).all(|_| draw(&logits, 1e-3, &mut random) == 2));
    }
}
