//! The GPU's kernels.

use crate::cuda::{Launch, Source, Stripes, column_sums, convert, element, empty, vector, whole};
use crate::ops::autograd::{Gradient, Value, with_rule};
use candle_core::{DType, Result, Tensor};

pub(in crate::ops) const SOURCE: Source = Source { name: "scale.cu", text: include_str!("scale.cu") };

/// Each row of `x` `[n, d]` times `by` `[d]`.
pub(super) fn scale_columns(x: &Value, by: &Value) -> Result<Value> {
    let inputs = [x, by];
    let (x, by) = (whole(x.tensor())?, whole(&convert(by.tensor(), DType::F32)?)?);
    let y = forward(&x, Some(&by), None)?;
    Ok(with_rule(y, &inputs, move |dy| {
        let (dx, d_by) = backward(&x, &by, &whole(dy)?)?;
        Ok(vec![Some(Gradient::own(dx)), Some(Gradient::own(d_by))])
    }))
}

/// Each row of `x` `[n, d]` plus `added` `[d]`.
pub(super) fn add_to_columns(x: &Value, added: &Value) -> Result<Value> {
    let y = forward(&whole(x.tensor())?, None, Some(&whole(&convert(added.tensor(), DType::F32)?)?))?;
    Ok(with_rule(y, &[x, added], |dy| {
        Ok(vec![Some(Gradient::shared(dy)), Some(Gradient::own(column_sums(&whole(dy)?)?))])
    }))
}

fn forward(x: &Tensor, by: Option<&Tensor>, added: Option<&Tensor>) -> Result<Tensor> {
    let (n, width) = x.dims2()?;
    let (vector, v) = vector(x.dtype(), width);
    let (y, vectors) = (empty(x, (n, width), x.dtype())?, n * width / v);
    let launch = Launch::of(x, &SOURCE, "forward", &[element(x.dtype()), vector])?.each(vectors);
    launch.tensor(&y)?.tensor(x)?.optional(by)?.optional(added)?.int(vectors)?.int(width)?.run()?;
    Ok(y)
}

/// The gradients of `x` and `by`.
fn backward(x: &Tensor, by: &Tensor, dy: &Tensor) -> Result<(Tensor, Tensor)> {
    let (n, width) = x.dims2()?;
    let (vector, v) = vector(x.dtype(), width);
    let stripes = Stripes::of(n, width, v);
    let (dx, partial) = (empty(x, (n, width), x.dtype())?, empty(x, (stripes.blocks, width), DType::F32)?);
    let launch = stripes.launch(Launch::of(x, &SOURCE, "backward", &[element(x.dtype()), vector])?)?;
    let launch = launch.tensor(&dx)?.tensor(&partial)?.tensor(x)?.tensor(by)?.tensor(dy)?;
    launch.int(n)?.int(width)?.int(stripes.across)?.int(stripes.step)?.run()?;
    Ok((dx, column_sums(&partial)?))
}
