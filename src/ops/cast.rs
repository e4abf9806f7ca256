//! Conversion to another type: activations in `bf16`, losses in `f32`. The gradient has the type of the input.

use super::autograd::{Gradient, Value, with_rule};
use super::dispatch::dispatch;
use candle_core::{DType, Result, Tensor};

/// `x` rounded to `dtype`.
///
/// # Errors
/// If candle does not support the conversion.
pub fn cast(x: &Value, dtype: DType) -> Result<Value> {
    let from = x.tensor().dtype();
    if from == dtype {
        return Ok(x.clone());
    }
    let y = convert(x.tensor(), dtype)?;
    Ok(with_rule(y, &[x], move |dy| Ok(vec![Some(Gradient::own(convert(dy, from)?))])))
}

fn convert(x: &Tensor, dtype: DType) -> Result<Tensor> {
    dispatch!(x;
        cuda => crate::cuda::convert(x, dtype),
        cpu if [x.dtype(), dtype].iter().all(|dtype| super::cpu::storage::is_read(*dtype)) =>
            super::cpu::storage::converted(x, dtype),
        reference => x.to_dtype(dtype))
}
