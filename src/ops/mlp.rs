//! Two linear maps with an activation between them, fused.
//!
//! Rows are computed in blocks, so that the hidden layer, four times as wide as the tokens, stays in the cache. Forward
//! saves the activation's input, `[n, d_ff]`, and backward recomputes its output. Forward is 4·n·d·d_ff FLOP, backward
//! twice that; each moves 8·n·d + 4·n·d_ff bytes of memory.

use super::activation::{self, Activation};
use super::add;
use super::autograd::{Gradient, Value, with_rule};
use super::blank::{by_blocks, two_by_blocks};
use super::from_candle::from_candle;
use super::linear::{self, FEW};
use super::math;
use super::product::{Matrix, MatrixMut, gemm_f32, product_into};
use super::storage::{Elements, has_kernel};
use candle_core::{Result, Tensor, bail};
use gemm::Parallelism;
use rayon::prelude::*;

/// The weights of a map, `[outputs, inputs]`, and its bias, `[outputs]`.
pub type Map<'a> = (&'a Value, Option<&'a Value>);

/// f(x·W₁ᵀ + b₁)·W₂ᵀ + b₂ with f the activation: `x` is `[n, d]`, W₁ `[d_ff, d]`, W₂ `[d, d_ff]`.
///
/// Bit-reproducible for a given number of threads.
///
/// # Errors
/// If the shapes do not fit.
pub fn mlp(x: &Value, inner: Map, outer: Map, activation: Activation) -> Result<Value> {
    check(x, inner, outer)?;
    #[cfg(feature = "cuda")]
    if super::cuda::has_kernel(x.tensor()) {
        return super::cuda::mlp(x, inner, outer, activation, None);
    }
    let inputs: Vec<&Value> = [x, inner.0, outer.0].into_iter().chain(inner.1).chain(outer.1).collect();
    let (inner_bias, outer_bias) = (inner.1.is_some(), outer.1.is_some());
    if !has_kernel(x.tensor()) {
        return from_candle(&inputs, |t| reference(t, inner_bias, outer_bias, activation));
    }
    let tensors: Vec<Tensor> = inputs.iter().map(|value| value.tensor().clone()).collect();
    let (y, hidden) = Kernel::of(&tensors, inner_bias, outer_bias, activation)?.forward();
    let y = Tensor::from_vec(y, (x.dims()[0], outer.0.dims()[0]), x.tensor().device())?;
    Ok(with_rule(y, &inputs, move |dy| {
        let kernel = Kernel::of(&tensors, inner_bias, outer_bias, activation)?;
        let gradients = kernel.backward(&hidden, &Elements::of(dy)?);
        let own = |(values, like): (Vec<f32>, &Tensor)| {
            Ok(Some(Gradient::own(Tensor::from_vec(values, like.dims(), like.device())?)))
        };
        gradients.into_iter().zip(&tensors).map(own).collect()
    }))
}

/// Fails if the shapes do not fit.
fn check(x: &Value, inner: Map, outer: Map) -> Result<()> {
    let fits = match (x.dims(), inner.0.dims(), outer.0.dims()) {
        ([_, d], [d_ff, inner_d], [outer_d, outer_d_ff]) => {
            let bias_fits = |bias: Option<&Value>, n: &usize| bias.is_none_or(|bias| bias.dims() == [*n]);
            inner_d == d && outer_d_ff == d_ff && bias_fits(inner.1, d_ff) && bias_fits(outer.1, outer_d)
        }
        _ => false,
    };
    if !fits {
        bail!(
            "mlp: expected x [n, d], weights [d_ff, d] and [d, d_ff] and their biases; found {:?}, {:?} and {:?}",
            x.dims(),
            inner.0.dims(),
            outer.0.dims()
        )
    }
    Ok(())
}

/// [`mlp`] added to a residual stream: `residual` `[n, d]` + f(x·W₁ᵀ + b₁)·W₂ᵀ + b₂.
///
/// A GPU adds before it rounds.
///
/// # Errors
/// If the shapes do not fit.
pub fn mlp_residual(
    x: &Value,
    inner: Map,
    outer: Map,
    activation: Activation,
    residual: &Value,
) -> Result<Value> {
    check(x, inner, outer)?;
    #[cfg(feature = "cuda")]
    if super::cuda::has_kernel(x.tensor()) && super::cuda::can_add_residual(residual, x, outer.0) {
        return super::cuda::mlp(x, inner, outer, activation, Some(residual));
    }
    add(residual, &mlp(x, inner, outer, activation)?)
}

/// [`mlp`] in candle's own operations; `t` holds x, both weights, and the biases, if any.
pub(crate) fn reference(
    t: &[Tensor],
    inner_bias: bool,
    outer_bias: bool,
    activation: Activation,
) -> Result<Tensor> {
    let hidden = linear::reference(&t[0], &t[1], inner_bias.then(|| &t[3]))?;
    let hidden = activation::reference(&hidden, activation)?;
    linear::reference(&hidden, &t[2], outer_bias.then(|| &t[3 + usize::from(inner_bias)]))
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
    fn of(t: &'a [Tensor], inner_bias: bool, outer_bias: bool, activation: Activation) -> Result<Self> {
        let ((n, d), (d_out, d_ff)) = (t[0].dims2()?, t[2].dims2()?);
        Ok(Self {
            x: Elements::of(&t[0])?,
            inner: Elements::of(&t[1])?,
            outer: Elements::of(&t[2])?,
            inner_bias: inner_bias.then(|| Elements::of(&t[3])).transpose()?,
            outer_bias: outer_bias.then(|| Elements::of(&t[3 + usize::from(inner_bias)])).transpose()?,
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
        if self.n <= FEW {
            let x = Matrix::new(&self.x, self.n, self.d);
            let hidden = linear::forward(x, self.inner(), self.inner_bias.as_deref());
            let mut active = vec![0.0; hidden.len()];
            self.activation.forward(&hidden, &mut active);
            let active = Matrix::new(&active, self.n, self.d_ff);
            return (linear::forward(active, self.outer(), self.outer_bias.as_deref()), hidden);
        }
        let (inner, outer) = (self.inner().transposed(), self.outer().transposed());
        let (inner, outer) =
            (Matrix::new(&inner, self.d, self.d_ff), Matrix::new(&outer, self.d_ff, self.d_out));
        let (x, none) = (Matrix::new(&self.x, self.n, self.d), Parallelism::None);
        let rows = linear::rows_of_block(self.n, self.d * self.d_ff);
        two_by_blocks(self.n, [self.d_out, self.d_ff], rows, |block, y, hidden| {
            let n = y.len() / self.d_out;
            let x = x.rows_from(block * rows, n);
            let hidden = product_into(hidden, x, inner, self.inner_bias.as_deref(), none);
            let mut active = vec![0.0; hidden.len()];
            self.activation.forward(hidden, &mut active);
            let active = Matrix::new(&active, n, self.d_ff);
            (product_into(y, active, outer, self.outer_bias.as_deref(), none), hidden)
        })
    }

    /// The gradients of x, of the weights, and of the biases, if any.
    fn backward(&self, hidden: &[f32], dy: &[f32]) -> Vec<Vec<f32>> {
        let (d, d_ff, d_out) = (self.d, self.d_ff, self.d_out);
        let mut dx = vec![0.0; self.n * d];
        // One task for each thread, so that there are few sums of weight gradients.
        let rows = self.n.div_ceil(rayon::current_num_threads()).max(1);
        let tasks = dx.par_chunks_mut(rows * d).zip(self.x.par_chunks(rows * d));
        let tasks = tasks.zip(hidden.par_chunks(rows * d_ff)).zip(dy.par_chunks(rows * d_out));
        let sums: Vec<Sums> = tasks
            .map(|(((dx, x), hidden), dy)| {
                let mut sums = Sums {
                    inner: vec![],
                    outer: vec![],
                    inner_bias: vec![0.0; d_ff],
                    outer_bias: vec![0.0; d_out],
                };
                let block = linear::most_rows(d * d_ff).min(rows);
                let blocks = dx.chunks_mut(block * d).zip(x.chunks(block * d));
                let blocks = blocks.zip(hidden.chunks(block * d_ff)).zip(dy.chunks(block * d_out));
                let (mut active, mut d_hidden) = (vec![0.0; block * d_ff], vec![0.0; block * d_ff]);
                for (((dx, x), hidden), dy) in blocks {
                    let (active, d_hidden) = (&mut active[..hidden.len()], &mut d_hidden[..hidden.len()]);
                    self.backward_block(x, hidden, dy, active, d_hidden, dx, &mut sums);
                }
                sums
            })
            .collect();
        let (mut inner, mut outer, mut inner_bias, mut outer_bias) = (vec![], vec![], vec![], vec![]);
        for sums in sums {
            inner.push(sums.inner);
            outer.push(sums.outer);
            inner_bias.push(sums.inner_bias);
            outer_bias.push(sums.outer_bias);
        }
        let mut gradients =
            vec![dx, math::add_in_order(inner, d_ff * d), math::add_in_order(outer, d_out * d_ff)];
        gradients.extend(self.inner_bias.as_ref().map(|_| math::add_in_order(inner_bias, d_ff)));
        gradients.extend(self.outer_bias.as_ref().map(|_| math::add_in_order(outer_bias, d_out)));
        gradients
    }

    #[allow(clippy::too_many_arguments)] // slices of one block
    fn backward_block(
        &self,
        x: &[f32],
        hidden: &[f32],
        dy: &[f32],
        active: &mut [f32],
        d_hidden: &mut [f32],
        dx: &mut [f32],
        sums: &mut Sums,
    ) {
        let (n, d, d_ff, d_out) = (x.len() / self.d, self.d, self.d_ff, self.d_out);
        let none = Parallelism::None;
        let dy_rows = Matrix::new(dy, n, d_out);
        gemm_f32(1.0, dy_rows, self.outer(), 0.0, MatrixMut::new(d_hidden, n, d_ff), none);
        self.activation.forward_and_backward(hidden, active, d_hidden);
        let (active, d_hidden) = (&*active, &*d_hidden);
        accumulate(&mut sums.outer, dy_rows.t(), Matrix::new(active, n, d_ff));
        let d_hidden_rows = Matrix::new(d_hidden, n, d_ff);
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
        true => *sum = by_blocks(m * n, m * n, |_, sum| product_into(sum, a, b, None, none)),
        false => gemm_f32(1.0, a, b, 1.0, MatrixMut::new(sum, m, n), none),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_gradients, check_kernel, random};

    fn inputs(n: usize, d: usize, d_ff: usize) -> Result<Vec<Tensor>> {
        [vec![n, d], vec![d_ff, d], vec![d, d_ff], vec![d_ff], vec![d]]
            .iter()
            .zip(1..)
            .map(|(shape, seed)| random(shape, seed))
            .collect()
    }

    #[test]
    fn reference_has_the_right_gradients() -> Result<()> {
        check_gradients(|t| reference(t, true, true, Activation::Gelu), &inputs(3, 2, 4)?)
    }

    #[test]
    fn kernel_matches_the_reference() -> Result<()> {
        for (n, d, d_ff) in [(1, 1, 1), (5, 3, 7), (300, 8, 33), (1100, 16, 64)] {
            let t = inputs(n, d, d_ff)?;
            for activation in [Activation::Gelu, Activation::Silu] {
                check_kernel(
                    |t| mlp(&t[0], (&t[1], Some(&t[3])), (&t[2], Some(&t[4])), activation),
                    |t| reference(t, true, true, activation),
                    &t,
                )?;
            }
            let plain = |t: &[Value]| mlp(&t[0], (&t[1], None), (&t[2], None), Activation::Relu);
            check_kernel(plain, |t| reference(t, false, false, Activation::Relu), &t[..3])?;
        }
        Ok(())
    }

    #[test]
    fn shapes_that_do_not_fit_are_errors() -> Result<()> {
        let value = |shape: &[usize]| random(shape, 1).map(Value::constant);
        let (x, inner, outer) = (value(&[3, 4])?, value(&[8, 4])?, value(&[4, 9])?);
        let error = mlp(&x, (&inner, None), (&outer, None), Activation::Gelu).unwrap_err().to_string();
        assert!(error.contains("[8, 4] and [4, 9]"), "{error}");
        Ok(())
    }
}
