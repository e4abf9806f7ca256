//! The CPU kernel: blocks of elements in parallel.

use crate::ops::activation::Activation;
use crate::ops::autograd::{Value, with_rule};
use crate::ops::cpu::blank::{by_blocks, map2, two_by_blocks};
use crate::ops::cpu::math::BLOCK;
use crate::ops::cpu::storage::{Elements, gradient, tensor};
use candle_core::Result;

pub(super) fn gate(a: &Value, b: &Value, activation: Activation) -> Result<Value> {
    let y = tensor(forward(&Elements::of(a.tensor())?, &Elements::of(b.tensor())?, activation), a.tensor())?;
    let inputs = [a.tensor().clone(), b.tensor().clone()];
    Ok(with_rule(y, &[a, b], move |dy| {
        let dy = dy.contiguous()?;
        let [a, b] = &inputs;
        let (da, db) = backward(&Elements::of(a)?, &Elements::of(b)?, &Elements::of(&dy)?, activation);
        Ok(vec![gradient(da, a)?, gradient(db, b)?])
    }))
}

fn forward(a: &[f32], b: &[f32], activation: Activation) -> Vec<f32> {
    by_blocks(a.len(), BLOCK, |block, y| {
        let part = block * BLOCK..block * BLOCK + y.len();
        let y = activation.forward(&a[part.clone()], y);
        y.iter_mut().zip(&b[part]).for_each(|(y, b)| *y *= b);
        y
    })
}

/// The gradients of both inputs.
fn backward(a: &[f32], b: &[f32], dy: &[f32], activation: Activation) -> (Vec<f32>, Vec<f32>) {
    two_by_blocks(dy.len(), [1, 1], BLOCK, |block, da, db| {
        let part = block * BLOCK..block * BLOCK + da.len();
        let (a, b, dy) = (&a[part.clone()], &b[part.clone()], &dy[part]);
        let da = map2(da, b, dy, |b, dy| b * dy);
        let db = activation.forward_and_backward(a, db, da); // db ← f(a), da ← b·dy·f′(a)
        db.iter_mut().zip(dy).for_each(|(db, dy)| *db *= dy);
        (da, db)
    })
}
