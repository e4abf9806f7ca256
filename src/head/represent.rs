//! No prediction: the hidden state of an input is the output, for embeddings.

use super::loss::misfit;
use super::tally::{LossTally, Tally};
use super::{Asked, Fit, Head, HeadKind, Prediction, Reads};
use crate::data::{HeadBatch, Target};
use crate::ops;
use candle_core::{DType, Result, Tensor};
use serde::{Deserialize, Serialize};
use smalti_contract::{TokenizeError, Value};
use std::ops::Range;

/// Predicts nothing and has no loss: its output is the hidden state that it reads, a vector of `d_model` numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Represent {
    normalize: bool,
}

/// Settings of [`Represent`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RepresentSettings {
    /// Whether the vector is divided by its length.
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

    fn target(&self, _: Value, _: &Asked) -> std::result::Result<Target, TokenizeError> {
        Ok(Target::Unknown)
    }

    fn loss(&self, _: &ops::Value, read: &HeadBatch, _: f32) -> Result<ops::Value> {
        misfit(Self::NAME, read)
    }

    fn tally(&self) -> Box<dyn Tally> {
        Box::new(LossTally::default())
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
            Prediction { value: super::of_document(vectors), probabilities: vec![] }
        };
        Ok(documents.iter().map(predict).collect())
    }
}

impl HeadKind for Represent {
    const NAME: &'static str = "represent";
    const READS: Reads = Reads::Nothing;
    type Settings = RepresentSettings;

    fn fit(settings: RepresentSettings, _: &Fit) -> std::result::Result<Self, TokenizeError> {
        Ok(Self::new(settings.normalize))
    }
}
