//! In candle's own operations.

use super::Pair;
use crate::ops::cross_entropy::reference::log_softmax;
use candle_core::{Result, Tensor};
use std::ops::Range;

/// [`preference`](super::preference()).
pub(crate) fn preference(
    logits: &Tensor,
    ids: &[u32],
    weights: &[f32],
    pairs: &[Pair],
    beta: f64,
) -> Result<Tensor> {
    let (device, dtype, n) = (logits.device(), logits.dtype(), ids.len());
    let ids = Tensor::from_slice(ids, (n, 1), device)?;
    let weights = Tensor::from_slice(weights, n, device)?.to_dtype(dtype)?;
    let log_probs = (log_softmax(logits)?.gather(&ids, 1)?.squeeze(1)? * weights)?; // [n]
    let total = |rows: &Range<usize>| log_probs.narrow(0, rows.start, rows.len())?.sum_all();
    let mut loss = Tensor::zeros((), dtype, device)?;
    for Pair { chosen, rejected, reference } in pairs {
        let margin = ((total(chosen)? - total(rejected)?)? - (reference[0] - reference[1]))?;
        let z = (margin * -beta)?;
        // log(1 + eᶻ) without overflow.
        loss = ((loss + z.relu()?)? + (z.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
    }
    Ok(loss)
}
