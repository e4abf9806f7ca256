//! The frozen reference model of preference pairs: its log-probabilities, which are computed once, before training.

use super::{TrainError, TrainTask};
use crate::data::{DataError, Dataset, OnCorruptSample, Output, Sample, Target, Targets, collate};
use crate::model::Model;
use crate::ops::preference::log_probs;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The first bytes of a SHA-256 of a pair's tokens.
type Key = [u8; 16];

/// The log-probabilities of the chosen and of the rejected completion of each pair, by the tokens of the pair.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct References(BTreeMap<Key, [f64; 2]>);

impl References {
    /// The log-probabilities of the pairs of all tasks, of both splits, under `model`. Each pair is a batch of its own, so they
    /// do not depend on the order of the rows. A corrupt row that may be skipped has none.
    ///
    /// # Errors
    /// [`TrainError::VaryingPairs`] for samples that change from draw to draw, and if a sample cannot be read.
    pub fn of(model: &Model, tasks: &[TrainTask]) -> Result<Self, TrainError> {
        let mut references = BTreeMap::new();
        for (number, task) in tasks.iter().enumerate().filter(|(_, task)| needs_reference(task)) {
            let name = &task.task.spec().name;
            for dataset in [&task.train, &task.validation] {
                if dataset.varies() {
                    return Err(TrainError::VaryingPairs { task: task.task.spec().label() });
                }
                for index in 0..dataset.len() {
                    let sample = match (dataset.sample(index, None), dataset.on_corrupt()) {
                        (Ok(sample), _) => sample,
                        (Err(_), OnCorruptSample::Skip) => continue,
                        (Err(error), OnCorruptSample::Fail) => return Err(error.into()),
                    };
                    references.extend(of_sample(model, number, name, sample)?);
                }
            }
        }
        Ok(Self(references))
    }

    /// The data set with these log-probabilities in its targets; `task` is the task's name.
    pub fn attach(self: &Arc<Self>, dataset: Arc<dyn Dataset>, task: &str) -> Arc<dyn Dataset> {
        Arc::new(Referenced { dataset, task: task.into(), references: self.clone() })
    }
}

/// Whether a head of a task needs a reference model.
pub(crate) fn needs_reference(task: &TrainTask) -> bool {
    task.task.spec().heads.iter().any(|head| head.head.needs_reference())
}

/// The log-probabilities of a sample's pairs.
fn of_sample(
    model: &Model,
    number: usize,
    task: &str,
    sample: Sample,
) -> Result<Vec<(Key, [f64; 2])>, TrainError> {
    let keys: BTreeMap<usize, Key> =
        sample.outputs.iter().filter_map(|output| Some((output.head, key(task, &sample, output)?))).collect();
    let batch = collate(model.layouts(), &[(number, sample)])?;
    let mut found = vec![];
    for (read, output) in batch.heads.iter().zip(model.outputs(&batch)?) {
        let (Targets::Pairs { ids, weights, pairs }, Some(key)) = (&read.targets, keys.get(&read.head))
        else {
            continue;
        };
        let log_probs = log_probs(&output, ids, weights)?;
        let total = |rows: &std::ops::Range<usize>| log_probs[rows.clone()].iter().sum::<f64>();
        found.extend(pairs.iter().map(|pair| (*key, [total(&pair.chosen), total(&pair.rejected)])));
    }
    Ok(found)
}

/// The key of an output that is a pair: of its tokens and targets, of which the reference model's log-probabilities depend.
fn key(task: &str, sample: &Sample, output: &Output) -> Option<Key> {
    let Target::Pair { ids, weights, n_chosen, .. } = &output.target else { return None };
    let hashed = (task, output.head, &sample.inputs, ids, weights, n_chosen);
    let hash = Sha256::digest(postcard::to_stdvec(&hashed).ok()?);
    hash.first_chunk().copied()
}

/// A data set whose pairs have the log-probabilities of a reference model.
struct Referenced {
    dataset: Arc<dyn Dataset>,
    task: String,
    references: Arc<References>,
}

impl Referenced {
    /// The log-probabilities of each pair of a sample, by head.
    fn find(&self, sample: &Sample) -> Result<BTreeMap<usize, [f64; 2]>, DataError> {
        let mut found = BTreeMap::new();
        for output in &sample.outputs {
            let Some(key) = key(&self.task, sample, output) else { continue };
            let Some(reference) = self.references.0.get(&key) else {
                let problem = "is a pair for which the run has no log-probabilities of its reference model: it can be \
                               evaluated and resumed on the pairs alone with which it was created";
                let task = self.task.clone();
                return Err(DataError::Sample { task, id: sample.id, problem: problem.into() });
            };
            found.insert(output.head, *reference);
        }
        Ok(found)
    }
}

impl Dataset for Referenced {
    fn len(&self) -> usize {
        self.dataset.len()
    }

    fn sample(&self, index: usize, seed: Option<u64>) -> Result<Sample, DataError> {
        let mut sample = self.dataset.sample(index, seed)?;
        let found = self.find(&sample)?;
        for output in &mut sample.outputs {
            if let (Target::Pair { reference, .. }, Some(known)) =
                (&mut output.target, found.get(&output.head))
            {
                *reference = *known;
            }
        }
        Ok(sample)
    }

    fn on_corrupt(&self) -> OnCorruptSample {
        self.dataset.on_corrupt()
    }

    fn varies(&self) -> bool {
        self.dataset.varies()
    }

    fn origin(&self, index: usize) -> Option<String> {
        self.dataset.origin(index)
    }

    fn skipped(&self) -> &[(String, &'static str)] {
        self.dataset.skipped()
    }

    fn lanes(&self) -> Vec<(usize, f64)> {
        self.dataset.lanes()
    }
}
