//! Elementwise nonlinearities.
//!
//! Forward moves 8 bytes an element and backward 12. ReLU is bound by that; the others spend 20 to 40 FLOP forward
//! and twice that backward, and are bound by arithmetic while the elements fit the cache.

mod cpu;
#[cfg(feature = "cuda")]
pub(super) mod cuda;
pub(super) mod reference;

use super::autograd::Value;
use super::dispatch::dispatch;
use super::from_candle::from_candle;
use candle_core::Result;
use serde::{Deserialize, Serialize};

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
    dispatch!(x.tensor();
        cuda => cuda::activation(x, activation),
        cpu => cpu::activation(x, activation),
        reference => from_candle(&[x], |t| reference::activation(&t[0], activation)))
}

impl Activation {
    /// Every activation.
    pub(crate) const ALL: [Self; 6] =
        [Self::Gelu, Self::GeluTanh, Self::Relu, Self::Silu, Self::QuickGelu, Self::Tanh];
}

/// The slope of [`Activation::QuickGelu`]'s sigmoid.
const QUICK: f32 = 1.702;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::assert_close;
    use candle_core::{Device, Tensor};

    fn of(x: &Tensor, kind: Activation) -> Result<Value> {
        activation(&Value::constant(x.clone()), kind)
    }

    #[test]
    fn far_from_zero_an_activation_is_zero_or_the_identity() -> Result<()> {
        let x = Tensor::new(&[-1e4_f32, -50.0, 50.0, 1e4], &Device::Cpu)?;
        let expected = Tensor::new(&[0_f32, 0.0, 50.0, 1e4], &Device::Cpu)?;
        for kind in Activation::ALL.into_iter().filter(|kind| *kind != Activation::Tanh) {
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
        for (kind, expected) in Activation::ALL.into_iter().zip(expected) {
            assert_close("output", of(&x, kind)?.tensor(), &Tensor::new(&expected, &Device::Cpu)?, 1e-6)?;
        }
        Ok(())
    }

    #[test]
    fn names_in_files_are_snake_case() {
        let names = Activation::ALL.map(|kind| serde_json::to_string(&kind).unwrap());
        assert_eq!(
            names,
            ["\"gelu\"", "\"gelu_tanh\"", "\"relu\"", "\"silu\"", "\"quick_gelu\"", "\"tanh\""]
        );
    }
}
