//! Losses that several heads share.
//!
//! Each is the result of [`Head::loss`](super::Head::loss): the sum over the rows of weight × loss, a scalar in f32, from an
//! `output` in f32 or bf16. `head` is the head's name, for the error if the targets are of another type.

use crate::data::{HeadBatch, Targets};
use crate::ops::{self, Value};
use candle_core::{DType, Result};

/// The cross-entropy of logits `[rows, width]` and target ids.
///
/// # Errors
/// If the targets are not ids.
pub fn cross_entropy(head: &str, output: &Value, read: &HeadBatch, label_smoothing: f32) -> Result<Value> {
    match &read.targets {
        Targets::Ids { ids, weights } => ops::cross_entropy(output, ids, weights, label_smoothing),
        _ => wrong_target_kind(head, read),
    }
}

/// The squared error of `[rows, width]` and target features.
///
/// # Errors
/// If the targets are not features.
pub fn squared_error(head: &str, output: &Value, read: &HeadBatch) -> Result<Value> {
    match &read.targets {
        Targets::Features { values, weights, .. } => {
            ops::squared_error(&ops::cast(output, DType::F32)?, values, weights)
        }
        _ => wrong_target_kind(head, read),
    }
}

/// The mean over the `width` of binary cross-entropies of logits `[rows, width]` and target features in 0..=1.
///
/// # Errors
/// If the targets are not features.
pub fn binary_cross_entropy(head: &str, output: &Value, read: &HeadBatch) -> Result<Value> {
    match &read.targets {
        Targets::Features { values, weights, .. } => {
            ops::binary_cross_entropy(&ops::cast(output, DType::F32)?, values, weights)
        }
        _ => wrong_target_kind(head, read),
    }
}

/// Fails: the targets are of a type that the head's [`target`](super::Head::target) does not return.
///
/// # Errors
/// Always.
pub fn wrong_target_kind<T>(head: &str, read: &HeadBatch) -> Result<T> {
    candle_core::bail!("{head}: head {} of task {} has targets of the wrong type", read.head, read.task)
}
