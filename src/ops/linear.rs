//! The affine map x·Wᵀ + b.
//!
//! Forward and backward are three products of 2·n·m·k FLOP each, over n·k + m·k + n·m numbers: bound by arithmetic
//! if n, m and k are more than a few dozen. The product starts from the bias. Forward copies its weights, 8·m·k bytes, so
//! that blocks of rows need not pack a transposed matrix.

use super::add;
use super::autograd::{Value, apply2, apply3};
use super::from_candle::from_candle;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use gemm::Parallelism;
use rayon::prelude::*;

use super::blank::by_blocks;
use super::math;
use super::product::{Matrix, product_into};
use super::storage::{Elements, has_kernel, slice};

/// x·Wᵀ + b: `x` is `[n, k]`, `weight` `[m, k]`, `bias` `[m]`; the result is `[n, m]`.
///
/// Bit-reproducible for a given number of threads.
///
/// # Errors
/// If the shapes do not fit.
pub fn linear(x: &Value, weight: &Value, bias: Option<&Value>) -> Result<Value> {
    check(x, weight, bias)?;
    #[cfg(feature = "cuda")]
    if super::cuda::has_kernel(x.tensor()) {
        return super::cuda::linear(x, weight, bias, None);
    }
    if !has_kernel(x.tensor()) {
        let inputs: Vec<&Value> = [x, weight].into_iter().chain(bias).collect();
        return from_candle(&inputs, |t| reference(&t[0], &t[1], t.get(2)));
    }
    let linear = Linear { input_has_gradient: x.has_gradient() };
    match bias {
        Some(bias) => apply3(x, weight, bias, linear),
        None => apply2(x, weight, linear),
    }
}

/// Fails if the shapes do not fit.
fn check(x: &Value, weight: &Value, bias: Option<&Value>) -> Result<()> {
    let (x_dims, weight_dims) = (x.dims(), weight.dims());
    let fits = matches!((x_dims, weight_dims), ([_, k], [_, weight_k]) if k == weight_k)
        && bias.is_none_or(|bias| bias.dims() == &weight_dims[..1]);
    if !fits {
        let bias = bias.map(|bias| bias.dims());
        bail!(
            "linear: expected x [n, k], weight [m, k], bias [m]; found {x_dims:?}, {weight_dims:?}, {bias:?}"
        )
    }
    Ok(())
}

/// [`linear`] added to a residual stream: `residual` `[n, m]` + x·Wᵀ + b.
///
/// A GPU adds before it rounds.
///
/// # Errors
/// If the shapes do not fit.
pub fn linear_residual(x: &Value, weight: &Value, bias: Option<&Value>, residual: &Value) -> Result<Value> {
    check(x, weight, bias)?;
    #[cfg(feature = "cuda")]
    if super::cuda::has_kernel(x.tensor()) && super::cuda::can_add_residual(residual, x, weight) {
        return super::cuda::linear(x, weight, bias, Some(residual));
    }
    add(residual, &linear(x, weight, bias)?)
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
    /// Without one, backward skips a product.
    input_has_gradient: bool,
}

impl Linear {
    /// dx = dy·W, if x has a gradient, and dW = dyᵀ·x.
    fn backward(&self, x: &Tensor, weight: &Tensor, dy: &[f32]) -> Result<(Option<Tensor>, Tensor)> {
        let ((n, k), m) = (x.dims2()?, weight.dim(0)?);
        let dy = Matrix::new(dy, n, m);
        let product = |a: Matrix, b: Matrix| {
            let shape = (a.rows(), b.cols());
            let len = shape.0 * shape.1;
            let c = by_blocks(len, len, |_, c| product_into(c, a, b, None, Parallelism::Rayon(0)));
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

/// x·Wᵀ + b.
pub(crate) fn forward(x: Matrix, weight: Matrix, bias: Option<&[f32]>) -> Vec<f32> {
    let (n, k, m) = (x.rows(), x.cols(), weight.rows());
    if n <= FEW {
        let mut y = vec![0.0; n * m];
        few_rows(&mut y, x, weight, bias);
        return y;
    }
    let transposed = weight.transposed();
    let weight = Matrix::new(&transposed, k, m);
    let rows = rows_of_block(n, m * k);
    by_blocks(n * m, rows * m, |block, y| {
        let x = x.rows_from(block * rows, y.len() / m);
        product_into(y, x, weight, bias, Parallelism::None)
    })
}

/// Up to this number of rows, as in generation token by token, reading the weights takes most of the time; to pack them
/// for a product would read and write them once more.
pub(crate) const FEW: usize = 8;

/// y ← x·Wᵀ + b for few rows: each row of the weights is read once, in parallel.
fn few_rows(y: &mut [f32], x: Matrix, weight: Matrix, bias: Option<&[f32]>) {
    /// The fewest weights that one task reads: 64 KiB, some microseconds.
    const LEAST: usize = 16 * 1024;
    let (n, k, m) = (x.rows(), x.cols(), weight.rows());
    let tasks = (m * k / LEAST).clamp(1, rayon::current_num_threads());
    let columns = m.div_ceil(tasks).max(1);
    // Tasks take columns of y, because tasks that take rows would each read all weights.
    let mut cut: Vec<Vec<&mut [f32]>> = (0..tasks).map(|_| Vec::with_capacity(n)).collect();
    for row in y.chunks_exact_mut(m.max(1)) {
        row.chunks_mut(columns).zip(&mut cut).for_each(|(part, task)| task.push(part));
    }
    cut.into_par_iter().enumerate().for_each(|(task, mut y)| {
        math::vectorize(
            #[inline(always)]
            || {
                for j in 0..y.first().map_or(0, |part| part.len()) {
                    let column = task * columns + j;
                    let start = bias.map_or(0.0, |bias| bias[column]);
                    let weights = weight.row(column);
                    y.iter_mut().enumerate().for_each(|(i, y)| y[j] = start + math::dot(x.row(i), weights));
                }
            },
        )
    });
}

/// Rows of a block, of `n` rows under a matrix of `weights` elements: an even share for each thread, at most
/// [`most_rows`].
pub(crate) fn rows_of_block(n: usize, weights: usize) -> usize {
    let blocks = n.div_ceil(most_rows(weights)).next_multiple_of(rayon::current_num_threads());
    n.div_ceil(blocks.max(1)).max(1)
}

/// The most rows of a block: few enough to stay in the cache, and enough that packing the weights for each block takes a
/// small share of the time. Of 64 to 1,024 rows in `smalti bench all`, 256 is fastest for weights that fit the L2 cache,
/// and 512 for larger ones.
pub(crate) fn most_rows(weights: usize) -> usize {
    const CACHE: usize = (1 << 20) / size_of::<f32>();
    if weights > CACHE { 512 } else { 256 }
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
    fn kernel_matches_the_reference() -> Result<()> {
        for (n, k, m) in [(1, 1, 1), (1, 7, 3), (5, 1, 9), (67, 33, 129), (300, 64, 48)] {
            let inputs = inputs(n, k, m)?;
            check_kernel(of, reference_of, &inputs)?;
            check_kernel(of, reference_of, &inputs[..2])?;
        }
        Ok(())
    }

    #[test]
    fn a_constant_input_gets_no_gradient() -> Result<()> {
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
}
