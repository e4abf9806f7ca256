//! Work cut by rows, and sums over rows.

use super::math::{BLOCK, add, sum_by2, vectorize};
use super::storage::{Elements, gradient};
use crate::ops::autograd::{Value, with_rule};
use candle_core::{Result, Tensor};
use rayon::prelude::*;

/// Rows of one task, of `n` rows of `d` elements. The result depends on sizes alone, so that sums over a task's rows are
/// the same for any number of threads.
pub(crate) fn rows_in_block(n: usize, d: usize) -> usize {
    const MOST_BLOCKS: usize = 32;
    const LEAST_ELEMENTS: usize = 4096;
    n.div_ceil(MOST_BLOCKS).max(LEAST_ELEMENTS.div_ceil(d.max(1)))
}

/// Adds the tasks' vectors of `len` elements, in order.
pub(crate) fn add_in_order(parts: Vec<Vec<f32>>, len: usize) -> Vec<f32> {
    let mut parts = parts.into_iter();
    let Some(mut sum) = parts.next() else { return vec![0.0; len] };
    for part in parts {
        sum.par_chunks_mut(BLOCK).zip(part.par_chunks(BLOCK)).for_each(|(sum, part)| {
            vectorize(
                #[inline(always)]
                || add(sum, part),
            )
        });
    }
    sum
}

/// The sum of the rows of `x` `[n, d]`, `[d]`.
pub(crate) fn column_sums(x: &[f32], d: usize) -> Vec<f32> {
    let block = rows_in_block(x.len() / d.max(1), d) * d;
    let sum = |rows: &[f32]| {
        let mut sums = vec![0.0; d];
        vectorize(
            #[inline(always)]
            || rows.chunks_exact(d).for_each(|row| add(&mut sums, row)),
        );
        sums
    };
    add_in_order(x.par_chunks(block.max(1)).map(sum).collect(), d)
}

/// Σᵢ wᵢ·meanⱼ f(xᵢⱼ, tᵢⱼ), a scalar, with `slope` the derivative of f for x: `x` is `[n, d]`, `targets` row-major
/// `[n, d]`, `weights` `[n]`. Rows of weight 0 are not read.
pub(crate) fn weighted_mean_loss(
    x: &Value,
    targets: &[f32],
    weights: &[f32],
    f: impl Fn(f32, f32) -> f32 + Copy + Sync,
    slope: impl Fn(f32, f32) -> f32 + Send + Sync + 'static,
) -> Result<Value> {
    let (n, d) = x.dims2()?;
    let (block, input) = (rows_in_block(n, d), x.tensor().clone());
    let loss = |((x, targets), weights): ((&[f32], &[f32]), &[f32])| {
        vectorize(
            #[inline(always)]
            || {
                let rows = x.chunks_exact(d).zip(targets.chunks_exact(d)).zip(weights);
                rows.filter(|(_, weight)| **weight != 0.0)
                    .map(|((x, t), weight)| f64::from(*weight) * f64::from(sum_by2(x, t, f)) / d as f64)
                    .sum::<f64>()
            },
        )
    };
    let values = Elements::of(&input)?;
    let blocks = values.par_chunks(block * d).zip(targets.par_chunks(block * d));
    let losses: Vec<f64> = blocks.zip(weights.par_chunks(block)).map(loss).collect();
    let loss = Tensor::new(losses.iter().sum::<f64>() as f32, input.device())?;
    drop(values);
    let (targets, weights) = (targets.to_vec(), weights.to_vec());
    Ok(with_rule(loss, &[x], move |dy| {
        let scale = dy.to_scalar::<f32>()? / d as f32;
        let values = Elements::of(&input)?;
        let mut dx = vec![0.0; values.len()];
        let inputs = values.par_chunks(block * d).zip(targets.par_chunks(block * d));
        let blocks = dx.par_chunks_mut(block * d).zip(inputs).zip(weights.par_chunks(block));
        blocks.for_each(|((dx, (x, targets)), weights)| {
            vectorize(
                #[inline(always)]
                || {
                    let rows = x.chunks_exact(d).zip(targets.chunks_exact(d)).zip(weights);
                    for (dx, ((x, t), &weight)) in dx.chunks_exact_mut(d).zip(rows) {
                        if weight != 0.0 {
                            for ((dx, &x), &t) in dx.iter_mut().zip(x).zip(t) {
                                *dx = scale * weight * slope(x, t);
                            }
                        }
                    }
                },
            )
        });
        Ok(vec![gradient(dx, &input)?])
    }))
}
