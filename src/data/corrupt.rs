//! Corrupt samples, which cannot be read or tokenized: whether they stop a run, and the count of those that did not.

use super::{DataError, Dataset, Sample};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The reaction to a corrupt sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnCorruptSample {
    /// Stop the run with an error that names the sample.
    #[default]
    Fail,
    /// Replace the sample by another and name it in the run's report.
    Skip,
}

/// The most problems that are kept by name.
const MAX_NAMED: usize = 1_000;

/// The corrupt samples of a run: what is wrong with each, and how often it was drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorruptSamples {
    /// Problems, which name the file, and how often each occurred.
    named: BTreeMap<String, u64>,
    /// Draws of corrupt samples beyond the first [`MAX_NAMED`].
    others: u64,
}

impl CorruptSamples {
    /// Counts a problem; true if it is kept by name and new.
    pub fn count(&mut self, problem: &str) -> bool {
        if let Some(times) = self.named.get_mut(problem) {
            *times += 1;
            return false;
        }
        let room = self.named.len() < MAX_NAMED;
        match room {
            true => drop(self.named.insert(problem.into(), 1)),
            false => self.others += 1,
        }
        room
    }

    /// The number of draws of corrupt samples.
    pub fn total(&self) -> u64 {
        self.named.values().sum::<u64>() + self.others
    }

    /// The problems, which name the file, and how often each occurred.
    pub fn named(&self) -> &BTreeMap<String, u64> {
        &self.named
    }

    /// The number of draws of corrupt samples that are not among the [`named`](Self::named).
    pub fn others(&self) -> u64 {
        self.others
    }
}

/// The first sample of a data set, without augmentation; if corrupt samples are skipped, the first that is not corrupt.
///
/// # Errors
/// The error of the first sample, if corrupt samples are not skipped or all are corrupt.
pub fn first(dataset: &dyn Dataset) -> Result<Sample, DataError> {
    let error = match (dataset.sample(0, None), dataset.on_corrupt()) {
        (Ok(sample), _) => return Ok(sample),
        (Err(error), OnCorruptSample::Fail) => return Err(error),
        (Err(error), OnCorruptSample::Skip) => error,
    };
    (1..dataset.len()).find_map(|index| dataset.sample(index, None).ok()).ok_or(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_named_once_up_to_a_limit() {
        let mut corrupt = CorruptSamples::default();
        assert!(corrupt.count("a") && !corrupt.count("a") && corrupt.count("b"));
        assert_eq!((corrupt.named()["a"], corrupt.total()), (2, 3));
        let named = (0..2 * MAX_NAMED).filter(|i| corrupt.count(&format!("n{i}"))).count();
        assert_eq!((named, corrupt.named().len()), (MAX_NAMED - 2, MAX_NAMED));
        assert_eq!((corrupt.others(), corrupt.total()), (MAX_NAMED as u64 + 2, 2 * MAX_NAMED as u64 + 3));
        let restored: CorruptSamples =
            serde_json::from_str(&serde_json::to_string(&corrupt).unwrap()).unwrap();
        assert_eq!(restored, corrupt);
    }
}
