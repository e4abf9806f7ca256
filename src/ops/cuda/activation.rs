//! Nonlinearities, gates, and MLPs: two products with one pass over memory between them.

use super::compile::{Constant, Source, element, vector};
use super::launch::{Launch, empty, whole};
use super::linear::{in_type, input_gradient, map};
use super::product::{plain, product, transposed};
use super::sum::{Stripes, column_sums};
use crate::ops::activation::Activation;
use crate::ops::autograd::{Gradient, Value, with_accumulating_rule, with_rule};
use crate::ops::mlp::Map;
use candle_core::{DType, Result, Tensor};

pub(super) const SOURCE: Source = Source { name: "activation.cu", text: include_str!("activation.cu") };

/// The activation of each element of `x`.
pub(crate) fn activation(x: &Value, activation: Activation) -> Result<Value> {
    let input = whole(x.tensor())?;
    let y = forward(activation, &input, None)?;
    Ok(with_rule(y, &[x], move |dy| {
        Ok(vec![Some(Gradient::own(backward(activation, &input, &whole(dy)?)?))])
    }))
}

/// The activation of each element of `a` times the element of `b`, of one shape and type.
pub(crate) fn gate(a: &Value, b: &Value, activation: Activation) -> Result<Value> {
    let inputs = [a, b];
    let (a, b) = (whole(a.tensor())?, whole(b.tensor())?);
    let (constants, v) = constants(activation, a.dtype(), a.elem_count().max(1));
    let (y, vectors) = (empty(&a, a.shape(), a.dtype())?, a.elem_count() / v);
    let launch = Launch::of(&a, &SOURCE, "gate", &constants)?.each(vectors);
    launch.tensor(&y)?.tensor(&a)?.tensor(&b)?.int(vectors)?.run()?;
    Ok(with_rule(y, &inputs, move |dy| {
        let (da, db) = (empty(&a, a.shape(), a.dtype())?, empty(&b, b.shape(), b.dtype())?);
        let launch = Launch::of(&a, &SOURCE, "gate_backward", &constants)?.each(vectors);
        let launch = launch.tensor(&da)?.tensor(&db)?.tensor(&a)?.tensor(&b)?.tensor(&whole(dy)?)?;
        launch.int(vectors)?.run()?;
        Ok(vec![Some(Gradient::own(da)), Some(Gradient::own(db))])
    }))
}

/// f(x·W₁ᵀ + b₁)·W₂ᵀ + b₂ + `residual`; saves the activation's inputs, without the bias, and its outputs.
pub(crate) fn mlp(
    x: &Value,
    inner: Map,
    outer: Map,
    activation: Activation,
    residual: Option<&Value>,
) -> Result<Value> {
    let dtype = x.tensor().dtype();
    let rows = whole(x.tensor())?;
    let (w1, w2) = (in_type(inner.0, dtype)?, in_type(outer.0, dtype)?);
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

/// `F`: the activation's name in `activation.cu`.
pub(super) fn function(activation: Activation) -> Constant {
    let name = match activation {
        Activation::Gelu => "gelu",
        Activation::GeluTanh => "gelu_tanh",
        Activation::Relu => "relu",
        Activation::Silu => "silu",
        Activation::QuickGelu => "quick_gelu",
        Activation::Tanh => "hyperbolic_tangent",
    };
    format!("#define F {name}")
}

fn constants(activation: Activation, dtype: DType, width: usize) -> (Vec<Constant>, usize) {
    let (vector, v) = vector(dtype, width);
    (vec![function(activation), element(dtype), vector], v)
}

fn forward(activation: Activation, x: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let width = bias.map_or(x.elem_count(), Tensor::elem_count).max(1);
    let (constants, v) = constants(activation, x.dtype(), width);
    let (y, vectors) = (empty(x, x.shape(), x.dtype())?, x.elem_count() / v);
    let launch = Launch::of(x, &SOURCE, "forward", &constants)?.each(vectors);
    launch.tensor(&y)?.tensor(x)?.optional(bias)?.int(vectors)?.int(width)?.run()?;
    Ok(y)
}

fn backward(activation: Activation, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let (constants, v) = constants(activation, x.dtype(), x.elem_count().max(1));
    let (dx, vectors) = (empty(x, x.shape(), x.dtype())?, x.elem_count() / v);
    let launch = Launch::of(x, &SOURCE, "backward", &constants)?.each(vectors);
    launch.tensor(&dx)?.tensor(x)?.tensor(dy)?.int(vectors)?.run()?;
    Ok(dx)
}

/// The gradients of x, to which a bias was added, and of the bias.
fn backward_with_sums(
    activation: Activation,
    x: &Tensor,
    bias: &Tensor,
    dy: &Tensor,
) -> Result<(Tensor, Tensor)> {
    let (n, width) = x.dims2()?;
    let (constants, v) = constants(activation, x.dtype(), width);
    let stripes = Stripes::of(n, width, v);
    let (dx, partial) = (empty(x, (n, width), x.dtype())?, empty(x, (stripes.blocks, width), DType::F32)?);
    let launch = stripes.launch(Launch::of(x, &SOURCE, "backward_with_sums", &constants)?)?;
    let launch = launch.tensor(&dx)?.tensor(&partial)?.tensor(x)?.tensor(bias)?.tensor(dy)?;
    launch.int(n)?.int(width)?.int(stripes.across)?.int(stripes.step)?.run()?;
    Ok((dx, column_sums(&partial)?))
}
