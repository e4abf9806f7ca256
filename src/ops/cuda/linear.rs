//! The affine map: products by cuBLASLt, in the type of the activations, to which it adds biases and waiting gradients;
//! weights' gradients in `f32`.

use super::launch::whole;
use super::product::{Added, plain, product, product_added, turned};
use super::sum::column_sums;
use crate::ops::autograd::{Gradient, Value, with_adding_rule};
use candle_core::{DType, Result, Tensor};

/// x·Wᵀ + b.
pub(crate) fn linear(x: &Value, weight: &Value, bias: Option<&Value>) -> Result<Value> {
    let dtype = x.tensor().dtype();
    let (rows, w) = (whole(x.tensor())?, in_type(weight, dtype)?);
    let y = map(&rows, &w, bias)?;
    let inputs: Vec<&Value> = [x, weight].into_iter().chain(bias).collect();
    let (has_gradient, has_bias) = (x.has_gradient(), bias.is_some());
    Ok(with_adding_rule(y, &inputs, move |dy, waiting| {
        let dy = whole(dy)?;
        let dx = has_gradient.then(|| turn_back(&dy, &w, waiting)).transpose()?;
        let mut gradients = vec![dx, Some(product(turned(&dy), plain(&rows), DType::F32)?)];
        gradients.extend(has_bias.then(|| column_sums(&dy).map(Some)).transpose()?);
        Ok(gradients.into_iter().map(|gradient| gradient.map(Gradient::own)).collect())
    }))
}

/// A parameter rounded to the type of the activations that it meets.
pub(super) fn in_type(parameter: &Value, dtype: DType) -> Result<Tensor> {
    parameter.tensor().to_dtype(dtype)?.contiguous()
}

/// x·Wᵀ + b, where `x` and the weight are of one type.
pub(super) fn map(x: &Tensor, weight: &Tensor, bias: Option<&Value>) -> Result<Tensor> {
    let bias = bias.map(|bias| in_type(bias, x.dtype())).transpose()?;
    product_added(plain(x), turned(weight), x.dtype(), Added { bias: bias.as_ref(), onto: None })
}

/// The gradient dy·W of x, added to one that waits there.
pub(super) fn turn_back(dy: &Tensor, weight: &Tensor, waiting: Option<&Tensor>) -> Result<Tensor> {
    let waiting = waiting.map(whole).transpose()?;
    product_added(plain(dy), plain(weight), dy.dtype(), Added { bias: None, onto: waiting.as_ref() })
}
