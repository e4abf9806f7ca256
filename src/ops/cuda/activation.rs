//! Nonlinearities, and the feed-forward layer around one: two products with one pass over memory between them.

use super::compile::{Constant, Source, element, vector};
use super::launch::{Launch, empty, whole};
use super::linear::{in_type, map, turn_back};
use super::product::{plain, product, turned};
use super::sum::column_sums;
use crate::ops::activation::Activation;
use crate::ops::autograd::{Gradient, Value, with_adding_rule, with_rule};
use crate::ops::mlp::Map;
use candle_core::{DType, Result, Tensor};

pub(super) const SOURCE: Source = Source { name: "activation.cu", text: include_str!("activation.cu") };

/// The activation of each element of `x`.
pub(crate) fn activation(x: &Value, activation: Activation) -> Result<Value> {
    let kept = whole(x.tensor())?;
    let y = forward(activation, &kept, None)?;
    Ok(with_rule(y, &[x], move |dy| {
        Ok(vec![Some(Gradient::own(backward(activation, &kept, None, &whole(dy)?)?))])
    }))
}

/// f(x·W₁ᵀ + b₁)·W₂ᵀ + b₂, and `onto` where it is given; keeps the activation's inputs, without the bias, and its outputs.
pub(crate) fn mlp(
    x: &Value,
    inner: Map,
    outer: Map,
    activation: Activation,
    onto: Option<&Value>,
) -> Result<Value> {
    let dtype = x.tensor().dtype();
    let rows = whole(x.tensor())?;
    let (w1, w2) = (in_type(inner.0, dtype)?, in_type(outer.0, dtype)?);
    let bias = inner.1.map(|bias| bias.tensor().clone());
    let hidden = map(&rows, &w1, None, None)?; // [n, d_ff]
    let active = forward(activation, &hidden, bias.as_ref())?;
    let y = map(&active, &w2, outer.1, onto)?;
    let inputs = [x, inner.0, outer.0].into_iter().chain(inner.1).chain(outer.1).chain(onto);
    let inputs: Vec<&Value> = inputs.collect();
    let (has_gradient, outer_bias, has_onto) = (x.has_gradient(), outer.1.is_some(), onto.is_some());
    Ok(with_adding_rule(y, &inputs, move |dy, waiting| {
        let dy = whole(dy)?;
        let d_active = product(plain(&dy), plain(&w2), dtype)?;
        let d_w2 = product(turned(&dy), plain(&active), DType::F32)?;
        let d_hidden = backward(activation, &hidden, bias.as_ref(), &d_active)?;
        drop(d_active);
        let d_w1 = product(turned(&d_hidden), plain(&rows), DType::F32)?;
        let dx = has_gradient.then(|| turn_back(&d_hidden, &w1, waiting)).transpose()?;
        let mut gradients = vec![dx, Some(d_w1), Some(d_w2)];
        gradients.extend(bias.as_ref().map(|_| column_sums(&d_hidden).map(Some)).transpose()?);
        gradients.extend(outer_bias.then(|| column_sums(&dy).map(Some)).transpose()?);
        let gradients = gradients.into_iter().map(|gradient| gradient.map(Gradient::own));
        Ok(gradients.chain(has_onto.then(|| Some(Gradient::shared(&dy)))).collect())
    }))
}

fn constants(activation: Activation, dtype: DType, width: usize) -> (Vec<Constant>, usize) {
    let name = match activation {
        Activation::Gelu => "gelu",
        Activation::GeluTanh => "gelu_tanh",
        Activation::Relu => "relu",
        Activation::Silu => "silu",
        Activation::QuickGelu => "quick_gelu",
        Activation::Tanh => "hyperbolic_tangent",
    };
    let (vector, v) = vector(dtype, width);
    (vec![format!("#define F {name}"), element(dtype), vector], v)
}

fn forward(activation: Activation, x: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let width = bias.map_or(x.elem_count(), Tensor::elem_count).max(1);
    let (constants, v) = constants(activation, x.dtype(), width);
    let (y, vectors) = (empty(x, x.shape(), x.dtype())?, x.elem_count() / v);
    let launch = Launch::of(x, &SOURCE, "forward", &constants)?.each(vectors);
    launch.tensor(&y)?.tensor(x)?.optional(bias)?.int(vectors)?.int(width)?.run()?;
    Ok(y)
}

fn backward(activation: Activation, x: &Tensor, bias: Option<&Tensor>, dy: &Tensor) -> Result<Tensor> {
    let width = bias.map_or(x.elem_count(), Tensor::elem_count).max(1);
    let (constants, v) = constants(activation, x.dtype(), width);
    let (dx, vectors) = (empty(x, x.shape(), x.dtype())?, x.elem_count() / v);
    let launch = Launch::of(x, &SOURCE, "backward", &constants)?.each(vectors);
    launch.tensor(&dx)?.tensor(x)?.optional(bias)?.tensor(dy)?.int(vectors)?.int(width)?.run()?;
    Ok(dx)
}
