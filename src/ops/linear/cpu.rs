//! The CPU kernel in `f32`: blocks of rows, or of columns if there are few rows.

use crate::ops::autograd::{Value, with_rule};
use crate::ops::cpu::blank::by_blocks;
use crate::ops::cpu::math;
use crate::ops::cpu::product::{Matrix, MatrixMut, gemm_f32, product_into};
use crate::ops::cpu::rows::column_sums;
use crate::ops::cpu::storage::{Elements, gradient};
use candle_core::{DType, Result, Tensor};
use gemm::Parallelism;
use rayon::prelude::*;
use std::array::from_fn;

/// `inputs` are x, the weight, and the bias, if any.
pub(super) fn linear(inputs: &[&Value]) -> Result<Value> {
    if inputs[0].tensor().dtype() == DType::BF16 {
        return super::cpu_bf16::linear(inputs);
    }
    let t: Vec<Tensor> = inputs.iter().map(|input| input.tensor().clone()).collect();
    let ((n, k), m) = (t[0].dims2()?, t[1].dim(0)?);
    let bias = t.get(2).map(Elements::of).transpose()?;
    let y = {
        let (x, weight) = (Elements::of(&t[0])?, Elements::of(&t[1])?);
        forward(Matrix::new(&x, n, k), Matrix::new(&weight, m, k), bias.as_deref())
    };
    let y = Tensor::from_vec(y, (n, m), t[0].device())?;
    drop(bias);
    // A constant input, such as pixels, saves a product.
    let x_has_gradient = inputs[0].has_gradient();
    Ok(with_rule(y, inputs, move |dy| {
        let dy = dy.contiguous()?;
        let dy = Elements::of(&dy)?;
        let rows = Matrix::new(&dy, n, m);
        let dx = match x_has_gradient {
            true => gradient(product(rows, Matrix::new(&Elements::of(&t[1])?, m, k), None), &t[0])?,
            false => None,
        };
        let dw = weight_gradient(rows, Matrix::new(&Elements::of(&t[0])?, n, k));
        let mut gradients = vec![dx, gradient(dw, &t[1])?];
        if let Some(bias) = t.get(2) {
            gradients.push(gradient(column_sums(&dy, m), bias)?);
        }
        Ok(gradients)
    }))
}

/// a·b + `bias`, in blocks of rows.
fn product(a: Matrix, b: Matrix, bias: Option<&[f32]>) -> Vec<f32> {
    let (n, m) = (a.rows(), b.cols());
    let rows = rows_of_block(n, b.rows() * m);
    by_blocks(n * m, rows * m, |block, c| {
        product_into(c, a.rows_from(block * rows, c.len() / m), b, bias, Parallelism::None)
    })
}

/// dyᵀ·x, in blocks of rows, one for each thread.
///
/// A block adds the products of 512 rows of dy and x at a time: 227 GFLOP/s in the mean of 20 shapes, on two cores of a Xeon
/// with AVX-512; `gemm` with two threads reaches 185 (`benches/README.md`).
fn weight_gradient(dy: Matrix, x: Matrix) -> Vec<f32> {
    const DEPTH: usize = 512;
    let ((n, m), k) = ((dy.rows(), dy.cols()), x.cols());
    if n == 0 {
        return vec![0.0; m * k];
    }
    let rows = m.div_ceil(rayon::current_num_threads()).max(1);
    by_blocks(m * k, rows * k, |block, dw| {
        let count = dw.len() / k;
        let rows_of =
            |first, n| (dy.rows_from(first, n).t().rows_from(block * rows, count), x.rows_from(first, n));
        let (a, b) = rows_of(0, n.min(DEPTH));
        let dw = product_into(dw, a, b, None, Parallelism::None);
        for first in (DEPTH..n).step_by(DEPTH) {
            let (a, b) = rows_of(first, DEPTH.min(n - first));
            gemm_f32(1.0, a, b, 1.0, MatrixMut::new(dw, a.rows(), k), Parallelism::None);
        }
        dw
    })
}

/// x·Wᵀ + b.
pub(in crate::ops) fn forward(x: Matrix, weight: Matrix, bias: Option<&[f32]>) -> Vec<f32> {
    let (n, k, m) = (x.rows(), x.cols(), weight.rows());
    if n <= FEW {
        let mut y = vec![0.0; n * m];
        few_rows(&mut y, x, weight, bias);
        return y;
    }
    if reads_in_place(n, k, m) {
        return transposed_product(x, weight, bias);
    }
    let transposed = weight.transposed();
    product(x, Matrix::new(&transposed, k, m), bias)
}

/// Whether `n` rows are multiplied by `[m, k]` weights without a copy of the weights.
///
/// With few rows, as in generation or in the prediction of one sample, reading the weights takes much of the time, and a
/// transposed or packed copy would read and write them once more. The limit is where x and y have as many elements as the
/// weights: of shapes between 128×128 and 2,048×2,048 and up to 512 rows, this is faster below it, up to six times (Xeon,
/// AVX-512), and mostly slower above.
pub(in crate::ops) fn reads_in_place(n: usize, k: usize, m: usize) -> bool {
    n <= FEW || n * (k + m) < k * m
}

/// x·Wᵀ + b as the transpose of W·xᵀ, in blocks of rows of the weights: x and y are transposed instead of the weights.
fn transposed_product(x: Matrix, weight: Matrix, bias: Option<&[f32]>) -> Vec<f32> {
    let (n, k, m) = (x.rows(), x.cols(), weight.rows());
    let x = x.transposed();
    let rows = m.div_ceil(rayon::current_num_threads()).max(1);
    let y = by_blocks(m * n, rows * n, |block, y| {
        let weight = weight.rows_from(block * rows, y.len() / n);
        product_into(y, weight, Matrix::new(&x, k, n), None, Parallelism::None)
    });
    let mut y = Matrix::new(&y, m, n).transposed();
    if let Some(bias) = bias {
        math::vectorize(
            #[inline(always)]
            || y.chunks_exact_mut(m).for_each(|row| math::add(row, bias)),
        );
    }
    y
}

/// Up to this number of rows, each row of the weights is read once and multiplied by all rows of x.
pub(in crate::ops) const FEW: usize = 16;

/// y ← x·Wᵀ + b for few rows: each row of the weights is read once, in parallel.
fn few_rows(y: &mut [f32], x: Matrix, weight: Matrix, bias: Option<&[f32]>) {
    /// The fewest weights that one task reads: 64 KiB, some microseconds.
    const LEAST: usize = 16 * 1024;
    let (n, k, m) = (x.rows(), x.cols(), weight.rows());
    let x: Vec<&[f32]> = (0..n).map(|row| x.row(row)).collect();
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
                    let (fours, rest) = x.as_chunks::<4>();
                    let mut y = y.iter_mut().map(|y| &mut y[j]);
                    for x in fours {
                        dots(*x, weight.row(column), |dot| _ = y.next().map(|y| *y = start + dot));
                    }
                    for x in rest {
                        dots([*x], weight.row(column), |dot| _ = y.next().map(|y| *y = start + dot));
                    }
                }
            },
        )
    });
}

/// Gives Σ xᵢ·wᵢ of each row of x, which has the same bits beside any other rows.
#[inline(always)]
fn dots<const N: usize>(x: [&[f32]; N], w: &[f32], mut give: impl FnMut(f32)) {
    /// The sums of four rows take 8 of the 16 registers of AVX2.
    const LANES: usize = 16;
    let (w, w_rest) = w.as_chunks::<LANES>();
    let rests = x.map(|x| x.as_chunks::<LANES>().1);
    let x = x.map(|x| &x.as_chunks::<LANES>().0[..w.len()]);
    let mut sums = [[0.0_f32; LANES]; N];
    // Arrays that are replaced as a whole stay in registers: 47 GFLOP/s on a Zen 3, and 4 if lanes are added in place.
    for block in 0..w.len() {
        for row in 0..N {
            let (x, w) = (x[row][block], w[block]);
            sums[row] = from_fn(|lane| sums[row][lane] + x[lane] * w[lane]);
        }
    }
    for (sums, x_rest) in sums.into_iter().zip(rests) {
        let rest: f32 = x_rest.iter().zip(w_rest).map(|(x, w)| x * w).sum();
        let eight: [f32; 8] = from_fn(|lane| sums[lane] + sums[lane + 8]);
        let four: [f32; 4] = from_fn(|lane| eight[lane] + eight[lane + 4]);
        give((four[0] + four[2]) + (four[1] + four[3]) + rest);
    }
}

/// Rows of a block, of `n` rows under a matrix of `weights` elements: an even share for each thread, at most
/// [`most_rows`].
pub(in crate::ops) fn rows_of_block(n: usize, weights: usize) -> usize {
    let blocks = n.div_ceil(most_rows(weights)).next_multiple_of(rayon::current_num_threads());
    n.div_ceil(blocks.max(1)).max(1)
}

/// The most rows of a block: few enough to stay in the cache, and enough that packing the weights for each block takes a
/// small share of the time. Of 64 to 1,024 rows in `smalti bench all`, 256 is fastest for weights that fit the L2 cache,
/// and 512 for larger ones.
pub(in crate::ops) fn most_rows(weights: usize) -> usize {
    const CACHE: usize = (1 << 20) / size_of::<f32>();
    if weights > CACHE { 512 } else { 256 }
}
