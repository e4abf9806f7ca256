//! In candle's own operations.

use candle_core::{D, Result, Tensor};

/// [`layer_norm`](super::layer_norm) (`centre`) or [`rms_norm`](super::rms_norm).
pub(crate) fn norm(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    eps: f64,
    centre: bool,
) -> Result<Tensor> {
    let x = if centre { x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)? } else { x.clone() };
    let scale = (x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?; // [n, 1]
    let y = x.broadcast_div(&scale)?.broadcast_mul(weight)?;
    match bias {
        Some(bias) => y.broadcast_add(bias),
        None => Ok(y),
    }
}
