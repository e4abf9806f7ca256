//! Samples that cannot be used: whether they stop a run, and the record of those that did not.

use super::{DataError, Dataset, Sample};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What becomes of a sample that cannot be read or tokenized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bad {
    /// The run stops and names it.
    #[default]
    Fail,
    /// Another takes its place, and the run's report names it.
    Skip,
}

/// The most samples that are remembered by name.
const NAMED: usize = 1_000;

/// Samples that could not be used: which, why, and how often each was drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadSamples {
    /// What was wrong, with the location, and how often it came.
    named: BTreeMap<String, u64>,
    /// How often others came, when a thousand were named already.
    others: u64,
}

impl BadSamples {
    /// Counts one; true where it is named for the first time.
    pub fn count(&mut self, problem: &str) -> bool {
        if let Some(times) = self.named.get_mut(problem) {
            *times += 1;
            return false;
        }
        let room = self.named.len() < NAMED;
        match room {
            true => drop(self.named.insert(problem.into(), 1)),
            false => self.others += 1,
        }
        room
    }

    /// How often a sample was drawn that could not be used.
    pub fn total(&self) -> u64 {
        self.named.values().sum::<u64>() + self.others
    }

    /// What was wrong, with the location, and how often it came.
    pub fn named(&self) -> &BTreeMap<String, u64> {
        &self.named
    }

    /// How often a sample was drawn that is not among the [`named`](Self::named).
    pub fn others(&self) -> u64 {
        self.others
    }
}

/// The first sample of a data set, as it is without variation; where that may be skipped, the first that can be used.
///
/// # Errors
/// Why the first sample cannot be used, where no other may take its place or none can.
pub fn first(dataset: &dyn Dataset) -> Result<Sample, DataError> {
    let error = match (dataset.sample(0, None), dataset.bad()) {
        (Ok(sample), _) => return Ok(sample),
        (Err(error), Bad::Fail) => return Err(error),
        (Err(error), Bad::Skip) => error,
    };
    (1..dataset.len()).find_map(|index| dataset.sample(index, None).ok()).ok_or(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_once_and_only_so_many() {
        let mut bad = BadSamples::default();
        assert!(bad.count("a") && !bad.count("a") && bad.count("b"));
        assert_eq!((bad.named()["a"], bad.total()), (2, 3));
        let named = (0..2 * NAMED).filter(|i| bad.count(&format!("n{i}"))).count();
        assert_eq!((named, bad.named().len()), (NAMED - 2, NAMED));
        assert_eq!((bad.others(), bad.total()), (NAMED as u64 + 2, 2 * NAMED as u64 + 3));
        let again: BadSamples = serde_json::from_str(&serde_json::to_string(&bad).unwrap()).unwrap();
        assert_eq!(again, bad);
    }
}
