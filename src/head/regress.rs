//! Regression of numbers, by squared error.

use super::accumulator::{MetricAccumulator, NumberSums, Transcript};
use super::{
    FitData, Head, HeadKind, Metrics, OutputScale, Prediction, TargetContext, document_value, loss,
    value_per_token,
};
use crate::data::{HeadBatch, Target, Targets};
use crate::ops::{self, Activation};
use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};
use smalti_contract::{TokenizeError, Value};
use std::ops::Range;

/// Predicts numbers for a sample, or for each step of a series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Regress {
    dim: usize,
    bounded: bool,
    /// `[dim]`: subtracted from the targets; empty without normalization.
    mean: Vec<f32>,
    /// `[dim]`: divides the targets after that.
    std: Vec<f32>,
}

/// Settings of [`Regress`].
#[derive(Clone, Debug, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RegressSettings {
    /// Whether targets are normalized to mean 0 and standard deviation 1 over the training rows. Predictions and metrics are
    /// in the units of the data. Default: true unless `bounded`.
    pub normalize: Option<bool>,
    /// Whether a hyperbolic tangent keeps the predictions in −1..1.
    pub bounded: bool,
}

/// Values that mean and standard deviation are computed from, at most.
const MAX_FITTED: usize = 100_000;

impl Regress {
    /// A head of `dim` numbers without normalization, kept in −1..1 if `bounded`.
    pub fn new(dim: usize, bounded: bool) -> Self {
        Self { dim, bounded, mean: vec![], std: vec![] }
    }

    /// The head with targets normalized to `(x - mean) / std`, each `[dim]`; predictions are in the units of `x`.
    #[must_use]
    pub fn scaled(mut self, mean: Vec<f32>, std: Vec<f32>) -> Self {
        (self.mean, self.std) = (mean, std);
        self
    }

    /// The numbers of a value, normalized.
    fn numbers(&self, value: Value) -> std::result::Result<Vec<f32>, TokenizeError> {
        let mut numbers = value.into_numbers()?;
        if numbers.len() != self.dim {
            let (expected, found) = (self.dim, numbers.len());
            return Err(TokenizeError::Input(format!(
                "expected {expected} numbers, as in training; found {found}"
            )));
        }
        if let Some(number) = numbers.iter().find(|number| !number.is_finite()) {
            return Err(TokenizeError::Input(format!("expected finite numbers; found {number}")));
        }
        let scaling = self.mean.iter().zip(&self.std);
        numbers.iter_mut().zip(scaling).for_each(|(x, (mean, std))| *x = (*x - mean) / std);
        Ok(numbers)
    }
}

impl Head for Regress {
    fn width(&self) -> usize {
        self.dim
    }

    fn activation(&self) -> Option<Activation> {
        self.bounded.then_some(Activation::Tanh)
    }

    fn output_scale(&self) -> OutputScale<'_> {
        match [&self.mean, &self.std].iter().all(|numbers| numbers.len() == self.dim) {
            true => OutputScale::Affine { mean: &self.mean, std: &self.std },
            false => OutputScale::Unscaled,
        }
    }

    /// A missing step of a series has weight 0.
    fn target(&self, value: Value, context: &TargetContext) -> std::result::Result<Target, TokenizeError> {
        let (mut values, mut weights) = (Vec::new(), Vec::new());
        for value in value_per_token(value, context.tokens)? {
            let missing = value.is_missing();
            values.extend(if missing { vec![0.0; self.dim] } else { self.numbers(value)? });
            weights.push(if missing { 0.0 } else { 1.0 });
        }
        Ok(Target::Features { values, dim: self.dim, weights })
    }

    fn loss(&self, output: &ops::Value, read: &HeadBatch, _: f32) -> Result<ops::Value> {
        loss::squared_error(Self::NAME, output, read)
    }

    fn accumulator(&self) -> Box<dyn MetricAccumulator> {
        let dimensions = vec![NumberSums::default(); self.dim];
        Box::new(NumberAccumulator { head: self.clone(), dimensions })
    }

    fn predict(&self, output: &Tensor, documents: &[Range<usize>]) -> Result<Vec<Prediction>> {
        let of_row = |row: Vec<f32>| match self.output_scale().apply(&row)[..] {
            [number] => Value::Number(number),
            ref numbers => Value::vector(numbers.iter().map(|&x| x as f32).collect::<Vec<_>>()),
        };
        let predict = |rows: &Range<usize>| {
            let rows = output.narrow(0, rows.start, rows.len())?.to_vec2::<f32>()?;
            let value = document_value(rows.into_iter().map(of_row).collect());
            Ok(Prediction { value, probabilities: vec![] })
        };
        documents.iter().map(predict).collect()
    }
}

impl HeadKind for Regress {
    const NAME: &'static str = "regress";
    type Settings = RegressSettings;

    fn settings_schema() -> serde_json::Value {
        schemars::schema_for!(RegressSettings).into()
    }

    fn fit(settings: RegressSettings, data: &FitData) -> std::result::Result<Self, TokenizeError> {
        let refuse = |problem: String| Err(TokenizeError::Config { tokenizer: Self::NAME, problem });
        let RegressSettings { normalize, bounded } = settings;
        let normalize = normalize.unwrap_or(!bounded);
        if normalize && bounded {
            return refuse("expected either normalize or bounded; found both: set normalize = false".into());
        }
        let mut dimensions: Vec<NumberSums> = Vec::new();
        for value in data.values.spread(MAX_FITTED) {
            let value = value?;
            if value.is_missing() {
                continue;
            }
            let numbers = value.into_numbers()?;
            if dimensions.is_empty() {
                dimensions = vec![NumberSums::default(); numbers.len()];
            }
            if numbers.is_empty() || numbers.len() != dimensions.len() {
                let (expected, found) = (dimensions.len().max(1), numbers.len());
                return refuse(format!(
                    "expected values of {expected} numbers, like the first; found {found}"
                ));
            }
            let finite = dimensions.iter_mut().zip(numbers).filter(|(_, number)| number.is_finite());
            finite.for_each(|(dimension, number)| dimension.add(f64::from(number), f64::from(number), 1.0));
        }
        if dimensions.is_empty() {
            return refuse("expected numbers in the training rows; found none".into());
        }
        let mut head = Self::new(dimensions.len(), bounded);
        if normalize {
            (head.mean, head.std) = dimensions.iter().map(NumberSums::scaling).unzip();
        }
        Ok(head)
    }
}

/// Errors of predictions, in the units of the data.
struct NumberAccumulator {
    head: Regress,
    dimensions: Vec<NumberSums>,
}

impl MetricAccumulator for NumberAccumulator {
    fn add(&mut self, output: &Tensor, read: &HeadBatch, _: f64, _: &dyn Transcript) -> Result<()> {
        let Targets::Features { values, dim, weights } = &read.targets else { return Ok(()) };
        let predicted = output.to_vec2::<f32>()?;
        let scale = self.head.output_scale();
        for ((predicted, target), &weight) in predicted.iter().zip(values.chunks_exact(*dim)).zip(weights) {
            let numbers = scale.apply(target).into_iter().zip(scale.apply(predicted));
            for (dimension, (target, predicted)) in self.dimensions.iter_mut().zip(numbers) {
                dimension.add(target, predicted, f64::from(weight));
            }
        }
        Ok(())
    }

    /// `mae` and `rmse` over all dimensions; `r2` is the mean over the dimensions whose targets vary; `cosine` is that of the angle
    /// between all targets and all predictions.
    fn metrics(&self) -> Metrics {
        let mut metrics = Metrics::new();
        let sum = |f: fn(&NumberSums) -> f64| self.dimensions.iter().map(f).sum::<f64>();
        let weight = sum(|dimension| dimension.weight);
        if weight > 0.0 {
            metrics.insert("mae".into(), sum(|dimension| dimension.absolute_errors) / weight);
            metrics.insert("rmse".into(), (sum(|dimension| dimension.square_errors) / weight).sqrt());
        }
        let lengths = (sum(|d| d.target_squares) * sum(|d| d.predicted_squares)).sqrt();
        if lengths > 0.0 {
            metrics.insert("cosine".into(), sum(|dimension| dimension.products) / lengths);
        }
        let varying: Vec<&NumberSums> =
            self.dimensions.iter().filter(|dimension| dimension.varies()).collect();
        if !varying.is_empty() {
            let explained = varying.iter().map(|dimension| 1.0 - dimension.square_errors / dimension.squares);
            metrics.insert("r2".into(), explained.sum::<f64>() / varying.len() as f64);
        }
        metrics
    }
}
