//! Binary cross entropy of logits against targets in 0..=1, with weights.
//!
//! Forward reads the logits (4 bytes and about 25 FLOP each), backward reads them again and writes the gradient
//! (8 bytes).

mod cpu;
pub(super) mod reference;

use super::autograd::Value;
use super::dispatch::dispatch;
use super::from_candle::from_candle;
use candle_core::{Result, bail};

/// Σᵢ wᵢ·meanⱼ (−tᵢⱼ·log pᵢⱼ − (1 − tᵢⱼ)·log(1 − pᵢⱼ)), a scalar, with p the sigmoid of the logits.
///
/// `logits` is `[n, c]`, `targets` row-major `[n, c]` in 0..=1, `weights` `[n]`; rows of weight 0 are not read. As
/// PyTorch's `binary_cross_entropy_with_logits`.
///
/// # Errors
/// If lengths do not fit, or `c` is 0.
pub fn binary_cross_entropy(logits: &Value, targets: &[f32], weights: &[f32]) -> Result<Value> {
    let (n, c) = logits.dims2()?;
    if c == 0 || targets.len() != n * c || weights.len() != n {
        let (targets, weights) = (targets.len(), weights.len());
        bail!("binary_cross_entropy: logits are [{n}, {c}]; found {targets} targets and {weights} weights")
    }
    dispatch!(logits.tensor();
        cpu => cpu::binary_cross_entropy(logits, targets, weights),
        reference => from_candle(&[logits], |t| reference::binary_cross_entropy(&t[0], targets, weights)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, input, random};
    use candle_core::{Device, Tensor, Var};

    #[test]
    fn values_match_pytorch() -> Result<()> {
        // F.binary_cross_entropy_with_logits(tensor([[1., -2.]]), tensor([[1., 0.5]]))
        let logits = Tensor::new(&[[1_f32, -2.0]], &Device::Cpu)?;
        let loss = binary_cross_entropy(&input(&logits), &[1.0, 0.5], &[2.0])?;
        assert!((loss.tensor().to_scalar::<f32>()? / 2.0 - 0.720_095).abs() < 1e-6);
        Ok(())
    }

    #[test]
    fn large_logits_do_not_overflow() -> Result<()> {
        let logits = Tensor::new(&[[1e4_f32], [-1e4]], &Device::Cpu)?;
        let loss = binary_cross_entropy(&input(&logits), &[0.0, 1.0], &[1.0, 1.0])?;
        assert_eq!(loss.tensor().to_scalar::<f32>()?, 2e4);
        let right = binary_cross_entropy(&input(&logits), &[1.0, 0.0], &[1.0, 1.0])?;
        assert_eq!(right.tensor().to_scalar::<f32>()?, 0.0);
        Ok(())
    }

    #[test]
    fn rows_without_weight_have_no_gradient_even_if_not_finite() -> Result<()> {
        let logits = Var::new(&[[0_f32], [f32::NAN]], &Device::Cpu)?;
        let loss = binary_cross_entropy(&Value::parameter(&logits, 0), &[1.0, 0.0], &[1.0, 0.0])?;
        let gradients = crate::ops::backward(vec![(loss, 1.0)])?;
        let expected = Tensor::new(&[[-0.5_f32], [0.0]], &Device::Cpu)?;
        assert_close("gradient", gradients.get(0).unwrap(), &expected, 1e-6)
    }

    #[test]
    fn lengths_that_do_not_fit_are_errors() -> Result<()> {
        let logits = random(&[2, 3], 1)?;
        assert!(binary_cross_entropy(&input(&logits), &[0.0; 5], &[1.0; 2]).is_err());
        assert!(binary_cross_entropy(&input(&logits), &[0.0; 6], &[1.0; 3]).is_err());
        assert!(binary_cross_entropy(&input(&random(&[2, 0], 1)?), &[], &[1.0; 2]).is_err());
        Ok(())
    }
}
