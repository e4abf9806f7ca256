//! In candle's own operations.

use super::Angles;
use candle_core::{Result, Tensor};

/// [`rotary`](super::rotary()).
pub(crate) fn rotary(x: &Tensor, columns: usize, angles: &Angles) -> Result<Tensor> {
    let (n, width) = x.dims2()?;
    let (d_head, half) = (angles.d_head, angles.half);
    let numbers =
        |v: &[f32]| Tensor::from_slice(v, (n, 1, half), x.device()).and_then(|t| t.to_dtype(x.dtype()));
    let (cos, sin) = (numbers(&angles.cos)?, numbers(&angles.sin)?);
    let heads = x.narrow(1, 0, columns)?.reshape((n, columns / d_head, d_head))?;
    let (a, b) = (heads.narrow(2, 0, half)?, heads.narrow(2, half, half)?); // [n, heads, half]
    let rotated_a = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let rotated_b = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
    let mut parts = vec![rotated_a, rotated_b];
    if d_head > 2 * half {
        parts.push(heads.narrow(2, 2 * half, d_head - 2 * half)?);
    }
    let rotated = Tensor::cat(&parts, 2)?.reshape((n, columns))?;
    match width - columns {
        0 => Ok(rotated),
        rest => Tensor::cat(&[rotated, x.narrow(1, columns, rest)?], 1),
    }
}
