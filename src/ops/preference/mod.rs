//! Direct preference optimization (Rafailov et al. 2023): the loss of a chosen and a rejected completion.
//!
//! Forward reads the logits once for the log-probability of each target. The gradient is that of a cross-entropy whose weights
//! are the slopes of the pairs, so the kernels of [`cross_entropy`](super::cross_entropy()) compute it on every device.

pub(super) mod reference;

use super::autograd::{Gradient, Value, with_rule};
use super::cpu::math::log_sum_exp;
use super::cpu::storage::Elements;
use super::cross_entropy;
use super::cross_entropy::reference::log_softmax;
use candle_core::{DType, Result, Tensor, bail};
use rayon::prelude::*;
use std::ops::Range;

/// The rows of a chosen and of a rejected completion.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The rows of the chosen completion.
    pub chosen: Range<usize>,
    /// The rows of the rejected completion.
    pub rejected: Range<usize>,
    /// The log-probabilities of the chosen and of the rejected completion under the reference model.
    pub reference: [f64; 2],
}

impl Pair {
    /// What the chosen completion gains over the reference model, and what the rejected one gains, in nats; `log_probs` has the
    /// log-probability of each row's target.
    pub fn gains(&self, log_probs: &[f64]) -> [f64; 2] {
        let total = |rows: &Range<usize>| log_probs[rows.clone()].iter().sum::<f64>();
        [total(&self.chosen) - self.reference[0], total(&self.rejected) - self.reference[1]]
    }

    fn margin(&self, log_probs: &[f64]) -> f64 {
        let [chosen, rejected] = self.gains(log_probs);
        chosen - rejected
    }
}

/// Σ_pairs −log σ(β·(gain of the chosen − gain of the rejected)), a scalar. A gain is log π(completion) − log π_ref(completion).
///
/// `logits` is `[n, v]`, `ids` and `weights` `[n]`: a completion's log-probability is the sum over its rows of weight ×
/// log-probability of the row's id. Rows of weight 0 and their ids are not read.
///
/// # Errors
/// If lengths or ranges do not fit, an id is not below v, or a pair has no finite reference.
pub fn preference(logits: &Value, ids: &[u32], weights: &[f32], pairs: &[Pair], beta: f64) -> Result<Value> {
    let log_probs = log_probs(logits.tensor(), ids, weights)?;
    check(pairs, log_probs.len())?;
    let (mut loss, mut slopes) = (0.0, vec![0.0; weights.len()]);
    for pair in pairs {
        let z = beta * pair.margin(&log_probs);
        loss += softplus(-z);
        let slope = (beta * (-softplus(z)).exp()) as f32; // β·σ(−z)
        for (rows, slope) in [(&pair.chosen, slope), (&pair.rejected, -slope)] {
            rows.clone().for_each(|row| slopes[row] += slope * weights[row]);
        }
    }
    let slope = cross_entropy(logits, ids, &slopes, 0.0)?;
    let loss = Tensor::new(loss as f32, logits.tensor().device())?.to_dtype(slope.tensor().dtype())?;
    Ok(with_rule(loss, &[&slope], |dy| Ok(vec![Some(Gradient::shared(dy))])))
}

/// `[n]`: weight × log-probability of the id of each row of `logits` `[n, v]`; 0 for a row of weight 0, whose id is not read.
///
/// # Errors
/// If lengths do not fit, or an id is not below v.
pub fn log_probs(logits: &Tensor, ids: &[u32], weights: &[f32]) -> Result<Vec<f64>> {
    let (n, v) = logits.dims2()?;
    if ids.len() != n || weights.len() != n {
        let (ids, weights) = (ids.len(), weights.len());
        bail!("preference: logits are [{n}, {v}]; found {ids} ids and {weights} weights")
    }
    let is_read = |row: usize| weights[row] != 0.0;
    if let Some(row) = (0..n).find(|&row| is_read(row) && ids[row] as usize >= v) {
        bail!("preference: id {} of row {row} is not below {v}", ids[row])
    }
    if n == 0 || v == 0 {
        return Ok(vec![0.0; n]);
    }
    let logits = logits.to_dtype(DType::F32)?.contiguous()?;
    let weighted = |row: usize, log_p: f32| f64::from(weights[row]) * f64::from(log_p);
    if logits.device().is_cpu() {
        let elements = Elements::of(&logits)?;
        let log_prob = |(row, logits): (usize, &[f32])| match is_read(row) {
            true => weighted(row, logits[ids[row] as usize] - log_sum_exp(logits)),
            false => 0.0,
        };
        return Ok(elements.par_chunks(v).enumerate().map(log_prob).collect());
    }
    let read = (0..n).map(|row| if is_read(row) { ids[row] } else { 0 });
    let read = Tensor::from_iter(read, logits.device())?.reshape((n, 1))?;
    let log_p = log_softmax(&logits)?.gather(&read, 1)?.squeeze(1)?.to_vec1::<f32>()?;
    let log_prob = |(row, log_p): (usize, f32)| if is_read(row) { weighted(row, log_p) } else { 0.0 };
    Ok(log_p.into_iter().enumerate().map(log_prob).collect())
}

/// Fails if a pair has other rows than the `n`, or no reference.
fn check(pairs: &[Pair], n: usize) -> Result<()> {
    for (number, Pair { chosen, rejected, reference }) in pairs.iter().enumerate() {
        if let Some(rows) = [chosen, rejected].into_iter().find(|rows| rows.start > rows.end || rows.end > n)
        {
            bail!("preference: pair {number} has rows {rows:?}; expected a range in 0..{n}")
        }
        if !reference.iter().all(|log_prob| log_prob.is_finite()) {
            bail!(
                "preference: expected the log-probabilities of a reference model for pair {number}; found {reference:?}: \
                 start the run from the reference model"
            )
        }
    }
    Ok(())
}

/// log(1 + eˣ), without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{input, random};
    use candle_core::{Device, Var};
    use std::f64::consts::LN_2;

    fn loss(logits: &Tensor, pairs: &[Pair], beta: f64) -> Result<f64> {
        let (n, _) = logits.dims2()?;
        let value = preference(&input(logits), &vec![1; n], &vec![1.0; n], pairs, beta)?;
        Ok(f64::from(value.tensor().to_scalar::<f32>()?))
    }

    #[test]
    fn the_loss_of_the_reference_model_itself_is_ln_2() -> Result<()> {
        let logits = random(&[5, 4], 1)?;
        let log_probs = log_probs(&logits, &[1; 5], &[1.0; 5])?;
        let reference = [log_probs[..3].iter().sum(), log_probs[3..].iter().sum()];
        let pair = Pair { chosen: 0..3, rejected: 3..5, reference };
        for beta in [0.01, 0.5, 10.0] {
            assert!((loss(&logits, std::slice::from_ref(&pair), beta)? - LN_2).abs() < 1e-6);
        }
        assert_eq!(pair.gains(&log_probs), [0.0; 2]);
        Ok(())
    }

    #[test]
    fn values_match_pytorch() -> Result<()> {
        // lp = torch.log_softmax(tensor([[1., 2., 3.], [3., 2., 1.]]), -1)[:, 1]; both are −1.4076, so that the margin is
        // that of the reference: −F.logsigmoid(tensor(0.5 * (−(−2. + 1.)))).
        let logits = Tensor::new(&[[1_f32, 2.0, 3.0], [3.0, 2.0, 1.0]], &Device::Cpu)?;
        let pair = Pair { chosen: 0..1, rejected: 1..2, reference: [-2.0, -1.0] };
        assert!((loss(&logits, &[pair], 0.5)? - 0.474_077).abs() < 1e-6);
        Ok(())
    }

    #[test]
    fn large_margins_do_not_overflow() -> Result<()> {
        let logits = Tensor::new(&[[-1e4_f32, 1e4], [1e4, -1e4]], &Device::Cpu)?;
        let pair = |chosen, rejected| Pair { chosen, rejected, reference: [0.0, 0.0] };
        assert_eq!(loss(&logits, &[pair(0..1, 1..2)], 1.0)?, 0.0);
        assert_eq!(loss(&logits, &[pair(1..2, 0..1)], 1.0)?, 2e4);
        Ok(())
    }

    #[test]
    fn rows_without_weight_have_no_effect() -> Result<()> {
        let logits = Var::new(&[[0_f32, 0.0], [f32::NAN, 1.0], [0.0, 0.0]], &Device::Cpu)?;
        let pair = Pair { chosen: 0..2, rejected: 2..3, reference: [-LN_2, -LN_2] };
        let value = Value::parameter(&logits, 0);
        let loss = preference(&value, &[0, 9, 1], &[1.0, 0.0, 1.0], &[pair], 2.0)?;
        assert!((f64::from(loss.tensor().to_scalar::<f32>()?) - LN_2).abs() < 1e-6);
        let gradients = crate::ops::backward(vec![(loss, 1.0)])?;
        let gradient = gradients.get(0).unwrap().to_vec2::<f32>()?;
        // ∓β·σ(0) × (one-hot − softmax).
        assert_eq!(gradient, [[-0.5, 0.5], [0.0, 0.0], [-0.5, 0.5]]);
        Ok(())
    }

    #[test]
    fn pairs_and_lengths_are_checked() -> Result<()> {
        let logits = random(&[2, 3], 1)?;
        let pair = |chosen, reference| Pair { chosen, rejected: 1..2, reference };
        let error = |pair| loss(&logits, &[pair], 0.1).unwrap_err().to_string();
        assert!(error(pair(0..3, [0.0; 2])).contains("rows 0..3; expected a range in 0..2"));
        assert!(error(pair(0..1, [f64::NAN; 2])).contains("start the run from the reference model"));
        assert!(log_probs(&logits, &[0, 3], &[1.0; 2]).is_err());
        assert!(log_probs(&logits, &[0], &[1.0; 2]).is_err());
        Ok(())
    }
}
