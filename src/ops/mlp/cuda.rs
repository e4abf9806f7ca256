//! For GPUs: two products with one pass over memory between them.

use super::Map;
use crate::cuda::{column_sums, convert, plain, product, transposed, whole};
use crate::ops::activation::Activation;
use crate::ops::activation::cuda::{backward, backward_with_sums, forward};
use crate::ops::autograd::{Gradient, Value, with_accumulating_rule};
use crate::ops::linear::cuda::{input_gradient, map};
use candle_core::{DType, Result};

/// f(x·W₁ᵀ + b₁)·W₂ᵀ + b₂ + `residual`; saves the activation's inputs, without the bias, and its outputs.
pub(super) fn mlp(
    x: &Value,
    inner: Map,
    outer: Map,
    activation: Activation,
    residual: Option<&Value>,
) -> Result<Value> {
    let dtype = x.tensor().dtype();
    let rows = whole(x.tensor())?;
    let (w1, w2) = (convert(inner.0.tensor(), dtype)?, convert(outer.0.tensor(), dtype)?);
    let bias = inner.1.map(|bias| bias.tensor().clone());
    let hidden = map(&rows, &w1, None, None)?; // [n, d_ff]
    let active = forward(activation, &hidden, bias.as_ref())?;
    let y = map(&active, &w2, outer.1, residual)?;
    let inputs = [x, inner.0, outer.0].into_iter().chain(inner.1).chain(outer.1).chain(residual);
    let inputs: Vec<&Value> = inputs.collect();
    let (has_gradient, outer_bias, has_residual) = (x.has_gradient(), outer.1.is_some(), residual.is_some());
    Ok(with_accumulating_rule(y, &inputs, move |dy, so_far| {
        let dy = whole(dy)?;
        let d_active = product(plain(&dy), plain(&w2), dtype)?;
        let d_w2 = product(transposed(&dy), plain(&active), DType::F32)?;
        let (d_hidden, d_bias) = match &bias {
            None => (backward(activation, &hidden, &d_active)?, None),
            Some(bias) => {
                let (d_hidden, d_bias) = backward_with_sums(activation, &hidden, bias, &d_active)?;
                (d_hidden, Some(d_bias))
            }
        };
        drop(d_active);
        let d_w1 = product(transposed(&d_hidden), plain(&rows), DType::F32)?;
        let dx = has_gradient.then(|| input_gradient(&d_hidden, &w1, so_far)).transpose()?;
        let mut gradients = vec![dx, Some(d_w1), Some(d_w2)];
        gradients.extend(d_bias.map(Some));
        gradients.extend(outer_bias.then(|| column_sums(&dy).map(Some)).transpose()?);
        let gradients = gradients.into_iter().map(|gradient| gradient.map(Gradient::own));
        Ok(gradients.chain(has_residual.then(|| Some(Gradient::shared(&dy)))).collect())
    }))
}
