//! The affine map x·Wᵀ + b, and the matrix product that every kernel here calls.
//!
//! Forward and backward are three products of 2·n·m·k FLOP each, over n·k + m·k + n·m numbers: bound by arithmetic
//! once n, m and k pass a few dozen. The bias is what the product accumulates onto; only forward copies, its weights,
//! 8·m·k bytes that save every block of rows from packing them across.

use super::autograd::{Value, apply2, apply3, by_reference};
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use gemm::Parallelism;
use rayon::prelude::*;

use super::math;
use super::storage::{Elements, has_kernel, slice};

/// x·Wᵀ + b: `x` is `[n, k]`, `weight` `[m, k]`, `bias` `[m]`; the result is `[n, m]`.
///
/// Bit-reproducible for one number of threads. Errors: shapes that do not fit.
pub fn linear(x: &Value, weight: &Value, bias: Option<&Value>) -> Result<Value> {
    let (x_dims, weight_dims) = (x.dims(), weight.dims());
    let fits = matches!((x_dims, weight_dims), ([_, k], [_, weight_k]) if k == weight_k)
        && bias.is_none_or(|bias| bias.dims() == &weight_dims[..1]);
    if !fits {
        let bias = bias.map(|bias| bias.dims());
        bail!(
            "linear: expected x [n, k], weight [m, k], bias [m]; found {x_dims:?}, {weight_dims:?}, {bias:?}"
        )
    }
    if !has_kernel(x.tensor()) {
        let inputs: Vec<&Value> = [x, weight].into_iter().chain(bias).collect();
        return by_reference(&inputs, |t| reference(&t[0], &t[1], t.get(2)));
    }
    let linear = Linear { input_has_gradient: x.has_gradient() };
    match bias {
        Some(bias) => apply3(x, weight, bias, linear),
        None => apply2(x, weight, linear),
    }
}

/// [`linear`] in candle's own operations.
pub(crate) fn reference(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let product = x.matmul(&weight.t()?)?;
    match bias {
        Some(bias) => product.broadcast_add(bias),
        None => Ok(product),
    }
}

struct Linear {
    /// Features of an input have none, and need no product for it.
    input_has_gradient: bool,
}

impl Linear {
    /// dx = dy·W, unless nothing asks for it, and dW = dyᵀ·x.
    fn backward(&self, x: &Tensor, weight: &Tensor, dy: &[f32]) -> Result<(Option<Tensor>, Tensor)> {
        let ((n, k), m) = (x.dims2()?, weight.dim(0)?);
        let dy = Matrix::new(dy, n, m);
        let product = |a: Matrix, b: Matrix| {
            let mut c = vec![0.0; a.rows * b.cols];
            let shape = (a.rows, b.cols);
            gemm_f32(1.0, a, b, 0.0, MatrixMut::new(&mut c, shape.0, shape.1), Parallelism::Rayon(0));
            Tensor::from_vec(c, shape, x.device())
        };
        let dx = match self.input_has_gradient {
            true => Some(product(dy, Matrix::new(&Elements::of(weight)?, m, k))?),
            false => None,
        };
        let dw = product(dy.t(), Matrix::new(&Elements::of(x)?, n, k))?;
        Ok((dx, dw))
    }
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let ((n, k), (m, _)) = (lx.shape().dims2()?, lw.shape().dims2()?);
        let (x, w) = (Matrix::new(slice(x, lx)?, n, k), Matrix::new(slice(w, lw)?, m, k));
        Ok((CpuStorage::F32(forward(x, w, None)), Shape::from((n, m))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let (dx, dw) = self.backward(x, weight, &Elements::of(&dy)?)?;
        Ok((dx, Some(dw)))
    }
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let ((n, k), (m, _)) = (lx.shape().dims2()?, lw.shape().dims2()?);
        let (x, w) = (Matrix::new(slice(x, lx)?, n, k), Matrix::new(slice(w, lw)?, m, k));
        Ok((CpuStorage::F32(forward(x, w, Some(slice(b, lb)?))), Shape::from((n, m))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let dy = Elements::of(&dy)?;
        let (dx, dw) = self.backward(x, weight, &dy)?;
        let m = bias.dim(0)?;
        Ok((dx, Some(dw), Some(Tensor::from_vec(column_sums(&dy, m), m, x.device())?)))
    }
}

/// x·Wᵀ + b in blocks of rows, in parallel.
fn forward(x: Matrix, weight: Matrix, bias: Option<&[f32]>) -> Vec<f32> {
    let (n, m) = (x.rows, weight.rows);
    let turned = weight.turned();
    let weight = Matrix::new(&turned, weight.cols, m);
    let mut y = vec![0.0; n * m];
    let rows = rows_of_block(n);
    y.par_chunks_mut((rows * m).max(1)).enumerate().for_each(|(block, y)| {
        let (first, count) = (block * rows, y.len() / m);
        let x = Matrix::new(&x.data[first * x.cols..(first + count) * x.cols], count, x.cols);
        product_onto_bias(y, x, weight, bias);
    });
    y
}

/// How many of `n` rows a forward block has: an even share for each thread, by sizes alone.
pub(crate) fn rows_of_block(n: usize) -> usize {
    let blocks = n.div_ceil(ROWS).next_multiple_of(rayon::current_num_threads());
    n.div_ceil(blocks.max(1)).max(1)
}

/// The most rows of a block: enough that packing the weights again is a small part, few enough for the second
/// cache. Of 64 to 512, this was the fastest on image-tiny and audio of
/// `smalti bench`; text-nano would have 64.
pub(crate) const ROWS: usize = 256;

/// y ← x·W + b for row-major `y` `[n, m]` and `weight` `[k, m]`; one thread.
pub(crate) fn product_onto_bias(y: &mut [f32], x: Matrix, weight: Matrix, bias: Option<&[f32]>) {
    let beta = match bias {
        Some(bias) => {
            y.chunks_exact_mut(bias.len().max(1)).for_each(|row| row.copy_from_slice(bias));
            1.0
        }
        None => 0.0,
    };
    let (n, m) = (x.rows, weight.cols);
    gemm_f32(1.0, x, weight, beta, MatrixMut::new(y, n, m), Parallelism::None);
}

/// The sum of the rows of a row-major matrix, `[columns]`.
fn column_sums(matrix: &[f32], columns: usize) -> Vec<f32> {
    if columns == 0 {
        return Vec::new();
    }
    let block = math::rows_in_block(matrix.len() / columns, columns) * columns;
    let sum = |rows: &[f32]| {
        let mut sums = vec![0.0; columns];
        math::vectorize(
            #[inline(always)]
            || rows.chunks_exact(columns).for_each(|row| math::add(&mut sums, row)),
        );
        sums
    };
    math::add_in_order(matrix.par_chunks(block).map(sum).collect(), columns)
}

/// Seconds that a product of two square matrices of `n` takes on all threads, into memory that is there already.
pub fn time_of_product(n: usize) -> f64 {
    let (a, b, mut c) = (vec![0.5; n * n], vec![0.25; n * n], vec![0.0; n * n]);
    let (a, b) = (Matrix::new(&a, n, n), Matrix::new(&b, n, n));
    let started = std::time::Instant::now();
    gemm_f32(1.0, a, b, 0.0, MatrixMut::new(&mut c, n, n), Parallelism::Rayon(0));
    started.elapsed().as_secs_f64()
}

/// Rows and columns of a tile that is turned at one time: a line of the cache is read and written whole.
const TILE: usize = 16;

/// A matrix inside a slice.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// The row-major matrix that starts with `data`.
    pub(crate) fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// One whose rows start `row_stride` elements apart.
    pub(crate) fn strided(data: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        Self { data, rows, cols, row_stride, col_stride: 1 }
    }

    /// The elements of the transpose of a row-major matrix, row-major. A product packs a matrix that is turned by
    /// its strides element by element, and once for each block of rows; a copy costs that once.
    pub(crate) fn turned(&self) -> Vec<f32> {
        let (rows, cols) = (self.rows, self.cols);
        let mut turned = vec![0.0; rows * cols];
        let bands = turned.par_chunks_mut((TILE * rows).max(1)).enumerate();
        bands.for_each(|(band, turned)| {
            math::vectorize(
                #[inline(always)]
                || self.turn_band(band * TILE, turned),
            )
        });
        turned
    }

    /// Writes the columns from `first` on as rows: as many as there is room for.
    #[inline(always)]
    fn turn_band(&self, first: usize, turned: &mut [f32]) {
        let (rows, width) = (self.rows, turned.len() / self.rows);
        for top in (0..rows).step_by(TILE) {
            let height = TILE.min(rows - top);
            let mut tile = [[0.0; TILE]; TILE];
            for (row, tile) in tile.iter_mut().enumerate().take(height) {
                tile[..width].copy_from_slice(&self.data[(top + row) * self.row_stride + first..][..width]);
            }
            for (column, turned) in turned.chunks_exact_mut(rows).enumerate() {
                let turned = &mut turned[top..top + height];
                match <&mut [f32; TILE]>::try_from(&mut *turned) {
                    Ok(turned) => *turned = std::array::from_fn(|row| tile[row][column]),
                    Err(_) => turned.iter_mut().zip(&tile).for_each(|(turned, row)| *turned = row[column]),
                }
            }
        }
    }

    /// The transpose of the same elements.
    pub(crate) fn t(self) -> Self {
        let Self { data, rows, cols, row_stride, col_stride } = self;
        Self { data, rows: cols, cols: rows, row_stride: col_stride, col_stride: row_stride }
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

    /// One whose rows start `row_stride` elements apart; what lies between them is left alone.
    pub(crate) fn strided(data: &'a mut [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        Self { data, rows, cols, row_stride }
    }
}

/// c ← `alpha`·a·b + `beta`·c; with `beta` 0 the old c is not read.
///
/// `Parallelism::Rayon(0)` uses all threads where the product is large enough to gain; `None` is for callers
/// that are parallel themselves. Panics where the shapes do not fit each other or reach beyond their slices.
pub(crate) fn gemm_f32(alpha: f32, a: Matrix, b: Matrix, beta: f32, c: MatrixMut, parallelism: Parallelism) {
    let (m, n, k) = (c.rows, c.cols, a.cols);
    assert!(
        a.rows == m && b.rows == k && b.cols == n,
        "[{}, {k}]·[{}, {}] ≠ [{m}, {n}]",
        a.rows,
        b.rows,
        b.cols
    );
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        for row in c.data.chunks_mut(c.row_stride).take(m) {
            row.iter_mut().take(n).for_each(|c| *c = if beta == 0.0 { 0.0 } else { beta * *c });
        }
        return;
    }
    let last = |rows, row_stride, cols, col_stride| (rows - 1) * row_stride + (cols - 1) * col_stride;
    assert!(last(m, a.row_stride, k, a.col_stride) < a.data.len(), "a is longer than its slice");
    assert!(last(k, b.row_stride, n, b.col_stride) < b.data.len(), "b is longer than its slice");
    assert!(last(m, c.row_stride, n, 1) < c.data.len(), "c is longer than its slice");
    assert!(m == 1 || n <= c.row_stride, "rows of c overlap");
    // SAFETY: the asserts keep each element that the product touches, at i·row_stride + j·col_stride, inside its
    // slice, and no two of c's coincide, so threads write apart; `c` is borrowed mutably, so it is neither a nor b.
    // Strides fit an `isize` because they are below a slice's length wherever they are multiplied by more than 0.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.data.as_mut_ptr(),
            1,
            c.row_stride as isize,
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
    use crate::ops::testing::{check_gradients, check_kernel, input, random};

    fn of(tensors: &[Value]) -> Result<Value> {
        linear(&tensors[0], &tensors[1], tensors.get(2))
    }

    fn reference_of(tensors: &[Tensor]) -> Result<Tensor> {
        reference(&tensors[0], &tensors[1], tensors.get(2))
    }

    fn inputs(n: usize, k: usize, m: usize) -> Result<Vec<Tensor>> {
        Ok(vec![random(&[n, k], 1)?, random(&[m, k], 2)?, random(&[m], 3)?])
    }

    #[test]
    fn reference_has_the_right_gradients() -> Result<()> {
        check_gradients(reference_of, &inputs(3, 5, 4)?)
    }

    #[test]
    fn kernel_is_the_reference() -> Result<()> {
        for (n, k, m) in [(1, 1, 1), (1, 7, 3), (5, 1, 9), (67, 33, 129), (300, 64, 48)] {
            let inputs = inputs(n, k, m)?;
            check_kernel(of, reference_of, &inputs)?;
            check_kernel(of, reference_of, &inputs[..2])?;
        }
        Ok(())
    }

    #[test]
    fn an_input_gets_no_gradient() -> Result<()> {
        let inputs = inputs(3, 4, 2)?;
        let weight = candle_core::Var::from_tensor(&inputs[1])?;
        let y = linear(&input(&inputs[0]), &Value::parameter(&weight, 0), None)?;
        let loss = crate::ops::squared_error(&y, &[0.0; 6], &[1.0; 3])?;
        let found = crate::ops::backward(vec![(loss, 1.0)])?;
        assert_eq!(found.iter().count(), 1);
        Ok(())
    }

    #[test]
    fn the_same_input_gives_the_same_bits() -> Result<()> {
        let inputs = inputs(513, 100, 77)?;
        let inputs: Vec<Value> = inputs.iter().map(input).collect();
        let bits = || of(&inputs)?.tensor().flatten_all()?.to_vec1::<f32>();
        assert_eq!(bits()?, bits()?);
        Ok(())
    }

    #[test]
    fn shapes_that_do_not_fit_are_named() -> Result<()> {
        let error =
            linear(&input(&random(&[2, 3], 1)?), &input(&random(&[4, 5], 2)?), None).unwrap_err().to_string();
        assert!(error.contains("[2, 3]") && error.contains("[4, 5]"), "{error}");
        assert!(
            linear(
                &input(&random(&[2, 3], 1)?),
                &input(&random(&[4, 3], 2)?),
                Some(&input(&random(&[3], 3)?))
            )
            .is_err()
        );
        assert!(linear(&input(&random(&[3], 1)?), &input(&random(&[4, 3], 2)?), None).is_err());
        Ok(())
    }

    #[test]
    fn gemm_scales_accumulates_and_keeps_to_its_columns() {
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
    fn gemm_refuses_a_matrix_beyond_its_slice() {
        let mut c = [0.0; 4];
        let (a, b) = (Matrix::new(&[0.0; 4], 2, 2), Matrix::new(&[0.0; 3], 2, 2));
        gemm_f32(1.0, a, b, 0.0, MatrixMut::new(&mut c, 2, 2), Parallelism::None);
    }
}
