//! The GPU's kernel, which hashes the CPU's mask.

use crate::cuda::{Launch, Source, element, empty, upload, whole};
use crate::ops::autograd::{Gradient, Value, with_rule};
use candle_core::{Result, Tensor};

pub(in crate::ops) const SOURCE: Source = Source { name: "dropout.cu", text: include_str!("dropout.cu") };

/// Zeroes elements of `x` `[n, d]` with probability `rate`, by the keys of its rows.
pub(super) fn dropout(x: &Value, rate: f32, seed: u64, rows: &[u64]) -> Result<Value> {
    // candle has no unsigned type of 64 bits.
    let keys: Vec<i64> = rows.iter().map(|key| key.cast_signed()).collect();
    let keys = upload(x.tensor(), &keys)?;
    let y = apply(x.tensor(), rate, seed, &keys)?;
    Ok(with_rule(y, &[x], move |dy| Ok(vec![Some(Gradient::own(apply(dy, rate, seed, &keys)?))])))
}

fn apply(x: &Tensor, rate: f32, seed: u64, keys: &Tensor) -> Result<Tensor> {
    let x = whole(x)?;
    let (n, d) = x.dims2()?;
    let y = empty(&x, (n, d), x.dtype())?;
    let dropped = (f64::from(rate) * 2.0_f64.powi(32)) as u32;
    let launch = Launch::of(&x, &SOURCE, "apply", &[element(x.dtype())])?;
    let launch = launch.grid((n, d.div_ceil(256), 1), 256).tensor(&y)?.tensor(&x)?.tensor(keys)?;
    launch.word(seed).word(u64::from(dropped)).float(1.0 / (1.0 - rate)).int(d)?.run()?;
    Ok(y)
}
