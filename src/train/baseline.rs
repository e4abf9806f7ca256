//! What can be predicted without reading the input: the score to beat.

use super::{Metrics, TrainError};
use crate::data::{Bad, Dataset, Output, Target};
use crate::random;
use std::collections::BTreeMap;

/// For each head of a task, by number, the metrics of always predicting what is most common in training, on up to `limit`
/// samples of either set, spread evenly over it (0 for all).
///
/// For ids and classes: the `loss` of their frequencies (the unigram) and the `accuracy` of the most frequent.
/// For labels without alignment: `wer` and `cer` of an empty text, which are 1. For numbers, none.
///
/// # Errors
/// If a sample cannot be read.
pub fn baseline(
    train: &dyn Dataset,
    valid: &dyn Dataset,
    limit: usize,
) -> Result<BTreeMap<usize, Metrics>, TrainError> {
    let mut heads: BTreeMap<usize, Guess> = BTreeMap::new();
    for outputs in outputs(train, limit) {
        outputs?.into_iter().for_each(|output| heads.entry(output.head).or_default().learn(output.target));
    }
    for outputs in outputs(valid, limit) {
        outputs?.into_iter().for_each(|output| heads.entry(output.head).or_default().score(output.target));
    }
    Ok(heads.into_iter().map(|(head, guess)| (head, guess.metrics())).collect())
}

/// The frequencies of one head's ids in training, and how well they predict.
#[derive(Default)]
struct Guess {
    counts: BTreeMap<u32, f64>,
    total: f64,
    commonest: Option<u32>,
    loss: f64,
    right: f64,
    asked: f64,
    labels: bool,
}

impl Guess {
    fn learn(&mut self, target: Target) {
        if let Target::Ids { ids, weights } = target {
            for (id, weight) in ids.into_iter().zip(weights) {
                *self.counts.entry(id).or_default() += f64::from(weight);
                self.total += f64::from(weight);
            }
        }
    }

    fn score(&mut self, target: Target) {
        match target {
            Target::Ids { ids, weights } => {
                let most = || self.counts.iter().max_by(|a, b| a.1.total_cmp(b.1)).map(|(id, _)| *id);
                let commonest = self.commonest.or_else(most);
                self.commonest = commonest;
                for (id, weight) in ids.into_iter().zip(weights.into_iter().map(f64::from)) {
                    // One more of each, so that what training does not have costs much but not everything.
                    let known = self.counts.get(&id).copied().unwrap_or_default() + 1.0;
                    self.loss -= weight * (known / (self.total + self.counts.len() as f64 + 1.0)).ln();
                    self.right += if Some(id) == commonest { weight } else { 0.0 };
                    self.asked += weight;
                }
            }
            Target::Labels(_) => self.labels = true,
            // Shares are drawn in training; here nothing is.
            Target::Features { .. } | Target::Shared(_) | Target::Unknown => {}
        }
    }

    fn metrics(&self) -> Metrics {
        let mut metrics = Metrics::new();
        if self.labels {
            metrics.extend([("wer".to_string(), 1.0), ("cer".to_string(), 1.0)]);
        }
        if self.asked > 0.0 {
            let (loss, accuracy) = (self.loss / self.asked, self.right / self.asked);
            metrics.extend([("loss".to_string(), loss), ("accuracy".to_string(), accuracy)]);
        }
        metrics
    }
}

/// Samples that may be skipped are. The first samples alone may be of a single class, where each class has a folder.
fn outputs(
    dataset: &dyn Dataset,
    limit: usize,
) -> impl Iterator<Item = Result<Vec<Output>, TrainError>> + '_ {
    let len = dataset.len();
    let n = if limit == 0 { len } else { limit.min(len) };
    (0..n).filter_map(move |i| match (dataset.sample(random::spread(i, n, len), None), dataset.bad()) {
        (Ok(sample), _) => Some(Ok(sample.outputs)),
        (Err(_), Bad::Skip) => None,
        (Err(error), Bad::Fail) => Some(Err(error.into())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{DataError, Sample};

    /// So many samples of four classes, one class after the other.
    struct Sorted(usize);

    impl Dataset for Sorted {
        fn len(&self) -> usize {
            self.0
        }

        fn sample(&self, index: usize, _: Option<u64>) -> Result<Sample, DataError> {
            let target = Target::class((4 * index / self.0) as u32);
            Ok(Sample { inputs: vec![], outputs: vec![target.into()], id: index as u64 })
        }
    }

    #[test]
    fn a_few_samples_are_of_every_class() {
        for limit in [0, 4, 8, 100, 1000] {
            let metrics = baseline(&Sorted(100), &Sorted(100), limit).unwrap();
            assert_eq!(metrics[&0]["accuracy"], 0.25, "limit {limit}");
        }
    }
}
