//! The CPU kernel in `f32`: blocks of rows go through both maps, so that the hidden layer stays in the cache.

use crate::ops::activation::Activation;
use crate::ops::autograd::{Value, with_rule};
use crate::ops::cpu::blank::{by_blocks_with, filled, two_by_blocks, zeroed};
use crate::ops::cpu::math;
use crate::ops::cpu::product::{Matrix, MatrixMut, gemm_f32, product_into};
use crate::ops::cpu::rows::add_in_order;
use crate::ops::cpu::storage::{Elements, gradient};
use crate::ops::linear::cpu::{forward, most_rows, reads_in_place, rows_of_block};
use candle_core::{DType, Result, Tensor};
use gemm::Parallelism;

/// `inputs` are x, both weights, and the inner and outer bias, if there are such `biases`.
pub(super) fn mlp(inputs: &[&Value], biases: [bool; 2], activation: Activation) -> Result<Value> {
    if inputs[0].tensor().dtype() == DType::BF16 {
        return super::cpu_bf16::mlp(inputs, biases, activation);
    }
    let tensors: Vec<Tensor> = inputs.iter().map(|input| input.tensor().clone()).collect();
    let (y, hidden) = Kernel::of(&tensors, biases, activation)?.forward();
    let y = Tensor::from_vec(y, (tensors[0].dim(0)?, tensors[2].dim(0)?), tensors[0].device())?;
    Ok(with_rule(y, inputs, move |dy| {
        let dy = dy.contiguous()?;
        let gradients = Kernel::of(&tensors, biases, activation)?.backward(&hidden, &Elements::of(&dy)?);
        gradients.into_iter().zip(&tensors).map(|(values, like)| gradient(values, like)).collect()
    }))
}

struct Kernel<'a> {
    x: Elements<'a>,
    inner: Elements<'a>,
    outer: Elements<'a>,
    inner_bias: Option<Elements<'a>>,
    outer_bias: Option<Elements<'a>>,
    activation: Activation,
    n: usize,
    d: usize,
    d_ff: usize,
    d_out: usize,
}

/// The gradients that one task sums over its blocks.
struct Sums {
    inner: Vec<f32>,
    outer: Vec<f32>,
    inner_bias: Vec<f32>,
    outer_bias: Vec<f32>,
}

impl<'a> Kernel<'a> {
    fn of(t: &'a [Tensor], biases: [bool; 2], activation: Activation) -> Result<Self> {
        let ((n, d), (d_out, d_ff)) = (t[0].dims2()?, t[2].dims2()?);
        Ok(Self {
            x: Elements::of(&t[0])?,
            inner: Elements::of(&t[1])?,
            outer: Elements::of(&t[2])?,
            inner_bias: biases[0].then(|| Elements::of(&t[3])).transpose()?,
            outer_bias: biases[1].then(|| Elements::of(&t[3 + usize::from(biases[0])])).transpose()?,
            activation,
            n,
            d,
            d_ff,
            d_out,
        })
    }

    fn inner(&self) -> Matrix<'_> {
        Matrix::new(&self.inner, self.d_ff, self.d)
    }

    fn outer(&self) -> Matrix<'_> {
        Matrix::new(&self.outer, self.d_out, self.d_ff)
    }

    /// The result, and the activation's inputs.
    fn forward(&self) -> (Vec<f32>, Vec<f32>) {
        if reads_in_place(self.n, self.d, self.d_ff) {
            let x = Matrix::new(&self.x, self.n, self.d);
            let hidden = forward(x, self.inner(), self.inner_bias.as_deref());
            let active = filled(hidden.len(), |y| self.activation.forward(&hidden, y));
            let active = Matrix::new(&active, self.n, self.d_ff);
            return (forward(active, self.outer(), self.outer_bias.as_deref()), hidden);
        }
        let (inner, outer) = (self.inner().transposed(), self.outer().transposed());
        let (inner, outer) =
            (Matrix::new(&inner, self.d, self.d_ff), Matrix::new(&outer, self.d_ff, self.d_out));
        let (x, none) = (Matrix::new(&self.x, self.n, self.d), Parallelism::None);
        let rows = rows_of_block(self.n, self.d * self.d_ff);
        two_by_blocks(self.n, [self.d_out, self.d_ff], rows, |block, y, hidden| {
            let n = y.len() / self.d_out;
            let x = x.rows_from(block * rows, n);
            let hidden = product_into(hidden, x, inner, self.inner_bias.as_deref(), none);
            let active = filled(hidden.len(), |y| self.activation.forward(hidden, y));
            let active = Matrix::new(&active, n, self.d_ff);
            (product_into(y, active, outer, self.outer_bias.as_deref(), none), hidden)
        })
    }

    /// The gradients of x, of the weights, and of the biases, if any.
    fn backward(&self, hidden: &[f32], dy: &[f32]) -> Vec<Vec<f32>> {
        let (d, d_ff, d_out) = (self.d, self.d_ff, self.d_out);
        // One task for each thread, so that there are few sums of weight gradients.
        let rows = self.n.div_ceil(rayon::current_num_threads()).max(1);
        let block = most_rows(d * d_ff).min(rows);
        let (dx, sums) = by_blocks_with(self.n * d, rows * d, |task, dx| {
            let (first, dx) = (task * rows, zeroed(dx));
            let n = dx.len() / d;
            let mut sums = Sums {
                inner: vec![],
                outer: vec![],
                inner_bias: vec![0.0; d_ff],
                outer_bias: vec![0.0; d_out],
            };
            let blocks = dx.chunks_mut(block * d).zip(self.x[first * d..][..n * d].chunks(block * d));
            let blocks = blocks.zip(hidden[first * d_ff..][..n * d_ff].chunks(block * d_ff));
            for (((dx, x), hidden), dy) in blocks.zip(dy[first * d_out..][..n * d_out].chunks(block * d_out))
            {
                self.backward_block(x, hidden, dy, dx, &mut sums);
            }
            (dx, sums)
        });
        let (mut inner, mut outer, mut inner_bias, mut outer_bias) = (vec![], vec![], vec![], vec![]);
        for sums in sums {
            inner.push(sums.inner);
            outer.push(sums.outer);
            inner_bias.push(sums.inner_bias);
            outer_bias.push(sums.outer_bias);
        }
        let mut gradients = vec![dx, add_in_order(inner, d_ff * d), add_in_order(outer, d_out * d_ff)];
        gradients.extend(self.inner_bias.as_ref().map(|_| add_in_order(inner_bias, d_ff)));
        gradients.extend(self.outer_bias.as_ref().map(|_| add_in_order(outer_bias, d_out)));
        gradients
    }

    fn backward_block(&self, x: &[f32], hidden: &[f32], dy: &[f32], dx: &mut [f32], sums: &mut Sums) {
        let (n, d, d_ff, d_out) = (x.len() / self.d, self.d, self.d_ff, self.d_out);
        let none = Parallelism::None;
        let dy_rows = Matrix::new(dy, n, d_out);
        let mut d_hidden =
            filled(n * d_ff, |d_hidden| product_into(d_hidden, dy_rows, self.outer(), None, none));
        let active =
            filled(n * d_ff, |active| self.activation.forward_and_backward(hidden, active, &mut d_hidden));
        accumulate(&mut sums.outer, dy_rows.t(), Matrix::new(&active, n, d_ff));
        let d_hidden_rows = Matrix::new(&d_hidden, n, d_ff);
        accumulate(&mut sums.inner, d_hidden_rows.t(), Matrix::new(x, n, d));
        gemm_f32(1.0, d_hidden_rows, self.inner(), 0.0, MatrixMut::new(dx, n, d), none);
        math::vectorize(
            #[inline(always)]
            || {
                d_hidden.chunks_exact(d_ff).for_each(|row| math::add(&mut sums.inner_bias, row));
                dy.chunks_exact(d_out).for_each(|row| math::add(&mut sums.outer_bias, row));
            },
        );
    }
}

/// sum ← sum + a·b; an empty sum counts as zeros.
fn accumulate(sum: &mut Vec<f32>, a: Matrix, b: Matrix) {
    let ((m, n), none) = ((a.rows(), b.cols()), Parallelism::None);
    match sum.is_empty() {
        true => *sum = filled(m * n, |sum| product_into(sum, a, b, None, none)),
        false => gemm_f32(1.0, a, b, 1.0, MatrixMut::new(sum, m, n), none),
    }
}
