//! The CPU kernel, and the functions of one element that other kernels share.

use super::{Activation, QUICK};
use crate::ops::autograd::{Value, with_rule};
use crate::ops::cpu::blank::{Blank, by_blocks, filled, map, map_and_update};
use crate::ops::cpu::math::{BLOCK, exp, normal_cdf, sigmoid, vectorize};
use crate::ops::cpu::storage::{Elements, gradient, tensor};
use candle_core::Result;
use rayon::prelude::*;

pub(super) fn activation(x: &Value, f: Activation) -> Result<Value> {
    let input = x.tensor().clone();
    let values = Elements::of(&input)?;
    let y = by_blocks(values.len(), BLOCK, |block, y| f.forward(&values[block * BLOCK..][..y.len()], y));
    drop(values);
    Ok(with_rule(tensor(y, &input)?, &[x], move |dy| {
        let mut dx = Elements::of(&dy.contiguous()?)?.to_vec();
        let x = Elements::of(&input)?;
        dx.par_chunks_mut(BLOCK)
            .zip(x.par_chunks(BLOCK))
            .for_each(|(dx, x)| _ = filled(x.len(), |y| f.forward_and_backward(x, y, dx)));
        Ok(vec![gradient(dx, &input)?])
    }))
}

impl Activation {
    /// Writes f(x); one thread.
    pub(in crate::ops) fn forward<'a>(self, x: &[f32], y: &'a mut Blank) -> &'a mut [f32] {
        match self {
            Activation::Gelu => each(x, y, gelu),
            Activation::GeluTanh => each(x, y, gelu_tanh),
            Activation::Relu => each(x, y, relu),
            Activation::Silu => each(x, y, silu),
            Activation::QuickGelu => each(x, y, quick_gelu),
            Activation::Tanh => each(x, y, tanh),
        }
    }

    /// Writes f(x), and dy ← dy·f′(x), which share most of their arithmetic; one thread.
    pub(in crate::ops) fn forward_and_backward<'a>(
        self,
        x: &[f32],
        y: &'a mut Blank,
        dy: &mut [f32],
    ) -> &'a mut [f32] {
        match self {
            Activation::Gelu => each_with_slope(x, y, dy, gelu),
            Activation::GeluTanh => each_with_slope(x, y, dy, gelu_tanh),
            Activation::Relu => each_with_slope(x, y, dy, relu),
            Activation::Silu => each_with_slope(x, y, dy, silu),
            Activation::QuickGelu => each_with_slope(x, y, dy, quick_gelu),
            Activation::Tanh => each_with_slope(x, y, dy, tanh),
        }
    }
}

#[inline(always)]
fn each<'a>(x: &[f32], y: &'a mut Blank, f: impl Fn(f32) -> (f32, f32)) -> &'a mut [f32] {
    vectorize(
        #[inline(always)]
        || map(y, x, |x| f(x).0),
    )
}

#[inline(always)]
fn each_with_slope<'a>(
    x: &[f32],
    y: &'a mut Blank,
    dy: &mut [f32],
    f: impl Fn(f32) -> (f32, f32),
) -> &'a mut [f32] {
    vectorize(
        #[inline(always)]
        || {
            map_and_update(y, x, dy, |x, dy| {
                let (value, slope) = f(x);
                (value, dy * slope)
            })
        },
    )
}

// Each returns the value and the slope; the compiler removes the one that a caller does not use.

#[inline(always)]
fn gelu(x: f32) -> (f32, f32) {
    let below = normal_cdf(x);
    (x * below, below + x * normal_density(x))
}

#[inline(always)]
fn gelu_tanh(x: f32) -> (f32, f32) {
    let s = sigmoid(TWO_SQRT_2_BY_PI * (x + CUBIC * x * x * x)); // (1 + tanh u)/2 = σ(2u)
    let slope = TWO_SQRT_2_BY_PI * (1.0 + 3.0 * CUBIC * x * x);
    (x * s, s + x * slope * s * (1.0 - s))
}

#[inline(always)]
fn relu(x: f32) -> (f32, f32) {
    // NaN stays NaN.
    (if x < 0.0 { 0.0 } else { x }, if x > 0.0 { 1.0 } else { 0.0 })
}

#[inline(always)]
fn silu(x: f32) -> (f32, f32) {
    let s = sigmoid(x);
    (x * s, s + x * s * (1.0 - s))
}

#[inline(always)]
fn quick_gelu(x: f32) -> (f32, f32) {
    let s = sigmoid(QUICK * x);
    (x * s, s + QUICK * x * s * (1.0 - s))
}

#[inline(always)]
fn tanh(x: f32) -> (f32, f32) {
    let y = 2.0 * sigmoid(2.0 * x) - 1.0;
    (y, 1.0 - y * y)
}

/// 2·√(2/π).
const TWO_SQRT_2_BY_PI: f32 = 1.595_769;
/// The coefficient of x³ in GELU's approximation.
const CUBIC: f32 = 0.044_715;

/// The standard normal density e^(−x²/2)/√(2π).
#[inline(always)]
fn normal_density(x: f32) -> f32 {
    const BY_SQRT_2_PI: f32 = 0.398_942_3;
    BY_SQRT_2_PI * exp(-0.5 * x * x)
}
