//! The softmax of each row: the probabilities of a router.
//!
//! Forward moves 8 bytes an element, backward 12: bound by memory.

mod cpu;
pub(super) mod reference;

use super::autograd::Value;
use super::dispatch::dispatch;
use super::from_candle::from_candle;
use candle_core::Result;

/// exp(xᵢⱼ) / Σⱼ exp(xᵢⱼ): `x` is `[n, d]`.
///
/// # Errors
/// If `x` is no matrix.
pub fn softmax(x: &Value) -> Result<Value> {
    x.dims2()?;
    dispatch!(x.tensor();
        cpu => cpu::softmax(x),
        reference => from_candle(&[x], |t| reference::softmax(&t[0])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::input;
    use candle_core::{Device, Tensor};

    #[test]
    fn great_numbers_do_not_overflow() -> Result<()> {
        let x = Tensor::new(&[[1e30_f32, 1e30], [-1e30, 0.0], [3.0, 3.0]], &Device::Cpu)?;
        let y = softmax(&input(&x))?.into_tensor().to_vec2::<f32>()?;
        assert_eq!(y, [[0.5, 0.5], [0.0, 1.0], [0.5, 0.5]]);
        Ok(())
    }

    #[test]
    fn without_rows_the_result_is_empty() -> Result<()> {
        assert_eq!(
            softmax(&input(&Tensor::zeros((0, 3), candle_core::DType::F32, &Device::Cpu)?))?.dims(),
            [0, 3]
        );
        Ok(())
    }
}
