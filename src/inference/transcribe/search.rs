//! The text of one window: id by id, the likeliest or drawn, or the best of several.

use super::beam::Beams;
use super::rules::{Rules, log_sum_exp};
use crate::data::Sample;
use crate::inference::PredictError;
use crate::inference::generate::{NextToken, main_len};
use crate::model::Cache;
use crate::random;
use rand_pcg::Pcg64Mcg;

/// The text of a window.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Written {
    /// After the prefix, with the end if it was reached.
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
    next: NextToken<'a>,
    pub rules: &'a Rules,
    /// The id after a text.
    pub end: u32,
    /// The most ids of a text, its prefix counted.
    most: usize,
    prefix: usize,
    /// Tokens of the main stream before the text.
    before: usize,
    cache: Cache,
    /// `[prefix]` rows of logits.
    logits: Vec<Vec<f32>>,
}

impl<'a> Reader<'a> {
    /// Reads a window and the prefix of its text, which is kept for every text that is tried after it.
    pub fn new(
        next: NextToken<'a>,
        mut window: Sample,
        prefix: &[u32],
        (rules, end, most): (&'a Rules, u32, usize),
    ) -> Result<Self, PredictError> {
        let before = main_len(&window.inputs);
        next.set(&mut window.inputs, prefix.to_vec(), 0, before)?;
        let mut cache = next.cache();
        let logits = next.read(window.inputs, 0, &mut cache)?.to_vec2::<f32>()?;
        Ok(Self { next, rules, end, most, prefix: prefix.len(), before, cache, logits })
    }

    /// The logits after place `place` of the prefix.
    pub fn after(&self, place: usize) -> &[f32] {
        self.logits.get(place).map_or(&[], Vec::as_slice)
    }

    /// The logits after the prefix.
    pub fn first(&self) -> &[f32] {
        self.logits.last().map_or(&[], Vec::as_slice)
    }

    /// The keys and values of window and prefix.
    pub fn cache(&self) -> Result<Cache, PredictError> {
        Ok(self.cache.fork()?)
    }

    /// Whether a text of `n` ids after the prefix has no room for another.
    pub fn full(&self, n: usize) -> bool {
        self.prefix + n >= self.most
    }

    /// The logits after `id`, which is number `n` after the prefix.
    pub fn step(&self, cache: &mut Cache, id: u32, n: usize) -> Result<Vec<f32>, PredictError> {
        self.next.after(vec![id], self.prefix + n, self.before, cache)
    }

    /// The text: at temperature 0 the likeliest of `beams`, above it drawn.
    pub fn write(
        &self,
        temperature: f64,
        beams: usize,
        random: &mut Pcg64Mcg,
    ) -> Result<Written, PredictError> {
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
