//! The CPU kernel: blocks of rows in parallel.

use crate::ops::autograd::{Value, with_rule};
use crate::ops::cpu::math::vectorize;
use crate::ops::cpu::rows::rows_in_block;
use crate::ops::cpu::storage::{Elements, gradient, tensor};
use candle_core::Result;
use rayon::prelude::*;

pub(super) fn dropout(x: &Value, rate: f32, seed: u64, rows: &[u64]) -> Result<Value> {
    let dropout = Dropout { rate, seed, rows: rows.to_vec(), d: x.dims()[1] };
    let y = tensor(dropout.apply(&Elements::of(x.tensor())?), x.tensor())?;
    Ok(with_rule(y, &[x], move |dy| {
        let dy = dy.contiguous()?;
        Ok(vec![gradient(dropout.apply(&Elements::of(&dy)?), &dy)?])
    }))
}

pub(super) struct Dropout {
    pub(super) rate: f32,
    pub(super) seed: u64,
    pub(super) rows: Vec<u64>,
    pub(super) d: usize,
}

impl Dropout {
    /// The masked and scaled `x`, for both forward and backward.
    pub(super) fn apply(&self, x: &[f32]) -> Vec<f32> {
        let block = rows_in_block(self.rows.len(), self.d);
        let (d, scale) = (self.d.max(1), 1.0 / (1.0 - self.rate));
        // Hashes below this number are dropped.
        let dropped = (f64::from(self.rate) * 2.0_f64.powi(32)) as u32;
        let mut y = vec![0.0; x.len()];
        let rows = self.rows.par_chunks(block);
        y.par_chunks_mut(block * d).zip(x.par_chunks(block * d)).zip(rows).for_each(|((y, x), rows)| {
            vectorize(
                #[inline(always)]
                || {
                    for ((y, x), &row) in y.chunks_exact_mut(d).zip(x.chunks_exact(d)).zip(rows) {
                        let key = row_key(self.seed, row);
                        for ((y, &x), column) in y.iter_mut().zip(x).zip(0..) {
                            *y = if hash(key, column) < dropped { 0.0 } else { x * scale };
                        }
                    }
                },
            )
        });
        y
    }
}

/// Hashes a seed and a row's key to two words (the finaliser of SplitMix64, twice).
fn row_key(seed: u64, row: u64) -> (u32, u32) {
    let mix = |mut z: u64| {
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    let key = mix(mix(seed.wrapping_add(0x9E37_79B9_7F4A_7C15)) ^ row);
    (key as u32, (key >> 32) as u32)
}

/// Hashes a column to a uniform word: the finaliser of MurmurHash3, in 32-bit arithmetic for vector units. The key is
/// added between the rounds, because otherwise two rows would have the same sequence, shifted.
#[inline(always)]
fn hash(key: (u32, u32), column: u32) -> u32 {
    let mut h = column.wrapping_mul(0x9E37_79B1) ^ key.0;
    h = (h ^ (h >> 16)).wrapping_mul(0x85EB_CA6B).wrapping_add(key.1);
    h = (h ^ (h >> 13)).wrapping_mul(0xC2B2_AE35);
    h ^ (h >> 16)
}
