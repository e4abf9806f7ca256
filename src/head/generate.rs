//! The next token, by cross-entropy.

use super::ctc::vocabulary;
use super::tally::{Tally, TokenTally};
use super::{Asked, Fit, Head, HeadKind, Prediction, Reads, loss, predicted_ids};
use crate::data::{HeadBatch, Target};
use crate::ops;
use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};
use smalti_contract::{TokenizeError, Value};
use std::ops::Range;

/// Predicts each next id of its own tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generate {
    vocabulary: usize,
}

/// A generating head has no settings.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
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

    /// The ids that are asked for: after each token that is read, the one that comes next.
    fn target(&self, _: Value, asked: &Asked) -> std::result::Result<Target, TokenizeError> {
        target_of_ids(asked)
    }

    fn loss(&self, output: &ops::Value, read: &HeadBatch, label_smoothing: f32) -> Result<ops::Value> {
        loss::cross_entropy(Self::NAME, output, read, label_smoothing)
    }

    fn tally(&self) -> Box<dyn Tally> {
        Box::new(TokenTally::of_all())
    }

    /// After each token that is read, the likeliest next id.
    fn predict(&self, output: &Tensor, documents: &[Range<usize>]) -> Result<Vec<Prediction>> {
        predicted_ids(output, documents)
    }
}

/// The ids that are asked for, one for each token that is read.
pub(super) fn target_of_ids(asked: &Asked) -> std::result::Result<Target, TokenizeError> {
    let ids = asked.ids();
    match ids.len() == asked.tokens {
        true => Ok(Target::ids(ids.to_vec())),
        false => Err(TokenizeError::Input(format!(
            "expected an id for each of the {} tokens that the head reads; found {}",
            asked.tokens,
            ids.len()
        ))),
    }
}

impl HeadKind for Generate {
    const NAME: &'static str = "generate";
    const READS: Reads = Reads::Next;
    type Settings = GenerateSettings;

    fn fit(_: GenerateSettings, of: &Fit) -> std::result::Result<Self, TokenizeError> {
        Ok(Self::new(vocabulary(Self::NAME, of)?))
    }
}
