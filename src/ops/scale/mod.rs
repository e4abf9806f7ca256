//! Products with a number, products and sums of all rows with one vector, and products of rows with a number each.
//!
//! Forward moves 8 bytes an element, backward 8, and 4 more for the gradient of the vector: bound by memory.

mod cpu;
#[cfg(feature = "cuda")]
pub(super) mod cuda;

use super::autograd::{Gradient, Value, with_rule};
use super::dispatch::dispatch;
use super::from_candle::from_candle;
use candle_core::{Result, bail};

/// factor·x, of any shape.
///
/// # Errors
/// If an operation fails.
pub fn scale(x: &Value, factor: f64) -> Result<Value> {
    let y = (x.tensor() * factor)?;
    Ok(with_rule(y, &[x], move |dy| Ok(vec![Some(Gradient::own((dy * factor)?))])))
}

/// Each row of `x` `[n, d]` times `by` `[d]`, element by element: LayerScale (Touvron et al. 2021).
///
/// # Errors
/// If the widths differ.
pub fn scale_columns(x: &Value, by: &Value) -> Result<Value> {
    check("scale_columns", x, by)?;
    dispatch!(x.tensor();
        cuda => cuda::scale_columns(x, by),
        cpu => cpu::scale_columns(x, by),
        reference => from_candle(&[x, by], |t| t[0].broadcast_mul(&t[1])))
}

/// Each row of `x` `[n, d]` times its number in `by` `[n, 1]`: the gates of experts.
///
/// # Errors
/// If `by` does not have one number for each row.
pub fn scale_rows(x: &Value, by: &Value) -> Result<Value> {
    match (x.dims(), by.dims()) {
        ([n, _], [same, 1]) if n == same => {}
        (x, by) => bail!("scale_rows: expected x [n, d] and numbers [n, 1]; found {x:?} and {by:?}"),
    }
    dispatch!(x.tensor();
        cpu => cpu::scale_rows(x, by),
        reference => from_candle(&[x, by], |t| t[0].broadcast_mul(&t[1])))
}

/// Each row of `x` `[n, d]` plus `added` `[d]`.
///
/// # Errors
/// If the widths differ.
pub fn add_to_columns(x: &Value, added: &Value) -> Result<Value> {
    check("add_to_columns", x, added)?;
    dispatch!(x.tensor();
        cuda => cuda::add_to_columns(x, added),
        cpu => cpu::add_to_columns(x, added),
        reference => from_candle(&[x, added], |t| t[0].broadcast_add(&t[1])))
}

/// Fails if `vector` is not as wide as `x`.
fn check(name: &str, x: &Value, vector: &Value) -> Result<()> {
    match (x.dims(), vector.dims()) {
        ([_, d], [same]) if d == same => Ok(()),
        (x, vector) => bail!("{name}: expected x [n, d] and a vector [d]; found {x:?} and {vector:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::random;

    #[test]
    fn unequal_widths_are_errors() -> Result<()> {
        let value = |shape: &[usize]| random(shape, 1).map(Value::constant);
        assert!(scale_columns(&value(&[2, 3])?, &value(&[2])?).is_err());
        assert!(add_to_columns(&value(&[2, 3])?, &value(&[2])?).is_err());
        assert!(scale_rows(&value(&[2, 3])?, &value(&[3, 1])?).is_err());
        assert!(scale_rows(&value(&[2, 3])?, &value(&[2])?).is_err());
        Ok(())
    }
}
