//! Drawing the next token from a model's distribution.

use crate::random;
use rand_pcg::Pcg64Mcg;

/// How the next token is drawn from the model's distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits: 1 as the model has them; 0 takes the most likely token.
    pub temperature: f64,
    /// Only the `k` most likely tokens; 0 for all.
    pub top_k: usize,
    /// Only the most likely tokens that together have this probability; 1 for all.
    pub top_p: f64,
    /// Seed of the draws.
    pub seed: u64,
}

/// A setting of sampling that cannot work.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("--{option}: {problem}")]
pub struct SamplingError {
    /// The setting, as the command line names it.
    pub option: &'static str,
    /// What is wrong, with the expected and the actual value.
    pub problem: String,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.8, top_k: 0, top_p: 1.0, seed: 1337 }
    }
}

impl Sampling {
    /// The most likely token, always.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`SamplingError`] for a temperature below 0 and a `top_p` outside of 0..=1.
    pub fn check(&self) -> Result<(), SamplingError> {
        let refuse = |option, problem: String| Err(SamplingError { option, problem });
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return refuse("temperature", format!("must be a number from 0 on; found {}", self.temperature));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return refuse("top-p", format!("must be above 0 and at most 1; found {}", self.top_p));
        }
        Ok(())
    }
}

/// One id of the distribution that the logits stand for.
pub fn draw(logits: &[f32], sampling: &Sampling, random: &mut Pcg64Mcg) -> u32 {
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    let logit = |id: u32| f64::from(logits[id as usize]);
    ids.sort_by(|&a, &b| logit(b).total_cmp(&logit(a)).then(a.cmp(&b)));
    if sampling.temperature == 0.0 {
        return ids.first().copied().unwrap_or_default();
    }
    if sampling.top_k > 0 {
        ids.truncate(sampling.top_k);
    }
    let highest = ids.first().map_or(0.0, |&id| logit(id));
    let weight = |id: u32| ((logit(id) - highest) / sampling.temperature).exp();
    let total: f64 = ids.iter().map(|&id| weight(id)).sum();
    let mut reached = 0.0;
    let enough = ids.iter().position(|&id| {
        reached += weight(id) / total;
        reached >= sampling.top_p
    });
    ids.truncate(enough.map_or(ids.len(), |last| last + 1));
    let mut left = random::uniform(random) * ids.iter().map(|&id| weight(id)).sum::<f64>();
    for &id in &ids {
        left -= weight(id);
        if left < 0.0 {
            return id;
        }
    }
    ids.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sampling_keeps_to_its_bounds() {
        let logits = [0.0, 3.0, 2.0, 1.0];
        let draws = |sampling: Sampling| {
            let mut random = random::generator(1);
            let mut seen: Vec<u32> = (0..300).map(|_| draw(&logits, &sampling, &mut random)).collect();
            seen.sort_unstable();
            seen.dedup();
            seen
        };
        let all = Sampling { temperature: 1.0, ..Sampling::default() };
        assert_eq!(draws(all), [0, 1, 2, 3]);
        assert_eq!(draws(Sampling { temperature: 0.0, ..all }), [1]);
        assert_eq!(draws(Sampling { top_k: 2, ..all }), [1, 2]);
        // The probabilities are 0.64, 0.24, 0.09, 0.03.
        assert_eq!(draws(Sampling { top_p: 0.6, ..all }), [1]);
        assert_eq!(draws(Sampling { top_p: 0.7, ..all }), [1, 2]);
    }
}
