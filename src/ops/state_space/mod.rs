//! Diagonal state spaces (S4D, Gu et al. 2022): each column of the input drives states of its own, which decay and rotate.
//!
//! With N states in each of d columns, forward takes 10·n·N·d FLOP and backward some 40·n·N·d, in a scan over the tokens with
//! columns side by side in vectors: bound by arithmetic. Backward keeps the states of every 64th token and computes those
//! between them again.

mod cpu;
mod discretize;
pub(super) mod reference;

pub use discretize::discretize;
pub(super) use discretize::{exponents, weights};

use super::autograd::Value;
use super::dispatch::{Kernels, dispatch};
use super::from_candle::from_candle;
use candle_core::{DType, Result, Tensor, bail};
use std::ops::Range;

/// yₜ = Re Σ w·sₜ, where the states are sₜ = exp(e)·sₜ₋₁ + xₜ, column by column, over the tokens of each document.
///
/// `x` is `[n, d]`. `exponents` e and `weights` w are `[2·n_states, d]`, the real parts of all states above the imaginary ones.
/// Documents are disjoint and ascending; with `reverse` they are read from their last token to the first. Rows of no
/// document give 0.
///
/// # Errors
/// If the shapes do not fit each other, or a document does not lie within the rows.
pub fn state_space(
    x: &Value,
    exponents: &Value,
    weights: &Value,
    documents: &[Range<usize>],
    reverse: bool,
) -> Result<Value> {
    let n = check(x, exponents, weights)?;
    let mut free = 0;
    for rows in documents {
        if rows.start < free || rows.end < rows.start || rows.end > n {
            bail!("state_space: expected ascending documents within {n} rows; found {rows:?}")
        }
        free = rows.end;
    }
    let inputs = [x, exponents, weights];
    dispatch!(x.tensor();
        cpu => cpu::state_space(inputs, documents, reverse),
        reference => from_candle(&inputs, |t| reference::state_space(t, documents, reverse)))
}

/// [`state_space`] of the next tokens of some documents, without gradients: their result, and the states of each document after
/// them, `[documents, 2·n_states, d]`. `states` are those after the tokens before; `None` for none. `documents` are the rows of
/// each, one after another, and may be empty.
///
/// # Errors
/// If the shapes do not fit each other, or `x` has a gradient.
pub fn state_space_step(
    x: &Value,
    exponents: &Value,
    weights: &Value,
    documents: &[Range<usize>],
    states: Option<&Tensor>,
) -> Result<(Value, Tensor)> {
    check(x, exponents, weights)?;
    if x.has_gradient() {
        bail!("state_space_step has no gradient; use it within `without_gradients`");
    }
    let shape = [&[documents.len()][..], exponents.dims()].concat();
    if let Some(states) = states
        && states.dims() != shape
    {
        bail!("state_space_step: expected states of {shape:?}; found {:?}", states.dims())
    }
    let (x, exponents, weights) = (x.tensor(), exponents.tensor(), weights.tensor());
    let (y, states) = match Kernels::of(x) {
        Kernels::Cpu => cpu::step(x, exponents, weights, documents, states)?,
        _ => {
            let wide = [x.to_dtype(DType::F32)?, exponents.clone(), weights.clone()];
            let (y, states) = reference::step(&wide, documents, states)?;
            (y.to_dtype(x.dtype())?, states)
        }
    };
    Ok((Value::constant(y), states))
}

/// The number of rows.
fn check(x: &Value, exponents: &Value, weights: &Value) -> Result<usize> {
    let ((n, d), (states, columns)) = (x.dims2()?, exponents.dims2()?);
    if columns != d || !states.is_multiple_of(2) || weights.dims() != exponents.dims() {
        let weights = weights.dims();
        bail!(
            "state_space: expected x [n, d], exponents and weights [2·n_states, d]; found [{n}, {d}], [{states}, {columns}] \
             and {weights:?}"
        )
    }
    Ok(n)
}

#[cfg(test)]
mod tests;
