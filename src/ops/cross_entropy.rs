//! Cross entropy of logits against class targets, with weights and label smoothing.
//!
//! The probabilities are never stored: forward reads the logits (4 bytes and about 20 FLOP each) and saves a log-sum-exp
//! for each row, backward reads them again and writes the gradient (8 bytes).

use std::sync::OnceLock;

use super::autograd::{Value, apply1};
use super::from_candle::from_candle;
use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::math::{exp, max, rows_in_block, sum, sum_by, vectorize};
use super::storage::{Elements, has_kernel, slice};

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
    #[cfg(feature = "cuda")]
    if super::cuda::has_kernel(logits.tensor()) {
        return super::cuda::cross_entropy(logits, targets, weights, smoothing);
    }
    let rows = targets
        .iter()
        .zip(weights)
        .map(|(&target, &weight)| Row { target: target as usize, weight })
        .collect();
    let op = CrossEntropy { rows, smoothing, log_sums: OnceLock::new() };
    match has_kernel(logits.tensor()) {
        true => apply1(logits, op),
        false => from_candle(&[logits], |t| reference(&t[0], &op.rows, smoothing)),
    }
}

/// [`cross_entropy`] in candle's own operations.
fn reference(logits: &Tensor, rows: &[Row], smoothing: f32) -> Result<Tensor> {
    let device = logits.device();
    let active = || rows.iter().zip(0..).filter(|(row, _)| row.weight != 0.0);
    let n = active().count();
    if n == 0 {
        return Tensor::zeros((), logits.dtype(), device);
    }
    let places = Tensor::from_iter(active().map(|(_, i): (_, u32)| i), device)?;
    let targets = Tensor::from_iter(active().map(|(row, _)| row.target as u32), device)?;
    let weights = Tensor::from_iter(active().map(|(row, _)| row.weight), device)?.to_dtype(logits.dtype())?;
    let log_p = log_softmax(&logits.contiguous()?.index_select(&places, 0)?)?; // [n, v]
    let at_target = log_p.gather(&targets.reshape((n, 1))?, 1)?.squeeze(1)?; // [n]
    let smoothing = f64::from(smoothing);
    let expected = ((at_target * (1.0 - smoothing))? + (log_p.mean(D::Minus1)? * smoothing)?)?;
    (expected * weights)?.sum_all()?.neg()
}

/// The log-softmax of each row, in candle's own differentiable operations.
pub(crate) fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)
}

/// log Σ eˣ of a row; call it inside `vectorize`.
#[inline(always)]
pub(crate) fn log_sum_exp(row: &[f32]) -> f32 {
    let greatest = max(row);
    let sum = sum_by(
        row,
        #[inline(always)]
        |x| exp(x - greatest),
    );
    greatest + sum.ln()
}

#[derive(Clone, Copy)]
struct Row {
    target: usize,
    weight: f32,
}

struct CrossEntropy {
    rows: Vec<Row>,
    smoothing: f32,
    /// log Σ eˣ of each row with a weight.
    log_sums: OnceLock<Vec<f32>>,
}

impl CrossEntropy {
    /// The loss of one row and its log-sum-exp.
    #[inline(always)]
    fn forward_row(&self, logits: &[f32], row: Row) -> (f64, f32) {
        let log_sum = log_sum_exp(logits);
        let mut loss = f64::from(1.0 - self.smoothing) * f64::from(log_sum - logits[row.target]);
        // Without smoothing, the other logits have no effect, even if they are −∞.
        if self.smoothing > 0.0 {
            loss += f64::from(self.smoothing) * f64::from(log_sum - sum(logits) / logits.len() as f32);
        }
        (f64::from(row.weight) * loss, log_sum)
    }

    /// The gradient of one row, `scale`·(p − q).
    #[inline(always)]
    fn backward_row(&self, gradient: &mut [f32], logits: &[f32], row: Row, log_sum: f32, scale: f32) {
        let even = self.smoothing / logits.len() as f32;
        for (gradient, &logit) in gradient.iter_mut().zip(logits) {
            *gradient = scale * (exp(logit - log_sum) - even);
        }
        gradient[row.target] -= scale * (1.0 - self.smoothing);
    }
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n, v) = layout.shape().dims2()?;
        let (logits, v) = (slice(logits, layout)?, v.max(1));
        let block = rows_in_block(n, v);
        let mut log_sums = vec![0.0; n];
        let inputs = logits.par_chunks(block * v).zip(self.rows.par_chunks(block));
        let losses: Vec<f64> = log_sums
            .par_chunks_mut(block)
            .zip(inputs)
            .map(|(log_sums, (logits, rows))| {
                vectorize(
                    #[inline(always)]
                    || {
                        let mut sum = 0.0;
                        for ((log_sum, logits), row) in
                            log_sums.iter_mut().zip(logits.chunks_exact(v)).zip(rows)
                        {
                            if row.weight != 0.0 {
                                let (loss, row_log_sum) = self.forward_row(logits, *row);
                                *log_sum = row_log_sum;
                                sum += loss;
                            }
                        }
                        sum
                    },
                )
            })
            .collect();
        let _ = self.log_sums.set(log_sums); // an instance serves one call
        Ok((CpuStorage::F32(vec![losses.iter().sum::<f64>() as f32]), Shape::from(())))
    }

    fn bwd(&self, logits: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let (n, v) = logits.dims2()?;
        let (values, v) = (Elements::of(logits)?, v.max(1));
        let (block, dy) = (rows_in_block(n, v), dy.to_scalar::<f32>()?);
        let Some(log_sums) = self.log_sums.get() else { bail!("cross_entropy: backward without a forward") };
        let mut gradient = vec![0.0; values.len()];
        let rows = self.rows.par_chunks(block).zip(log_sums.par_chunks(block));
        let blocks = gradient.par_chunks_mut(block * v).zip(values.par_chunks(block * v)).zip(rows);
        blocks.for_each(|((gradient, logits), (rows, log_sums))| {
            vectorize(
                #[inline(always)]
                || {
                    let rows = logits.chunks_exact(v).zip(rows.iter().zip(log_sums));
                    for (gradient, (logits, (row, &log_sum))) in gradient.chunks_exact_mut(v).zip(rows) {
                        if row.weight != 0.0 {
                            self.backward_row(gradient, logits, *row, log_sum, dy * row.weight);
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

    /// Targets and weights; rows of weight 0 have an invalid target.
    fn rows(n: usize, v: usize) -> (Vec<u32>, Vec<f32>) {
        let weights: Vec<f32> = (0..n).map(|i| ((i + 1) % 4) as f32 * 0.6).collect();
        let target =
            |(i, weight): (usize, &f32)| if *weight == 0.0 { u32::MAX } else { ((i * 7 + 1) % v) as u32 };
        (weights.iter().enumerate().map(target).collect(), weights)
    }

    fn reference_of(logits: &Tensor, targets: &[u32], weights: &[f32], smoothing: f32) -> Result<Tensor> {
        let row = |(&target, &weight): (&u32, &f32)| Row { target: target as usize, weight };
        reference(logits, &targets.iter().zip(weights).map(row).collect::<Vec<_>>(), smoothing)
    }

    #[test]
    fn reference_has_the_right_gradients() -> Result<()> {
        let (targets, weights) = rows(5, 6);
        for smoothing in [0.0, 0.1, 1.0] {
            check_gradients(|x| reference_of(&x[0], &targets, &weights, smoothing), &[random(&[5, 6], 1)?])?;
        }
        Ok(())
    }

    #[test]
    fn kernel_matches_the_reference() -> Result<()> {
        for (n, v) in [(1, 2), (3, 5), (6, 65), (100, 300)] {
            for smoothing in [0.0, 0.1] {
                let (targets, weights) = rows(n, v);
                let of = |x: &Value| cross_entropy(x, &targets, &weights, smoothing);
                let reference_of = |x: &Tensor| reference_of(x, &targets, &weights, smoothing);
                check_kernel(|x| of(&x[0]), |x| reference_of(&x[0]), &[random(&[n, v], 1)?])?;
            }
        }
        Ok(())
    }

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
