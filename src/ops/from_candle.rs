//! Expressions of candle's operations as operations of ours.
//!
//! The references of all operations run through it where there is no kernel, and so does any layer of yours.

use super::autograd::{Gradient, Value, traced, with_rule};
use candle_core::{DType, Result, Tensor, Var};

/// `f` of some inputs, where `f` is any expression of candle's operations; candle computes its gradients.
///
/// 16-bit inputs are converted to `f32`, and the output, unless it is a scalar, to the type of the first input. candle's fused
/// operations (`softmax_last_dim`, `layer_norm`, `rms_norm`, `rope`) have no gradient: use their forms that end in `_slow`.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use smalti::ops::{self, Value};
///
/// let x = Var::new(&[[1.0_f32, -2.0]], &Device::Cpu)?;
/// let y = ops::from_candle(&[&Value::parameter(&x, 0)], |inputs| inputs[0].sqr()?.sum_all())?;
/// let gradients = ops::backward(vec![(y, 1.0)])?;
/// let gradient = gradients.get(0).expect("x is reached").to_vec2::<f32>()?;
/// assert_eq!(gradient, [[2.0, -4.0]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
///
/// # Errors
/// If `f` fails; the backward pass fails if candle cannot differentiate an operation of `f`.
pub fn from_candle(inputs: &[&Value], f: impl FnOnce(&[Tensor]) -> Result<Tensor>) -> Result<Value> {
    from_candle_with(inputs, &[], f)
}

/// As [`from_candle`], for an `f` that uses variables beside its inputs: each is a parameter, and the value of that parameter
/// gets its gradient.
///
/// # Errors
/// As of [`from_candle`].
pub fn from_candle_with(
    inputs: &[&Value],
    parameters: &[(Var, Value)],
    f: impl FnOnce(&[Tensor]) -> Result<Tensor>,
) -> Result<Value> {
    let dtypes: Vec<DType> = inputs.iter().map(|value| value.tensor().dtype()).collect();
    let widen = |value: &&Value| match value.tensor().dtype() {
        DType::BF16 | DType::F16 => value.tensor().to_dtype(DType::F32),
        _ => Ok(value.tensor().clone()),
    };
    let tensors = inputs.iter().map(widen).collect::<Result<Vec<_>>>()?;
    // A loss keeps the precision of its computation.
    let narrow = |y: &Tensor| match (y.rank(), dtypes.first()) {
        (0, _) | (_, None) => Ok(y.clone()),
        (_, Some(dtype)) => y.to_dtype(*dtype),
    };
    let all: Vec<&Value> = inputs.iter().copied().chain(parameters.iter().map(|(_, value)| value)).collect();
    if !traced(&all) {
        return Ok(Value::constant(narrow(&f(&tensors)?)?));
    }
    let mut variables = tensors.iter().map(Var::from_tensor).collect::<Result<Vec<_>>>()?;
    let tensors: Vec<Tensor> = variables.iter().map(|variable| variable.as_tensor().clone()).collect();
    let y = f(&tensors)?;
    variables.extend(parameters.iter().map(|(variable, _)| variable.clone()));
    let dtypes: Vec<DType> = all.iter().map(|value| value.tensor().dtype()).collect();
    Ok(with_rule(narrow(&y.detach())?, &all, move |dy| {
        let mut gradients = (&y * dy.to_dtype(y.dtype())?)?.sum_all()?.backward()?;
        let mut gradient_of = |(variable, dtype): (&Var, &DType)| {
            let gradient = gradients.remove(variable);
            gradient.map(|gradient| gradient.to_dtype(*dtype).map(Gradient::own)).transpose()
        };
        variables.iter().zip(&dtypes).map(&mut gradient_of).collect()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::backward;
    use crate::ops::testing::{assert_close, random};

    #[test]
    fn inputs_and_parameters_get_gradients() -> Result<()> {
        let (x, w) = (Var::from_tensor(&random(&[2, 3], 1)?)?, Var::from_tensor(&random(&[3, 3], 2)?)?);
        let (input, weight) = (Value::parameter(&x, 7), Value::parameter(&w, 2));
        let parameters = [(w.clone(), weight)];
        let y = from_candle_with(&[&input], &parameters, |t| t[0].matmul(w.as_tensor())?.sqr()?.sum_all())?;
        let found = backward(vec![(y, 1.0)])?;
        let expected = x.matmul(w.as_tensor())?.sqr()?.sum_all()?.backward()?;
        assert_close("x", found.get(7).unwrap(), expected.get(&x).unwrap(), 1e-6)?;
        assert_close("w", found.get(2).unwrap(), expected.get(&w).unwrap(), 1e-6)?;
        assert!(found.get(0).is_none());
        Ok(())
    }

    #[test]
    fn frozen_parameters_get_no_gradient() -> Result<()> {
        let (x, w) = (Var::from_tensor(&random(&[2, 3], 1)?)?, Var::from_tensor(&random(&[3, 3], 2)?)?);
        let frozen = [(w.clone(), Value::constant(w.as_detached_tensor()))];
        let f = |t: &[Tensor]| t[0].matmul(w.as_tensor())?.sum_all();
        let found = backward(vec![(from_candle_with(&[&Value::parameter(&x, 0)], &frozen, f)?, 1.0)])?;
        assert!(found.get(0).is_some() && found.iter().count() == 1);
        assert!(!from_candle_with(&[&Value::constant(x.as_detached_tensor())], &frozen, f)?.has_gradient());
        Ok(())
    }
}
