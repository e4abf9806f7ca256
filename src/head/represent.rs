//! Embeddings: the output is the pooled hidden state, without a prediction.

use super::accumulator::{MetricAccumulator, NoMetrics};
use super::loss::wrong_target_kind;
use super::{FitData, Head, HeadInput, HeadKind, Prediction, TargetContext};
use crate::data::{HeadBatch, Target};
use crate::ops;
use candle_core::{DType, Result, Tensor};
use serde::{Deserialize, Serialize};
use smalti_contract::{TokenizeError, Value};
use std::ops::Range;

/// A head without parameters, targets or loss, whose output is the hidden state `[d_model]` that it reads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Represent {
    normalize: bool,
}

/// Settings of [`Represent`].
#[derive(Clone, Debug, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RepresentSettings {
    /// Whether the vector is divided by its length (L2 norm).
    pub normalize: bool,
}

impl Represent {
    /// A head whose vectors have length 1 if `normalize`.
    pub fn new(normalize: bool) -> Self {
        Self { normalize }
    }
}

impl Head for Represent {
    fn width(&self) -> usize {
        0
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
        let vector = |mut vector: Vec<f32>| {
            if self.normalize {
                let squares = vector.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
                let length = squares.sqrt().max(1e-12) as f32;
                vector.iter_mut().for_each(|x| *x /= length);
            }
            Value::vector(vector)
        };
        let predict = |rows: &Range<usize>| {
            let vectors = states[rows.clone()].iter().cloned().map(vector).collect();
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
        Ok(Self::new(settings.normalize))
    }
}
