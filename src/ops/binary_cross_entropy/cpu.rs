//! The CPU kernel.

use crate::ops::Value;
use crate::ops::cpu::math::{exp, sigmoid};
use crate::ops::cpu::rows::weighted_mean_loss;
use candle_core::Result;

pub(super) fn binary_cross_entropy(logits: &Value, targets: &[f32], weights: &[f32]) -> Result<Value> {
    weighted_mean_loss(
        logits,
        targets,
        weights,
        #[inline(always)]
        |x, t| x.max(0.0) - x * t + exp(-x.abs()).ln_1p(),
        #[inline(always)]
        |x, t| sigmoid(x) - t,
    )
}
