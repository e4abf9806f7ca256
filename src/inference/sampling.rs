//! Sampling the next token from a model's distribution.

use crate::random;
use rand_pcg::Pcg64Mcg;

/// The settings of sampling.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 is greedy.
    pub temperature: f64,
    /// Sample among the `k` most likely tokens only; 0 for all (Fan et al. 2018).
    pub top_k: usize,
    /// Sample among the most likely tokens that together have this probability; 1 for all (Holtzman et al. 2020).
    pub top_p: f64,
    /// Seed of the draws.
    pub seed: u64,
}

/// A sampling setting that is out of range.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("--{option}: {problem}")]
pub struct SamplingError {
    /// The setting, as the command line names it.
    pub option: &'static str,
    /// Expected and found.
    pub problem: String,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.8, top_k: 0, top_p: 1.0, seed: 1337 }
    }
}

impl Sampling {
    /// Greedy decoding: always the most likely token.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// Check the settings.
    ///
    /// # Errors
    /// [`SamplingError`] if the temperature is below 0 or infinite, or `top_p` is not above 0 and at most 1.
    pub fn check(&self) -> Result<(), SamplingError> {
        let refuse = |option, problem: String| Err(SamplingError { option, problem });
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return refuse(
                "temperature",
                format!("expected a number of at least 0; found {}", self.temperature),
            );
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return refuse("top-p", format!("expected a number above 0 and at most 1; found {}", self.top_p));
        }
        Ok(())
    }
}

/// Sample an id from `logits`.
pub fn draw(logits: &[f32], sampling: &Sampling, random: &mut Pcg64Mcg) -> u32 {
    let likeliest = argmax(logits);
    if sampling.temperature == 0.0 {
        return likeliest;
    }
    let highest = logits.get(likeliest as usize).copied().map_or(0.0, f64::from);
    let weight = |id: u32| ((f64::from(logits[id as usize]) - highest) / sampling.temperature).exp();
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    if sampling.top_k > 0 || sampling.top_p < 1.0 {
        let logit = |id: u32| logits[id as usize];
        ids.sort_by(|&a, &b| logit(b).total_cmp(&logit(a)).then(a.cmp(&b)));
        keep_likely(&mut ids, sampling, weight);
    }
    let mut left = random::uniform(random) * ids.iter().map(|&id| weight(id)).sum::<f64>();
    let chosen = ids.iter().find(|&&id| {
        left -= weight(id);
        left < 0.0
    });
    chosen.copied().unwrap_or(likeliest)
}

/// Keeps the `top_k` first of ids in falling order of their weights, and of these the first that have the share `top_p`.
fn keep_likely(ids: &mut Vec<u32>, sampling: &Sampling, weight: impl Fn(u32) -> f64) {
    if sampling.top_k > 0 {
        ids.truncate(sampling.top_k);
    }
    let total: f64 = ids.iter().map(|&id| weight(id)).sum();
    let mut reached = 0.0;
    let enough = ids.iter().position(|&id| {
        reached += weight(id) / total;
        reached >= sampling.top_p
    });
    ids.truncate(enough.map_or(ids.len(), |last| last + 1));
}

/// The id with the highest score; of equal scores, the first. 0 if there is none.
pub(super) fn argmax(scores: &[f32]) -> u32 {
    let better = |best: usize, id: usize| if scores[id] > scores[best] { id } else { best };
    (0..scores.len()).reduce(better).unwrap_or_default() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn top_k_and_top_p_bound_the_sampled_ids() {
        let logits = [0.0, 3.0, 2.0, 1.0];
        let draws = |sampling: Sampling| {
            let mut random = random::generator(1);
            let mut drawn: Vec<u32> = (0..300).map(|_| draw(&logits, &sampling, &mut random)).collect();
            drawn.sort_unstable();
            drawn.dedup();
            drawn
        };
        let all = Sampling { temperature: 1.0, ..Sampling::default() };
        assert_eq!(draws(all), [0, 1, 2, 3]);
        assert_eq!(draws(Sampling { temperature: 0.0, ..all }), [1]);
        assert_eq!(draws(Sampling { top_k: 2, ..all }), [1, 2]);
        // The probabilities are 0.64, 0.24, 0.09, 0.03.
        assert_eq!(draws(Sampling { top_p: 0.6, ..all }), [1]);
        assert_eq!(draws(Sampling { top_p: 0.7, ..all }), [1, 2]);
    }

    #[test]
    fn draws_follow_the_distribution() {
        assert_eq!(argmax(&[f32::NEG_INFINITY, 1.0, 3.0, 3.0]), 2);
        let logits = [0.0, f32::NEG_INFINITY, 2_f32.ln()];
        let mut random = random::generator(1);
        let mut of = |temperature: f64| {
            let sampling = Sampling { temperature, ..Sampling::default() };
            draw(&logits, &sampling, &mut random)
        };
        let mut counts = [0; 3];
        (0..30_000).for_each(|_| counts[of(1.0) as usize] += 1);
        assert!(counts[1] == 0 && (9_600..10_400).contains(&counts[0]), "{counts:?}");
        assert!((0..1000).all(|_| of(1e-3) == 2));
    }
}
