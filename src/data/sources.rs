//! Several data sets of one task as one, each with its weight.

use super::{Bad, DataError, Dataset, Sample};
use crate::random::mix;
use std::sync::Arc;

/// Data sets of one task. In training each keeps its share of the draws, and has epochs of its own; otherwise they come
/// one behind the other.
pub struct Sources {
    parts: Vec<(Arc<dyn Dataset>, f64)>,
    skipped: Vec<(String, &'static str)>,
}

impl Sources {
    /// These data sets, one at least, each with its weight; and files of theirs that are not used.
    pub fn new(parts: Vec<(Arc<dyn Dataset>, f64)>, skipped: Vec<(String, &'static str)>) -> Self {
        Self { parts, skipped }
    }

    /// The number of a sample's data set, the set, and the sample's number there.
    fn find(&self, mut index: usize) -> Option<(usize, &dyn Dataset, usize)> {
        for (number, (part, _)) in self.parts.iter().enumerate() {
            match index.checked_sub(part.len()) {
                None => return Some((number, part.as_ref(), index)),
                Some(rest) => index = rest,
            }
        }
        None
    }
}

impl Dataset for Sources {
    fn len(&self) -> usize {
        self.parts.iter().map(|(part, _)| part.len()).sum()
    }

    fn sample(&self, index: usize, seed: Option<u64>) -> Result<Sample, DataError> {
        let missing = || DataError::Missing {
            location: format!("sample {index}"),
            expected: format!("a number below {}", self.len()),
        };
        let (number, part, index) = self.find(index).ok_or_else(missing)?;
        let mut sample = part.sample(index, seed)?;
        if number > 0 {
            sample.id = mix(sample.id, number as u64);
        }
        Ok(sample)
    }

    fn bad(&self) -> Bad {
        self.parts.first().map_or(Bad::Fail, |(part, _)| part.bad())
    }

    fn varies(&self) -> bool {
        self.parts.iter().any(|(part, _)| part.varies())
    }

    fn skipped(&self) -> &[(String, &'static str)] {
        &self.skipped
    }

    fn lanes(&self) -> Vec<(usize, f64)> {
        self.parts.iter().map(|(part, weight)| (part.len(), *weight)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Target;

    struct Numbers(usize);

    impl Dataset for Numbers {
        fn len(&self) -> usize {
            self.0
        }

        fn sample(&self, index: usize, _: Option<u64>) -> Result<Sample, DataError> {
            Ok(Sample {
                inputs: vec![],
                outputs: vec![Target::class((100 * self.0 + index) as u32).into()],
                id: index as u64,
            })
        }
    }

    #[test]
    fn samples_of_all_parts_follow_one_another_and_are_told_apart() {
        let sources = Sources::new(vec![(Arc::new(Numbers(2)), 1.0), (Arc::new(Numbers(3)), 4.0)], vec![]);
        let samples: Vec<Sample> = (0..5).map(|index| sources.sample(index, None).unwrap()).collect();
        let targets: Vec<Target> = samples.iter().map(|sample| sample.outputs[0].target.clone()).collect();
        assert_eq!(targets, [200, 201, 300, 301, 302].map(Target::class));
        let ids: std::collections::BTreeSet<u64> = samples.iter().map(|sample| sample.id).collect();
        assert_eq!((ids.len(), sources.len(), sources.lanes()), (5, 5, vec![(2, 1.0), (3, 4.0)]));
        assert!(sources.sample(5, None).is_err());
    }
}
