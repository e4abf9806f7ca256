//! Accumulators of metrics over the batches of an evaluation.

use super::argmax;
use crate::data::{HeadBatch, Targets};
use crate::metrics::Confusion;
use candle_core::{Result, Tensor};
use std::collections::BTreeMap;
use std::f64::consts::LN_2;

/// Metrics by name: `loss`, which the evaluation adds, and those of the head, such as `accuracy`, `macro_f1`, `micro_f1`,
/// `mae`, `rmse`, `r2`, `cosine`, `wer`, `cer`, `perplexity` and `bits_per_byte`, or bounds on these (`bits_per_byte_bound`).
pub type Metrics = BTreeMap<String, f64>;

/// Accumulates the metrics of one head, batch by batch.
pub trait MetricAccumulator: Send {
    /// Adds the output of a batch, `[rows, width]` in f32, after [`Head::activation`](super::Head::activation); `loss` is its
    /// weighted sum of losses ([`Head::loss`](super::Head::loss)). Rows of weight 0 do not count.
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

    /// The head's own metrics over all batches so far; the evaluation adds `loss`, the mean loss.
    fn metrics(&self) -> Metrics;

    /// The confusion matrix; `None` for a head without classes.
    fn confusion(&self) -> Option<Confusion> {
        None
    }
}

/// Decodes a head's ids to text.
pub trait Transcript {
    /// The text of these ids; `None` if the ids are not text.
    fn text(&self, _ids: &[u32]) -> Option<String> {
        None
    }

    /// The number of UTF-8 bytes in the text of these ids; `None` unless the head predicts every token of a text.
    fn bytes(&self, _ids: &[u32]) -> Option<usize> {
        None
    }
}

/// The [`Transcript`] of ids that are not text.
pub struct NoTranscript;

impl Transcript for NoTranscript {}

/// A sum of losses and of their weights.
#[derive(Default)]
pub(crate) struct MeanLoss {
    sum: f64,
    weight: f64,
}

impl MeanLoss {
    pub(crate) fn add(&mut self, loss: f64, read: &HeadBatch) {
        self.sum += loss;
        self.weight += read.targets.weight();
    }

    /// Whether a target counted.
    pub(crate) fn has_weight(&self) -> bool {
        self.weight > 0.0
    }

    pub(crate) fn mean(&self) -> f64 {
        self.sum / self.weight.max(f64::MIN_POSITIVE)
    }
}

/// The weighted share of correct predictions.
#[derive(Default)]
pub(super) struct Accuracy {
    correct: f64,
    total: f64,
}

impl Accuracy {
    pub(super) fn add(&mut self, is_correct: bool, weight: f32) {
        self.total += f64::from(weight);
        self.correct += if is_correct { f64::from(weight) } else { 0.0 };
    }

    pub(super) fn insert(&self, metrics: &mut Metrics) {
        if self.total > 0.0 {
            metrics.insert("accuracy".into(), self.correct / self.total);
        }
    }
}

/// Sums over the targets and predictions of one dimension.
#[derive(Clone, Debug, Default)]
pub(super) struct NumberSums {
    pub(super) weight: f64,
    mean: f64,
    /// Σ w·(target − mean)².
    pub(super) squares: f64,
    pub(super) absolute_errors: f64,
    pub(super) square_errors: f64,
    /// Σ w·target².
    pub(super) target_squares: f64,
    /// Σ w·predicted².
    pub(super) predicted_squares: f64,
    /// Σ w·target·predicted.
    pub(super) products: f64,
}

impl NumberSums {
    /// Adds a target and its prediction; the incremental mean (West 1979) keeps precision if the mean is large.
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
        self.target_squares += weight * target * target;
        self.predicted_squares += weight * predicted * predicted;
        self.products += weight * target * predicted;
    }

    /// Mean and standard deviation; the deviation of a constant dimension is 1, so that normalization keeps it near 0.
    pub(super) fn scaling(&self) -> (f32, f32) {
        let std = (self.squares / self.weight.max(1.0)).sqrt();
        (self.mean as f32, if self.varies() { std as f32 } else { 1.0 })
    }

    pub(super) fn varies(&self) -> bool {
        (self.squares / self.weight.max(1.0)).sqrt() > 1e-6 * self.mean.abs().max(1e-6)
    }
}

/// Accuracy, macro F1 and confusion matrix of a head of classes.
pub(super) struct ClassAccumulator {
    accuracy: Accuracy,
    confusion: Confusion,
}

impl ClassAccumulator {
    pub(super) fn new(labels: &[String]) -> Self {
        Self { accuracy: Accuracy::default(), confusion: Confusion::new(labels.to_vec()) }
    }
}

impl MetricAccumulator for ClassAccumulator {
    fn add(&mut self, output: &Tensor, read: &HeadBatch, _: f64, _: &dyn Transcript) -> Result<()> {
        let Targets::Ids { ids, weights } = &read.targets else { return Ok(()) };
        for ((best, &id), &weight) in argmax(output)?.into_iter().zip(ids).zip(weights) {
            self.accuracy.add(best == id, weight);
            if weight > 0.0 {
                self.confusion.add(id as usize, best as usize);
            }
        }
        Ok(())
    }

    fn metrics(&self) -> Metrics {
        let mut metrics = Metrics::new();
        self.accuracy.insert(&mut metrics);
        metrics.extend(self.confusion.macro_f1().map(|f1| ("macro_f1".to_string(), f1)));
        metrics
    }

    fn confusion(&self) -> Option<Confusion> {
        Some(self.confusion.clone())
    }
}

/// Accuracy and, for language modelling, perplexity and bits per byte of a head of ids.
#[derive(Default)]
pub(super) struct TokenAccumulator {
    loss: MeanLoss,
    accuracy: Accuracy,
    bytes: usize,
    /// Whether every token is predicted, so that the exponential of the loss is a perplexity.
    has_perplexity: bool,
}

impl TokenAccumulator {
    /// An accumulator for a head that predicts every token of a sequence.
    pub(super) fn with_perplexity() -> Self {
        Self { has_perplexity: true, ..Self::default() }
    }
}

impl MetricAccumulator for TokenAccumulator {
    fn add(
        &mut self,
        output: &Tensor,
        read: &HeadBatch,
        loss: f64,
        transcript: &dyn Transcript,
    ) -> Result<()> {
        let Targets::Ids { ids, weights } = &read.targets else { return Ok(()) };
        self.loss.add(loss, read);
        for ((best, &id), &weight) in argmax(output)?.into_iter().zip(ids).zip(weights) {
            self.accuracy.add(best == id, weight);
        }
        self.bytes += transcript.bytes(ids).unwrap_or_default();
        Ok(())
    }

    fn metrics(&self) -> Metrics {
        let mut metrics = Metrics::new();
        self.accuracy.insert(&mut metrics);
        if self.has_perplexity {
            metrics.insert("perplexity".into(), self.loss.mean().exp());
        }
        if self.bytes > 0 {
            metrics.insert("bits_per_byte".into(), self.loss.sum / LN_2 / self.bytes as f64);
        }
        metrics
    }
}

/// A bound on the negative log-likelihood of texts, from weights that sum to the number of tokens.
#[derive(Default)]
pub(super) struct BoundAccumulator {
    loss: MeanLoss,
    accuracy: Accuracy,
    bytes: usize,
    characters: usize,
}

impl MetricAccumulator for BoundAccumulator {
    fn add(
        &mut self,
        output: &Tensor,
        read: &HeadBatch,
        loss: f64,
        transcript: &dyn Transcript,
    ) -> Result<()> {
        let Targets::Ids { ids, weights } = &read.targets else { return Ok(()) };
        self.loss.add(loss, read);
        for ((best, &id), &weight) in argmax(output)?.into_iter().zip(ids).zip(weights) {
            self.accuracy.add(best == id, weight);
        }
        if let Some(bytes) = transcript.bytes(ids) {
            self.bytes += bytes;
            self.characters += transcript.text(ids).map_or(0, |text| text.chars().count());
        }
        Ok(())
    }

    /// `perplexity_bound`, `bits_per_character_bound` and `bits_per_byte_bound`.
    fn metrics(&self) -> Metrics {
        let mut metrics = Metrics::new();
        self.accuracy.insert(&mut metrics);
        metrics.insert("perplexity_bound".into(), self.loss.mean().exp());
        for (name, n) in [("bits_per_character_bound", self.characters), ("bits_per_byte_bound", self.bytes)]
        {
            if n > 0 {
                metrics.insert(name.into(), self.loss.sum / LN_2 / n as f64);
            }
        }
        metrics
    }
}

/// No metrics of the head's own.
pub(super) struct NoMetrics;

impl MetricAccumulator for NoMetrics {
    fn add(&mut self, _: &Tensor, _: &HeadBatch, _: f64, _: &dyn Transcript) -> Result<()> {
        Ok(())
    }

    fn metrics(&self) -> Metrics {
        Metrics::new()
    }
}
