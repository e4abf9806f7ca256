//! The straight-through estimator: a value replaces another, which gets its gradient (Bengio et al. 2013).
//!
//! Nothing is computed: the gradient is shared.

use super::autograd::{Gradient, Value, with_rule};
use candle_core::{Result, Tensor, bail};

/// `replacement`; the gradient of the result passes to `x` unchanged.
///
/// # Errors
/// If the shapes differ.
pub fn straight_through(x: &Value, replacement: &Tensor) -> Result<Value> {
    if x.dims() != replacement.dims() {
        bail!("straight_through: expected a replacement {:?}; found {:?}", x.dims(), replacement.dims())
    }
    Ok(with_rule(replacement.detach(), &[x], |dy| Ok(vec![Some(Gradient::shared(dy))])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{input, random};

    #[test]
    fn the_result_is_the_replacement() -> Result<()> {
        let x = random(&[3, 4], 1)?;
        let rounded = x.round()?;
        let y = straight_through(&input(&x), &rounded)?;
        assert_eq!(y.tensor().to_vec2::<f32>()?, rounded.to_vec2::<f32>()?, "to the last bit");
        assert!(straight_through(&input(&x), &random(&[4, 3], 1)?).is_err());
        Ok(())
    }
}
