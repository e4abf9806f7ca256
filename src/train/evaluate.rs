//! How good a model is at one of its tasks.

use super::TrainError;
use crate::data::{Bad, Dataset, Targets, collate};
use crate::head::Says;
use crate::metrics::edits;
use crate::model::Model;
use crate::ops::{Value, ctc};
use crate::task::Task;
use candle_core::Tensor;
use std::collections::BTreeMap;
use std::f64::consts::LN_2;

/// Numbers by name: `loss`, and by the kind of head `accuracy`, `bits_per_byte`, or `wer` and `cer`.
pub type Metrics = BTreeMap<String, f64>;

/// The model's metrics for task number `task` on `limit` samples spread evenly over a data set (0 for all).
///
/// `loss` is the mean loss without label smoothing. `accuracy` is the share of right classes, ids or actions, of
/// an action in parts that of all choices together;
/// `wer` and `cer` are word and character errors over the words and characters that should have been found.
/// `bits_per_byte` is the loss of all next tokens, in bits, over the bytes of the text that they are.
/// Samples that cannot be used are left out where the data set may skip them, and what is wrong with them is added to
/// `bad`.
///
/// # Errors
/// Where a sample cannot be read and may not be skipped, or none is left.
pub fn evaluate(
    model: &Model,
    number: usize,
    task: &dyn Task,
    dataset: &dyn Dataset,
    limit: usize,
    batch: usize,
    bad: &mut Vec<String>,
) -> Result<Metrics, TrainError> {
    let samples = if limit == 0 { dataset.len() } else { limit.min(dataset.len()) };
    if samples == 0 {
        return Err(TrainError::NoSamples { task: task.spec().name.clone() });
    }
    let (mut tally, bad_before) = (Tally::default(), bad.len());
    for start in (0..samples).step_by(batch) {
        let indices = start..(start + batch).min(samples);
        let mut drawn = Vec::with_capacity(indices.len());
        for i in indices {
            // Data sets often lie class by class: the first of them are no sample of the whole.
            match (dataset.sample(i * dataset.len() / samples, None), dataset.bad()) {
                (Ok(sample), _) => drawn.push((number, sample)),
                (Err(error), Bad::Skip) => bad.push(error.to_string()),
                (Err(error), Bad::Fail) => return Err(error.into()),
            }
        }
        if drawn.is_empty() {
            continue;
        }
        let batch = collate(model.layouts(), &drawn)?;
        for (read, output) in batch.heads.iter().zip(model.outputs(&batch)?) {
            let head = &model.heads()[read.task];
            let outputs = head.split(&output)?;
            let values: Vec<Value> = outputs.iter().cloned().map(Value::constant).collect();
            let loss = head.loss(&values, read, 0.0)?;
            tally.loss += f64::from(loss.tensor().to_scalar::<f32>()?);
            tally.weight += read.targets.weight();
            match (&read.targets, head.says()) {
                (Targets::Ids { ids, weights }, _) => {
                    tally.count_ids(&output, ids, weights)?;
                    tally.bytes += task.text_bytes(ids).unwrap_or_default();
                }
                (Targets::Parts(parts), _) => {
                    for (output, part) in outputs.iter().zip(parts) {
                        if let Targets::Ids { ids, weights } = part {
                            tally.count_ids(output, ids, weights)?;
                        }
                    }
                }
                (Targets::Labels { labels, .. }, Says::Ctc { labels: blank }) => {
                    let blank = *blank;
                    for (rows, labels) in read.documents.iter().zip(labels) {
                        let found = ctc::best_path(&output.narrow(0, rows.start, rows.len())?, blank as u32)?;
                        tally.count_labels(task, &found, labels);
                    }
                }
                _ => {}
            }
        }
    }
    if bad.len() - bad_before == samples {
        return Err(TrainError::NoneUsable {
            task: task.spec().name.clone(),
            samples,
            last: bad.last().cloned().unwrap_or_default(),
        });
    }
    if tally.weight == 0.0 {
        return Err(TrainError::NothingFits { task: task.spec().name.clone(), samples });
    }
    Ok(tally.metrics())
}

#[derive(Default)]
struct Tally {
    loss: f64,
    weight: f64,
    right: f64,
    asked: f64,
    bytes: usize,
    word_errors: usize,
    words: usize,
    character_errors: usize,
    characters: usize,
}

impl Tally {
    fn count_ids(&mut self, output: &Tensor, ids: &[u32], weights: &[f32]) -> Result<(), TrainError> {
        let best = output.argmax(1)?.to_vec1::<u32>()?;
        for ((best, id), &weight) in best.iter().zip(ids).zip(weights) {
            self.asked += f64::from(weight);
            self.right += if best == id { f64::from(weight) } else { 0.0 };
        }
        Ok(())
    }

    fn count_labels(&mut self, task: &dyn Task, found: &[u32], expected: &[u32]) {
        let (Some(found), Some(expected)) = (task.transcript(found), task.transcript(expected)) else {
            return;
        };
        let words = |text: &str| text.split_whitespace().map(str::to_string).collect::<Vec<_>>();
        let characters = |text: &str| text.chars().collect::<Vec<_>>();
        self.word_errors += edits(&words(&found), &words(&expected));
        self.words += words(&expected).len();
        self.character_errors += edits(&characters(&found), &characters(&expected));
        self.characters += characters(&expected).len();
    }

    fn metrics(&self) -> Metrics {
        let mut metrics =
            Metrics::from([("loss".to_string(), self.loss / self.weight.max(f64::MIN_POSITIVE))]);
        if self.asked > 0.0 {
            metrics.insert("accuracy".into(), self.right / self.asked);
        }
        if self.bytes > 0 {
            metrics.insert("bits_per_byte".into(), self.loss / LN_2 / self.bytes as f64);
        }
        if self.words > 0 {
            metrics.insert("wer".into(), self.word_errors as f64 / self.words as f64);
            metrics.insert("cer".into(), self.character_errors as f64 / self.characters.max(1) as f64);
        }
        metrics
    }
}
