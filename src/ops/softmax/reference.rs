//! In candle's own operations.

use candle_core::{D, Result, Tensor};

/// [`softmax`](super::softmax()).
pub(crate) fn softmax(x: &Tensor) -> Result<Tensor> {
    if x.elem_count() == 0 {
        return Ok(x.clone()); // candle has no maximum of no rows
    }
    let exponentials = x.broadcast_sub(&x.detach().max_keepdim(D::Minus1)?)?.exp()?;
    exponentials.broadcast_div(&exponentials.sum_keepdim(D::Minus1)?)
}
