//! Masked-token prediction, by cross-entropy (BERT; Devlin et al. 2019).

use super::accumulator::{MetricAccumulator, TokenAccumulator};
use super::ctc::vocabulary;
use super::generate::ids_target;
use super::{FitData, Head, HeadInput, HeadKind, Prediction, TargetContext, loss, predicted_ids};
use crate::data::{HeadBatch, Target};
use crate::ops;
use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};
use smalti_contract::{TokenizeError, Value};
use std::ops::Range;

/// Predicts the ids of masked tokens of the output's sequence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Masked {
    vocabulary: usize,
    mask: f64,
}

/// Settings of [`Masked`].
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MaskedSettings {
    /// Share of the tokens that are masked, above 0 and at most 1.
    pub mask: f64,
}

impl Default for MaskedSettings {
    fn default() -> Self {
        Self { mask: 0.15 }
    }
}

impl Masked {
    /// A head of `vocabulary` ids; `mask` is the share of the tokens that are masked.
    pub fn new(vocabulary: usize, mask: f64) -> Self {
        Self { vocabulary, mask }
    }
}

impl Head for Masked {
    fn width(&self) -> usize {
        self.vocabulary
    }

    fn is_vocabulary(&self) -> bool {
        true
    }

    fn smooths_labels(&self) -> bool {
        true
    }

    fn mask_rate(&self) -> Option<f64> {
        Some(self.mask)
    }

    /// The ids before masking, each of weight 1; masking sets the weight of the visible tokens to 0.
    fn target(&self, _: Value, context: &TargetContext) -> std::result::Result<Target, TokenizeError> {
        ids_target(context)
    }

    fn loss(&self, output: &ops::Value, read: &HeadBatch, label_smoothing: f32) -> Result<ops::Value> {
        loss::cross_entropy(Self::NAME, output, read, label_smoothing)
    }

    fn accumulator(&self) -> Box<dyn MetricAccumulator> {
        Box::new(TokenAccumulator::default())
    }

    /// The most probable id of each token.
    fn predict(&self, output: &Tensor, documents: &[Range<usize>]) -> Result<Vec<Prediction>> {
        predicted_ids(output, documents)
    }
}

impl HeadKind for Masked {
    const NAME: &'static str = "masked";
    const INPUT: HeadInput = HeadInput::MaskedTokens;
    type Settings = MaskedSettings;

    fn settings_schema() -> serde_json::Value {
        schemars::schema_for!(MaskedSettings).into()
    }

    fn fit(settings: MaskedSettings, data: &FitData) -> std::result::Result<Self, TokenizeError> {
        let mask = settings.mask;
        if !(mask > 0.0 && mask <= 1.0) {
            let problem = format!("mask: expected a share above 0 and at most 1; found {mask}");
            return Err(TokenizeError::Config { tokenizer: Self::NAME, problem });
        }
        Ok(Self::new(vocabulary(Self::NAME, data)?, mask))
    }
}
