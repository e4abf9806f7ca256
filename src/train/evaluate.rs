//! How good a model is at one of its tasks.

use super::TrainError;
use crate::data::{Bad, Batch, Dataset, Targets, collate};
use crate::head::{Metrics, Tally, Transcript};
use crate::metrics::Confusion;
use crate::model::Model;
use crate::ops::Value;
use crate::random;
use crate::task::Task;
use std::collections::BTreeMap;

/// What the heads of a task score on a data set, by the name of each output.
pub struct Scores {
    heads: BTreeMap<usize, Scored>,
}

struct Scored {
    output: String,
    /// In the sum of losses over all heads.
    loss_weight: f64,
    tally: Box<dyn Tally>,
}

impl Scores {
    /// The metrics of each output that a sample has: `loss`, the mean loss without label smoothing, and those of
    /// [`Metrics`].
    pub fn metrics(&self) -> BTreeMap<String, Metrics> {
        self.heads.values().map(|scored| (scored.output.clone(), scored.tally.metrics())).collect()
    }

    /// The confusion matrix of an output; `None` if it has no classes.
    pub fn confusion(&self, output: &str) -> Option<Confusion> {
        self.heads.values().find(|scored| scored.output == output)?.tally.confusion()
    }

    /// The mean losses of the heads, each times its weight and its task's.
    pub fn loss(&self) -> f64 {
        let weighted = |scored: &Scored| match scored.loss_weight {
            0.0 => 0.0, // its loss need not be a number
            weight => weight * scored.tally.metrics()["loss"],
        };
        self.heads.values().map(weighted).sum()
    }
}

/// Scores task number `number` of a model on `limit` samples spread evenly over a data set (0 for all).
///
/// Samples that cannot be used are left out where the data set may skip them, and what is wrong with them is added to
/// `bad`.
///
/// # Errors
/// If a sample cannot be read and may not be skipped, or none is left.
pub fn evaluate(
    model: &Model,
    number: usize,
    task: &dyn Task,
    dataset: &dyn Dataset,
    limit: usize,
    batch: usize,
    bad: &mut Vec<String>,
) -> Result<Scores, TrainError> {
    let samples = if limit == 0 { dataset.len() } else { limit.min(dataset.len()) };
    if samples == 0 {
        return Err(TrainError::NoSamples { task: task.spec().label() });
    }
    let mut scorer = Scorer { model, task, heads: BTreeMap::new(), weight: 0.0 };
    let bad_before = bad.len();
    for start in (0..samples).step_by(batch) {
        let indices = start..(start + batch).min(samples);
        let mut drawn = Vec::with_capacity(indices.len());
        for i in indices {
            // Data sets often lie class by class: the first of them are no sample of the whole.
            match (dataset.sample(random::spread(i, samples, dataset.len()), None), dataset.bad()) {
                (Ok(sample), _) => drawn.push((number, sample)),
                (Err(error), Bad::Skip) => bad.push(error.to_string()),
                (Err(error), Bad::Fail) => return Err(error.into()),
            }
        }
        if !drawn.is_empty() {
            scorer.add(&collate(model.layouts(), &drawn)?)?;
        }
    }
    if bad.len() - bad_before == samples {
        return Err(TrainError::NoneUsable {
            task: task.spec().label(),
            samples,
            last: bad.last().cloned().unwrap_or_default(),
        });
    }
    if scorer.weight == 0.0 {
        return Err(TrainError::NothingFits { task: task.spec().label(), samples });
    }
    Ok(Scores { heads: scorer.heads })
}

/// Scores batches of one task.
struct Scorer<'a> {
    model: &'a Model,
    task: &'a dyn Task,
    heads: BTreeMap<usize, Scored>,
    /// Of all targets.
    weight: f64,
}

impl Scorer<'_> {
    fn add(&mut self, batch: &Batch) -> candle_core::Result<()> {
        for (read, output) in batch.heads.iter().zip(self.model.outputs(batch)?) {
            if matches!(read.targets, Targets::Unknown) {
                continue;
            }
            let head = self.model.head(read.task, read.head).head();
            let loss = head.loss(&Value::constant(output.clone()), read, 0.0)?;
            let loss = f64::from(loss.tensor().to_scalar::<f32>()?);
            self.weight += read.targets.weight();
            let spec = self.task.spec();
            let scored = self.heads.entry(read.head).or_insert_with(|| Scored {
                output: spec.output_name(read.head),
                loss_weight: spec.loss_weight * spec.heads[read.head].weight,
                tally: head.tally(),
            });
            scored.tally.add(&output, read, loss, &HeadText { task: self.task, head: read.head })?;
        }
        Ok(())
    }
}

/// The text of a head's ids, as its task reads them.
struct HeadText<'a> {
    task: &'a dyn Task,
    head: usize,
}

impl Transcript for HeadText<'_> {
    fn text(&self, ids: &[u32]) -> Option<String> {
        self.task.transcript(self.head, ids)
    }

    fn bytes(&self, ids: &[u32]) -> Option<usize> {
        self.task.text_bytes(self.head, ids)
    }
}
