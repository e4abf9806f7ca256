//! Rounding to `bf16` and widening to `f32`, in blocks.
//!
//! Kernels compute in `f32`: they widen `bf16` inputs, which is exact, and round their results to the nearest, ties to even.

use super::blank::{self, Blank, by_blocks, filled, map, two_by_blocks};
use super::math::{BLOCK, vectorize};
use half::bf16;
use rayon::prelude::*;

/// A number that a product in `bf16` reads.
pub(crate) trait Element: Copy + Send + Sync {
    /// The bits of the number in `bf16`.
    fn bits(self) -> u16;
}

impl Element for bf16 {
    #[inline(always)]
    fn bits(self) -> u16 {
        self.to_bits()
    }
}

impl Element for f32 {
    /// As [`bf16::from_f32`], with selections for branches.
    #[inline(always)]
    fn bits(self) -> u16 {
        let bits = self.to_bits();
        let nearest = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
        let quiet_nan = (bits >> 16) | 0x40;
        (if self.is_nan() { quiet_nan } else { nearest }) as u16
    }
}

#[inline(always)]
pub(crate) fn round(x: f32) -> bf16 {
    bf16::from_bits(x.bits())
}

#[inline(always)]
pub(crate) fn widen(x: bf16) -> f32 {
    f32::from_bits(u32::from(x.to_bits()) << 16)
}

/// The numbers in `f32`.
pub(crate) fn widened(x: &[bf16]) -> Vec<f32> {
    by_blocks(x.len(), BLOCK, |i, blank| {
        let x = &x[i * BLOCK..][..blank.len()];
        vectorize(
            #[inline(always)]
            || map(blank, x, widen),
        )
    })
}

/// The numbers in `bf16`.
pub(crate) fn rounded(x: &[f32]) -> Vec<bf16> {
    by_blocks(x.len(), BLOCK, |i, blank| round_into(blank, &x[i * BLOCK..][..blank.len()]))
}

/// `n` numbers in blocks of `block`, in parallel: `fill` writes each block in `f32`.
pub(crate) fn rounded_by_blocks(
    n: usize,
    block: usize,
    fill: impl Fn(usize, &mut Blank) -> &mut [f32] + Sync,
) -> Vec<bf16> {
    by_blocks(n, block, |i, blank| {
        let numbers = filled(blank.len(), |numbers| fill(i, numbers));
        round_into(blank, &numbers)
    })
}

/// [`rounded_by_blocks`] for two results at once, of `n` rows of widths `widths`, in blocks of `rows`.
pub(crate) fn two_rounded_by_blocks(
    n: usize,
    widths: [usize; 2],
    rows: usize,
    fill: impl for<'a> Fn(usize, &'a mut Blank, &'a mut Blank) -> (&'a mut [f32], &'a mut [f32]) + Sync,
) -> (Vec<bf16>, Vec<bf16>) {
    two_by_blocks(n, widths, rows, |i, first, second| {
        let (mut a, mut b) = (Vec::with_capacity(first.len()), Vec::with_capacity(second.len()));
        let (a, b) =
            fill(i, &mut a.spare_capacity_mut()[..first.len()], &mut b.spare_capacity_mut()[..second.len()]);
        (round_into(first, a), round_into(second, b))
    })
}

/// `f` of each pair of numbers of two slices of one length, in parallel.
pub(crate) fn map2(x: &[bf16], y: &[bf16], f: impl Fn(f32, f32) -> f32 + Sync) -> Vec<bf16> {
    by_blocks(x.len(), BLOCK, |i, blank| {
        let part = i * BLOCK..i * BLOCK + blank.len();
        vectorize(
            #[inline(always)]
            || blank::map2(blank, &x[part.clone()], &y[part], |x, y| round(f(widen(x), widen(y)))),
        )
    })
}

/// sum ← sum + x, of one length, in parallel.
pub(crate) fn add(sum: &mut [bf16], x: &[bf16]) {
    sum.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).for_each(|(sum, x)| {
        vectorize(
            #[inline(always)]
            || sum.iter_mut().zip(x).for_each(|(sum, &x)| *sum = round(widen(*sum) + widen(x))),
        )
    });
}

fn round_into<'a>(blank: &'a mut Blank<bf16>, x: &[f32]) -> &'a mut [bf16] {
    vectorize(
        #[inline(always)]
        || map(blank, x, round),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_as_the_half_crate_rounds_them() {
        let special =
            [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, f32::MIN_POSITIVE, 1e-45];
        let ties = (0..4)
            .flat_map(|i| [0x7fff, 0x8000, 0x8001].map(|low| f32::from_bits(0x3f80_0000 + (i << 16) + low)));
        let spread = (0..100_000_u32).map(|i| f32::from_bits(i.wrapping_mul(2_654_435_761)));
        for x in special.into_iter().chain(ties).chain(spread) {
            assert_eq!(round(x).to_bits(), bf16::from_f32(x).to_bits(), "{x} {:x}", x.to_bits());
        }
    }

    #[test]
    fn long_slices_are_widened_exactly_and_rounded_back() {
        let x: Vec<bf16> = (0..3 * BLOCK + 5).map(|i| bf16::from_bits(i as u16 & 0x7f7f)).collect();
        let wide = widened(&x);
        assert!(wide.iter().zip(&x).all(|(wide, x)| *wide == x.to_f32()));
        assert_eq!(rounded(&wide), x);
    }
}
