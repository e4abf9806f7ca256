//! The CPU kernels: blocks of rows in parallel.

use crate::ops::autograd::{Gradient, Value, with_rule};
use crate::ops::cpu::math::dot;
use crate::ops::cpu::rows::{add_in_order, column_sums, rows_in_block};
use crate::ops::cpu::storage::{Elements, gradient, tensor};
use candle_core::{Result, Tensor};
use rayon::prelude::*;

pub(super) fn scale_columns(x: &Value, by: &Value) -> Result<Value> {
    let (x_tensor, by_tensor) = (x.tensor().contiguous()?, by.tensor().clone());
    let d = by_tensor.dim(0)?;
    let times = move |x: &Tensor, by: &Tensor| rows(x, by, d, |x, by| x * by);
    let y = times(&x_tensor, &by_tensor)?;
    Ok(with_rule(y, &[x, by], move |dy| {
        let dy = dy.contiguous()?;
        let dx = times(&dy, &by_tensor)?;
        let d_by = column_products(&Elements::of(&dy)?, &Elements::of(&x_tensor)?, d);
        Ok(vec![Some(Gradient::own(dx)), gradient(d_by, &by_tensor)?])
    }))
}

pub(super) fn scale_rows(x: &Value, by: &Value) -> Result<Value> {
    let (x_tensor, by_tensor) = (x.tensor().contiguous()?, by.tensor().contiguous()?);
    let d = x_tensor.dim(1)?;
    let y = times_rows(&x_tensor, &by_tensor, d)?;
    Ok(with_rule(y, &[x, by], move |dy| {
        let dy = dy.contiguous()?;
        let dx = times_rows(&dy, &by_tensor, d)?;
        let (dy, x) = (Elements::of(&dy)?, Elements::of(&x_tensor)?);
        let mut d_by = vec![0.0; by_tensor.elem_count()];
        let rows = dy.par_chunks(d.max(1)).zip(x.par_chunks(d.max(1)));
        d_by.par_iter_mut().zip(rows).for_each(|(d_by, (dy, x))| *d_by = dot(dy, x));
        Ok(vec![Some(Gradient::own(dx)), gradient(d_by, &by_tensor)?])
    }))
}

/// Each row of `x` times its number.
fn times_rows(x: &Tensor, by: &Tensor, d: usize) -> Result<Tensor> {
    let (values, by) = (Elements::of(x)?, Elements::of(by)?);
    let (values, by) = (&*values, &*by);
    let mut y = vec![0.0; values.len()];
    let rows = values.par_chunks(d.max(1)).zip(by.par_iter());
    y.par_chunks_mut(d.max(1)).zip(rows).for_each(|(y, (x, &by))| {
        y.iter_mut().zip(x).for_each(|(y, &x)| *y = by * x);
    });
    tensor(y, x)
}

pub(super) fn add_to_columns(x: &Value, added: &Value) -> Result<Value> {
    let like = added.tensor().clone();
    let d = like.dim(0)?;
    let y = rows(&x.tensor().contiguous()?, &like, d, |x, added| x + added)?;
    Ok(with_rule(y, &[x, added], move |dy| {
        let sums = column_sums(&Elements::of(&dy.contiguous()?)?, d);
        Ok(vec![Some(Gradient::shared(dy)), gradient(sums, &like)?])
    }))
}

/// `f` of each element of `x` and the element of `vector` in its column.
fn rows(x: &Tensor, vector: &Tensor, d: usize, f: impl Fn(f32, f32) -> f32 + Sync) -> Result<Tensor> {
    let (values, vector) = (Elements::of(x)?, Elements::of(vector)?);
    let (values, vector) = (&*values, &*vector);
    let mut y = vec![0.0; values.len()];
    let block = rows_in_block(values.len().checked_div(d).unwrap_or(0), d) * d;
    y.par_chunks_mut(block.max(1)).zip(values.par_chunks(block.max(1))).for_each(|(y, x)| {
        for (y, x) in y.chunks_exact_mut(d).zip(x.chunks_exact(d)) {
            y.iter_mut().zip(x).zip(vector).for_each(|((y, &x), &v)| *y = f(x, v));
        }
    });
    tensor(y, x)
}

/// Σ over rows of dy·x: `[d]`.
fn column_products(dy: &[f32], x: &[f32], d: usize) -> Vec<f32> {
    let block = (rows_in_block(dy.len() / d.max(1), d) * d).max(1);
    let sums = dy.par_chunks(block).zip(x.par_chunks(block)).map(|(dy, x)| {
        let mut sums = vec![0.0; d];
        for (dy, x) in dy.chunks_exact(d).zip(x.chunks_exact(d)) {
            sums.iter_mut().zip(dy).zip(x).for_each(|((sum, dy), x)| *sum += dy * x);
        }
        sums
    });
    add_in_order(sums.collect(), d)
}
