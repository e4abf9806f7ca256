//! Metrics: predictions counted against targets.

use super::greatest;
use crate::data::{HeadBatch, Targets};
use crate::metrics::Confusion;
use candle_core::{Result, Tensor};
use std::collections::BTreeMap;
use std::f64::consts::LN_2;

/// Numbers by name: `loss` and, by the head, `accuracy`, `macro_f1`, `micro_f1`, `mae`, `rmse`, `r2`, `wer`, `cer`,
/// `perplexity` and `bits_per_byte`.
pub type Metrics = BTreeMap<String, f64>;

/// Counts the predictions of one head, batch by batch.
pub trait Tally: Send {
    /// Adds the output of a batch, `[rows, width]`, whose weighted sum of losses is `loss`.
    ///
    /// # Errors
    /// If the output cannot be read.
    fn add(
        &mut self,
        output: &Tensor,
        read: &HeadBatch,
        loss: f64,
        transcript: &dyn Transcript,
    ) -> Result<()>;

    /// The metrics of everything that was added.
    fn metrics(&self) -> Metrics;

    /// How often each class was predicted as each; `None` for a head without classes.
    fn confusion(&self) -> Option<Confusion> {
        None
    }
}

/// The text that a head's ids stand for.
pub trait Transcript {
    /// The text of some ids, if they stand for one.
    fn text(&self, _ids: &[u32]) -> Option<String> {
        None
    }

    /// The number of bytes of UTF-8 in the text of some ids, if all of a text is predicted.
    fn bytes(&self, _ids: &[u32]) -> Option<usize> {
        None
    }
}

/// Ids that stand for no text.
pub struct NoTranscript;

impl Transcript for NoTranscript {}

/// A sum of losses and of their weights.
#[derive(Default)]
pub(super) struct MeanLoss {
    sum: f64,
    weight: f64,
}

impl MeanLoss {
    pub(super) fn add(&mut self, loss: f64, read: &HeadBatch) {
        self.sum += loss;
        self.weight += read.targets.weight();
    }

    pub(super) fn mean(&self) -> f64 {
        self.sum / self.weight.max(f64::MIN_POSITIVE)
    }

    pub(super) fn metrics(&self) -> Metrics {
        Metrics::from([("loss".to_string(), self.mean())])
    }
}

/// The weighted share of targets that are predicted.
#[derive(Default)]
pub(super) struct Accuracy {
    right: f64,
    asked: f64,
}

impl Accuracy {
    pub(super) fn add(&mut self, right: bool, weight: f32) {
        self.asked += f64::from(weight);
        self.right += if right { f64::from(weight) } else { 0.0 };
    }

    pub(super) fn insert(&self, metrics: &mut Metrics) {
        if self.asked > 0.0 {
            metrics.insert("accuracy".into(), self.right / self.asked);
        }
    }
}

/// Sums over the targets and predictions of one number.
#[derive(Clone, Debug, Default)]
pub(super) struct NumberSums {
    pub(super) weight: f64,
    mean: f64,
    /// Σ w·(target − mean)².
    pub(super) squares: f64,
    pub(super) absolute_errors: f64,
    pub(super) square_errors: f64,
}

impl NumberSums {
    /// Adds a target; mean and squares as in West 1979, so that a large mean costs no digits.
    pub(super) fn add(&mut self, target: f64, predicted: f64, weight: f64) {
        if weight == 0.0 {
            return;
        }
        self.weight += weight;
        let before = target - self.mean;
        self.mean += before * weight / self.weight;
        self.squares += weight * before * (target - self.mean);
        self.absolute_errors += weight * (target - predicted).abs();
        self.square_errors += weight * (target - predicted).powi(2);
    }

    /// Mean and standard deviation; a deviation of 1 where it is nothing beside the mean: a constant column stays near 0.
    pub(super) fn scaling(&self) -> (f32, f32) {
        let std = (self.squares / self.weight.max(1.0)).sqrt();
        (self.mean as f32, if self.varies() { std as f32 } else { 1.0 })
    }

    pub(super) fn varies(&self) -> bool {
        (self.squares / self.weight.max(1.0)).sqrt() > 1e-6 * self.mean.abs().max(1e-6)
    }
}

/// The tally of a head of classes.
pub(super) struct ClassTally {
    loss: MeanLoss,
    accuracy: Accuracy,
    confusion: Confusion,
}

impl ClassTally {
    pub(super) fn new(labels: &[String]) -> Self {
        let confusion = Confusion::new(labels.to_vec());
        Self { loss: MeanLoss::default(), accuracy: Accuracy::default(), confusion }
    }
}

impl Tally for ClassTally {
    fn add(&mut self, output: &Tensor, read: &HeadBatch, loss: f64, _: &dyn Transcript) -> Result<()> {
        let Targets::Ids { ids, weights } = &read.targets else { return Ok(()) };
        self.loss.add(loss, read);
        for ((best, &id), &weight) in greatest(output)?.into_iter().zip(ids).zip(weights) {
            self.accuracy.add(best == id, weight);
            if weight > 0.0 {
                self.confusion.add(id as usize, best as usize);
            }
        }
        Ok(())
    }

    fn metrics(&self) -> Metrics {
        let mut metrics = self.loss.metrics();
        self.accuracy.insert(&mut metrics);
        metrics.extend(self.confusion.macro_f1().map(|f1| ("macro_f1".to_string(), f1)));
        metrics
    }

    fn confusion(&self) -> Option<Confusion> {
        Some(self.confusion.clone())
    }
}

/// The tally of a head of ids.
#[derive(Default)]
pub(super) struct TokenTally {
    loss: MeanLoss,
    accuracy: Accuracy,
    bytes: usize,
    /// Whether the loss is that of all of a text, so that its exponential is a perplexity.
    of_all: bool,
}

impl TokenTally {
    /// A tally of all ids of a text, which has a perplexity.
    pub(super) fn of_all() -> Self {
        Self { of_all: true, ..Self::default() }
    }
}

impl Tally for TokenTally {
    fn add(
        &mut self,
        output: &Tensor,
        read: &HeadBatch,
        loss: f64,
        transcript: &dyn Transcript,
    ) -> Result<()> {
        let Targets::Ids { ids, weights } = &read.targets else { return Ok(()) };
        self.loss.add(loss, read);
        for ((best, &id), &weight) in greatest(output)?.into_iter().zip(ids).zip(weights) {
            self.accuracy.add(best == id, weight);
        }
        self.bytes += transcript.bytes(ids).unwrap_or_default();
        Ok(())
    }

    fn metrics(&self) -> Metrics {
        let mut metrics = self.loss.metrics();
        self.accuracy.insert(&mut metrics);
        if self.of_all {
            metrics.insert("perplexity".into(), self.loss.mean().exp());
        }
        if self.bytes > 0 {
            metrics.insert("bits_per_byte".into(), self.loss.sum / LN_2 / self.bytes as f64);
        }
        metrics
    }
}

/// The tally of a head that counts nothing but its loss.
#[derive(Default)]
pub(super) struct LossTally(MeanLoss);

impl Tally for LossTally {
    fn add(&mut self, _: &Tensor, read: &HeadBatch, loss: f64, _: &dyn Transcript) -> Result<()> {
        self.0.add(loss, read);
        Ok(())
    }

    fn metrics(&self) -> Metrics {
        self.0.metrics()
    }
}
