//! Next-token prediction, by cross-entropy.

use super::accumulator::{MetricAccumulator, TokenAccumulator};
use super::ctc::vocabulary;
use super::{FitData, Head, HeadInput, HeadKind, Prediction, TargetContext, loss, predicted_ids};
use crate::data::{HeadBatch, Target};
use crate::ops;
use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};
use smalti_contract::{TokenizeError, Value};
use std::ops::Range;

/// Predicts the id after each token of the output's sequence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generate {
    vocabulary: usize,
}

/// Settings of [`Generate`]: none.
#[derive(Clone, Debug, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GenerateSettings {}

impl Generate {
    /// A head of `vocabulary` ids.
    pub fn new(vocabulary: usize) -> Self {
        Self { vocabulary }
    }
}

impl Head for Generate {
    fn width(&self) -> usize {
        self.vocabulary
    }

    fn is_vocabulary(&self) -> bool {
        true
    }

    fn smooths_labels(&self) -> bool {
        true
    }

    /// The id after each token that the head reads.
    fn target(&self, _: Value, context: &TargetContext) -> std::result::Result<Target, TokenizeError> {
        ids_target(context)
    }

    fn loss(&self, output: &ops::Value, read: &HeadBatch, label_smoothing: f32) -> Result<ops::Value> {
        loss::cross_entropy(Self::NAME, output, read, label_smoothing)
    }

    fn accumulator(&self) -> Box<dyn MetricAccumulator> {
        Box::new(TokenAccumulator::with_perplexity())
    }

    /// The most probable next id after each token that the head reads.
    fn predict(&self, output: &Tensor, documents: &[Range<usize>]) -> Result<Vec<Prediction>> {
        predicted_ids(output, documents)
    }
}

/// The target ids, one for each token that the head reads.
pub(super) fn ids_target(context: &TargetContext) -> std::result::Result<Target, TokenizeError> {
    let ids = context.ids();
    match ids.len() == context.tokens {
        true => Ok(Target::ids(ids.to_vec())),
        false => Err(TokenizeError::Input(format!(
            "expected an id for each of the {} tokens that the head reads; found {}",
            context.tokens,
            ids.len()
        ))),
    }
}

impl HeadKind for Generate {
    const NAME: &'static str = "generate";
    const INPUT: HeadInput = HeadInput::NextTokens;
    type Settings = GenerateSettings;

    fn settings_schema() -> serde_json::Value {
        schemars::schema_for!(GenerateSettings).into()
    }

    fn fit(_: GenerateSettings, data: &FitData) -> std::result::Result<Self, TokenizeError> {
        Ok(Self::new(vocabulary(Self::NAME, data)?))
    }
}
