//! In candle's own operations, on the chosen keys alone.

use super::Memory;
use super::select::{Chosen, choose};
use crate::ops::Heads;
use candle_core::{Result, Tensor};

/// [`retrieve`](super::retrieve); `t` holds queries, the output of attention, and gates.
pub(crate) fn retrieve(t: &[Tensor], key_value: &Tensor, heads: Heads, memory: &Memory) -> Result<Tensor> {
    let (query, attended, gate) = (&t[0], &t[1], &t[2]);
    let ((n, width), h) = (query.dims2()?, heads.n_heads);
    if n == 0 {
        return Ok(attended.clone());
    }
    let (d, d_keys, m) = (width / h, key_value.dim(1)? / 2, key_value.dim(0)?);
    let (device, dtype) = (query.device(), query.dtype());
    let key_value = key_value.to_dtype(dtype)?;
    let of_heads = |from: usize| {
        key_value.narrow(1, from, d_keys)?.contiguous()?.reshape((m * heads.n_kv_heads, d)) // [m·n_kv_heads, d_head]
    };
    let (keys, values) = (of_heads(0)?, of_heads(d_keys)?);
    let Chosen { rows, valid, k } = choose(&query.detach(), &keys, heads, memory)?;
    let rows = Tensor::from_vec(rows, n * h * k, device)?;
    let valid = Tensor::from_vec(valid, (n * h, k), device)?.to_dtype(dtype)?;
    let chosen = |x: &Tensor| x.index_select(&rows, 0)?.reshape((n * h, k, d));
    let query = query.reshape((n * h, 1, d))?;
    let mut scores = (chosen(&keys)?.broadcast_mul(&query)?.sum(2)? * f64::from(heads.scale))?; // [n·n_heads, k]
    if let Some(cap) = heads.soft_cap.map(f64::from) {
        scores = ((scores / cap)?.tanh()? * cap)?;
    }
    // As in attention: places without a key must not decide the maximum, and get the weight 0.
    let masked = (scores + ((&valid - 1.0)? * 1e4)?)?;
    let highest = masked.detach().max_keepdim(1)?;
    let weights = (masked.broadcast_sub(&highest)?.exp()? * &valid)?;
    let total = weights.sum_keepdim(1)?;
    let total = (&total + total.eq(0.0)?.to_dtype(dtype)?)?;
    let weights = weights.broadcast_div(&total)?.unsqueeze(2)?; // [n·n_heads, k, 1]
    let retrieved = chosen(&values)?.broadcast_mul(&weights)?.sum(1)?.reshape((n, h, d))?;
    let has_memory = valid.max_keepdim(1)?.reshape((n, h, 1))?;
    let share = (gate.neg()?.exp()? + 1.0)?.recip()?.reshape((1, h, 1))?.broadcast_mul(&has_memory)?;
    let attended = attended.reshape((n, h, d))?;
    let moved = (retrieved - &attended)?.broadcast_mul(&share)?;
    (attended + moved)?.reshape((n, width))
}
