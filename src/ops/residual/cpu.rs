//! The CPU kernels: blocks of elements in parallel.

use crate::ops::cpu::bf16;
use crate::ops::cpu::math::{self, BLOCK, map2, vectorize};
use crate::ops::cpu::storage::{Elements, Locked, tensor, update};
use candle_core::{DType, Result, Tensor, bail};
use rayon::prelude::*;

/// a + b.
pub(super) fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.dims() != b.dims() {
        bail!("add: shapes {:?} and {:?} differ", a.dims(), b.dims())
    }
    if are_bf16(a, b) {
        let sum = bf16::map2(
            &Locked::of(a)?,
            &Locked::of(b)?,
            #[inline(always)]
            |a, b| a + b,
        );
        return Tensor::from_vec(sum, a.dims(), a.device());
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
    if are_bf16(a, b) {
        let b = Locked::of(b)?;
        return update(a, |a| bf16::add(a, &b));
    }
    let b = Elements::of(b)?;
    update(a, |a: &mut [f32]| {
        a.par_chunks_mut(BLOCK).zip(b.par_chunks(BLOCK)).for_each(|(a, b)| {
            vectorize(
                #[inline(always)]
                || math::add(a, b),
            )
        });
    })
}

/// Whether the sum needs one pass over memory without `f32` copies.
fn are_bf16(a: &Tensor, b: &Tensor) -> bool {
    [a, b].iter().all(|x| x.dtype() == DType::BF16)
}
