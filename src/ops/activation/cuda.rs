//! The GPU's kernels: nonlinearities, with the bias that comes before them in an MLP.

use super::Activation;
use crate::cuda::{Constant, Launch, Source, Stripes, column_sums, element, empty, vector, whole};
use crate::ops::autograd::{Gradient, Value, with_rule};
use candle_core::{DType, Result, Tensor};

pub(in crate::ops) const SOURCE: Source = Source {
    name: "activation.cu",
    text: concat!(include_str!("functions.cuh"), include_str!("activation.cu")),
};

/// The activation of each element of `x`.
pub(super) fn activation(x: &Value, activation: Activation) -> Result<Value> {
    let input = whole(x.tensor())?;
    let y = forward(activation, &input, None)?;
    Ok(with_rule(y, &[x], move |dy| {
        Ok(vec![Some(Gradient::own(backward(activation, &input, &whole(dy)?)?))])
    }))
}

/// `F`: the activation's name in `activation.cu`.
pub(in crate::ops) fn function(activation: Activation) -> Constant {
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

/// The constants of `activation.cu`, and the elements that a thread takes.
pub(in crate::ops) fn constants(
    activation: Activation,
    dtype: DType,
    width: usize,
) -> (Vec<Constant>, usize) {
    let (vector, v) = vector(dtype, width);
    (vec![function(activation), element(dtype), vector], v)
}

/// F(x + `bias`).
pub(in crate::ops) fn forward(activation: Activation, x: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let width = bias.map_or(x.elem_count(), Tensor::elem_count).max(1);
    let (constants, v) = constants(activation, x.dtype(), width);
    let (y, vectors) = (empty(x, x.shape(), x.dtype())?, x.elem_count() / v);
    let launch = Launch::of(x, &SOURCE, "forward", &constants)?.each(vectors);
    launch.tensor(&y)?.tensor(x)?.optional(bias)?.int(vectors)?.int(width)?.run()?;
    Ok(y)
}

/// dy·F′(x).
pub(in crate::ops) fn backward(activation: Activation, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let (constants, v) = constants(activation, x.dtype(), x.elem_count().max(1));
    let (dx, vectors) = (empty(x, x.shape(), x.dtype())?, x.elem_count() / v);
    let launch = Launch::of(x, &SOURCE, "backward", &constants)?.each(vectors);
    launch.tensor(&dx)?.tensor(x)?.tensor(dy)?.int(vectors)?.run()?;
    Ok(dx)
}

/// The gradients of x, to which a bias was added, and of the bias.
pub(in crate::ops) fn backward_with_sums(
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
