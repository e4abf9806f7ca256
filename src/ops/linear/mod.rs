//! The affine map x·Wᵀ + b.
//!
//! Forward and backward are three products of 2·n·m·k FLOP each, over n·k + m·k + n·m numbers: bound by arithmetic
//! if n, m and k are more than a few dozen. The product starts from the bias. Forward transposes a copy of its weights, 8·m·k
//! bytes, so that blocks of rows need not pack a transposed matrix; with few rows, it transposes x and y instead.

pub(super) mod cpu;
pub(super) mod cpu_bf16;
#[cfg(feature = "cuda")]
pub(super) mod cuda;
mod quantized;
pub(super) mod reference;

pub use quantized::{QuantizedType, QuantizedWeight, quantized_linear};

use super::add;
use super::autograd::Value;
use super::dispatch::dispatch;
use super::from_candle::from_candle;
use candle_core::{Result, bail};

/// x·Wᵀ + b: `x` is `[n, k]`, `weight` `[m, k]`, `bias` `[m]`; the result is `[n, m]`.
///
/// Bit-reproducible for a given number of threads; in `bf16` on a CPU, also for a given kernel (see [`ops`](crate::ops)).
///
/// # Errors
/// If the shapes do not fit.
pub fn linear(x: &Value, weight: &Value, bias: Option<&Value>) -> Result<Value> {
    check(x, weight, bias)?;
    let inputs: Vec<&Value> = [x, weight].into_iter().chain(bias).collect();
    dispatch!(x.tensor();
        cuda => cuda::linear(x, weight, bias, None),
        cpu => cpu::linear(&inputs),
        reference => from_candle(&inputs, |t| reference::linear(&t[0], &t[1], t.get(2))))
}

/// Fails if the shapes do not fit.
fn check(x: &Value, weight: &Value, bias: Option<&Value>) -> Result<()> {
    let (x_dims, weight_dims) = (x.dims(), weight.dims());
    let fits = matches!((x_dims, weight_dims), ([_, k], [_, weight_k]) if k == weight_k)
        && bias.is_none_or(|bias| bias.dims() == &weight_dims[..1]);
    if !fits {
        let bias = bias.map(|bias| bias.dims());
        bail!(
            "linear: expected x [n, k], weight [m, k], bias [m]; found {x_dims:?}, {weight_dims:?}, {bias:?}"
        )
    }
    Ok(())
}

/// [`linear`] added to a residual stream: `residual` `[n, m]` + x·Wᵀ + b.
///
/// A GPU adds before it rounds.
///
/// # Errors
/// If the shapes do not fit.
pub fn linear_residual(x: &Value, weight: &Value, bias: Option<&Value>, residual: &Value) -> Result<Value> {
    check(x, weight, bias)?;
    dispatch!(x.tensor();
        cuda if cuda::can_add_residual(residual, x, weight) => cuda::linear(x, weight, bias, Some(residual)),
        reference => add(residual, &linear(x, weight, bias)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{input, random};
    use candle_core::Tensor;

    fn inputs(n: usize, k: usize, m: usize) -> Result<Vec<Tensor>> {
        Ok(vec![random(&[n, k], 1)?, random(&[m, k], 2)?, random(&[m], 3)?])
    }

    #[test]
    fn a_constant_input_gets_no_gradient() -> Result<()> {
        let inputs = inputs(3, 4, 2)?;
        let weight = candle_core::Var::from_tensor(&inputs[1])?;
        let y = linear(&input(&inputs[0]), &Value::parameter(&weight, 0), None)?;
        let loss = crate::ops::squared_error(&y, &[0.0; 6], &[1.0; 3])?;
        let found = crate::ops::backward(vec![(loss, 1.0)])?;
        assert_eq!(found.iter().count(), 1);
        Ok(())
    }

    #[test]
    fn the_same_input_gives_the_same_bits() -> Result<()> {
        let inputs = inputs(513, 100, 77)?;
        let inputs: Vec<Value> = inputs.iter().map(input).collect();
        let bits = || linear(&inputs[0], &inputs[1], inputs.get(2))?.tensor().flatten_all()?.to_vec1::<f32>();
        assert_eq!(bits()?, bits()?);
        Ok(())
    }

    #[test]
    fn shapes_that_do_not_fit_are_named() -> Result<()> {
        let error =
            linear(&input(&random(&[2, 3], 1)?), &input(&random(&[4, 5], 2)?), None).unwrap_err().to_string();
        assert!(error.contains("[2, 3]") && error.contains("[4, 5]"), "{error}");
        assert!(
            linear(
                &input(&random(&[2, 3], 1)?),
                &input(&random(&[4, 3], 2)?),
                Some(&input(&random(&[3], 3)?))
            )
            .is_err()
        );
        assert!(linear(&input(&random(&[3], 1)?), &input(&random(&[4, 3], 2)?), None).is_err());
        Ok(())
    }
}
