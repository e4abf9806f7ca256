//! Classification: one class of several, by cross-entropy.

use super::accumulator::{ClassAccumulator, MetricAccumulator};
use super::{
    FitData, Head, HeadKind, Labels, Prediction, TargetContext, document_value, loss, value_per_token,
};
use crate::data::{HeadBatch, Target};
use crate::ops;
use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};
use smalti_contract::{TokenizeError, Value};
use std::collections::BTreeSet;
use std::ops::Range;

/// Predicts the class of a sample, or of each step of a series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Classify {
    classes: Labels,
}

/// Settings of [`Classify`]: none.
#[derive(Clone, Debug, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassifySettings {}

impl Classify {
    /// A head of these classes.
    pub fn new(classes: impl IntoIterator<Item = String>) -> Self {
        Self { classes: classes.into_iter().collect::<Vec<_>>().into() }
    }

    /// A head of `n` classes, each named by its number.
    pub fn numbered(n: usize) -> Self {
        Self { classes: Labels::numbered(n) }
    }
}

impl Head for Classify {
    fn width(&self) -> usize {
        self.classes.len()
    }

    fn smooths_labels(&self) -> bool {
        true
    }

    /// A missing step of a series has weight 0.
    fn target(&self, value: Value, context: &TargetContext) -> std::result::Result<Target, TokenizeError> {
        let (mut ids, mut weights) = (Vec::new(), Vec::new());
        for value in value_per_token(value, context.tokens)? {
            let missing = value.is_missing();
            ids.push(if missing { 0 } else { self.classes.number_of(value)? });
            weights.push(if missing { 0.0 } else { 1.0 });
        }
        Ok(Target::Ids { ids, weights })
    }

    fn loss(&self, output: &ops::Value, read: &HeadBatch, label_smoothing: f32) -> Result<ops::Value> {
        loss::cross_entropy(Self::NAME, output, read, label_smoothing)
    }

    fn accumulator(&self) -> Box<dyn MetricAccumulator> {
        Box::new(ClassAccumulator::new(self.classes.names()))
    }

    fn predict(&self, output: &Tensor, documents: &[Range<usize>]) -> Result<Vec<Prediction>> {
        let predict = |rows: &Range<usize>| {
            let logits = output.narrow(0, rows.start, rows.len())?.to_vec2::<f32>()?;
            Ok(self.predict_rows(&logits))
        };
        documents.iter().map(predict).collect()
    }

    fn labels(&self) -> &[String] {
        self.classes.names()
    }
}

impl Classify {
    /// The prediction for a document from the logits of its rows, `[rows, n_classes]`.
    fn predict_rows(&self, logits: &[Vec<f32>]) -> Prediction {
        let ranked = |logits: &Vec<f32>| ranked(self.classes.names(), &softmax(logits));
        let mut rows: Vec<Vec<(String, f64)>> = logits.iter().map(ranked).collect();
        let most_probable =
            |row: &Vec<(String, f64)>| row.first().map(|(class, _)| Value::Text(class.clone()));
        let value = document_value(rows.iter().map(|row| most_probable(row).unwrap_or_default()).collect());
        let probabilities = if rows.len() == 1 { rows.remove(0) } else { vec![] };
        Prediction { value, probabilities }
    }
}

/// The probabilities of logits `[n_classes]`.
fn softmax(logits: &[f32]) -> Vec<f64> {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f64> = logits.iter().map(|&logit| f64::from(logit - highest).exp()).collect();
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / total).collect()
}

/// Names with their probabilities, the highest first: [`Prediction::probabilities`].
pub fn ranked(names: &[String], probabilities: &[f64]) -> Vec<(String, f64)> {
    let mut ranked: Vec<(String, f64)> = names.iter().cloned().zip(probabilities.iter().copied()).collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    ranked
}

impl HeadKind for Classify {
    const NAME: &'static str = "classify";
    const PREDICTS_LABELS: bool = true;
    type Settings = ClassifySettings;

    fn settings_schema() -> serde_json::Value {
        schemars::schema_for!(ClassifySettings).into()
    }

    /// Uses the classes that the source declares, else the distinct labels of the values.
    fn fit(_: ClassifySettings, data: &FitData) -> std::result::Result<Self, TokenizeError> {
        if let Some(declared) = data.classes {
            return Ok(Self::new(declared.to_vec()));
        }
        let mut labels = BTreeSet::new();
        for index in 0..data.values.len() {
            match data.values.get(index)? {
                Value::Missing => {}
                value => _ = labels.insert(value.into_label()?),
            }
        }
        Ok(Self { classes: Labels::fit(Self::NAME, labels)? })
    }
}
