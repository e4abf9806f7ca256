//! In candle's own operations, with the CPU kernel's mask.

use super::cpu::Dropout;
use candle_core::{Result, Tensor};

/// [`dropout`](super::dropout()).
pub(crate) fn dropout(x: &Tensor, rate: f32, seed: u64, rows: &[u64]) -> Result<Tensor> {
    let d = x.dim(1)?;
    let mask = Dropout { rate, seed, rows: rows.to_vec(), d }.apply(&vec![1.0; rows.len() * d]);
    x * Tensor::from_vec(mask, x.dims(), x.device())?.to_dtype(x.dtype())?
}
