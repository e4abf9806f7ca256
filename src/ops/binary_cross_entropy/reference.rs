//! In candle's own operations.

use candle_core::{D, Result, Tensor};

/// [`binary_cross_entropy`](super::binary_cross_entropy()).
pub(crate) fn binary_cross_entropy(logits: &Tensor, targets: &[f32], weights: &[f32]) -> Result<Tensor> {
    let like = |values: &[f32], shape: &[usize]| {
        Tensor::from_slice(values, shape, logits.device())?.to_dtype(logits.dtype())
    };
    // log(1 + eˣ) = max(x, 0) + log(1 + e^−|x|), which overflows nowhere.
    let softplus = (logits.relu()? + (logits.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
    let rows = (softplus - (logits * like(targets, logits.dims())?)?)?.mean(D::Minus1)?; // [n]
    let weights = like(weights, rows.dims())?;
    // A row of weight 0 adds nothing even if its loss is not finite.
    (weights.ne(0.0)?.where_cond(&rows, &rows.zeros_like()?)? * weights)?.sum_all()
}
