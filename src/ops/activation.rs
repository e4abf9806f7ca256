//! Elementwise nonlinearities.
//!
//! Forward moves 8 bytes an element and backward 12, for 20 to 40 FLOP: with vector code it is the memory that
//! bounds them.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

use super::math::{exp, map, map2, normal_cdf, sigmoid};
use super::storage::{Elements, has_kernel, slice};

/// A nonlinearity between the two linear maps of a feed-forward layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// The activation of each element of `x`, of any shape.
pub fn activation(x: &Tensor, activation: Activation) -> Result<Tensor> {
    match has_kernel(x) {
        true => x.contiguous()?.apply_op1(activation),
        false => reference(x, activation),
    }
}

/// [`activation`] in candle's own operations.
pub(crate) fn reference(x: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::Gelu => x.gelu_erf(),
        Activation::GeluTanh => x.gelu(),
        Activation::Relu => x.relu(),
        Activation::Silu => x.silu(),
    }
}

impl CustomOp1 for Activation {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(x, layout)?;
        let y = match self {
            Activation::Gelu => map(
                x,
                #[inline(always)]
                |x| x * normal_cdf(x),
            ),
            Activation::GeluTanh => map(
                x,
                #[inline(always)]
                |x| x * sigmoid(tanh_argument(x)),
            ),
            Activation::Relu => map(
                x,
                #[inline(always)]
                |x| if x < 0.0 { 0.0 } else { x },
            ),
            Activation::Silu => map(
                x,
                #[inline(always)]
                |x| x * sigmoid(x),
            ),
        };
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let dy = dy.contiguous()?;
        let (x_values, dy) = (Elements::of(x)?, Elements::of(&dy)?);
        let dx = match self {
            Activation::Gelu => map2(
                &x_values,
                &dy,
                #[inline(always)]
                |x, dy| dy * (normal_cdf(x) + x * normal_density(x)),
            ),
            Activation::GeluTanh => map2(
                &x_values,
                &dy,
                #[inline(always)]
                |x, dy| {
                    let s = sigmoid(tanh_argument(x));
                    let slope = TWO_SQRT_2_BY_PI * (1.0 + 3.0 * CUBIC * x * x);
                    dy * (s + x * slope * s * (1.0 - s))
                },
            ),
            Activation::Relu => map2(
                &x_values,
                &dy,
                #[inline(always)]
                |x, dy| if x > 0.0 { dy } else { 0.0 },
            ),
            Activation::Silu => map2(
                &x_values,
                &dy,
                #[inline(always)]
                |x, dy| {
                    let s = sigmoid(x);
                    dy * (s + x * s * (1.0 - s))
                },
            ),
        };
        Ok(Some(Tensor::from_vec(dx, x.dims(), x.device())?))
    }
}

/// 2·√(2/π).
const TWO_SQRT_2_BY_PI: f32 = 1.595_769_1;
/// The coefficient of x³ in GELU's approximation.
const CUBIC: f32 = 0.044_715;

/// Twice the argument of GELU's tanh, since (1 + tanh u)/2 = σ(2u).
#[inline(always)]
fn tanh_argument(x: f32) -> f32 {
    TWO_SQRT_2_BY_PI * (x + CUBIC * x * x * x)
}

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

    const ALL: [Activation; 4] = [Activation::Gelu, Activation::GeluTanh, Activation::Relu, Activation::Silu];

    #[test]
    fn references_have_the_right_gradients() -> Result<()> {
        for kind in ALL {
            check_gradients(|x| reference(&x[0], kind), &[random(&[5, 7], 1)?])?;
        }
        Ok(())
    }

    #[test]
    fn kernels_are_the_references() -> Result<()> {
        for kind in ALL {
            for shape in [&[1, 1][..], &[0, 3], &[65], &[3, 5, 7], &[300, 129]] {
                check_kernel(|x| activation(&x[0], kind), |x| reference(&x[0], kind), &[random(shape, 2)?])?;
            }
            let turned = [random(&[9, 70], 3)?];
            check_kernel(|x| activation(&x[0].t()?, kind), |x| reference(&x[0].t()?, kind), &turned)?;
        }
        Ok(())
    }

    #[test]
    fn far_from_zero_they_are_zero_or_the_identity() -> Result<()> {
        let x = Tensor::new(&[-1e4_f32, -50.0, 50.0, 1e4], &Device::Cpu)?;
        let expected = Tensor::new(&[0_f32, 0.0, 50.0, 1e4], &Device::Cpu)?;
        for kind in ALL {
            assert_close("output", &activation(&x, kind)?, &expected, 1e-9)?;
        }
        Ok(())
    }

    #[test]
    fn values_are_those_of_pytorch() -> Result<()> {
        // torch.nn.functional.gelu, gelu(approximate="tanh"), relu and silu of −1 and 2.
        let x = Tensor::new(&[-1_f32, 2.0], &Device::Cpu)?;
        let expected = [
            [-0.158_655_26, 1.954_499_7],
            [-0.158_808_01, 1.954_597_7],
            [0.0, 2.0],
            [-0.268_941_43, 1.761_594_2_f32],
        ];
        for (kind, expected) in ALL.into_iter().zip(expected) {
            assert_close("output", &activation(&x, kind)?, &Tensor::new(&expected, &Device::Cpu)?, 1e-6)?;
        }
        Ok(())
    }

    #[test]
    fn names_in_files_are_snake_case() {
        let names = ALL.map(|kind| serde_json::to_string(&kind).unwrap());
        assert_eq!(names, ["\"gelu\"", "\"gelu_tanh\"", "\"relu\"", "\"silu\""]);
    }
}
