//! Multi-label classification, by binary cross-entropy for each label.

use super::accumulator::{MetricAccumulator, Transcript};
use super::classify::ranked;
use super::{
    FitData, Head, HeadKind, Labels, Metrics, Prediction, TargetContext, document_value, loss,
    value_per_token,
};
use crate::data::{HeadBatch, Target, Targets};
use crate::ops;
use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};
use smalti_contract::{TokenizeError, Value};
use std::collections::BTreeSet;
use std::ops::Range;

/// Predicts the labels of a sample.
///
/// A value is a text of labels, or an array of one number for each label: 1 if the sample has the label, else 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Multilabel {
    labels: Labels,
    separator: String,
}

/// Settings of [`Multilabel`].
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MultilabelSettings {
    /// Separator of the labels in a text; spaces around a label are removed.
    pub separator: String,
}

impl Default for MultilabelSettings {
    fn default() -> Self {
        Self { separator: ",".into() }
    }
}

/// The lowest probability of a predicted label.
const THRESHOLD: f64 = 0.5;

/// The labels in a text.
fn split<'a>(text: &'a str, separator: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(separator).map(str::trim).filter(|label| !label.is_empty())
}

impl Multilabel {
    /// A head of these labels, separated by commas in a text.
    pub fn new(labels: impl IntoIterator<Item = String>) -> Self {
        let labels = labels.into_iter().collect::<Vec<_>>().into();
        Self { labels, separator: MultilabelSettings::default().separator }
    }

    /// 1 for each label of the value, 0 for all others.
    fn flags(&self, value: Value) -> std::result::Result<Vec<f32>, TokenizeError> {
        if let Value::Array(array) = value {
            let (flags, expected) = (array.to_f32(), self.labels.len());
            let found = format!("an array {:?}", array.shape);
            return match flags.len() == expected && flags.iter().all(|flag| [0.0, 1.0].contains(flag)) {
                true => Ok(flags),
                false => Err(TokenizeError::Input(format!(
                    "expected {expected} numbers that are 0 or 1, one for each label; found {found}"
                ))),
            };
        }
        let mut flags = vec![0.0; self.labels.len()];
        for label in split(&value.into_label()?, &self.separator) {
            flags[self.labels.number(label)? as usize] = 1.0;
        }
        Ok(flags)
    }
}

impl Head for Multilabel {
    fn width(&self) -> usize {
        self.labels.len()
    }

    /// A missing step of a series has weight 0.
    fn target(&self, value: Value, context: &TargetContext) -> std::result::Result<Target, TokenizeError> {
        let dim = self.labels.len();
        let (mut values, mut weights) = (Vec::new(), Vec::new());
        for value in value_per_token(value, context.tokens)? {
            let missing = value.is_missing();
            values.extend(if missing { vec![0.0; dim] } else { self.flags(value)? });
            weights.push(if missing { 0.0 } else { 1.0 });
        }
        Ok(Target::Features { values, dim, weights })
    }

    fn loss(&self, output: &ops::Value, read: &HeadBatch, _: f32) -> Result<ops::Value> {
        loss::binary_cross_entropy(Self::NAME, output, read)
    }

    fn accumulator(&self) -> Box<dyn MetricAccumulator> {
        Box::new(LabelAccumulator { labels: vec![[0.0; 3]; self.labels.len()] })
    }

    fn predict(&self, output: &Tensor, documents: &[Range<usize>]) -> Result<Vec<Prediction>> {
        let join = if self.separator.trim().is_empty() { " " } else { &self.separator };
        let predict = |rows: &Range<usize>| {
            let logits = output.narrow(0, rows.start, rows.len())?.to_vec2::<f32>()?;
            let probabilities: Vec<Vec<f64>> =
                logits.iter().map(|row| row.iter().map(|&x| sigmoid(x)).collect()).collect();
            let likely = |row: &Vec<f64>| {
                let labels = self.labels.names().iter().zip(row).filter(|(_, p)| **p >= THRESHOLD);
                Value::Text(labels.map(|(label, _)| label.as_str()).collect::<Vec<_>>().join(join))
            };
            let value = document_value(probabilities.iter().map(likely).collect());
            let single =
                if let [row] = &probabilities[..] { ranked(self.labels.names(), row) } else { vec![] };
            Ok(Prediction { value, probabilities: single })
        };
        documents.iter().map(predict).collect()
    }

    fn labels(&self) -> &[String] {
        self.labels.names()
    }
}

fn sigmoid(x: f32) -> f64 {
    1.0 / (1.0 + (-f64::from(x)).exp())
}

impl HeadKind for Multilabel {
    const NAME: &'static str = "multilabel";
    type Settings = MultilabelSettings;

    fn settings_schema() -> serde_json::Value {
        schemars::schema_for!(MultilabelSettings).into()
    }

    /// Uses the labels that the source declares, else the distinct labels of the texts, else the indices of an array's
    /// elements.
    fn fit(settings: MultilabelSettings, data: &FitData) -> std::result::Result<Self, TokenizeError> {
        let refuse = |problem: String| TokenizeError::Config { tokenizer: Self::NAME, problem };
        let MultilabelSettings { separator } = settings;
        if separator.is_empty() {
            return Err(refuse("separator: expected at least one character; found none".into()));
        }
        if let Some(declared) = data.classes {
            return Ok(Self { labels: declared.to_vec().into(), separator });
        }
        let (mut names, mut length) = (BTreeSet::new(), None);
        for index in 0..data.values.len() {
            match data.values.get(index)? {
                Value::Missing => {}
                Value::Array(array) => match length {
                    Some(length) if length != array.len() => {
                        return Err(refuse(format!(
                            "expected arrays of {length} numbers, like the first; found {}",
                            array.len()
                        )));
                    }
                    _ => length = Some(array.len()),
                },
                value => {
                    names.extend(split(&value.into_label()?, &separator).map(String::from));
                }
            }
        }
        match length {
            Some(_) if !names.is_empty() => {
                Err(refuse("expected texts of labels or arrays of 0 and 1; found both".into()))
            }
            Some(length) => Ok(Self { labels: Labels::numbered(length), separator }),
            None => Ok(Self { labels: Labels::fit(Self::NAME, names)?, separator }),
        }
    }
}

/// F1 scores over labels.
struct LabelAccumulator {
    /// For each label, the weights of true positives, of predictions and of targets.
    labels: Vec<[f64; 3]>,
}

impl MetricAccumulator for LabelAccumulator {
    fn add(&mut self, output: &Tensor, read: &HeadBatch, _: f64, _: &dyn Transcript) -> Result<()> {
        let Targets::Features { values, dim, weights } = &read.targets else { return Ok(()) };
        let logits = output.to_vec2::<f32>()?;
        for ((logits, flags), &weight) in logits.iter().zip(values.chunks_exact(*dim)).zip(weights) {
            for ((label, &logit), &flag) in self.labels.iter_mut().zip(logits).zip(flags) {
                let (predicted, target) = (sigmoid(logit) >= THRESHOLD, flag > 0.5);
                for (sum, counts) in label.iter_mut().zip([predicted && target, predicted, target]) {
                    *sum += if counts { f64::from(weight) } else { 0.0 };
                }
            }
        }
        Ok(())
    }

    /// `micro_f1` is the F1 of all labels together, `macro_f1` the mean F1 of the labels that occur.
    fn metrics(&self) -> Metrics {
        let mut metrics = Metrics::new();
        let f1 = |[correct, predicted, targets]: [f64; 3]| 2.0 * correct / (predicted + targets);
        let occurring: Vec<[f64; 3]> = self.labels.iter().copied().filter(|l| l[1] + l[2] > 0.0).collect();
        if !occurring.is_empty() {
            let sums = occurring.iter().fold([0.0; 3], |sum, label| [0, 1, 2].map(|i| sum[i] + label[i]));
            let mean = occurring.iter().copied().map(f1).sum::<f64>() / occurring.len() as f64;
            metrics.extend([("micro_f1".to_string(), f1(sums)), ("macro_f1".to_string(), mean)]);
        }
        metrics
    }
}
