//! The gate of a gated MLP: f(a)·b (Shazeer 2020).
//!
//! Forward moves 12 bytes an element, backward 20; see [`activation`](super::activation()) for its arithmetic.

mod cpu;
#[cfg(feature = "cuda")]
pub(super) mod cuda;
pub(super) mod reference;

use super::activation::Activation;
use super::autograd::Value;
use super::dispatch::dispatch;
use super::from_candle::from_candle;
use candle_core::{Result, bail};

/// f(`a`)·`b` element by element, with f the activation; both of one shape.
///
/// # Errors
/// If the shapes differ.
pub fn gate(a: &Value, b: &Value, activation: Activation) -> Result<Value> {
    if a.dims() != b.dims() {
        bail!("gate: shapes {:?} and {:?} differ", a.dims(), b.dims())
    }
    dispatch!(a.tensor();
        cuda if a.tensor().dtype() == b.tensor().dtype() => cuda::gate(a, b, activation),
        cpu => cpu::gate(a, b, activation),
        reference => from_candle(&[a, b], |t| reference::gate(&t[0], &t[1], activation)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::random;

    #[test]
    fn unequal_shapes_are_errors() -> Result<()> {
        let value = |shape: &[usize]| random(shape, 1).map(Value::constant);
        assert!(gate(&value(&[2, 3])?, &value(&[3, 2])?, Activation::Silu).is_err());
        Ok(())
    }
}
