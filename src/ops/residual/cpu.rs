//! The CPU kernels: blocks of elements in parallel.

use crate::ops::cpu::math::{self, BLOCK, map2, vectorize};
use crate::ops::cpu::storage::{Elements, tensor, update};
use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

/// a + b.
pub(super) fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.dims() != b.dims() {
        bail!("add: shapes {:?} and {:?} differ", a.dims(), b.dims())
    }
    let sum = map2(
        &Elements::of(a)?,
        &Elements::of(b)?,
        #[inline(always)]
        |a, b| a + b,
    );
    tensor(sum, a)
}

/// a ← a + b, of one shape.
pub(super) fn add_in_place(a: &Tensor, b: &Tensor) -> Result<()> {
    let b = Elements::of(b)?;
    update(a, |a| {
        a.par_chunks_mut(BLOCK).zip(b.par_chunks(BLOCK)).for_each(|(a, b)| {
            vectorize(
                #[inline(always)]
                || math::add(a, b),
            )
        });
    })
}
