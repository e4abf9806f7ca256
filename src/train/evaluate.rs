//! Evaluation of a model on one of its tasks.

use super::TrainError;
use crate::data::{Batch, Dataset, HeadBatch, OnCorruptSample, Sample, Target, Targets, collate};
use crate::head::{MeanLoss, MetricAccumulator, Metrics, Transcript};
use crate::metrics::Confusion;
use crate::model::Model;
use crate::ops::Value;
use crate::random;
use crate::task::Task;
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;

/// The scores of a task's heads on a data set.
pub struct Scores {
    heads: BTreeMap<usize, Scored>,
    /// The number of samples that have a target, by head.
    samples: BTreeMap<usize, usize>,
}

/// The name of the number of samples among the metrics.
pub const SAMPLES: &str = "samples";

/// Whether a metric counts samples and measures nothing: `samples`, `generated_samples`.
pub fn is_count(metric: &str) -> bool {
    metric.ends_with(SAMPLES)
}

struct Scored {
    output: String,
    /// The weight of this loss in the sum over all heads.
    loss_weight: f64,
    loss: MeanLoss,
    accumulator: Box<dyn MetricAccumulator>,
}

impl Scores {
    /// The metrics of each output that has targets, by name: `loss`, the mean loss without label smoothing, if a target counts;
    /// `samples`, the
    /// number of samples with a target, and those of its head.
    pub fn metrics(&self) -> BTreeMap<String, Metrics> {
        let metrics = |(head, scored): (&usize, &Scored)| {
            let mut metrics = scored.accumulator.metrics();
            if scored.loss.has_weight() {
                metrics.insert("loss".into(), scored.loss.mean());
            }
            metrics.insert(SAMPLES.into(), self.samples.get(head).copied().unwrap_or(0) as f64);
            (scored.output.clone(), metrics)
        };
        self.heads.iter().map(metrics).collect()
    }

    /// The confusion matrix of an output; `None` for an output without classes.
    pub fn confusion(&self, output: &str) -> Option<Confusion> {
        self.heads.values().find(|scored| scored.output == output)?.accumulator.confusion()
    }

    /// The sum of the heads' mean losses, weighted by head and task.
    pub fn loss(&self) -> f64 {
        let weighted = |scored: &Scored| match scored.loss_weight {
            0.0 => 0.0, // the loss of an untrained head may be NaN
            weight => weight * scored.loss.mean(),
        };
        self.heads.values().map(weighted).sum()
    }
}

/// Evaluates task number `number` of a model on `limit` samples spread evenly over a data set (0 for all).
///
/// Skips corrupt samples if the data set allows it, and adds their problems to `corrupt`.
///
/// # Errors
/// If a corrupt sample may not be skipped, or no sample with a target is left.
pub fn evaluate(
    model: &Model,
    number: usize,
    task: &dyn Task,
    dataset: &dyn Dataset,
    limit: usize,
    batch: usize,
    corrupt: &mut Vec<String>,
) -> Result<Scores, TrainError> {
    let samples = if limit == 0 { dataset.len() } else { limit.min(dataset.len()) };
    if samples == 0 {
        return Err(TrainError::NoSamples { task: task.spec().label() });
    }
    let mut scorer = Scorer { model, task, heads: BTreeMap::new(), weight: 0.0 };
    let (corrupt_before, mut counts) = (corrupt.len(), BTreeMap::new());
    let batches = (0..samples).step_by(batch);
    for (start, version) in batches.flat_map(|start| (0..dataset.versions()).map(move |v| (start, v))) {
        let indices = start..(start + batch).min(samples);
        let mut drawn = Vec::with_capacity(indices.len());
        for i in indices {
            // Many data sets are sorted by class, so their first samples are not representative.
            let index = random::spread(i, samples, dataset.len());
            match (dataset.version(index, version), dataset.on_corrupt()) {
                (Ok(sample), _) => {
                    if version == 0 {
                        count_targets(&sample, &mut counts);
                    }
                    drawn.push((number, sample));
                }
                (Err(error), OnCorruptSample::Skip) if version == 0 => corrupt.push(error.to_string()),
                (Err(_), OnCorruptSample::Skip) => {}
                (Err(error), OnCorruptSample::Fail) => return Err(error.into()),
            }
        }
        if !drawn.is_empty() {
            let batch = collate(model.layouts(), &drawn)?;
            scorer.add(&batch, model.outputs(&batch)?)?;
        }
    }
    if corrupt.len() - corrupt_before == samples {
        return Err(TrainError::AllCorrupt {
            task: task.spec().label(),
            samples,
            last: corrupt.last().cloned().unwrap_or_default(),
        });
    }
    if scorer.weight == 0.0 {
        return Err(TrainError::NoTargets { task: task.spec().label(), samples });
    }
    Ok(Scores { heads: scorer.heads, samples: counts })
}

/// The scores of another method's predictions, which are a field of the data: `predictions` has the samples of `dataset`, with this
/// field as the target of an output.
///
/// # Errors
/// If a sample is corrupt, an output is not of numbers, or no sample with a target is left.
pub fn evaluate_predictions(
    model: &Model,
    number: usize,
    task: &dyn Task,
    [dataset, predictions]: [&dyn Dataset; 2],
    limit: usize,
    batch: usize,
) -> Result<Scores, TrainError> {
    let samples = if limit == 0 { dataset.len() } else { limit.min(dataset.len()) };
    let mut scorer = Scorer { model, task, heads: BTreeMap::new(), weight: 0.0 };
    let mut counts = BTreeMap::new();
    for start in (0..samples).step_by(batch) {
        let drawn = |dataset: &dyn Dataset| -> Result<Vec<(usize, Sample)>, TrainError> {
            let places = start..(start + batch).min(samples);
            let sample = |i| Ok((number, dataset.version(random::spread(i, samples, dataset.len()), 0)?));
            places.map(sample).collect()
        };
        let scored = drawn(dataset)?;
        scored.iter().for_each(|(_, sample)| count_targets(sample, &mut counts));
        let (batch, predicted) =
            (collate(model.layouts(), &scored)?, collate(model.layouts(), &drawn(predictions)?)?);
        let outputs = batch.heads.iter().map(|read| predicted_numbers(read, &predicted));
        scorer.add(&batch, outputs.collect::<candle_core::Result<_>>()?)?;
    }
    match scorer.weight {
        0.0 => Err(TrainError::NoTargets { task: task.spec().label(), samples }),
        _ => Ok(Scores { heads: scorer.heads, samples: counts }),
    }
}

/// The targets of a head in `predicted` as the head's output, `[rows, width]`.
fn predicted_numbers(read: &HeadBatch, predicted: &Batch) -> candle_core::Result<Tensor> {
    let same = predicted.heads.iter().find(|other| (other.task, other.head) == (read.task, read.head));
    match (same.map(|other| &other.targets), &read.targets) {
        (Some(Targets::Features { values, dim, .. }), Targets::Features { values: scored, .. })
            if values.len() == scored.len() =>
        {
            Tensor::from_slice(values, (values.len() / dim.max(&1), *dim), &Device::Cpu)
        }
        _ => candle_core::bail!(
            "predictions of head {}: expected a number for each target; name a field with one",
            read.head
        ),
    }
}

/// Counts a sample for each head that has a target in it; an empty label has weight 0 and is none.
fn count_targets(sample: &Sample, counts: &mut BTreeMap<usize, usize>) {
    for output in &sample.outputs {
        let has_target = match &output.target {
            Target::Ids { weights, .. } | Target::Features { weights, .. } => {
                weights.iter().any(|&w| w > 0.0)
            }
            Target::Shared(_) | Target::Labels(_) | Target::Pair { .. } => true,
            Target::Unknown => false,
        };
        *counts.entry(output.head).or_default() += usize::from(has_target);
    }
}

/// The evaluation of one task, batch by batch.
struct Scorer<'a> {
    model: &'a Model,
    task: &'a dyn Task,
    heads: BTreeMap<usize, Scored>,
    /// The sum of the weights of all targets.
    weight: f64,
}

impl Scorer<'_> {
    /// Adds a batch with the output of each of its heads.
    fn add(&mut self, batch: &Batch, outputs: Vec<Tensor>) -> candle_core::Result<()> {
        for (read, output) in batch.heads.iter().zip(outputs) {
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
                loss: MeanLoss::default(),
                accumulator: head.accumulator(),
            });
            scored.loss.add(loss, read);
            scored.accumulator.add(&output, read, loss, &HeadText { task: self.task, head: read.head })?;
        }
        Ok(())
    }
}

/// The decoder of a head's ids to text.
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
