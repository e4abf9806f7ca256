//! Conversion to another type: activations in `bf16`, losses in `f32`. The gradient has the type of the input.

use super::autograd::{Gradient, Value, with_rule};
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
    #[cfg(feature = "cuda")]
    if super::cuda::has_kernel(x) {
        return super::cuda::convert(x, dtype);
    }
    x.to_dtype(dtype)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_kernel, random};

    #[test]
    fn a_round_trip_keeps_the_values() -> Result<()> {
        let x = random(&[7, 5], 1)?;
        let rounded = x.to_dtype(DType::F64)?.to_dtype(DType::F32)?;
        check_kernel(|x| cast(&cast(&x[0], DType::F64)?, DType::F32), |x| Ok(x[0].clone()), &[rounded])
    }
}
