//! For GPUs: cuBLASLt's products in the type of the activations, which also add biases, residual streams and earlier
//! gradients. Gradients of weights are in `f32`.

use crate::cuda::{
    BiasAndResidual, column_sums, convert, plain, product, product_bias_residual, transposed, whole,
};
use crate::ops::autograd::{Gradient, Value, with_accumulating_rule};
use candle_core::{DType, Result, Tensor};

/// Whether a product of `x` and `weight` can add `residual`.
pub(in crate::ops) fn can_add_residual(residual: &Value, x: &Value, weight: &Value) -> bool {
    residual.tensor().dtype() == x.tensor().dtype()
        && matches!((residual.dims(), x.dims(), weight.dims()), ([n, m], [rows, _], [outputs, _]) if n == rows && m == outputs)
}

/// x·Wᵀ + b + `residual`; see [`can_add_residual`].
pub(super) fn linear(
    x: &Value,
    weight: &Value,
    bias: Option<&Value>,
    residual: Option<&Value>,
) -> Result<Value> {
    let dtype = x.tensor().dtype();
    let (rows, w) = (whole(x.tensor())?, convert(weight.tensor(), dtype)?);
    let y = map(&rows, &w, bias, residual)?;
    let inputs: Vec<&Value> = [x, weight].into_iter().chain(bias).chain(residual).collect();
    let (has_gradient, has_bias, has_residual) = (x.has_gradient(), bias.is_some(), residual.is_some());
    Ok(with_accumulating_rule(y, &inputs, move |dy, so_far| {
        let dy = whole(dy)?;
        let dx = has_gradient.then(|| input_gradient(&dy, &w, so_far)).transpose()?;
        let mut gradients = vec![dx, Some(product(transposed(&dy), plain(&rows), DType::F32)?)];
        gradients.extend(has_bias.then(|| column_sums(&dy).map(Some)).transpose()?);
        let gradients = gradients.into_iter().map(|gradient| gradient.map(Gradient::own));
        Ok(gradients.chain(has_residual.then(|| Some(Gradient::shared(&dy)))).collect())
    }))
}

/// x·Wᵀ + b + `residual`, for `x` and a weight of one type.
pub(in crate::ops) fn map(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Value>,
    residual: Option<&Value>,
) -> Result<Tensor> {
    let bias = bias.map(|bias| convert(bias.tensor(), x.dtype())).transpose()?;
    let residual = residual.map(|residual| whole(residual.tensor())).transpose()?;
    let extra = BiasAndResidual { bias: bias.as_ref(), residual: residual.as_ref() };
    product_bias_residual(plain(x), transposed(weight), x.dtype(), extra)
}

/// The gradient of x: dy·W, added to the gradient so far.
pub(in crate::ops) fn input_gradient(
    dy: &Tensor,
    weight: &Tensor,
    so_far: Option<&Tensor>,
) -> Result<Tensor> {
    let so_far = so_far.map(whole).transpose()?;
    let extra = BiasAndResidual { bias: None, residual: so_far.as_ref() };
    product_bias_residual(plain(dy), plain(weight), dy.dtype(), extra)
}
