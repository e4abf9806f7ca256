//! Token classification: a label for each token of an input, by cross-entropy.

use super::accumulator::{ClassAccumulator, MetricAccumulator};
use super::{FitData, Head, HeadInput, HeadKind, Labels, Prediction, TargetContext, argmax, loss};
use crate::data::{HeadBatch, Target};
use crate::ops;
use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};
use smalti_contract::{TokenizeError, Value};
use std::collections::BTreeSet;
use std::ops::Range;

/// Predicts a label for each token of an input.
///
/// A value is a text of one character for each token, a text of labels with a separator, or an array or a series of one
/// label for each token. A series of labels of several characters needs a separator, too, that no label contains, such as a
/// space.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tag {
    tags: Labels,
    separator: String,
    ignore: Vec<String>,
}

/// Settings of [`Tag`].
#[derive(Clone, Debug, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TagSettings {
    /// Separator of the labels in a text; empty if each character is a label.
    pub separator: String,
    /// Labels whose tokens have weight 0.
    pub ignore: Vec<String>,
}

impl Tag {
    /// A head of these labels, separated by spaces in a text.
    pub fn new(labels: impl IntoIterator<Item = String>) -> Self {
        let tags = labels.into_iter().collect::<Vec<_>>().into();
        Self { tags, separator: " ".into(), ignore: vec![] }
    }
}

/// The labels of a value, in the order of tokens; `None` for a missing step.
fn split(value: Value, separator: &str) -> std::result::Result<Vec<Option<String>>, TokenizeError> {
    Ok(match value {
        Value::Series(steps) => {
            let label = |step: Value| if step.is_missing() { Ok(None) } else { step.into_label().map(Some) };
            steps.into_iter().map(label).collect::<std::result::Result<_, _>>()?
        }
        Value::Array(array) => array.to_f32().into_iter().map(|label| Some(label.to_string())).collect(),
        value => {
            let text = value.into_text()?;
            let text = text.trim_end_matches(['\r', '\n']);
            match separator {
                "" => text.chars().map(|label| Some(label.to_string())).collect(),
                " " => text.split_whitespace().map(|label| Some(label.to_string())).collect(),
                _ => text.split(separator).map(|label| Some(label.trim().to_string())).collect(),
            }
        }
    })
}

impl Head for Tag {
    fn width(&self) -> usize {
        self.tags.len()
    }

    fn smooths_labels(&self) -> bool {
        true
    }

    fn target(&self, value: Value, context: &TargetContext) -> std::result::Result<Target, TokenizeError> {
        let labels = split(value, &self.separator)?;
        if labels.len() != context.tokens {
            return Err(TokenizeError::Input(format!(
                "expected one label for each of the input's {} tokens; found {}",
                context.tokens,
                labels.len()
            )));
        }
        let (mut ids, mut weights) = (Vec::new(), Vec::new());
        for label in labels {
            let counted = label.filter(|label| !self.ignore.contains(label));
            weights.push(if counted.is_some() { 1.0 } else { 0.0 });
            ids.push(counted.map_or(Ok(0), |label| self.tags.number(&label))?);
        }
        Ok(Target::Ids { ids, weights })
    }

    fn loss(&self, output: &ops::Value, read: &HeadBatch, label_smoothing: f32) -> Result<ops::Value> {
        loss::cross_entropy(Self::NAME, output, read, label_smoothing)
    }

    fn accumulator(&self) -> Box<dyn MetricAccumulator> {
        Box::new(ClassAccumulator::new(self.tags.names()))
    }

    /// The labels of a document as one text, with the separator of the data.
    fn predict(&self, output: &Tensor, documents: &[Range<usize>]) -> Result<Vec<Prediction>> {
        let best = argmax(output)?;
        let names = self.tags.names();
        let predict = |rows: &Range<usize>| match best.get(rows.clone()) {
            Some(ids) => {
                let labels: Vec<&str> = ids.iter().map(|&id| names[id as usize].as_str()).collect();
                Ok(Prediction { value: Value::Text(labels.join(&self.separator)), probabilities: vec![] })
            }
            None => candle_core::bail!("a document has rows {rows:?}; the output has {}", best.len()),
        };
        documents.iter().map(predict).collect()
    }

    fn labels(&self) -> &[String] {
        self.tags.names()
    }

    fn classes(&self, output: &Tensor) -> Result<Option<Vec<u32>>> {
        argmax(output).map(Some)
    }
}

impl HeadKind for Tag {
    const NAME: &'static str = "tag";
    const INPUT: HeadInput = HeadInput::InputTokens;
    type Settings = TagSettings;

    fn settings_schema() -> serde_json::Value {
        schemars::schema_for!(TagSettings).into()
    }

    /// Uses the labels that the source declares, else the distinct labels of the values.
    fn fit(settings: TagSettings, data: &FitData) -> std::result::Result<Self, TokenizeError> {
        let TagSettings { separator, ignore } = settings;
        let counts = |label: &String| !ignore.contains(label);
        if let Some(declared) = data.classes {
            let tags = declared.iter().filter(|label| counts(label)).cloned().collect::<Vec<_>>().into();
            return Ok(Self { tags, separator, ignore });
        }
        let mut labels = BTreeSet::new();
        for index in 0..data.values.len() {
            match data.values.get(index)? {
                Value::Missing => {}
                // A series has one label in each step.
                value @ Value::Number(_) => _ = labels.insert(value.into_label()?),
                value => labels.extend(split(value, &separator)?.into_iter().flatten()),
            }
        }
        labels.retain(counts);
        Ok(Self { tags: Labels::fit(Self::NAME, labels)?, separator, ignore })
    }
}
