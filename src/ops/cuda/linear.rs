//! The affine map: products by cuBLAS, in the type of the activations; weights' gradients in `f32`.

use super::launch::whole;
use super::product::product;
use super::sum::{add_bias, column_sums};
use crate::ops::autograd::{Gradient, Value, with_rule};
use candle_core::{DType, Result, Tensor};

/// x·Wᵀ + b.
pub(crate) fn linear(x: &Value, weight: &Value, bias: Option<&Value>) -> Result<Value> {
    let dtype = x.tensor().dtype();
    let (rows, w) = (whole(x.tensor())?, weight_as(weight, dtype)?);
    let y = product(&rows, false, &w, true, dtype)?;
    add_bias_of(&y, bias)?;
    let inputs: Vec<&Value> = [x, weight].into_iter().chain(bias).collect();
    let (has_gradient, has_bias) = (x.has_gradient(), bias.is_some());
    Ok(with_rule(y, &inputs, move |dy| {
        let dy = whole(dy)?;
        let dx = has_gradient.then(|| product(&dy, false, &w, false, dtype)).transpose()?;
        let mut gradients = vec![dx, Some(product(&dy, true, &rows, false, DType::F32)?)];
        gradients.extend(has_bias.then(|| column_sums(&dy).map(Some)).transpose()?);
        Ok(gradients.into_iter().map(|gradient| gradient.map(Gradient::own)).collect())
    }))
}

/// A weight rounded to the type of the activations that it meets.
pub(super) fn weight_as(weight: &Value, dtype: DType) -> Result<Tensor> {
    weight.tensor().to_dtype(dtype)?.contiguous()
}

/// y ← y + b, where there is a bias.
pub(super) fn add_bias_of(y: &Tensor, bias: Option<&Value>) -> Result<()> {
    bias.map_or(Ok(()), |bias| add_bias(y, bias.tensor()))
}
