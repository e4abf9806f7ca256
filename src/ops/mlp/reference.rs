//! In candle's own operations.

use crate::ops::activation::{self, Activation};
use crate::ops::linear::reference::linear;
use candle_core::{Result, Tensor};

/// [`mlp`](super::mlp()); `t` holds x, both weights, and the inner and outer bias, if there are such `biases`.
pub(crate) fn mlp(t: &[Tensor], biases: [bool; 2], activation: Activation) -> Result<Tensor> {
    let hidden = linear(&t[0], &t[1], biases[0].then(|| &t[3]))?;
    let hidden = activation::reference::activation(&hidden, activation)?;
    linear(&hidden, &t[2], biases[1].then(|| &t[3 + usize::from(biases[0])]))
}
