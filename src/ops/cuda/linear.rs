//! The affine map: products by cuBLASLt, in the type of the activations, to which it adds biases and waiting gradients;
//! weights' gradients in `f32`.

use super::launch::whole;
use super::product::{Added, plain, product, product_added, turned};
use super::sum::{column_sums, convert};
use crate::ops::autograd::{Gradient, Value, with_adding_rule};
use candle_core::{DType, Result, Tensor};

/// Whether `residual` is what a product of `x` and a weight can be added to.
pub(crate) fn adds(residual: &Value, x: &Value, weight: &Value) -> bool {
    residual.tensor().dtype() == x.tensor().dtype()
        && matches!((residual.dims(), x.dims(), weight.dims()), ([n, m], [rows, _], [outputs, _]) if n == rows && m == outputs)
}

/// x·Wᵀ + b, and `residual` where it is given, which [`adds`].
pub(crate) fn linear(
    x: &Value,
    weight: &Value,
    bias: Option<&Value>,
    residual: Option<&Value>,
) -> Result<Value> {
    let dtype = x.tensor().dtype();
    let (rows, w) = (whole(x.tensor())?, in_type(weight, dtype)?);
    let y = map(&rows, &w, bias, residual)?;
    let inputs: Vec<&Value> = [x, weight].into_iter().chain(bias).chain(residual).collect();
    let (has_gradient, has_bias, has_residual) = (x.has_gradient(), bias.is_some(), residual.is_some());
    Ok(with_adding_rule(y, &inputs, move |dy, waiting| {
        let dy = whole(dy)?;
        let dx = has_gradient.then(|| turn_back(&dy, &w, waiting)).transpose()?;
        let mut gradients = vec![dx, Some(product(turned(&dy), plain(&rows), DType::F32)?)];
        gradients.extend(has_bias.then(|| column_sums(&dy).map(Some)).transpose()?);
        let gradients = gradients.into_iter().map(|gradient| gradient.map(Gradient::own));
        Ok(gradients.chain(has_residual.then(|| Some(Gradient::shared(&dy)))).collect())
    }))
}

/// A parameter rounded to the type of the activations that it meets.
pub(super) fn in_type(parameter: &Value, dtype: DType) -> Result<Tensor> {
    convert(parameter.tensor(), dtype)
}

/// x·Wᵀ + b + `residual`, where `x` and the weight are of one type.
pub(super) fn map(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Value>,
    residual: Option<&Value>,
) -> Result<Tensor> {
    let bias = bias.map(|bias| in_type(bias, x.dtype())).transpose()?;
    let residual = residual.map(|residual| whole(residual.tensor())).transpose()?;
    product_added(
        plain(x),
        turned(weight),
        x.dtype(),
        Added { bias: bias.as_ref(), residual: residual.as_ref() },
    )
}

/// The gradient dy·W of x, added to one that waits there.
pub(super) fn turn_back(dy: &Tensor, weight: &Tensor, waiting: Option<&Tensor>) -> Result<Tensor> {
    let waiting = waiting.map(whole).transpose()?;
    product_added(plain(dy), plain(weight), dy.dtype(), Added { bias: None, residual: waiting.as_ref() })
}
