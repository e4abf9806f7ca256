//! Factors of a product, in the order in which a kernel reads them. Loops instead of `for_each`: a
//! closure that is not inlined is compiled without the instructions of [`vectorize`].

use super::kernel::{DEPTH, pair};
use crate::ops::cpu::bf16::Element;
use crate::ops::cpu::math::vectorize;
use crate::ops::cpu::product::Matrix;
use std::array::from_fn;
use std::ops::Range;

/// Rows and pairs that are transposed at one time: whole cache lines are read and written.
const TILE: usize = 16;

/// Packs the rows of `x` `[rows, k]` from `first` on, as many as `packed` has: a row of `packed` gets the pairs `pairs` of
/// its columns. Rows beyond `x` keep what `packed` has, because no one reads their products.
pub(super) fn pack_left<T: Element, P: Copy + Default>(
    x: Matrix<T>,
    first: usize,
    pairs: Range<usize>,
    packed: &mut [[P; DEPTH]],
    pair: impl Fn(u16, u16) -> P + Copy,
) {
    let rows = packed.len().min(x.rows() - first);
    vectorize(
        #[inline(always)]
        || match x.is_row_major() {
            true => {
                for (packed, row) in packed.iter_mut().zip(first..first + rows) {
                    let row = &x.row(row)[2 * pairs.start..x.cols().min(2 * pairs.end)];
                    pairs_of(row, packed, pair);
                }
            }
            false => {
                for (packed, first) in packed[..rows].chunks_mut(TILE).zip((first..).step_by(TILE)) {
                    left_from_columns(x.t(), first, pairs.clone(), packed, pair);
                }
            }
        },
    )
}

/// The pairs of neighbours; 0 is the neighbour of a last one.
#[inline(always)]
fn pairs_of<T: Element, P>(x: &[T], packed: &mut [P], pair: impl Fn(u16, u16) -> P) {
    let (whole, rest) = x.as_chunks::<2>();
    for (packed, [low, high]) in packed.iter_mut().zip(whole) {
        *packed = pair(low.bits(), high.bits());
    }
    if let ([low], Some(packed)) = (rest, packed.get_mut(whole.len())) {
        *packed = pair(low.bits(), 0);
    }
}

/// Packs the columns of `x` `[k, rows]` from `first` on, at most 16.
#[inline(always)]
fn left_from_columns<T: Element, P: Copy + Default>(
    x: Matrix<T>,
    first: usize,
    pairs: Range<usize>,
    packed: &mut [[P; DEPTH]],
    pair: impl Fn(u16, u16) -> P + Copy,
) {
    assert!(packed.len() <= TILE, "a tile has at most {TILE} rows");
    for start in pairs.clone().step_by(TILE) {
        let mut tile = [[P::default(); TILE]; TILE];
        for (i, tile) in (start..pairs.end).zip(&mut tile) {
            pairs_of_rows(x, i, first, tile, pair);
        }
        let places = start - pairs.start..(start - pairs.start + TILE).min(pairs.len());
        for (row, packed) in packed.iter_mut().enumerate() {
            let packed = &mut packed[places.clone()];
            match <&mut [P; TILE]>::try_from(&mut *packed) {
                Ok(packed) => *packed = from_fn(|i| tile[i][row]),
                Err(_) => {
                    for (packed, tile) in packed.iter_mut().zip(&tile) {
                        *packed = tile[row];
                    }
                }
            }
        }
    }
}

/// Pair `i` of each column of `x` `[k, columns]` from `first` on, until `packed` is full or there are no more. The length of
/// `packed` is a multiple of 16.
#[inline(always)]
fn pairs_of_rows<T: Element, P>(
    x: Matrix<T>,
    i: usize,
    first: usize,
    packed: &mut [P],
    pair: impl Fn(u16, u16) -> P,
) {
    let low = &x.row(2 * i)[first..];
    if 2 * i + 1 == x.rows() {
        for (packed, low) in packed.iter_mut().zip(low) {
            *packed = pair(low.bits(), 0);
        }
        return;
    }
    let high = &x.row(2 * i + 1)[first..];
    let (low, high) = (low.chunks(TILE), high.chunks(TILE));
    for (packed, (low, high)) in packed.as_chunks_mut::<TILE>().0.iter_mut().zip(low.zip(high)) {
        match (low.first_chunk::<TILE>(), high.first_chunk::<TILE>()) {
            (Some(low), Some(high)) => *packed = from_fn(|i| pair(low[i].bits(), high[i].bits())),
            _ => {
                for (packed, (low, high)) in packed.iter_mut().zip(low.iter().zip(high)) {
                    *packed = pair(low.bits(), high.bits());
                }
            }
        }
    }
}

/// Packs `width` rows of `x` `[rows, k]` from `first` on, or as many as there are: `packed` `[k / 2, width]` is zero before.
/// `width` is a multiple of 16.
pub(super) fn pack_right<T: Element>(x: Matrix<T>, first: usize, width: usize, packed: &mut [u32]) {
    vectorize(
        #[inline(always)]
        || match x.is_row_major() {
            true => right_from_rows(x, first, width, packed),
            false => {
                let columns = x.t();
                for (i, packed) in packed.chunks_exact_mut(width).enumerate() {
                    pairs_of_rows(columns, i, first, packed, pair);
                }
            }
        },
    )
}

#[inline(always)]
fn right_from_rows<T: Element>(x: Matrix<T>, first: usize, width: usize, packed: &mut [u32]) {
    let rows = width.min(x.rows() - first);
    for (block, packed) in packed.chunks_mut(TILE * width).enumerate() {
        for top in (0..rows).step_by(TILE) {
            let mut tile = [[0; TILE]; TILE];
            for (row, tile) in (top..rows).zip(&mut tile) {
                let row = &x.row(first + row)[2 * TILE * block..];
                pairs_of(&row[..row.len().min(2 * TILE)], tile, pair);
            }
            for (column, packed) in packed.chunks_exact_mut(width).enumerate() {
                if let Some(packed) = packed[top..].first_chunk_mut::<TILE>() {
                    *packed = from_fn(|row| tile[row][column % TILE]);
                }
            }
        }
    }
}
