//! Weighted mean squared error.
//!
//! Forward reads 8 bytes an element, backward moves 12, with 3 FLOP: bound by memory.

use super::autograd::{Value, apply1};
use super::from_candle::from_candle;
use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::math::{rows_in_block, sum_by2, vectorize};
use super::storage::{Elements, has_kernel, slice};

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
    #[cfg(feature = "cuda")]
    if super::cuda::has_kernel(prediction.tensor()) {
        return super::cuda::squared_error(prediction, targets, weights);
    }
    if !has_kernel(prediction.tensor()) {
        return from_candle(&[prediction], |t| reference(&t[0], targets, weights));
    }
    apply1(prediction, SquaredError { d, targets: targets.to_vec(), weights: weights.to_vec() })
}

/// [`squared_error`] in candle's own operations.
pub(crate) fn reference(prediction: &Tensor, targets: &[f32], weights: &[f32]) -> Result<Tensor> {
    let like = |values: &[f32], shape: &[usize]| {
        Tensor::from_slice(values, shape, prediction.device())?.to_dtype(prediction.dtype())
    };
    let difference = (prediction - like(targets, prediction.dims())?)?;
    let rows = difference.sqr()?.mean(D::Minus1)?; // [n]
    let weights = like(weights, rows.dims())?;
    // A row of weight 0 adds nothing even if its error is not finite.
    (weights.ne(0.0)?.where_cond(&rows, &rows.zeros_like()?)? * weights)?.sum_all()
}

struct SquaredError {
    d: usize,
    targets: Vec<f32>,
    weights: Vec<f32>,
}

impl CustomOp1 for SquaredError {
    fn name(&self) -> &'static str {
        "squared_error"
    }

    fn cpu_fwd(&self, prediction: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let d = self.d;
        let block = rows_in_block(self.weights.len(), d);
        let inputs = slice(prediction, layout)?.par_chunks(block * d).zip(self.targets.par_chunks(block * d));
        let sums: Vec<f64> = inputs
            .zip(self.weights.par_chunks(block))
            .map(|((prediction, targets), weights)| {
                vectorize(
                    #[inline(always)]
                    || {
                        let rows = prediction.chunks_exact(d).zip(targets.chunks_exact(d)).zip(weights);
                        rows.filter(|(_, weight)| **weight != 0.0)
                            .map(|((p, t), weight)| {
                                let error = sum_by2(p, t, |p, t| (p - t) * (p - t));
                                f64::from(*weight) * f64::from(error) / d as f64
                            })
                            .sum()
                    },
                )
            })
            .collect();
        Ok((CpuStorage::F32(vec![sums.iter().sum::<f64>() as f32]), Shape::from(())))
    }

    fn bwd(&self, prediction: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let (d, values) = (self.d, Elements::of(prediction)?);
        let scale = 2.0 * dy.to_scalar::<f32>()? / d as f32;
        let block = rows_in_block(self.weights.len(), d);
        let mut dp = vec![0.0; values.len()];
        let inputs = values.par_chunks(block * d).zip(self.targets.par_chunks(block * d));
        let blocks = dp.par_chunks_mut(block * d).zip(inputs).zip(self.weights.par_chunks(block));
        blocks.for_each(|((dp, (values, targets)), weights)| {
            vectorize(
                #[inline(always)]
                || {
                    let rows = values.chunks_exact(d).zip(targets.chunks_exact(d)).zip(weights);
                    for (dp, ((p, t), &weight)) in dp.chunks_exact_mut(d).zip(rows) {
                        if weight != 0.0 {
                            for ((dp, &p), &t) in dp.iter_mut().zip(p).zip(t) {
                                *dp = scale * weight * (p - t);
                            }
                        }
                    }
                },
            )
        });
        Ok(Some(Tensor::from_vec(dp, prediction.dims(), prediction.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, check_gradients, check_kernel, input, random};
    use candle_core::{Device, Var};

    fn data(n: usize, d: usize) -> Result<(Tensor, Vec<f32>, Vec<f32>)> {
        let targets = random(&[n, d], 2)?.flatten_all()?.to_vec1()?;
        let weights = (0..n).map(|i| (i % 3) as f32 * 0.7).collect();
        Ok((random(&[n, d], 1)?, targets, weights))
    }

    #[test]
    fn reference_has_the_right_gradients() -> Result<()> {
        let (prediction, targets, weights) = data(4, 3)?;
        check_gradients(|p| reference(&p[0], &targets, &weights), &[prediction])
    }

    #[test]
    fn kernel_matches_the_reference() -> Result<()> {
        for (n, d) in [(1, 1), (2, 1), (5, 7), (70, 130)] {
            let (prediction, targets, weights) = data(n, d)?;
            check_kernel(
                |p| squared_error(&p[0], &targets, &weights),
                |p| reference(&p[0], &targets, &weights),
                std::slice::from_ref(&prediction),
            )?;
        }
        Ok(())
    }

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
