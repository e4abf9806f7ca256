//! Baseline metrics of predictions that ignore the input.

use super::{Metrics, TrainError};
use crate::data::{Dataset, OnCorruptSample, Output, Target};
use crate::random;
use std::collections::BTreeMap;

/// For each head of a task, by number, the metrics of predictions from the frequencies of training targets. Uses up to `limit`
/// samples of either split, spread evenly over it (0 for all).
///
/// For ids and classes: `loss` of their frequencies (unigram) and `accuracy` of the most frequent. For CTC labels: `wer` and
/// `cer` of an empty text, which are 1. For numbers: none.
///
/// # Errors
/// If a sample cannot be read.
pub fn baseline(
    train: &dyn Dataset,
    validation: &dyn Dataset,
    limit: usize,
) -> Result<BTreeMap<usize, Metrics>, TrainError> {
    let mut heads: BTreeMap<usize, Frequencies> = BTreeMap::new();
    for outputs in outputs(train, limit) {
        outputs?.into_iter().for_each(|output| heads.entry(output.head).or_default().learn(output.target));
    }
    for outputs in outputs(validation, limit) {
        outputs?.into_iter().for_each(|output| heads.entry(output.head).or_default().score(output.target));
    }
    Ok(heads.into_iter().map(|(head, frequencies)| (head, frequencies.metrics())).collect())
}

/// The frequencies of one head's ids in training, and their score on validation.
#[derive(Default)]
struct Frequencies {
    counts: BTreeMap<u32, f64>,
    total: f64,
    most_frequent: Option<u32>,
    loss: f64,
    correct: f64,
    weight: f64,
    ctc: bool,
}

impl Frequencies {
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
                let most_frequent = self.most_frequent.or_else(most);
                self.most_frequent = most_frequent;
                for (id, weight) in ids.into_iter().zip(weights.into_iter().map(f64::from)) {
                    // Add-one smoothing: an id that training does not have gets a finite loss.
                    let known = self.counts.get(&id).copied().unwrap_or_default() + 1.0;
                    self.loss -= weight * (known / (self.total + self.counts.len() as f64 + 1.0)).ln();
                    self.correct += if Some(id) == most_frequent { weight } else { 0.0 };
                    self.weight += weight;
                }
            }
            Target::Labels(_) => self.ctc = true,
            // Shared targets exist only in training.
            Target::Features { .. } | Target::Shared(_) | Target::Unknown | Target::Pair { .. } => {}
        }
    }

    fn metrics(&self) -> Metrics {
        let mut metrics = Metrics::new();
        if self.ctc {
            metrics.extend([("wer".to_string(), 1.0), ("cer".to_string(), 1.0)]);
        }
        if self.weight > 0.0 {
            let (loss, accuracy) = (self.loss / self.weight, self.correct / self.weight);
            metrics.extend([("loss".to_string(), loss), ("accuracy".to_string(), accuracy)]);
        }
        metrics
    }
}

/// The outputs of `limit` samples, without corrupt samples that may be skipped. They are spread over the data set, because
/// its first samples may be of one class.
fn outputs(
    dataset: &dyn Dataset,
    limit: usize,
) -> impl Iterator<Item = Result<Vec<Output>, TrainError>> + '_ {
    let len = dataset.len();
    let n = if limit == 0 { len } else { limit.min(len) };
    (0..n).filter_map(move |i| {
        match (dataset.sample(random::spread(i, n, len), None), dataset.on_corrupt()) {
            (Ok(sample), _) => Some(Ok(sample.outputs)),
            (Err(_), OnCorruptSample::Skip) => None,
            (Err(error), OnCorruptSample::Fail) => Some(Err(error.into())),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{DataError, Sample};

    /// This number of samples of four classes, one class after the other.
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
    fn samples_within_a_limit_cover_all_classes() {
        for limit in [0, 4, 8, 100, 1000] {
            let metrics = baseline(&Sorted(100), &Sorted(100), limit).unwrap();
            assert_eq!(metrics[&0]["accuracy"], 0.25, "limit {limit}");
        }
    }
}
