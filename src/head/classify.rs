//! Classification: one class of several, by cross-entropy.

use super::accumulator::{ClassAccumulator, MetricAccumulator};
use super::{
    FitData, Head, HeadKind, Labels, Prediction, TargetContext, argmax, document_value, loss, value_per_token,
};
use crate::data::{HeadBatch, Target};
use crate::ops;
use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};
use smalti_contract::{TokenizeError, Value, Values};
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

    /// A missing step of a series, or an empty label, has weight 0.
    fn target(&self, value: Value, context: &TargetContext) -> std::result::Result<Target, TokenizeError> {
        let (mut ids, mut weights) = (Vec::new(), Vec::new());
        for value in value_per_token(value, context.tokens)? {
            let missing = is_unlabelled(&value);
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

    fn classes(&self, output: &Tensor) -> Result<Option<Vec<u32>>> {
        argmax(output).map(Some)
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

/// Whether a value is missing or an empty label, which is no class.
fn is_unlabelled(value: &Value) -> bool {
    match value {
        Value::Missing => true,
        Value::Text(text) => text.trim().is_empty(),
        Value::File(file) => file.bytes.trim_ascii().is_empty(),
        _ => false,
    }
}

/// The only class of some values; `None` if they have no class or several.
pub(crate) fn only_class(values: &dyn Values) -> Option<String> {
    let mut only: Option<String> = None;
    for index in 0..values.len() {
        let value = values.get(index).unwrap_or_default();
        if is_unlabelled(&value) {
            continue;
        }
        let label = value.into_label().ok()?;
        if only.get_or_insert_with(|| label.clone()) != &label {
            return None;
        }
    }
    only
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
            let value = data.values.get(index)?;
            if !is_unlabelled(&value) {
                labels.insert(value.into_label()?);
            }
        }
        Ok(Self { classes: Labels::fit(Self::NAME, labels)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_label_is_no_class() {
        let values =
            |labels: &[&str]| labels.iter().map(|&label| Value::Text(label.into())).collect::<Vec<_>>();
        let fit = |values: &Vec<Value>| {
            let data = FitData { values, classes: None, vocabulary: None, features: None };
            Classify::fit(ClassifySettings::default(), &data)
        };
        let head = fit(&values(&["cat", "", " ", "dog"])).unwrap();
        assert_eq!(head.labels(), ["cat", "dog"]);
        let target = head.target(Value::Text(String::new()), &TargetContext { tokens: 1, content: None });
        assert_eq!(target.unwrap(), Target::Ids { ids: vec![0], weights: vec![0.0] });
        assert!(fit(&values(&["", ""])).is_err());
    }

    #[test]
    fn a_single_class_is_found() {
        let only = |labels: &[&str]| {
            only_class(&labels.iter().map(|&label| Value::Text(label.into())).collect::<Vec<_>>())
        };
        assert_eq!(only(&["cat", "", "cat"]), Some("cat".into()));
        assert_eq!([only(&["cat", "dog"]), only(&[""])], [None, None]);
    }
}
