//! No prediction: the last hidden states of an input are what is wanted, for embeddings.

use super::tally::{LossTally, Tally};
use super::{Asked, Fit, Head, HeadKind, Prediction, Reads, misfit};
use crate::data::{HeadBatch, Target};
use crate::ops;
use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};
use smalti_contract::{TokenizeError, Value};
use std::ops::Range;

/// Predicts nothing and has no loss.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Represent {}

/// Nothing can be set.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepresentSettings {}

impl Head for Represent {
    fn width(&self) -> usize {
        0
    }

    fn reads(&self) -> Reads {
        Reads::Nothing
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

    fn predict(&self, _: &Tensor, documents: &[Range<usize>]) -> Result<Vec<Prediction>> {
        Ok(vec![Prediction { value: Value::Missing, probabilities: vec![] }; documents.len()])
    }
}

impl HeadKind for Represent {
    const NAME: &'static str = "represent";
    type Settings = RepresentSettings;

    fn fit(_: RepresentSettings, _: &Fit) -> std::result::Result<Self, TokenizeError> {
        Ok(Self {})
    }
}
