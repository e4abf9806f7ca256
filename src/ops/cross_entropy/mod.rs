//! Cross entropy of logits against class targets, with weights and label smoothing.
//!
//! The probabilities are never stored: forward reads the logits (4 bytes and about 20 FLOP each) and saves a log-sum-exp
//! for each row, backward reads them again and writes the gradient (8 bytes).

mod cpu;
#[cfg(feature = "cuda")]
pub(super) mod cuda;
pub(super) mod reference;

use super::autograd::Value;
use super::dispatch::dispatch;
use super::from_candle::from_candle;
use candle_core::{Result, bail};

/// Σᵢ wᵢ·(−Σᵥ qᵢᵥ·log pᵢᵥ), a scalar, with p the softmax of a row of logits.
///
/// `logits` is `[n, v]`, `targets` and `weights` `[n]`. q is 1 − `smoothing` at the target plus `smoothing`/v
/// everywhere, as PyTorch's `label_smoothing`. Rows of weight 0 and their targets are not read.
///
/// # Errors
/// If lengths do not fit, a target is not below v, or smoothing is outside `0..=1`.
pub fn cross_entropy(logits: &Value, targets: &[u32], weights: &[f32], smoothing: f32) -> Result<Value> {
    let (n, v) = logits.dims2()?;
    if targets.len() != n || weights.len() != n {
        let (targets, weights) = (targets.len(), weights.len());
        bail!("cross_entropy: logits are [{n}, {v}]; found {targets} targets and {weights} weights")
    }
    if !(0.0..=1.0).contains(&smoothing) {
        bail!("cross_entropy: expected smoothing in 0..=1, found {smoothing}")
    }
    let weighted = targets.iter().zip(weights).enumerate().filter(|(_, (_, weight))| **weight != 0.0);
    if let Some((i, (target, _))) = weighted.clone().find(|(_, (target, _))| **target as usize >= v) {
        bail!("cross_entropy: target {target} of row {i} is not below the {v} classes")
    }
    dispatch!(logits.tensor();
    cuda => cuda::cross_entropy(logits, targets, weights, smoothing),
    cpu => cpu::cross_entropy(logits, targets, weights, smoothing),
    reference => from_candle(&[logits], |t| {
        reference::cross_entropy(&t[0], targets, weights, smoothing)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, input, random};
    use candle_core::{Device, Tensor, Var};

    #[test]
    fn values_match_pytorch() -> Result<()> {
        // F.cross_entropy(tensor([[1., 2., 3.]]), tensor([0])), without and with label_smoothing=0.1.
        let logits = Tensor::new(&[[1_f32, 2.0, 3.0]], &Device::Cpu)?;
        let loss =
            |smoothing| cross_entropy(&input(&logits), &[0], &[1.0], smoothing)?.tensor().to_scalar::<f32>();
        assert!((loss(0.0)? - 2.407_606).abs() < 1e-6);
        assert!((loss(0.1)? - 2.307_606).abs() < 1e-6);
        Ok(())
    }

    #[test]
    fn large_logits_do_not_overflow() -> Result<()> {
        let logits = Tensor::new(&[[1e4_f32, 0.0], [0.0, f32::NEG_INFINITY]], &Device::Cpu)?;
        let loss = cross_entropy(&input(&logits), &[1, 0], &[1.0, 1.0], 0.0)?.tensor().to_scalar::<f32>()?;
        assert_eq!(loss, 1e4);
        Ok(())
    }

    #[test]
    fn rows_without_weight_have_no_effect() -> Result<()> {
        let logits = Var::new(&[[0_f32, 0.0], [f32::NAN, f32::INFINITY]], &Device::Cpu)?;
        let loss = cross_entropy(&Value::parameter(&logits, 0), &[0, 9], &[1.0, 0.0], 0.0)?;
        assert!((loss.tensor().to_scalar::<f32>()? - std::f32::consts::LN_2).abs() < 1e-6);
        let expected = Tensor::new(&[[-0.5_f32, 0.5], [0.0, 0.0]], &Device::Cpu)?;
        let gradients = crate::ops::backward(vec![(loss, 1.0)])?;
        assert_close("gradient", gradients.get(0).unwrap(), &expected, 1e-6)?;
        assert_eq!(
            cross_entropy(&input(&random(&[0, 3], 1)?), &[], &[], 0.1)?.tensor().to_scalar::<f32>()?,
            0.0
        );
        Ok(())
    }

    #[test]
    fn targets_and_lengths_are_checked() -> Result<()> {
        let logits = random(&[2, 3], 1)?;
        let error = cross_entropy(&input(&logits), &[0, 3], &[1.0, 1.0], 0.0).unwrap_err().to_string();
        assert!(error.contains("target 3 of row 1") && error.contains("3 classes"), "{error}");
        assert!(cross_entropy(&input(&logits), &[0], &[1.0, 1.0], 0.0).is_err());
        assert!(cross_entropy(&input(&logits), &[0, 1], &[1.0], 0.0).is_err());
        assert!(cross_entropy(&input(&logits), &[0, 1], &[1.0, 1.0], 1.5).is_err());
        assert!(cross_entropy(&input(&random(&[1, 0], 1)?), &[0], &[1.0], 0.0).is_err());
        Ok(())
    }
}
