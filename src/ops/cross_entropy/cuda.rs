//! The GPU's kernels: logits are read once forward and once backward; probabilities are never stored.

use crate::cuda::{Constant, Launch, Source, element, empty, total, upload, vector, whole};
use crate::ops::autograd::{Gradient, Value, with_rule};
use candle_core::{DType, Result, Tensor};

pub(in crate::ops) const SOURCE: Source =
    Source { name: "cross_entropy.cu", text: include_str!("cross_entropy.cu") };

/// Threads for a row of logits.
const THREADS: usize = 512;

/// Σᵢ wᵢ·(−Σᵥ qᵢᵥ·log pᵢᵥ), a scalar in `f32`; the caller has checked the inputs.
pub(super) fn cross_entropy(
    logits: &Value,
    targets: &[u32],
    weights: &[f32],
    smoothing: f32,
) -> Result<Value> {
    let x = whole(logits.tensor())?;
    let (n, v) = x.dims2()?;
    if n == 0 {
        let loss = Tensor::zeros((), DType::F32, x.device())?;
        return Ok(with_rule(loss, &[logits], move |_| Ok(vec![Some(Gradient::own(x.zeros_like()?))])));
    }
    let constants = [element(x.dtype()), vector(x.dtype(), v).0];
    let (targets, weights) = (upload(&x, targets)?, upload(&x, weights)?);
    let (log_sums, losses) = (empty(&x, n, DType::F32)?, empty(&x, n, DType::F32)?);
    let launch = Launch::of(&x, &SOURCE, "forward", &constants)?.blocks(n, THREADS);
    let launch = launch.tensor(&log_sums)?.tensor(&losses)?.tensor(&x)?.tensor(&targets)?.tensor(&weights)?;
    launch.float(smoothing).int(v)?.run()?;
    Ok(with_rule(total(&losses)?, &[logits], move |dy| {
        let gradient = backward(&x, &log_sums, &targets, &weights, dy, smoothing, &constants)?;
        Ok(vec![Some(Gradient::own(gradient))])
    }))
}

fn backward(
    x: &Tensor,
    log_sums: &Tensor,
    targets: &Tensor,
    weights: &Tensor,
    dy: &Tensor,
    smoothing: f32,
    constants: &[Constant],
) -> Result<Tensor> {
    let (n, v) = x.dims2()?;
    let gradient = empty(x, (n, v), x.dtype())?;
    let launch = Launch::of(x, &SOURCE, "backward", constants)?.blocks(n, THREADS);
    let launch = launch.tensor(&gradient)?.tensor(x)?.tensor(log_sums)?.tensor(targets)?.tensor(weights)?;
    launch.tensor(dy)?.float(smoothing).int(v)?.run()?;
    Ok(gradient)
}
