//! The matrix product of every kernel: the `gemm` crate on bounds-checked slices.
//!
//! benches/README.md lists its speed at the shapes of training steps.

use super::blank::{self, Blank, by_blocks};
use super::math;
use gemm::Parallelism;
use std::mem::MaybeUninit;

/// Rows and columns of a tile that is transposed at one time: whole cache lines are read and written.
const TILE: usize = 16;

/// A matrix inside a slice.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, T = f32> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, T: Copy> Matrix<'a, T> {
    /// The row-major matrix that starts with `data`.
    pub(crate) fn new(data: &'a [T], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// A matrix whose rows start `row_stride` elements apart.
    pub(crate) fn strided(data: &'a [T], rows: usize, cols: usize, row_stride: usize) -> Self {
        Self { data, rows, cols, row_stride, col_stride: 1 }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// Row `row` of a row-major matrix.
    #[inline(always)]
    pub(crate) fn row(&self, row: usize) -> &'a [T] {
        debug_assert_eq!(self.col_stride, 1);
        &self.data[row * self.row_stride..][..self.cols]
    }

    /// Whether each row is contiguous; if not, each column is.
    pub(crate) fn is_row_major(&self) -> bool {
        self.col_stride == 1
    }

    /// `count` rows, from `first` on.
    pub(crate) fn rows_from(&self, first: usize, count: usize) -> Self {
        Self { data: &self.data[first * self.row_stride..], rows: count, ..*self }
    }

    /// The transpose, without a copy.
    pub(crate) fn t(self) -> Self {
        let Self { data, rows, cols, row_stride, col_stride } = self;
        Self { data, rows: cols, cols: rows, row_stride: col_stride, col_stride: row_stride }
    }
}

impl Matrix<'_> {
    /// A copy of the transpose of a row-major matrix, row-major. A product packs a matrix that is transposed by its strides
    /// element by element, and again for each block of rows; a copy costs that once.
    pub(crate) fn transposed(&self) -> Vec<f32> {
        debug_assert_eq!(self.col_stride, 1);
        by_blocks(self.rows * self.cols, TILE * self.rows, |band, transposed| {
            math::vectorize(
                #[inline(always)]
                || self.transpose_band(band * TILE, transposed),
            )
        })
    }

    /// Writes the columns from `first` on as rows, until `transposed` is full.
    #[inline(always)]
    fn transpose_band<'b>(&self, first: usize, transposed: &'b mut Blank) -> &'b mut [f32] {
        let (rows, width) = (self.rows, transposed.len() / self.rows.max(1));
        for top in (0..rows).step_by(TILE) {
            let height = TILE.min(rows - top);
            let mut tile = [[0.0; TILE]; TILE];
            for (row, tile) in tile.iter_mut().enumerate().take(height) {
                tile[..width].copy_from_slice(&self.data[(top + row) * self.row_stride + first..][..width]);
            }
            for (column, target) in transposed.chunks_exact_mut(rows).enumerate() {
                let target = &mut target[top..top + height];
                match <&mut [_; TILE]>::try_from(&mut *target) {
                    Ok(target) => *target = std::array::from_fn(|row| MaybeUninit::new(tile[row][column])),
                    Err(_) => {
                        target.iter_mut().zip(&tile).for_each(|(blank, row)| _ = blank.write(row[column]))
                    }
                }
            }
        }
        assert_eq!(transposed.len(), rows * width);
        // SAFETY: the ranges `top..top + height` cover all rows, and each row is written for each of the `width` columns;
        // there are no other elements.
        unsafe { blank::written(transposed) }
    }
}

/// A row-major matrix inside a slice, to be written.
pub(crate) struct MatrixMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
}

impl<'a> MatrixMut<'a> {
    /// The row-major matrix that starts with `data`.
    pub(crate) fn new(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// A matrix whose rows start `row_stride` elements apart; elements between them are not changed.
    pub(crate) fn strided(data: &'a mut [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        Self { data, rows, cols, row_stride }
    }
}

/// c ← `alpha`·a·b + `beta`·c; with `beta` 0 the old c is not read.
///
/// `Parallelism::Rayon(0)` uses all threads if the product is large enough to gain; `None` is for callers that are
/// parallel themselves.
///
/// # Panics
/// If the shapes do not fit each other, or a matrix is longer than its slice.
pub(crate) fn gemm_f32(alpha: f32, a: Matrix, b: Matrix, beta: f32, c: MatrixMut, parallelism: Parallelism) {
    let (m, n) = (c.rows, c.cols);
    let fits = a.rows == m && b.rows == a.cols && b.cols == n;
    assert!(fits, "[{}, {}]·[{}, {}] ≠ [{m}, {n}]", a.rows, a.cols, b.rows, b.cols);
    if a.cols == 0 {
        assert!(m == 0 || (m - 1) * c.row_stride + n <= c.data.len(), "c is longer than its slice");
        for row in c.data.chunks_mut(c.row_stride.max(1)).take(m) {
            row.iter_mut().take(n).for_each(|c| *c = if beta == 0.0 { 0.0 } else { beta * *c });
        }
        return;
    }
    // SAFETY: a slice may be read and written.
    unsafe { multiply(alpha, a, b, beta, c.data.as_mut_ptr(), c.data.len(), c.row_stride, parallelism) }
}

/// Writes a·b + `bias`, row-major, into uninitialized elements.
pub(crate) fn product_into<'a>(
    blank: &'a mut Blank,
    a: Matrix,
    b: Matrix,
    bias: Option<&[f32]>,
    parallelism: Parallelism,
) -> &'a mut [f32] {
    let (m, n) = (a.rows, b.cols);
    assert_eq!(blank.len(), m * n, "expected [{m}, {n}] elements");
    assert!(bias.is_none_or(|bias| bias.len() == n), "expected a bias of {n} elements");
    // A single row or column is multiplied through a slice of c, which must be initialized then.
    let zeros = (bias.is_none() && (a.cols == 0 || m == 1 || n == 1)).then(|| vec![0.0; n]);
    if let Some(row) = bias.or(zeros.as_deref()) {
        let c = blank::repeat(blank, row);
        gemm_f32(1.0, a, b, 1.0, MatrixMut::new(c, m, n), parallelism);
        return c;
    }
    // SAFETY: with `beta` 0 the product writes each of the m·n contiguous elements, and reads none.
    unsafe {
        multiply(1.0, a, b, 0.0, blank.as_mut_ptr().cast(), blank.len(), n, parallelism);
        blank::written(blank)
    }
}

/// [`gemm_f32`] with an inner dimension of at least 1, and c by its address.
///
/// # Safety
/// During the call, only this call may access the `len` elements from `c` on, so that they overlap neither a nor b. They
/// may be uninitialized only if `beta` is 0, a has several rows and b several columns.
#[allow(clippy::too_many_arguments)] // a matrix by its parts
unsafe fn multiply(
    alpha: f32,
    a: Matrix,
    b: Matrix,
    beta: f32,
    c: *mut f32,
    len: usize,
    row_stride: usize,
    parallelism: Parallelism,
) {
    let (m, n, k) = (a.rows, b.cols, a.cols);
    assert!(b.rows == k && k > 0, "[{m}, {k}]·[{}, {n}] has no inner dimension", b.rows);
    if m == 0 || n == 0 {
        return;
    }
    let last = |rows, row_stride, cols, col_stride| (rows - 1) * row_stride + (cols - 1) * col_stride;
    assert!(last(m, a.row_stride, k, a.col_stride) < a.data.len(), "a is longer than its slice");
    assert!(last(k, b.row_stride, n, b.col_stride) < b.data.len(), "b is longer than its slice");
    assert!(last(m, row_stride, n, 1) < len, "c is longer than its slice");
    assert!(m == 1 || n <= row_stride, "rows of c overlap");
    // SAFETY: the asserts keep each element of the product, at i·row_stride + j·col_stride, inside its slice, and no two
    // elements of c coincide, so threads write to different addresses. c overlaps neither a nor b, which are borrowed.
    // Strides fit an `isize` because they are below a slice's length if they are multiplied by more than 0.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c,
            1,
            row_stride as isize,
            beta != 0.0,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            beta,
            alpha,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transposed_copy_is_the_transpose() {
        for (rows, cols) in [(1, 1), (16, 16), (5, 40), (33, 17), (64, 1)] {
            let data: Vec<f32> = (0..rows * cols).map(|i| i as f32).collect();
            let transposed = Matrix::new(&data, rows, cols).transposed();
            let expected = (0..cols).flat_map(|c| (0..rows).map(move |r| (r * cols + c) as f32));
            assert!(transposed.into_iter().eq(expected), "{rows}×{cols}");
        }
    }

    #[test]
    fn gemm_scales_and_accumulates_in_its_columns_alone() {
        let (a, b) = ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]);
        let (a, b) = (Matrix::new(&a, 2, 2), Matrix::new(&b, 2, 2));
        let mut c = [1.0, 1.0, 9.0, 1.0, 1.0];
        gemm_f32(2.0, a, b.t(), 10.0, MatrixMut::strided(&mut c, 2, 2, 3), Parallelism::None);
        assert_eq!(c, [44.0, 56.0, 9.0, 88.0, 116.0]);
        let empty = Matrix::new(&[], 2, 0);
        gemm_f32(
            1.0,
            empty,
            Matrix::new(&[], 0, 2),
            0.5,
            MatrixMut::strided(&mut c, 2, 2, 3),
            Parallelism::None,
        );
        assert_eq!(c, [22.0, 28.0, 9.0, 44.0, 58.0]);
    }

    #[test]
    #[should_panic(expected = "b is longer than its slice")]
    fn gemm_panics_if_a_matrix_is_longer_than_its_slice() {
        let mut c = [0.0; 4];
        let (a, b) = (Matrix::new(&[0.0; 4], 2, 2), Matrix::new(&[0.0; 3], 2, 2));
        gemm_f32(1.0, a, b, 0.0, MatrixMut::new(&mut c, 2, 2), Parallelism::None);
    }
}
