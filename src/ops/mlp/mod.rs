//! Two linear maps with an activation between them, fused.
//!
//! Rows are computed in blocks, so that the hidden layer, four times as wide as the tokens, stays in the cache. Forward
//! saves the activation's input, `[n, d_ff]`, and backward recomputes its output. Forward is 4·n·d·d_ff FLOP, backward
//! twice that; each moves 8·n·d + 4·n·d_ff bytes of memory.

mod cpu;
mod cpu_bf16;
#[cfg(feature = "cuda")]
pub(super) mod cuda;
pub(super) mod reference;

use super::activation::Activation;
use super::add;
use super::autograd::Value;
use super::dispatch::dispatch;
use super::from_candle::from_candle;
use candle_core::{Result, bail};

/// The weights of a map, `[outputs, inputs]`, and its bias, `[outputs]`.
pub type Map<'a> = (&'a Value, Option<&'a Value>);

/// f(x·W₁ᵀ + b₁)·W₂ᵀ + b₂ with f the activation: `x` is `[n, d]`, W₁ `[d_ff, d]`, W₂ `[d, d_ff]`.
///
/// Bit-reproducible for a given number of threads; in `bf16` on a CPU, also for a given kernel (see [`ops`](crate::ops)).
///
/// # Errors
/// If the shapes do not fit.
pub fn mlp(x: &Value, inner: Map, outer: Map, activation: Activation) -> Result<Value> {
    check(x, inner, outer)?;
    let inputs: Vec<&Value> = [x, inner.0, outer.0].into_iter().chain(inner.1).chain(outer.1).collect();
    let biases = [inner.1.is_some(), outer.1.is_some()];
    dispatch!(x.tensor();
        cuda => cuda::mlp(x, inner, outer, activation, None),
        cpu => cpu::mlp(&inputs, biases, activation),
        reference => from_candle(&inputs, |t| reference::mlp(t, biases, activation)))
}

/// Fails if the shapes do not fit.
fn check(x: &Value, inner: Map, outer: Map) -> Result<()> {
    let fits = match (x.dims(), inner.0.dims(), outer.0.dims()) {
        ([_, d], [d_ff, inner_d], [outer_d, outer_d_ff]) => {
            let bias_fits = |bias: Option<&Value>, n: &usize| bias.is_none_or(|bias| bias.dims() == [*n]);
            inner_d == d && outer_d_ff == d_ff && bias_fits(inner.1, d_ff) && bias_fits(outer.1, outer_d)
        }
        _ => false,
    };
    if !fits {
        bail!(
            "mlp: expected x [n, d], weights [d_ff, d] and [d, d_ff] and their biases; found {:?}, {:?} and {:?}",
            x.dims(),
            inner.0.dims(),
            outer.0.dims()
        )
    }
    Ok(())
}

/// [`mlp`] added to a residual stream: `residual` `[n, d]` + f(x·W₁ᵀ + b₁)·W₂ᵀ + b₂.
///
/// A GPU adds before it rounds.
///
/// # Errors
/// If the shapes do not fit.
pub fn mlp_residual(
    x: &Value,
    inner: Map,
    outer: Map,
    activation: Activation,
    residual: &Value,
) -> Result<Value> {
    check(x, inner, outer)?;
    dispatch!(x.tensor();
        cuda if super::linear::cuda::can_add_residual(residual, x, outer.0) =>
            cuda::mlp(x, inner, outer, activation, Some(residual)),
        reference => add(residual, &mlp(x, inner, outer, activation)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::random;

    #[test]
    fn shapes_that_do_not_fit_are_errors() -> Result<()> {
        let value = |shape: &[usize]| random(shape, 1).map(Value::constant);
        let (x, inner, outer) = (value(&[3, 4])?, value(&[8, 4])?, value(&[4, 9])?);
        let error = mlp(&x, (&inner, None), (&outer, None), Activation::Gelu).unwrap_err().to_string();
        assert!(error.contains("[8, 4] and [4, 9]"), "{error}");
        Ok(())
    }
}
