//! Numbers, by squared error.

use super::tally::{MeanLoss, NumberSums, Tally, Transcript};
use super::{Asked, Fit, Head, HeadKind, Metrics, Prediction, loss, of_document, of_each_token};
use crate::data::{HeadBatch, Target, Targets};
use crate::ops::{self, Activation};
use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};
use smalti_contract::{TokenizeError, Value};
use std::ops::Range;

/// Predicts numbers for an input, or for each step of a series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Regress {
    dim: usize,
    bounded: bool,
    /// What is subtracted from each number; none without normalization.
    mean: Vec<f32>,
    /// What each number is then divided by.
    std: Vec<f32>,
}

/// Settings of [`Regress`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegressSettings {
    /// Whether the loss is that of numbers of mean 0 and standard deviation 1 over the training rows. Predictions and
    /// metrics are in the numbers' own units. Left out, true unless `bounded`.
    pub normalize: Option<bool>,
    /// Whether a hyperbolic tangent keeps the numbers in −1..1.
    pub bounded: bool,
}

/// The most values that mean and standard deviation are taken from.
const FIT_ON: usize = 100_000;

impl Regress {
    /// A head of `dim` numbers in their own units, which `bounded` keeps in −1..1.
    pub fn new(dim: usize, bounded: bool) -> Self {
        Self { dim, bounded, mean: vec![], std: vec![] }
    }

    /// The head whose loss is that of `(x - mean) / std`, `[dim]` each; predictions are in units of `x`.
    #[must_use]
    pub fn scaled(mut self, mean: Vec<f32>, std: Vec<f32>) -> Self {
        (self.mean, self.std) = (mean, std);
        self
    }

    /// A number as the model predicts it, in the units of the data.
    fn restored(&self, column: usize, number: f32) -> f64 {
        match (self.mean.get(column), self.std.get(column)) {
            (Some(&mean), Some(&std)) => f64::from(number) * f64::from(std) + f64::from(mean),
            _ => f64::from(number),
        }
    }

    /// The numbers of a value as the model predicts them.
    fn numbers(&self, value: Value) -> std::result::Result<Vec<f32>, TokenizeError> {
        let mut numbers = value.into_numbers()?;
        if numbers.len() != self.dim {
            let (expected, found) = (self.dim, numbers.len());
            return Err(TokenizeError::Input(format!(
                "expected {expected} numbers, as training has; found {found}"
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

    fn activate(&self, y: ops::Value) -> Result<ops::Value> {
        if self.bounded { ops::activation(&y, Activation::Tanh) } else { Ok(y) }
    }

    /// A step of a series that is missing has weight 0.
    fn target(&self, value: Value, asked: &Asked) -> std::result::Result<Target, TokenizeError> {
        let (mut values, mut weights) = (Vec::new(), Vec::new());
        for value in of_each_token(value, asked.tokens)? {
            let missing = value.is_missing();
            values.extend(if missing { vec![0.0; self.dim] } else { self.numbers(value)? });
            weights.push(if missing { 0.0 } else { 1.0 });
        }
        Ok(Target::Features { values, dim: self.dim, weights })
    }

    fn loss(&self, output: &ops::Value, read: &HeadBatch, _: f32) -> Result<ops::Value> {
        loss::squared_error(Self::NAME, output, read)
    }

    fn tally(&self) -> Box<dyn Tally> {
        let columns = vec![NumberSums::default(); self.dim];
        Box::new(NumberTally { head: self.clone(), loss: MeanLoss::default(), columns })
    }

    fn predict(&self, output: &Tensor, documents: &[Range<usize>]) -> Result<Vec<Prediction>> {
        let of_row = |row: Vec<f32>| {
            let numbers: Vec<f64> = row.iter().enumerate().map(|(i, &x)| self.restored(i, x)).collect();
            match numbers[..] {
                [number] => Value::Number(number),
                _ => Value::vector(numbers.iter().map(|&x| x as f32).collect::<Vec<_>>()),
            }
        };
        let predict = |rows: &Range<usize>| {
            let rows = output.narrow(0, rows.start, rows.len())?.to_vec2::<f32>()?;
            let value = of_document(rows.into_iter().map(of_row).collect());
            Ok(Prediction { value, probabilities: vec![] })
        };
        documents.iter().map(predict).collect()
    }
}

impl HeadKind for Regress {
    const NAME: &'static str = "regress";
    type Settings = RegressSettings;

    fn fit(settings: RegressSettings, of: &Fit) -> std::result::Result<Self, TokenizeError> {
        let refuse = |problem: String| Err(TokenizeError::Config { tokenizer: Self::NAME, problem });
        let RegressSettings { normalize, bounded } = settings;
        let normalize = normalize.unwrap_or(!bounded);
        if normalize && bounded {
            return refuse("expected either normalize or bounded; found both: set normalize = false".into());
        }
        let mut columns: Vec<NumberSums> = Vec::new();
        for value in of.values.spread(FIT_ON) {
            let value = value?;
            if value.is_missing() {
                continue;
            }
            let numbers = value.into_numbers()?;
            if columns.is_empty() {
                columns = vec![NumberSums::default(); numbers.len()];
            }
            if numbers.is_empty() || numbers.len() != columns.len() {
                let (expected, found) = (columns.len().max(1), numbers.len());
                return refuse(format!(
                    "expected values of {expected} numbers, as the first has; found one of {found}"
                ));
            }
            let finite = columns.iter_mut().zip(numbers).filter(|(_, number)| number.is_finite());
            finite.for_each(|(column, number)| column.add(f64::from(number), f64::from(number), 1.0));
        }
        if columns.is_empty() {
            return refuse("expected numbers in the training rows; found none".into());
        }
        let mut head = Self::new(columns.len(), bounded);
        if normalize {
            (head.mean, head.std) = columns.iter().map(NumberSums::scaling).unzip();
        }
        Ok(head)
    }
}

/// Errors in the units of the data.
struct NumberTally {
    head: Regress,
    loss: MeanLoss,
    columns: Vec<NumberSums>,
}

impl Tally for NumberTally {
    fn add(&mut self, output: &Tensor, read: &HeadBatch, loss: f64, _: &dyn Transcript) -> Result<()> {
        let Targets::Features { values, dim, weights } = &read.targets else { return Ok(()) };
        self.loss.add(loss, read);
        let predicted = output.to_vec2::<f32>()?;
        for ((predicted, target), &weight) in predicted.iter().zip(values.chunks_exact(*dim)).zip(weights) {
            for (i, column) in self.columns.iter_mut().enumerate() {
                let (target, predicted) =
                    (self.head.restored(i, target[i]), self.head.restored(i, predicted[i]));
                column.add(target, predicted, f64::from(weight));
            }
        }
        Ok(())
    }

    /// `mae` and `rmse` over all numbers, `r2` the mean over those that vary.
    fn metrics(&self) -> Metrics {
        let mut metrics = self.loss.metrics();
        let sum = |f: fn(&NumberSums) -> f64| self.columns.iter().map(f).sum::<f64>();
        let weight = sum(|column| column.weight);
        if weight > 0.0 {
            metrics.insert("mae".into(), sum(|column| column.absolute_errors) / weight);
            metrics.insert("rmse".into(), (sum(|column| column.square_errors) / weight).sqrt());
        }
        let varying: Vec<&NumberSums> = self.columns.iter().filter(|column| column.varies()).collect();
        if !varying.is_empty() {
            let explained = varying.iter().map(|column| 1.0 - column.square_errors / column.squares);
            metrics.insert("r2".into(), explained.sum::<f64>() / varying.len() as f64);
        }
        metrics
    }
}
