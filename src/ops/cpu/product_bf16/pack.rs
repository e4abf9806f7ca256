//! Factors of a product, in the order in which a kernel reads them.

use crate::ops::cpu::bf16::Element;
use crate::ops::cpu::math::vectorize;
use crate::ops::cpu::product::Matrix;
use std::ops::Range;

/// Rows and pairs that are transposed at one time: whole cache lines are read and written.
const TILE: usize = 16;

/// Packs the rows of `x` `[rows, k]` from `first` on, until there are `width` or no more: `packed` `[pairs, width]` gets
/// the pairs of columns in `pairs`. What is beyond `x` is zero.
pub(super) fn pack<T: Element, P: Copy>(
    x: Matrix<T>,
    first: usize,
    pairs: Range<usize>,
    width: usize,
    packed: &mut [P],
    pair: impl Fn(u16, u16) -> P + Copy,
) {
    let rows = width.min(x.rows() - first);
    let of = x.rows_from(first, rows);
    packed.fill(pair(0, 0));
    vectorize(
        #[inline(always)]
        || match x.is_row_major() {
            true => from_rows(of, pairs, width, packed, pair),
            false => from_columns(of.t(), pairs, width, packed, pair),
        },
    )
}

/// Packs the rows of `x` `[rows, k]`.
#[inline(always)]
fn from_rows<T: Element, P: Copy>(
    x: Matrix<T>,
    pairs: Range<usize>,
    width: usize,
    packed: &mut [P],
    pair: impl Fn(u16, u16) -> P + Copy,
) {
    let columns = 2 * pairs.start..(2 * pairs.end).min(x.cols());
    for (block, packed) in packed.chunks_mut(TILE * width).enumerate() {
        for top in (0..x.rows()).step_by(TILE) {
            let mut tile = [[pair(0, 0); TILE]; TILE];
            let height = TILE.min(x.rows() - top);
            for (row, tile) in tile.iter_mut().enumerate().take(height) {
                let row = &x.row(top + row)[columns.clone()];
                let row = &row[(2 * TILE * block).min(row.len())..];
                let (whole, rest) = row[..row.len().min(2 * TILE)].as_chunks::<2>();
                tile.iter_mut()
                    .zip(whole)
                    .for_each(|(tile, [low, high])| *tile = pair(low.bits(), high.bits()));
                if let ([low], Some(tile)) = (rest, tile.get_mut(whole.len())) {
                    *tile = pair(low.bits(), 0);
                }
            }
            for (column, packed) in packed.chunks_exact_mut(width).enumerate() {
                let packed = &mut packed[top..top + height];
                match <&mut [P; TILE]>::try_from(&mut *packed) {
                    Ok(packed) => *packed = std::array::from_fn(|row| tile[row][column]),
                    Err(_) => packed.iter_mut().zip(&tile).for_each(|(packed, row)| *packed = row[column]),
                }
            }
        }
    }
}

/// Packs the columns of `x` `[k, rows]`.
#[inline(always)]
fn from_columns<T: Element, P: Copy>(
    x: Matrix<T>,
    pairs: Range<usize>,
    width: usize,
    packed: &mut [P],
    pair: impl Fn(u16, u16) -> P + Copy,
) {
    for (i, packed) in pairs.zip(packed.chunks_exact_mut(width)) {
        let low = x.row(2 * i);
        if 2 * i + 1 < x.rows() {
            let both = low.iter().zip(x.row(2 * i + 1));
            packed.iter_mut().zip(both).for_each(|(p, (low, high))| *p = pair(low.bits(), high.bits()));
        } else {
            packed.iter_mut().zip(low).for_each(|(packed, low)| *packed = pair(low.bits(), 0));
        }
    }
}
