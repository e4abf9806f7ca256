//! What can be said without looking at the input: the score to beat.

use super::{Metrics, TrainError};
use crate::data::{Bad, Dataset, Target};
use std::collections::BTreeMap;

/// The metrics of always saying what is most common in training, on up to `limit` samples of either set, spread
/// evenly over it (0 for all).
///
/// For ids and classes: the `loss` of their frequencies (the unigram) and the `accuracy` of the most frequent.
/// For labels without alignment: `wer` and `cer` of saying nothing, which are 1. For real numbers, and for
/// several things at a time, nothing.
///
/// # Errors
/// Where a sample cannot be read.
pub fn baseline(train: &dyn Dataset, valid: &dyn Dataset, limit: usize) -> Result<Metrics, TrainError> {
    let mut counts: BTreeMap<u32, f64> = BTreeMap::new();
    let mut total = 0.0;
    for target in targets(train, limit) {
        if let Target::Ids { ids, weights } = target? {
            for (id, weight) in ids.into_iter().zip(weights) {
                *counts.entry(id).or_default() += f64::from(weight);
                total += f64::from(weight);
            }
        }
    }
    let commonest = counts.iter().max_by(|a, b| a.1.total_cmp(b.1)).map(|(id, _)| *id);
    let (mut loss, mut right, mut asked) = (0.0, 0.0, 0.0);
    let mut metrics = Metrics::new();
    for target in targets(valid, limit) {
        match target? {
            Target::Ids { ids, weights } => {
                for (id, weight) in ids.into_iter().zip(weights.into_iter().map(f64::from)) {
                    // One more of each, so that what training never showed costs much but not everything.
                    let known = counts.get(&id).copied().unwrap_or_default() + 1.0;
                    loss -= weight * (known / (total + counts.len() as f64 + 1.0)).ln();
                    right += if Some(id) == commonest { weight } else { 0.0 };
                    asked += weight;
                }
            }
            Target::Labels(_) => metrics.extend([("wer".to_string(), 1.0), ("cer".to_string(), 1.0)]),
            // Shares are drawn in training; here nothing is.
            Target::Features { .. } | Target::Parts(_) | Target::Shared(_) | Target::Unknown => {}
        }
    }
    if asked > 0.0 {
        metrics.extend([("loss".to_string(), loss / asked), ("accuracy".to_string(), right / asked)]);
    }
    Ok(metrics)
}

/// Samples that may be skipped are. The first samples alone may be of a single class, where each class has a folder.
fn targets(dataset: &dyn Dataset, limit: usize) -> impl Iterator<Item = Result<Target, TrainError>> + '_ {
    let len = dataset.len();
    let n = if limit == 0 { len } else { limit.min(len) };
    (0..n).filter_map(move |i| match (dataset.sample(i * len / n, None), dataset.bad()) {
        (Ok(sample), _) => Some(Ok(sample.target)),
        (Err(_), Bad::Skip) => None,
        (Err(error), Bad::Fail) => Some(Err(error.into())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{DataError, Sample};

    /// So many samples of four classes, one class behind the other.
    struct Sorted(usize);

    impl Dataset for Sorted {
        fn len(&self) -> usize {
            self.0
        }

        fn sample(&self, index: usize, _: Option<u64>) -> Result<Sample, DataError> {
            let target = Target::class((4 * index / self.0) as u32);
            Ok(Sample { inputs: vec![], target, id: index as u64 })
        }
    }

    #[test]
    fn a_few_samples_are_of_every_class() {
        for limit in [0, 4, 8, 100, 1000] {
            let metrics = baseline(&Sorted(100), &Sorted(100), limit).unwrap();
            assert_eq!(metrics["accuracy"], 0.25, "limit {limit}");
        }
    }
}
