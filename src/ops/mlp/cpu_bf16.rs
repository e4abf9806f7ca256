//! The CPU kernel in `bf16`: blocks of rows go through both maps in `f32`, and what is saved of them is rounded.

use crate::ops::activation::Activation;
use crate::ops::autograd::{Gradient, Value, with_rule};
use crate::ops::cpu::bf16::{rounded, two_rounded_by_blocks, widened};
use crate::ops::cpu::blank::filled;
use crate::ops::cpu::product::Matrix;
use crate::ops::cpu::product_bf16::Packed;
use crate::ops::cpu::rows::column_sums;
use crate::ops::cpu::storage::{Elements, Locked, gradient};
use crate::ops::linear::cpu::FEW;
use crate::ops::linear::cpu_bf16::{map, weight_gradient};
use candle_core::{DType, Result, Tensor};
use half::bf16;

/// `inputs` are x, both weights, and the inner and outer bias, if there are such `biases`.
pub(super) fn mlp(inputs: &[&Value], biases: [bool; 2], activation: Activation) -> Result<Value> {
    let t: Vec<Tensor> = inputs.iter().map(|input| input.tensor().clone()).collect();
    let mlp = Mlp { t, biases, activation };
    let (y, hidden) = mlp.forward()?;
    Ok(with_rule(y, inputs, move |dy| mlp.backward(&hidden, &dy.to_dtype(DType::BF16)?.contiguous()?)))
}

struct Mlp {
    t: Vec<Tensor>,
    biases: [bool; 2],
    activation: Activation,
}

impl Mlp {
    fn bias(&self, outer: usize) -> Option<&Tensor> {
        let place = 3 + outer * usize::from(self.biases[0]);
        self.biases[outer].then(|| &self.t[place])
    }

    /// The result, and the activation's inputs, `[n, d_ff]`.
    fn forward(&self) -> Result<(Tensor, Tensor)> {
        let ((n, d), (d_out, d_ff)) = (self.t[0].dims2()?, self.t[2].dims2()?);
        let (x, inner, outer) =
            (Locked::<bf16>::of(&self.t[0])?, Elements::of(&self.t[1])?, Elements::of(&self.t[2])?);
        let (x, inner, outer) =
            (Matrix::new(&x, n, d), Matrix::new(&inner, d_ff, d), Matrix::new(&outer, d_out, d_ff));
        let inner_bias = self.bias(0).map(Elements::of).transpose()?;
        let outer_bias = self.bias(1).map(Elements::of).transpose()?;
        let (y, hidden) = if n <= FEW {
            let hidden = map(x, inner, inner_bias.as_deref());
            let wide = widened(&hidden);
            let active = filled(wide.len(), |y| self.activation.forward(&wide, y));
            let active = rounded(&active);
            (map(Matrix::new(&active, n, d_ff), outer, outer_bias.as_deref()), hidden)
        } else {
            let (inner, outer) = (Packed::new(inner.t()), Packed::new(outer.t()));
            let rows = inner.rows(n);
            two_rounded_by_blocks(n, [d_out, d_ff], rows, |block, y, hidden| {
                let n = y.len() / d_out;
                let hidden = inner.product_into(hidden, x.rows_from(block * rows, n), inner_bias.as_deref());
                let active = filled(hidden.len(), |y| self.activation.forward(hidden, y));
                (outer.product_into(y, Matrix::new(&active, n, d_ff), outer_bias.as_deref()), hidden)
            })
        };
        let device = self.t[0].device();
        Ok((Tensor::from_vec(y, (n, d_out), device)?, Tensor::from_vec(hidden, (n, d_ff), device)?))
    }

    /// The gradients of x, of the weights, and of the biases, if any.
    fn backward(&self, hidden: &Tensor, dy: &Tensor) -> Result<Vec<Option<Gradient>>> {
        let ((n, d), (d_out, d_ff)) = (self.t[0].dims2()?, self.t[2].dims2()?);
        let dy = Locked::<bf16>::of(dy)?;
        let (active, d_hidden) = self.backward_to_hidden(&Locked::of(hidden)?, Matrix::new(&dy, n, d_out))?;
        let device = self.t[0].device();
        let active = Tensor::from_vec(active, (n, d_ff), device)?;
        let rows = Matrix::new(&d_hidden, n, d_ff);
        let dx = Packed::new(Matrix::new(&Elements::of(&self.t[1])?, d_ff, d)).rounded_product(rows, None);
        let mut gradients = vec![
            Some(Gradient::own(Tensor::from_vec(dx, (n, d), device)?)),
            gradient(weight_gradient(rows, &self.t[0])?, &self.t[1])?,
            gradient(weight_gradient(Matrix::new(&dy, n, d_out), &active)?, &self.t[2])?,
        ];
        for (bias, (rows, width)) in [(self.bias(0), (&*d_hidden, d_ff)), (self.bias(1), (&*dy, d_out))] {
            if let Some(bias) = bias {
                gradients.push(gradient(column_sums(&widened(rows), width), bias)?);
            }
        }
        Ok(gradients)
    }

    /// The activation's outputs, and the gradient of its inputs `hidden`.
    fn backward_to_hidden(&self, hidden: &[bf16], dy: Matrix<bf16>) -> Result<(Vec<bf16>, Vec<bf16>)> {
        let (d_out, d_ff) = self.t[2].dims2()?;
        let outer = Packed::new(Matrix::new(&Elements::of(&self.t[2])?, d_out, d_ff));
        let rows = outer.rows(dy.rows());
        Ok(two_rounded_by_blocks(dy.rows(), [d_ff, d_ff], rows, |block, active, d_hidden| {
            let dy = dy.rows_from(block * rows, d_hidden.len() / d_ff);
            let d_hidden = outer.product_into(d_hidden, dy, None);
            let hidden = widened(&hidden[block * rows * d_ff..][..d_hidden.len()]);
            (self.activation.forward_and_backward(&hidden, active, d_hidden), d_hidden)
        }))
    }
}
