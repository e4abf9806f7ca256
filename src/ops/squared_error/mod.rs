//! Weighted mean squared error.
//!
//! Forward reads 8 bytes an element, backward moves 12, with 3 FLOP: bound by memory.

mod cpu;
#[cfg(feature = "cuda")]
pub(super) mod cuda;
pub(super) mod reference;

use super::autograd::Value;
use super::dispatch::dispatch;
use super::from_candle::from_candle;
use candle_core::{Result, bail};

/// Σᵢ wᵢ·meanⱼ (pᵢⱼ − tᵢⱼ)², a scalar.
///
/// `prediction` is `[n, d]`, `targets` row-major `[n, d]`, `weights` `[n]`; rows of weight 0 are not read.
///
/// # Errors
/// If lengths do not fit, or `d` is 0.
pub fn squared_error(prediction: &Value, targets: &[f32], weights: &[f32]) -> Result<Value> {
    let (n, d) = prediction.dims2()?;
    if d == 0 || targets.len() != n * d || weights.len() != n {
        let (targets, weights) = (targets.len(), weights.len());
        bail!("squared_error: prediction is [{n}, {d}]; found {targets} targets and {weights} weights")
    }
    dispatch!(prediction.tensor();
        cuda => cuda::squared_error(prediction, targets, weights),
        cpu => cpu::squared_error(prediction, targets, weights),
        reference => from_candle(&[prediction], |t| reference::squared_error(&t[0], targets, weights)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, input, random};
    use candle_core::{Device, Tensor, Var};

    #[test]
    fn values_match_those_by_hand() -> Result<()> {
        let prediction = Tensor::new(&[[1_f32, 2.0], [f32::NAN, 0.0]], &Device::Cpu)?;
        let loss = squared_error(&input(&prediction), &[0.0, 4.0, 0.0, 0.0], &[3.0, 0.0])?;
        assert_eq!(loss.tensor().to_scalar::<f32>()?, 3.0 * (1.0 + 4.0) / 2.0);
        assert_eq!(squared_error(&input(&random(&[0, 2], 1)?), &[], &[])?.tensor().to_scalar::<f32>()?, 0.0);
        Ok(())
    }

    #[test]
    fn rows_without_weight_have_no_gradient_even_if_not_finite() -> Result<()> {
        let prediction = Var::new(&[[1_f32], [f32::NAN]], &Device::Cpu)?;
        let loss = squared_error(&Value::parameter(&prediction, 0), &[0.0, 0.0], &[1.0, 0.0])?;
        let gradients = crate::ops::backward(vec![(loss, 1.0)])?;
        let expected = Tensor::new(&[[2_f32], [0.0]], &Device::Cpu)?;
        assert_close("gradient", gradients.get(0).unwrap(), &expected, 1e-6)
    }

    #[test]
    fn lengths_that_do_not_fit_are_errors() -> Result<()> {
        let prediction = random(&[2, 3], 1)?;
        assert!(squared_error(&input(&prediction), &[0.0; 5], &[1.0; 2]).is_err());
        assert!(squared_error(&input(&prediction), &[0.0; 6], &[1.0; 3]).is_err());
        assert!(squared_error(&input(&random(&[2, 0], 1)?), &[], &[1.0; 2]).is_err());
        Ok(())
    }
}
