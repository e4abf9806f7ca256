//! The GPU's kernels: one pass over the predictions forward, one backward.

use crate::cuda::{Launch, Source, element, empty, total, upload, whole};
use crate::ops::autograd::{Gradient, Value, with_rule};
use candle_core::{DType, Result, Tensor};

pub(in crate::ops) const SOURCE: Source =
    Source { name: "squared_error.cu", text: include_str!("squared_error.cu") };

/// Σᵢ wᵢ·meanⱼ (pᵢⱼ − tᵢⱼ)², a scalar in `f32`; the caller has checked the inputs.
pub(super) fn squared_error(prediction: &Value, targets: &[f32], weights: &[f32]) -> Result<Value> {
    let x = whole(prediction.tensor())?;
    let (n, d) = x.dims2()?;
    if n == 0 {
        let loss = Tensor::zeros((), DType::F32, x.device())?;
        return Ok(with_rule(loss, &[prediction], move |_| Ok(vec![Some(Gradient::own(x.zeros_like()?))])));
    }
    let (targets, weights) = (upload(&x, targets)?, upload(&x, weights)?);
    let losses = empty(&x, n, DType::F32)?;
    let launch = Launch::of(&x, &SOURCE, "forward", &[element(x.dtype())])?.each(32 * n);
    launch.tensor(&losses)?.tensor(&x)?.tensor(&targets)?.tensor(&weights)?.int(n)?.int(d)?.run()?;
    Ok(with_rule(total(&losses)?, &[prediction], move |dy| {
        let dx = empty(&x, (n, d), x.dtype())?;
        let launch = Launch::of(&x, &SOURCE, "backward", &[element(x.dtype())])?.each(n * d);
        let launch = launch.tensor(&dx)?.tensor(&x)?.tensor(&targets)?.tensor(&weights)?.tensor(dy)?;
        launch.int(n * d)?.int(d)?.run()?;
        Ok(vec![Some(Gradient::own(dx))])
    }))
}
