//! The CPU kernel.

use crate::ops::autograd::{Value, with_rule};
use crate::ops::cpu::math::{exp, log_sum_exp, sum, vectorize};
use crate::ops::cpu::rows::rows_in_block;
use crate::ops::cpu::storage::{Elements, gradient};
use candle_core::{Result, Tensor};
use rayon::prelude::*;

pub(super) fn cross_entropy(
    logits: &Value,
    targets: &[u32],
    weights: &[f32],
    smoothing: f32,
) -> Result<Value> {
    let (input, v) = (logits.tensor().clone(), logits.dims()[1]);
    let row = |(&target, &weight): (&u32, &f32)| Row { target: target as usize, weight };
    let op = CrossEntropy { rows: targets.iter().zip(weights).map(row).collect(), smoothing, v: v.max(1) };
    let (loss, log_sums) = op.forward(&Elements::of(&input)?);
    let loss = Tensor::new(loss as f32, input.device())?;
    Ok(with_rule(loss, &[logits], move |dy| {
        let dx = op.backward(&Elements::of(&input)?, &log_sums, dy.to_scalar()?);
        Ok(vec![gradient(dx, &input)?])
    }))
}

#[derive(Clone, Copy)]
struct Row {
    target: usize,
    weight: f32,
}

struct CrossEntropy {
    rows: Vec<Row>,
    smoothing: f32,
    /// Classes.
    v: usize,
}

impl CrossEntropy {
    /// The loss, and log Σ eˣ of each row with a weight.
    fn forward(&self, logits: &[f32]) -> (f64, Vec<f32>) {
        let (n, v) = (self.rows.len(), self.v);
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
        (losses.iter().sum(), log_sums)
    }

    fn backward(&self, logits: &[f32], log_sums: &[f32], dy: f32) -> Vec<f32> {
        let v = self.v;
        let block = rows_in_block(self.rows.len(), v);
        let mut gradient = vec![0.0; logits.len()];
        let rows = self.rows.par_chunks(block).zip(log_sums.par_chunks(block));
        let blocks = gradient.par_chunks_mut(block * v).zip(logits.par_chunks(block * v)).zip(rows);
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
        gradient
    }

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
