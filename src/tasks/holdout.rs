//! Holding samples out for validation where the data come without a split.

use super::TaskError;
use crate::random;

/// The numbers `0..n` as those that train and those, a `share` of them, that validate: always the same ones.
pub(super) fn hold_out(n: usize, share: f64) -> Result<(Vec<u32>, Vec<u32>), TaskError> {
    let refuse = |problem| Err(TaskError::Setting { setting: "holdout", problem });
    if !(share > 0.0 && share < 1.0) {
        return refuse(format!("must be between 0 and 1; found {share}"));
    }
    if n < 2 {
        return refuse(format!("wants at least 2 samples to hold one out; found {n}"));
    }
    let held = ((n as f64 * share).round() as usize).clamp(1, n - 1);
    let mut order = random::permutation(0, n);
    let train = order.split_off(held);
    Ok((train, order))
}
