//! Products with a number, and products and sums of all rows with one vector.
//!
//! Forward moves 8 bytes an element, backward 8, and 4 more for the gradient of the vector: bound by memory.

use super::autograd::{Gradient, Value, with_rule};
use super::from_candle::from_candle;
use super::math;
use super::storage::{Elements, has_kernel};
use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

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
    let d = width("scale_columns", x, by)?;
    #[cfg(feature = "cuda")]
    if super::cuda::has_kernel(x.tensor()) {
        return super::cuda::scale_columns(x, by);
    }
    if !has_kernel(x.tensor()) {
        return from_candle(&[x, by], |t| t[0].broadcast_mul(&t[1]));
    }
    let (x_tensor, by_tensor) = (x.tensor().contiguous()?, by.tensor().clone());
    let times = move |x: &Tensor, by: &Tensor| rows(x, by, d, |x, by| x * by);
    let y = times(&x_tensor, &by_tensor)?;
    Ok(with_rule(y, &[x, by], move |dy| {
        let dy = dy.contiguous()?;
        let dx = times(&dy, &by_tensor)?;
        let d_by = column_sums(&Elements::of(&dy)?, Some(&Elements::of(&x_tensor)?), d);
        Ok(vec![Some(Gradient::own(dx)), Some(Gradient::own(Tensor::from_vec(d_by, d, dy.device())?))])
    }))
}

/// Each row of `x` `[n, d]` plus `added` `[d]`.
///
/// # Errors
/// If the widths differ.
pub fn add_to_columns(x: &Value, added: &Value) -> Result<Value> {
    let d = width("add_to_columns", x, added)?;
    #[cfg(feature = "cuda")]
    if super::cuda::has_kernel(x.tensor()) {
        return super::cuda::add_to_columns(x, added);
    }
    if !has_kernel(x.tensor()) {
        return from_candle(&[x, added], |t| t[0].broadcast_add(&t[1]));
    }
    let y = rows(&x.tensor().contiguous()?, added.tensor(), d, |x, added| x + added)?;
    Ok(with_rule(y, &[x, added], move |dy| {
        let contiguous = dy.contiguous()?;
        let sums = column_sums(&Elements::of(&contiguous)?, None, d);
        Ok(vec![Some(Gradient::shared(dy)), Some(Gradient::own(Tensor::from_vec(sums, d, dy.device())?))])
    }))
}

fn width(name: &str, x: &Value, vector: &Value) -> Result<usize> {
    match (x.dims(), vector.dims()) {
        ([_, d], [same]) if d == same => Ok(*d),
        (x, vector) => bail!("{name}: expected x [n, d] and a vector [d]; found {x:?} and {vector:?}"),
    }
}

/// `f` of each element of `x` and the element of `vector` in its column.
fn rows(x: &Tensor, vector: &Tensor, d: usize, f: impl Fn(f32, f32) -> f32 + Sync) -> Result<Tensor> {
    let (values, vector) = (Elements::of(x)?, Elements::of(vector)?);
    let (values, vector) = (&*values, &*vector);
    let mut y = vec![0.0; values.len()];
    let block = math::rows_in_block(values.len().checked_div(d).unwrap_or(0), d) * d;
    y.par_chunks_mut(block.max(1)).zip(values.par_chunks(block.max(1))).for_each(|(y, x)| {
        for (y, x) in y.chunks_exact_mut(d).zip(x.chunks_exact(d)) {
            y.iter_mut().zip(x).zip(vector).for_each(|((y, &x), &v)| *y = f(x, v));
        }
    });
    Tensor::from_vec(y, x.dims(), x.device())
}

/// Σ over rows of dy, or of dy·x: `[d]`.
fn column_sums(dy: &[f32], x: Option<&[f32]>, d: usize) -> Vec<f32> {
    let block = math::rows_in_block(dy.len() / d.max(1), d) * d.max(1);
    let sums = (0..dy.len().div_ceil(block.max(1))).into_par_iter().map(|i| {
        let range = i * block..((i + 1) * block).min(dy.len());
        let mut sums = vec![0.0; d];
        match x.map(|x| &x[range.clone()]) {
            None => dy[range].chunks_exact(d).for_each(|row| math::add(&mut sums, row)),
            Some(x) => dy[range].chunks_exact(d).zip(x.chunks_exact(d)).for_each(|(dy, x)| {
                sums.iter_mut().zip(dy).zip(x).for_each(|((sum, dy), x)| *sum += dy * x);
            }),
        }
        sums
    });
    math::add_in_order(sums.collect(), d)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_kernel, random};

    #[test]
    fn kernels_match_candle() -> Result<()> {
        for (n, d) in [(1, 1), (5, 7), (300, 130)] {
            let t = [random(&[n, d], 1)?, random(&[d], 2)?];
            check_kernel(|t| scale_columns(&t[0], &t[1]), |t| t[0].broadcast_mul(&t[1]), &t)?;
            check_kernel(|t| add_to_columns(&t[0], &t[1]), |t| t[0].broadcast_add(&t[1]), &t)?;
            check_kernel(|t| scale(&t[0], -2.5), |t| &t[0] * -2.5, &t[..1])?;
        }
        Ok(())
    }

    #[test]
    fn unequal_widths_are_errors() -> Result<()> {
        let value = |shape: &[usize]| random(shape, 1).map(Value::constant);
        assert!(scale_columns(&value(&[2, 3])?, &value(&[2])?).is_err());
        assert!(add_to_columns(&value(&[2, 3])?, &value(&[2])?).is_err());
        Ok(())
    }
}
