//! Binary cross entropy of logits against targets in 0..=1, with weights.
//!
//! Forward reads the logits (4 bytes and about 25 FLOP each), backward reads them again and writes the gradient
//! (8 bytes).

use super::autograd::{Value, apply1};
use super::from_candle::from_candle;
use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::math::{exp, rows_in_block, sigmoid, sum_by2, vectorize};
use super::storage::{Elements, has_kernel, slice};

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
    match has_kernel(logits.tensor()) {
        true => {
            apply1(logits, BinaryCrossEntropy { c, targets: targets.to_vec(), weights: weights.to_vec() })
        }
        false => from_candle(&[logits], |t| reference(&t[0], targets, weights)),
    }
}

/// [`binary_cross_entropy`] in candle's own operations.
pub(crate) fn reference(logits: &Tensor, targets: &[f32], weights: &[f32]) -> Result<Tensor> {
    let like = |values: &[f32], shape: &[usize]| {
        Tensor::from_slice(values, shape, logits.device())?.to_dtype(logits.dtype())
    };
    // log(1 + eˣ) = max(x, 0) + log(1 + e^−|x|), which overflows nowhere.
    let softplus = (logits.relu()? + (logits.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
    let rows = (softplus - (logits * like(targets, logits.dims())?)?)?.mean(D::Minus1)?; // [n]
    let weights = like(weights, rows.dims())?;
    // A row of weight 0 adds nothing even if its loss is not finite.
    (weights.ne(0.0)?.where_cond(&rows, &rows.zeros_like()?)? * weights)?.sum_all()
}

struct BinaryCrossEntropy {
    c: usize,
    targets: Vec<f32>,
    weights: Vec<f32>,
}

impl CustomOp1 for BinaryCrossEntropy {
    fn name(&self) -> &'static str {
        "binary_cross_entropy"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let c = self.c;
        let block = rows_in_block(self.weights.len(), c);
        let inputs = slice(logits, layout)?.par_chunks(block * c).zip(self.targets.par_chunks(block * c));
        let sums: Vec<f64> = inputs
            .zip(self.weights.par_chunks(block))
            .map(|((logits, targets), weights)| {
                vectorize(
                    #[inline(always)]
                    || {
                        let rows = logits.chunks_exact(c).zip(targets.chunks_exact(c)).zip(weights);
                        rows.filter(|(_, weight)| **weight != 0.0)
                            .map(|((x, t), weight)| {
                                let loss = |x: f32, t: f32| x.max(0.0) - x * t + exp(-x.abs()).ln_1p();
                                f64::from(*weight) * f64::from(sum_by2(x, t, loss)) / c as f64
                            })
                            .sum()
                    },
                )
            })
            .collect();
        Ok((CpuStorage::F32(vec![sums.iter().sum::<f64>() as f32]), Shape::from(())))
    }

    fn bwd(&self, logits: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let (c, values) = (self.c, Elements::of(logits)?);
        let scale = dy.to_scalar::<f32>()? / c as f32;
        let block = rows_in_block(self.weights.len(), c);
        let mut gradient = vec![0.0; values.len()];
        let inputs = values.par_chunks(block * c).zip(self.targets.par_chunks(block * c));
        let blocks = gradient.par_chunks_mut(block * c).zip(inputs).zip(self.weights.par_chunks(block));
        blocks.for_each(|((gradient, (values, targets)), weights)| {
            vectorize(
                #[inline(always)]
                || {
                    let rows = values.chunks_exact(c).zip(targets.chunks_exact(c)).zip(weights);
                    for (gradient, ((x, t), &weight)) in gradient.chunks_exact_mut(c).zip(rows) {
                        if weight != 0.0 {
                            for ((gradient, &x), &t) in gradient.iter_mut().zip(x).zip(t) {
                                *gradient = scale * weight * (sigmoid(x) - t);
                            }
                        }
                    }
                },
            )
        });
        Ok(Some(Tensor::from_vec(gradient, logits.dims(), logits.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, check_gradients, check_kernel, input, random};
    use candle_core::{Device, Var};

    fn data(n: usize, c: usize) -> Result<(Tensor, Vec<f32>, Vec<f32>)> {
        let targets = (0..n * c).map(|i| [0.0, 1.0, 0.3][i % 3]).collect();
        let weights = (0..n).map(|i| (i % 3) as f32 * 0.7).collect();
        Ok((random(&[n, c], 1)?, targets, weights))
    }

    #[test]
    fn reference_has_the_right_gradients() -> Result<()> {
        let (logits, targets, weights) = data(4, 3)?;
        check_gradients(|x| reference(&x[0], &targets, &weights), &[logits])
    }

    #[test]
    fn kernel_matches_the_reference() -> Result<()> {
        for (n, c) in [(1, 1), (2, 1), (5, 7), (70, 130)] {
            let (logits, targets, weights) = data(n, c)?;
            check_kernel(
                |x| binary_cross_entropy(&x[0], &targets, &weights),
                |x| reference(&x[0], &targets, &weights),
                std::slice::from_ref(&logits),
            )?;
        }
        Ok(())
    }

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
