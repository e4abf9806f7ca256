//! The CPU kernel.

use crate::ops::Value;
use crate::ops::cpu::rows::weighted_mean_loss;
use candle_core::Result;

pub(super) fn squared_error(prediction: &Value, targets: &[f32], weights: &[f32]) -> Result<Value> {
    weighted_mean_loss(
        prediction,
        targets,
        weights,
        #[inline(always)]
        |p, t| (p - t) * (p - t),
        #[inline(always)]
        |p, t| 2.0 * (p - t),
    )
}
