//! The GPU's kernels: a warp for each row, which stays in registers.

use crate::cuda::{Constant, Launch, Source, column_sums, element, empty, number, vector, whole};
use crate::ops::autograd::{Gradient, Value, with_accumulating_rule};
use candle_core::{DType, Result, Tensor};

pub(in crate::ops) const SOURCE: Source = Source { name: "norm.cu", text: include_str!("norm.cu") };

/// Rows in a block: one for each of its warps.
const WARPS: usize = 8;
/// The most blocks of a backward pass, each of which writes a row of sums.
const BLOCKS: usize = 264;

/// The widest row whose two sums a block's shared memory holds.
pub(in crate::ops) const WIDEST: usize = 4096;

/// Normalises rows; subtracts their mean if `centre`.
pub(super) fn norm(x: &Value, weight: &Value, bias: Option<&Value>, eps: f64, centre: bool) -> Result<Value> {
    let rows = whole(x.tensor())?;
    let (n, d) = rows.dims2()?;
    let constants = constants(rows.dtype(), d, centre);
    let y = empty(&rows, (n, d), rows.dtype())?;
    let (means, scales) = (empty(&rows, n, DType::F32)?, empty(&rows, n, DType::F32)?);
    let launch = Launch::of(&rows, &SOURCE, "forward", &constants)?.blocks(n.div_ceil(WARPS), 32 * WARPS);
    let launch =
        launch.tensor(&y)?.tensor(&means)?.tensor(&scales)?.tensor(&rows)?.tensor(weight.tensor())?;
    launch.optional(bias.map(Value::tensor))?.float(eps as f32).int(n)?.run()?;
    let inputs: Vec<&Value> = [x, weight].into_iter().chain(bias).collect();
    let (weight, has_bias) = (weight.tensor().clone(), bias.is_some());
    Ok(with_accumulating_rule(y, &inputs, move |dy, so_far| {
        let so_far = so_far.map(whole).transpose()?;
        let (dx, sums) = backward(&rows, &weight, &whole(dy)?, &means, &scales, so_far.as_ref(), &constants)?;
        let mut gradients = vec![dx, sums.narrow(0, 0, d)?];
        if has_bias {
            gradients.push(sums.narrow(0, d, d)?);
        }
        Ok(gradients.into_iter().map(|gradient| Some(Gradient::own(gradient))).collect())
    }))
}

fn constants(dtype: DType, d: usize, centre: bool) -> Vec<Constant> {
    vec![element(dtype), vector(dtype, d).0, number("D", d), number("CENTRE", usize::from(centre))]
}

/// The gradient of x, added to its gradient so far, and the gradients of weight and bias, concatenated.
fn backward(
    x: &Tensor,
    weight: &Tensor,
    dy: &Tensor,
    means: &Tensor,
    scales: &Tensor,
    so_far: Option<&Tensor>,
    constants: &[Constant],
) -> Result<(Tensor, Tensor)> {
    let (n, d) = x.dims2()?;
    let blocks = n.div_ceil(WARPS).clamp(1, BLOCKS);
    let (dx, partial) = (empty(x, (n, d), x.dtype())?, empty(x, (blocks, 2 * d), DType::F32)?);
    let launch = Launch::of(x, &SOURCE, "backward", constants)?.blocks(blocks, 32 * WARPS);
    let launch = launch.shared(2 * d * size_of::<f32>())?.tensor(&dx)?.tensor(&partial)?.tensor(x)?;
    launch.tensor(weight)?.tensor(dy)?.tensor(means)?.tensor(scales)?.optional(so_far)?.int(n)?.run()?;
    Ok((dx, column_sums(&partial)?))
}
