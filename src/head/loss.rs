//! Losses that several heads share.

use crate::data::{HeadBatch, Targets};
use crate::ops::{self, Value};
use candle_core::{DType, Result};

/// The weighted sum of cross-entropies of logits `[rows, width]` and target ids, a scalar.
///
/// # Errors
/// If the targets are not ids.
pub(super) fn cross_entropy(
    head: &str,
    output: &Value,
    read: &HeadBatch,
    label_smoothing: f32,
) -> Result<Value> {
    match &read.targets {
        Targets::Ids { ids, weights } => ops::cross_entropy(output, ids, weights, label_smoothing),
        _ => wrong_target_kind(head, read),
    }
}

/// The weighted sum of squared errors of `[rows, width]` and target features, a scalar.
///
/// # Errors
/// If the targets are not features.
pub(super) fn squared_error(head: &str, output: &Value, read: &HeadBatch) -> Result<Value> {
    match &read.targets {
        Targets::Features { values, weights, .. } => {
            ops::squared_error(&ops::cast(output, DType::F32)?, values, weights)
        }
        _ => wrong_target_kind(head, read),
    }
}

/// The error for targets that the head cannot have.
pub(super) fn wrong_target_kind<T>(head: &str, read: &HeadBatch) -> Result<T> {
    candle_core::bail!("{head}: head {} of task {} has targets of the wrong type", read.head, read.task)
}
