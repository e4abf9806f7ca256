//! In candle's own operations.

use super::{Activation, QUICK};
use candle_core::{Result, Tensor};

/// [`activation`](super::activation()).
pub(crate) fn activation(x: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::Gelu => x.gelu_erf(),
        Activation::GeluTanh => x.gelu(),
        Activation::Relu => x.relu(),
        Activation::Silu => x.silu(),
        Activation::QuickGelu => x * sigmoid(&(x * f64::from(QUICK))?)?,
        Activation::Tanh => x.tanh(),
    }
}

/// σ(x).
fn sigmoid(x: &Tensor) -> Result<Tensor> {
    (x.neg()?.exp()? + 1.0)?.recip()
}
