//! Measures that a figure can draw: the alignment of cross-attention, and the similarity of learned positions.

mod alignment;
mod positions;

pub(super) use alignment::alignment;
pub(super) use positions::positions;

use super::evaluation::ByOutput;
use crate::inference::PredictError;
use crate::report::chart::Matrices;
use serde::{Deserialize, Serialize};
use smalti_contract::TokenizeError;

/// Metrics, with the matrices from which they follow or those of one row.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct View {
    pub metrics: ByOutput,
    pub matrices: Matrices,
}

fn problem<T>(text: impl Into<String>) -> Result<T, PredictError> {
    Err(TokenizeError::Input(text.into()).into())
}
