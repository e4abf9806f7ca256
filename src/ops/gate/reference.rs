//! In candle's own operations.

use crate::ops::activation::{Activation, reference};
use candle_core::{Result, Tensor};

/// [`gate`](super::gate()).
pub(crate) fn gate(a: &Tensor, b: &Tensor, activation: Activation) -> Result<Tensor> {
    reference::activation(a, activation)? * b
}
