//! The CPU kernel: blocks of rows in parallel.

use crate::ops::autograd::{Value, with_rule};
use crate::ops::cpu::math::{dot, exp, max, sum, vectorize};
use crate::ops::cpu::rows::rows_in_block;
use crate::ops::cpu::storage::{Elements, gradient, tensor};
use candle_core::Result;
use rayon::prelude::*;

pub(super) fn softmax(x: &Value) -> Result<Value> {
    let (n, d) = x.dims2()?;
    let input = x.tensor().contiguous()?;
    let block = (rows_in_block(n, d) * d).max(1);
    let y = tensor(forward(&Elements::of(&input)?, block, d), &input)?;
    let output = y.clone();
    Ok(with_rule(y, &[x], move |dy| {
        let dy = dy.contiguous()?;
        let dx = backward(&Elements::of(&output)?, &Elements::of(&dy)?, block, d);
        Ok(vec![gradient(dx, &output)?])
    }))
}

fn forward(x: &[f32], block: usize, d: usize) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    y.par_chunks_mut(block).zip(x.par_chunks(block)).for_each(|(y, x)| {
        vectorize(
            #[inline(always)]
            || {
                for (y, x) in y.chunks_exact_mut(d).zip(x.chunks_exact(d)) {
                    let highest = max(x);
                    y.iter_mut().zip(x).for_each(|(y, &x)| *y = exp(x - highest));
                    let share = 1.0 / sum(y);
                    y.iter_mut().for_each(|y| *y *= share);
                }
            },
        )
    });
    y
}

/// dx = y·(dy − Σ y·dy) of each row.
fn backward(y: &[f32], dy: &[f32], block: usize, d: usize) -> Vec<f32> {
    let mut dx = vec![0.0; y.len()];
    dx.par_chunks_mut(block).zip(y.par_chunks(block).zip(dy.par_chunks(block))).for_each(|(dx, (y, dy))| {
        vectorize(
            #[inline(always)]
            || {
                let rows = y.chunks_exact(d).zip(dy.chunks_exact(d));
                for (dx, (y, dy)) in dx.chunks_exact_mut(d).zip(rows) {
                    let mean = dot(y, dy);
                    dx.iter_mut().zip(y).zip(dy).for_each(|((dx, &y), &dy)| *dx = y * (dy - mean));
                }
            },
        )
    });
    dx
}
