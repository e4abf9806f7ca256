//! The CPU kernel: ranges in parallel, and blocks of rows in backward.

use crate::ops::autograd::{Value, with_rule};
use crate::ops::cpu::math::{add, vectorize};
use crate::ops::cpu::rows::rows_in_block;
use crate::ops::cpu::storage::{Elements, gradient, shaped};
use candle_core::Result;
use rayon::prelude::*;
use std::ops::Range;

pub(super) fn mean_rows(x: &Value, ranges: &[Range<usize>]) -> Result<Value> {
    let (like, (n, d)) = (x.tensor().clone(), x.dims2()?);
    let y = shaped(means(&Elements::of(&like)?, ranges, d), (ranges.len(), d), &like)?;
    let ranges = ranges.to_vec();
    Ok(with_rule(y, &[x], move |dy| {
        let dy = dy.contiguous()?;
        Ok(vec![gradient(backward(&Elements::of(&dy)?, &ranges, n, d), &like)?])
    }))
}

fn means(x: &[f32], ranges: &[Range<usize>], d: usize) -> Vec<f32> {
    let mut y = vec![0.0; ranges.len() * d];
    y.par_chunks_mut(d.max(1)).zip(ranges).for_each(|(y, range)| {
        vectorize(
            #[inline(always)]
            || {
                x[range.start * d..range.end * d].chunks_exact(d).for_each(|row| add(y, row));
                let share = 1.0 / range.len().max(1) as f32;
                y.iter_mut().for_each(|y| *y *= share);
            },
        )
    });
    y
}

/// A task owns some of the `n` rows and goes through the ranges in order, so that each sum has a fixed order.
fn backward(dy: &[f32], ranges: &[Range<usize>], n: usize, d: usize) -> Vec<f32> {
    let block = rows_in_block(n, d);
    let mut dx = vec![0.0; n * d];
    dx.par_chunks_mut((block * d).max(1)).enumerate().for_each(|(i, dx)| {
        let (first, end) = (i * block, i * block + dx.len() / d);
        vectorize(
            #[inline(always)]
            || {
                for (range, dy) in ranges.iter().zip(dy.chunks_exact(d)) {
                    let share = 1.0 / range.len().max(1) as f32;
                    for row in range.start.max(first)..range.end.min(end) {
                        let dx = &mut dx[(row - first) * d..][..d];
                        dx.iter_mut().zip(dy).for_each(|(dx, &dy)| *dx += share * dy);
                    }
                }
            },
        )
    });
    dx
}
