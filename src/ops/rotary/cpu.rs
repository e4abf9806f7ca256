//! The CPU kernel: blocks of rows in parallel.

use super::Angles;
use crate::ops::autograd::{Value, with_rule};
use crate::ops::cpu::math::vectorize;
use crate::ops::cpu::rows::rows_in_block;
use crate::ops::cpu::storage::{Elements, gradient, tensor};
use candle_core::Result;
use rayon::prelude::*;
use std::sync::Arc;

pub(super) fn rotary(x: &Value, columns: usize, angles: &Arc<Angles>) -> Result<Value> {
    let (angles, width) = (angles.clone(), x.dims()[1]);
    let y = tensor(rotate(&Elements::of(x.tensor())?, width, columns, &angles, 1.0), x.tensor())?;
    Ok(with_rule(y, &[x], move |dy| {
        let dy = dy.contiguous()?;
        Ok(vec![gradient(rotate(&Elements::of(&dy)?, width, columns, &angles, -1.0), &dy)?])
    }))
}

/// The rotated rows. `sign` is 1 forward, and −1 backward, which rotates by the negative angles.
fn rotate(x: &[f32], width: usize, columns: usize, angles: &Angles, sign: f32) -> Vec<f32> {
    let Angles { cos, sin, n, .. } = angles;
    let (half, d_head) = (angles.half, angles.d_head);
    let block = rows_in_block(*n, width);
    let mut y = x.to_vec();
    let numbers = cos.par_chunks(block * half).zip(sin.par_chunks(block * half));
    y.par_chunks_mut(block * width).zip(numbers).for_each(|(rows, (cos, sin))| {
        let angles = cos.chunks_exact(half).zip(sin.chunks_exact(half));
        vectorize(
            #[inline(always)]
            || {
                for (row, (cos, sin)) in rows.chunks_exact_mut(width).zip(angles) {
                    for head in row[..columns].chunks_exact_mut(d_head) {
                        let (a, b) = head[..2 * half].split_at_mut(half);
                        for (((a, b), cos), sin) in a.iter_mut().zip(b).zip(cos).zip(sin) {
                            let sin = sign * sin;
                            (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
                        }
                    }
                }
            },
        );
    });
    y
}
