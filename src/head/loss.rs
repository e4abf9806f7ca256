//! The losses that several heads have.

use crate::data::{HeadBatch, Targets};
use crate::ops::{self, Value};
use candle_core::{DType, Result};

/// The weighted sum of cross-entropies of logits `[rows, width]` against ids, a scalar.
///
/// # Errors
/// If the targets are no ids.
pub(super) fn cross_entropy(
    head: &str,
    output: &Value,
    read: &HeadBatch,
    label_smoothing: f32,
) -> Result<Value> {
    match &read.targets {
        Targets::Ids { ids, weights } => ops::cross_entropy(output, ids, weights, label_smoothing),
        _ => misfit(head, read),
    }
}

/// The weighted sum of squared errors of `[rows, width]` against features, a scalar.
///
/// # Errors
/// If the targets are no features.
pub(super) fn squared_error(head: &str, output: &Value, read: &HeadBatch) -> Result<Value> {
    match &read.targets {
        Targets::Features { values, weights, .. } => {
            ops::squared_error(&ops::cast(output, DType::F32)?, values, weights)
        }
        _ => misfit(head, read),
    }
}

/// The error of a head whose targets are of another sort.
pub(super) fn misfit<T>(head: &str, read: &HeadBatch) -> Result<T> {
    candle_core::bail!("{head}: the targets of head {} of task {} are of another sort", read.head, read.task)
}
