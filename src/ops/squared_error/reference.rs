//! In candle's own operations.

use candle_core::{D, Result, Tensor};

/// [`squared_error`](super::squared_error()).
pub(crate) fn squared_error(prediction: &Tensor, targets: &[f32], weights: &[f32]) -> Result<Tensor> {
    let like = |values: &[f32], shape: &[usize]| {
        Tensor::from_slice(values, shape, prediction.device())?.to_dtype(prediction.dtype())
    };
    let difference = (prediction - like(targets, prediction.dims())?)?;
    let rows = difference.sqr()?.mean(D::Minus1)?; // [n]
    let weights = like(weights, rows.dims())?;
    // A row of weight 0 adds nothing even if its error is not finite.
    (weights.ne(0.0)?.where_cond(&rows, &rows.zeros_like()?)? * weights)?.sum_all()
}
