//! The CPU kernel: blocks of rows in parallel.

use crate::ops::autograd::{Value, with_rule};
use crate::ops::cpu::math::{add, vectorize};
use crate::ops::cpu::rows::rows_in_block;
use crate::ops::cpu::storage::{Elements, gradient, shaped};
use candle_core::Result;
use rayon::prelude::*;

pub(super) fn gather_rows(table: &Value, rows: &[u32]) -> Result<Value> {
    let (like, d) = (table.tensor().clone(), table.dims()[1]);
    let y = shaped(gather(&Elements::of(&like)?, rows, d), (rows.len(), d), &like)?;
    let rows = rows.to_vec();
    Ok(with_rule(y, &[table], move |dy| {
        let dy = dy.contiguous()?;
        Ok(vec![gradient(scatter(&Elements::of(&dy)?, &rows, like.dim(0)?, d), &like)?])
    }))
}

fn gather(table: &[f32], rows: &[u32], d: usize) -> Vec<f32> {
    let mut y = vec![0.0; rows.len() * d];
    if d > 0 {
        let block = rows_in_block(rows.len(), d);
        y.par_chunks_mut(block * d).zip(rows.par_chunks(block)).for_each(|(y, rows)| {
            for (y, &row) in y.chunks_exact_mut(d).zip(rows) {
                y.copy_from_slice(&table[row as usize * d..][..d]);
            }
        });
    }
    y
}

/// Adds each row of dy to its row of the table `[v, d]`. A task owns a range of table rows and adds in order of place, so
/// that each sum has a fixed order.
fn scatter(dy: &[f32], rows: &[u32], v: usize, d: usize) -> Vec<f32> {
    const BLOCKS: usize = 64;
    let mut places: Vec<usize> = (0..rows.len()).collect();
    places.sort_by_key(|&place| rows[place]);
    let mut sums = vec![0.0; v * d];
    if d > 0 {
        let block = v.div_ceil(BLOCKS).max(1);
        sums.par_chunks_mut(block * d).enumerate().for_each(|(i, sums)| {
            let first = i * block;
            let start = places.partition_point(|&place| (rows[place] as usize) < first);
            let end = places.partition_point(|&place| (rows[place] as usize) < first + block);
            vectorize(
                #[inline(always)]
                || {
                    for &place in &places[start..end] {
                        let row = rows[place] as usize - first;
                        add(&mut sums[row * d..][..d], &dy[place * d..][..d]);
                    }
                },
            )
        });
    }
    sums
}
