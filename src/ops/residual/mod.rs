//! Sums, such as residual sums, and rearrangements of rows.
//!
//! A sum moves 12 bytes an element forward. Backward passes the gradient on without a copy.

mod cpu;
#[cfg(feature = "cuda")]
pub(super) mod cuda;

use super::autograd::{Gradient, Value, with_rule};
use super::dispatch::dispatch;
use super::gather_rows;
use candle_core::{Result, Tensor, bail};

/// a + b, of one shape.
///
/// # Errors
/// If the shapes differ.
pub fn add(a: &Value, b: &Value) -> Result<Value> {
    let (x, y) = (a.tensor(), b.tensor());
    let y = dispatch!(x;
        cuda if x.dims() == y.dims() && x.dtype() == y.dtype() => cuda::add(x, y),
        cpu => cpu::add(x, y),
        reference => x + y)?;
    Ok(with_rule(y, &[a, b], |dy| Ok(vec![Some(Gradient::shared(dy)), Some(Gradient::shared(dy))])))
}

/// a ← a + b. Nothing else may hold `a`'s storage.
///
/// # Errors
/// If the shapes differ.
pub(crate) fn add_in_place(a: &Tensor, b: &Tensor) -> Result<()> {
    if a.dims() != b.dims() {
        bail!("add_in_place: shapes {:?} and {:?} differ", a.dims(), b.dims())
    }
    if a.elem_count() == 0 {
        return Ok(()); // candle's sum of empty tensors shares their storage: locking both would wait for ever
    }
    dispatch!(a;
        cuda if a.dtype() == b.dtype() => cuda::add_in_place(a, b),
        cpu => cpu::add_in_place(a, b),
        reference => a.slice_set(&(a + b)?, 0, 0))
}

/// Concatenates the rows of several tensors `[nᵢ, d]`: `[Σ nᵢ, d]`.
///
/// # Errors
/// If widths differ, or there is no tensor.
pub fn concat_rows(parts: &[Value]) -> Result<Value> {
    let tensors: Vec<&Tensor> = parts.iter().map(Value::tensor).collect();
    let rows = tensors.iter().map(|part| part.dim(0)).collect::<Result<Vec<_>>>()?;
    let y = Tensor::cat(&tensors, 0)?;
    Ok(with_rule(y, &parts.iter().collect::<Vec<_>>(), move |dy| {
        let mut start = 0;
        let part = |&n: &usize| {
            start += n;
            Ok(Some(Gradient::own(dy.narrow(0, start - n, n)?.copy()?)))
        };
        rows.iter().map(part).collect()
    }))
}

/// The same elements in another shape.
///
/// # Errors
/// If the number of elements differs.
pub fn reshape(x: &Value, dims: &[usize]) -> Result<Value> {
    let before = x.dims().to_vec();
    let y = x.tensor().reshape(dims)?;
    Ok(with_rule(y, &[x], move |dy| Ok(vec![Some(Gradient::own(dy.reshape(&*before)?.copy()?))])))
}

/// `x` `[n, d]` with the rows at the distinct indices `rows` replaced by those of `with`.
///
/// # Errors
/// If a row is out of range, or widths differ.
pub fn replace_rows(x: &Value, rows: &[u32], with: &Value) -> Result<Value> {
    let (n, _) = x.dims2()?;
    let mut sources: Vec<u32> = (0..n as u32).collect();
    for (&row, source) in rows.iter().zip(n as u32..) {
        match sources.get_mut(row as usize) {
            Some(place) => *place = source,
            None => bail!("replace_rows: row {row} is not below {n}"),
        }
    }
    gather_rows(&concat_rows(&[x.clone(), with.clone()])?, &sources)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::random;

    #[test]
    fn unequal_shapes_are_errors() -> Result<()> {
        let value = |shape: &[usize]| random(shape, 1).map(Value::constant);
        assert!(add(&value(&[2, 3])?, &value(&[3, 2])?).is_err());
        assert!(add_in_place(value(&[2])?.tensor(), value(&[3])?.tensor()).is_err());
        Ok(())
    }
}
