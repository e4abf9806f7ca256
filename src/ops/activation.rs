//! Elementwise nonlinearities.
//!
//! Forward moves 8 bytes an element and backward 12. ReLU is bound by that; the others spend 20 to 40 FLOP forward
//! and twice that backward, and are bound by arithmetic while the elements fit the cache.

use super::autograd::{Value, apply1};
use super::from_candle::from_candle;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::math::{BLOCK, exp, normal_cdf, sigmoid, vectorize};
use super::storage::{Elements, has_kernel, slice};

/// A nonlinearity between the two linear maps of a feed-forward layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// x·Φ(x) with the exact normal distribution function (Hendrycks & Gimpel 2016), as in BERT and Whisper.
    Gelu,
    /// GELU by its tanh approximation, as in GPT-2.
    GeluTanh,
    /// max(x, 0).
    Relu,
    /// x·σ(x), also called swish, as in Llama.
    Silu,
    /// x·σ(1.702·x), a cheaper GELU, as in CLIP.
    QuickGelu,
    /// The hyperbolic tangent.
    Tanh,
}

/// The activation of each element of `x`, of any shape.
pub fn activation(x: &Value, activation: Activation) -> Result<Value> {
    #[cfg(feature = "cuda")]
    if super::cuda::has_kernel(x.tensor()) {
        return super::cuda::activation(x, activation);
    }
    match has_kernel(x.tensor()) {
        true => apply1(x, activation),
        false => from_candle(&[x], |t| reference(&t[0], activation)),
    }
}

/// [`activation`] in candle's own operations.
pub(crate) fn reference(x: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::Gelu => x.gelu_erf(),
        Activation::GeluTanh => x.gelu(),
        Activation::Relu => x.relu(),
        Activation::Silu => x.silu(),
        Activation::QuickGelu => x * candle_sigmoid(&(x * f64::from(QUICK))?)?,
        Activation::Tanh => x.tanh(),
    }
}

impl Activation {
    /// y ← f(x); one thread.
    pub(crate) fn forward(self, x: &[f32], y: &mut [f32]) {
        match self {
            Activation::Gelu => each(x, y, gelu),
            Activation::GeluTanh => each(x, y, gelu_tanh),
            Activation::Relu => each(x, y, relu),
            Activation::Silu => each(x, y, silu),
            Activation::QuickGelu => each(x, y, quick_gelu),
            Activation::Tanh => each(x, y, tanh),
        }
    }

    /// y ← f(x) and dy ← dy·f′(x), which share most of their arithmetic; one thread.
    pub(crate) fn forward_and_backward(self, x: &[f32], y: &mut [f32], dy: &mut [f32]) {
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
fn each(x: &[f32], y: &mut [f32], f: impl Fn(f32) -> (f32, f32)) {
    vectorize(
        #[inline(always)]
        || x.iter().zip(y).for_each(|(&x, y)| *y = f(x).0),
    )
}

#[inline(always)]
fn each_with_slope(x: &[f32], y: &mut [f32], dy: &mut [f32], f: impl Fn(f32) -> (f32, f32)) {
    vectorize(
        #[inline(always)]
        || {
            for ((&x, y), dy) in x.iter().zip(y).zip(dy) {
                let (value, slope) = f(x);
                (*y, *dy) = (value, *dy * slope);
            }
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

/// σ(x) in candle's own operations.
fn candle_sigmoid(x: &Tensor) -> Result<Tensor> {
    (x.neg()?.exp()? + 1.0)?.recip()
}

impl CustomOp1 for Activation {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(x, layout)?;
        let mut y = vec![0.0; x.len()];
        y.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).for_each(|(y, x)| self.forward(x, y));
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let mut dx = Elements::of(dy)?.to_vec();
        let blocks = dx.par_chunks_mut(BLOCK);
        blocks.zip(Elements::of(x)?.par_chunks(BLOCK)).for_each(|(dx, x)| {
            let mut unused = vec![0.0; x.len()];
            self.forward_and_backward(x, &mut unused, dx);
        });
        Ok(Some(Tensor::from_vec(dx, x.dims(), x.device())?))
    }
}

/// 2·√(2/π).
const TWO_SQRT_2_BY_PI: f32 = 1.595_769;
/// The slope of [`Activation::QuickGelu`]'s sigmoid.
const QUICK: f32 = 1.702;
/// The coefficient of x³ in GELU's approximation.
const CUBIC: f32 = 0.044_715;

/// The standard normal density e^(−x²/2)/√(2π).
#[inline(always)]
fn normal_density(x: f32) -> f32 {
    const BY_SQRT_2_PI: f32 = 0.398_942_3;
    BY_SQRT_2_PI * exp(-0.5 * x * x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, check_gradients, check_kernel, random};
    use candle_core::Device;

    const ALL: [Activation; 6] = [
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Relu,
        Activation::Silu,
        Activation::QuickGelu,
        Activation::Tanh,
    ];

    fn of(x: &Tensor, kind: Activation) -> Result<Value> {
        activation(&Value::constant(x.clone()), kind)
    }

    #[test]
    fn references_have_the_right_gradients() -> Result<()> {
        for kind in ALL {
            check_gradients(|x| reference(&x[0], kind), &[random(&[5, 7], 1)?])?;
        }
        Ok(())
    }

    #[test]
    fn kernels_match_their_references() -> Result<()> {
        for kind in ALL {
            for shape in [&[1, 1][..], &[0, 3], &[65], &[3, 5, 7], &[300, 129]] {
                check_kernel(|x| activation(&x[0], kind), |x| reference(&x[0], kind), &[random(shape, 2)?])?;
            }
        }
        Ok(())
    }

    #[test]
    fn far_from_zero_an_activation_is_zero_or_the_identity() -> Result<()> {
        let x = Tensor::new(&[-1e4_f32, -50.0, 50.0, 1e4], &Device::Cpu)?;
        let expected = Tensor::new(&[0_f32, 0.0, 50.0, 1e4], &Device::Cpu)?;
        for kind in ALL.into_iter().filter(|kind| *kind != Activation::Tanh) {
            assert_close("output", of(&x, kind)?.tensor(), &expected, 1e-9)?;
        }
        let ones = Tensor::new(&[-1_f32, -1.0, 1.0, 1.0], &Device::Cpu)?;
        assert_close("output", of(&x, Activation::Tanh)?.tensor(), &ones, 1e-9)?;
        Ok(())
    }

    #[test]
    fn values_match_pytorch() -> Result<()> {
        // torch.nn.functional.gelu, gelu(approximate="tanh"), relu, silu, x·sigmoid(1.702·x) and tanh of −1 and 2.
        let x = Tensor::new(&[-1_f32, 2.0], &Device::Cpu)?;
        let expected = [
            [-0.158_655_26, 1.954_499_7],
            [-0.158_808_01, 1.954_597_7],
            [0.0, 2.0],
            [-0.268_941_43, 1.761_594_2_f32],
            [-0.154_204_23, 1.935_658_6],
            [-0.761_594_2, 0.964_027_6],
        ];
        for (kind, expected) in ALL.into_iter().zip(expected) {
            assert_close("output", of(&x, kind)?.tensor(), &Tensor::new(&expected, &Device::Cpu)?, 1e-6)?;
        }
        Ok(())
    }

    #[test]
    fn names_in_files_are_snake_case() {
        let names = ALL.map(|kind| serde_json::to_string(&kind).unwrap());
        assert_eq!(
            names,
            ["\"gelu\"", "\"gelu_tanh\"", "\"relu\"", "\"silu\"", "\"quick_gelu\"", "\"tanh\""]
        );
    }
}
