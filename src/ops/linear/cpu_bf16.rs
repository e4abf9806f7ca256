//! The CPU kernel in `bf16`: x, the gradient of y and the rounded weight are multiplied in `bf16` and summed in `f32`.
//!
//! Each product rounds and packs the weight once.

use super::cpu::{FEW, forward};
use crate::ops::autograd::{Gradient, Value, with_rule};
use crate::ops::cpu::bf16::{rounded, widened};
use crate::ops::cpu::product::Matrix;
use crate::ops::cpu::product_bf16::Packed;
use crate::ops::cpu::rows::column_sums;
use crate::ops::cpu::storage::{Elements, Locked, gradient};
use candle_core::{DType, Result, Tensor};
use half::bf16;

/// `inputs` are x, the weight, and the bias, if any.
pub(super) fn linear(inputs: &[&Value]) -> Result<Value> {
    let t: Vec<Tensor> = inputs.iter().map(|input| input.tensor().clone()).collect();
    let ((n, k), m) = (t[0].dims2()?, t[1].dim(0)?);
    let bias = t.get(2).map(Elements::of).transpose()?;
    let y = {
        let (x, weight) = (Locked::<bf16>::of(&t[0])?, Elements::of(&t[1])?);
        map(Matrix::new(&x, n, k), Matrix::new(&weight, m, k), bias.as_deref())
    };
    let y = Tensor::from_vec(y, (n, m), t[0].device())?;
    drop(bias);
    // A constant input, such as pixels, saves a product.
    let x_has_gradient = inputs[0].has_gradient();
    Ok(with_rule(y, inputs, move |dy| {
        let dy = dy.to_dtype(DType::BF16)?.contiguous()?;
        let dy = Locked::<bf16>::of(&dy)?;
        let rows = Matrix::new(&dy, n, m);
        let dx = match x_has_gradient {
            true => {
                let weight = Packed::new(Matrix::new(&Elements::of(&t[1])?, m, k));
                let dx = weight.rounded_product(rows, None);
                Some(Gradient::own(Tensor::from_vec(dx, (n, k), t[0].device())?))
            }
            false => None,
        };
        let mut gradients = vec![dx, gradient(weight_gradient(rows, &t[0])?, &t[1])?];
        if let Some(bias) = t.get(2) {
            gradients.push(gradient(column_sums(&widened(&dy), m), bias)?);
        }
        Ok(gradients)
    }))
}

/// x·Wᵀ + b.
pub(in crate::ops) fn map(x: Matrix<bf16>, weight: Matrix, bias: Option<&[f32]>) -> Vec<bf16> {
    let (n, k) = (x.rows(), x.cols());
    if n <= FEW {
        // Reading the weights takes most of the time; to round and pack them would read and write them once more.
        let x: Vec<f32> = (0..n).flat_map(|row| widened(x.row(row))).collect();
        return rounded(&forward(Matrix::new(&x, n, k), weight, bias));
    }
    Packed::new(weight.t()).rounded_product(x, bias)
}

/// dyᵀ·x, the gradient of a weight, in `f32`.
pub(in crate::ops) fn weight_gradient(dy: Matrix<bf16>, x: &Tensor) -> Result<Vec<f32>> {
    let (n, k) = x.dims2()?;
    Ok(Packed::new(Matrix::new(&Locked::<bf16>::of(x)?, n, k)).product(dy.t(), None))
}
