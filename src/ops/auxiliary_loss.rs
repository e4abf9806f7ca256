//! A loss that is computed on the way: it takes part in the gradient, not in the value.
//!
//! A block returns one value, also when activation checkpointing computes it twice, so a loss of a router cannot be returned
//! beside it. Nothing is computed: the gradient of the value is shared.

use super::autograd::{Gradient, Value, with_rule};
use candle_core::{Result, bail};

/// `x`. The backward pass of any loss that depends on it also adds the gradients of `weight`·`loss`, a scalar.
///
/// # Errors
/// If `loss` is no scalar.
pub fn auxiliary_loss(x: &Value, loss: &Value, weight: f64) -> Result<Value> {
    if !loss.dims().is_empty() {
        bail!("auxiliary_loss: expected a scalar, found {:?}", loss.dims())
    }
    let ones = loss.tensor().ones_like()?;
    Ok(with_rule(x.tensor().detach(), &[x, loss], move |dy| {
        Ok(vec![Some(Gradient::shared(dy)), Some(Gradient::own((&ones * weight)?))])
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, random};
    use crate::ops::{backward, reshape, squared_error};
    use candle_core::Var;

    #[test]
    fn the_gradient_is_that_of_both_losses_and_the_value_that_of_one() -> Result<()> {
        let x = Var::from_tensor(&random(&[3, 4], 1)?)?;
        let of = |value: &Value, target: f32| squared_error(value, &[target; 12], &[1.0; 3]);
        let value = Value::parameter(&x, 0);
        let (first, second) = (of(&value, 0.5)?, of(&value, -0.25)?);
        let expected = backward(vec![(first, 2.0), (second.clone(), 0.3)])?;
        let with = auxiliary_loss(&value, &second, 0.3)?;
        let loss = of(&with, 0.5)?;
        assert_eq!(loss.tensor().to_scalar::<f32>()?, of(&value, 0.5)?.tensor().to_scalar::<f32>()?);
        let found = backward(vec![(loss, 2.0)])?;
        assert_close("gradient", found.get(0).unwrap(), expected.get(0).unwrap(), 1e-6)?;
        assert!(auxiliary_loss(&value, &reshape(&value, &[12])?, 1.0).is_err());
        Ok(())
    }
}
