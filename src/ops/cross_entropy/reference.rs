//! In candle's own operations.

use candle_core::{D, Result, Tensor};

/// [`cross_entropy`](super::cross_entropy()).
pub(crate) fn cross_entropy(
    logits: &Tensor,
    targets: &[u32],
    weights: &[f32],
    smoothing: f32,
) -> Result<Tensor> {
    let device = logits.device();
    let active = || targets.iter().zip(weights).zip(0..).filter(|((_, weight), _)| **weight != 0.0);
    let n = active().count();
    if n == 0 {
        return Tensor::zeros((), logits.dtype(), device);
    }
    let places = Tensor::from_iter(active().map(|(_, i): (_, u32)| i), device)?;
    let targets = Tensor::from_iter(active().map(|((target, _), _)| *target), device)?;
    let weights =
        Tensor::from_iter(active().map(|((_, weight), _)| *weight), device)?.to_dtype(logits.dtype())?;
    let log_p = log_softmax(&logits.contiguous()?.index_select(&places, 0)?)?; // [n, v]
    let at_target = log_p.gather(&targets.reshape((n, 1))?, 1)?.squeeze(1)?; // [n]
    let smoothing = f64::from(smoothing);
    let expected = ((at_target * (1.0 - smoothing))? + (log_p.mean(D::Minus1)? * smoothing)?)?;
    (expected * weights)?.sum_all()?.neg()
}

/// The log-softmax of each row.
pub(crate) fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)
}
