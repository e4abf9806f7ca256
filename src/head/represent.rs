//! Embeddings: the output is the pooled hidden state, without a prediction.

use super::accumulator::{MetricAccumulator, NoMetrics};
use super::loss::wrong_target_kind;
use super::{FitData, Head, HeadInput, HeadKind, OutputScale, Prediction, TargetContext};
use crate::data::{HeadBatch, Target};
use crate::ops::{self, Activation};
use candle_core::{DType, Result, Tensor};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use smalti_contract::{TokenizeError, Value};
use std::ops::Range;

/// A head without targets or loss, whose output is the hidden state `[d_model]` that it reads, or a linear map of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Represent {
    normalize: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dense: Option<Dense>,
}

/// A linear layer after the pooling, as the sentence encoder LaBSE has it (Feng et al. 2022), or before a head of classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dense {
    /// Width of its output.
    pub width: usize,
    /// The activation after the linear map; none if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<Activation>,
}

/// The hidden layer of a head: its activation, for a layer as wide as the model, or its width and activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum Hidden {
    /// A layer of width `d_model` with this activation.
    Activation(Activation),
    /// A layer of this width.
    Layer(Dense),
}

impl Hidden {
    /// The layer in a model of this width.
    pub fn dense(self, d_model: usize) -> Dense {
        match self {
            Hidden::Activation(activation) => Dense { width: d_model, activation: Some(activation) },
            Hidden::Layer(dense) => dense,
        }
    }
}

/// Not derived: the error of an untagged enum would not name the invalid value.
impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let read = match value.is_string() {
            true => serde_json::from_value(value).map(Hidden::Activation),
            false => serde_json::from_value(value).map(Hidden::Layer),
        };
        read.map_err(D::Error::custom)
    }
}

/// Settings of [`Represent`].
#[derive(Clone, Debug, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RepresentSettings {
    /// Whether the vector is divided by its length (L2 norm).
    pub normalize: bool,
    /// A linear layer before that, `{ width = 512, activation = "tanh" }`, whose weights come from a published model.
    pub dense: Option<Dense>,
}

impl Represent {
    /// A head whose vectors come from the layer `dense`, if there is one, and have length 1 if `normalize`.
    pub fn new(normalize: bool, dense: Option<Dense>) -> Self {
        Self { normalize, dense }
    }
}

impl Head for Represent {
    fn width(&self) -> usize {
        self.dense.map_or(0, |dense| dense.width)
    }

    fn is_representation(&self) -> bool {
        true
    }

    fn activation(&self) -> Option<Activation> {
        self.dense.and_then(|dense| dense.activation)
    }

    fn output_scale(&self) -> OutputScale<'_> {
        if self.normalize { OutputScale::UnitLength } else { OutputScale::Unscaled }
    }

    fn target(&self, _: Value, _: &TargetContext) -> std::result::Result<Target, TokenizeError> {
        Ok(Target::Unknown)
    }

    fn loss(&self, _: &ops::Value, read: &HeadBatch, _: f32) -> Result<ops::Value> {
        wrong_target_kind(Self::NAME, read)
    }

    fn accumulator(&self) -> Box<dyn MetricAccumulator> {
        Box::new(NoMetrics)
    }

    fn predict(&self, output: &Tensor, documents: &[Range<usize>]) -> Result<Vec<Prediction>> {
        let states = output.to_dtype(DType::F32)?.to_vec2::<f32>()?;
        let vector = |state: &Vec<f32>| {
            let numbers = self.output_scale().apply(state);
            Value::vector(numbers.into_iter().map(|x| x as f32).collect::<Vec<_>>())
        };
        let predict = |rows: &Range<usize>| {
            let vectors = states[rows.clone()].iter().map(vector).collect();
            Prediction { value: super::document_value(vectors), probabilities: vec![] }
        };
        Ok(documents.iter().map(predict).collect())
    }
}

impl HeadKind for Represent {
    const NAME: &'static str = "represent";
    const INPUT: HeadInput = HeadInput::PooledState;
    type Settings = RepresentSettings;

    fn settings_schema() -> serde_json::Value {
        schemars::schema_for!(RepresentSettings).into()
    }

    fn fit(settings: RepresentSettings, _: &FitData) -> std::result::Result<Self, TokenizeError> {
        if settings.dense.is_some_and(|dense| dense.width == 0) {
            let problem = "dense.width: expected 1 or more; found 0".into();
            return Err(TokenizeError::Config { tokenizer: Self::NAME, problem });
        }
        Ok(Self::new(settings.normalize, settings.dense))
    }
}
