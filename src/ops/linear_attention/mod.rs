//! Linear attention: attention without the softmax, in time and memory proportional to the number of tokens.
//!
//! With features φ of queries and keys, a query reads Σ φ(q)·φ(k) v = φ(q)·S, where S = Σ φ(k)ᵀv is a matrix of the size of a
//! head for any number of keys (Katharopoulos et al. 2020). Causal sums go chunk by chunk: within a chunk of c tokens by
//! scores, before it by S. With n tokens and h heads that are d wide, forward takes 4·n·h·d·(d + c) FLOP and backward about
//! three times that.

mod cpu;
pub(super) mod reference;

use super::attention::Heads;
use super::autograd::Value;
use super::dispatch::{Kernels, dispatch};
use super::from_candle::from_candle;
use candle_core::{DType, Result, Tensor, bail};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// The features of queries and keys in linear attention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FeatureMap {
    /// elu(x) + 1; the result is divided by the sum of the weights, as in softmax attention (Katharopoulos et al. 2020).
    #[default]
    Elu,
    /// x itself; the result is a sum, times the scale of scores. One such layer can compute a step of gradient descent
    /// (von Oswald et al. 2023).
    Identity,
}

impl FeatureMap {
    /// Whether the result is divided by the sum of the weights.
    pub(crate) fn is_normalized(self) -> bool {
        self == Self::Elu
    }
}

/// Added to the sum of the weights, as in the implementation of the paper.
const EPS: f32 = 1e-6;

/// The rows of one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its rows.
    pub rows: Range<usize>,
    /// Whether a token attends to itself and earlier tokens alone; otherwise it attends to all.
    pub causal: bool,
}

/// Linear attention of the tokens of each document to each other.
///
/// `query` is `[n, n_heads·d_head]`, `key_value` `[n, 2·n_kv_heads·d_head]` with keys left and values right; the result has the
/// queries' shape. `documents` are disjoint and ascending; rows of no document give 0. Soft caps have no meaning here.
///
/// # Errors
/// If the shapes do not fit each other or the heads, or a document does not lie within the rows.
pub fn linear_attention(
    query: &Value,
    key_value: &Value,
    heads: Heads,
    map: FeatureMap,
    documents: &[Span],
) -> Result<Value> {
    let (n, _) = check(query, key_value, heads)?;
    let mut free = 0;
    for Span { rows, .. } in documents {
        if rows.start < free || rows.end < rows.start || rows.end > n {
            bail!("linear_attention: expected ascending documents within {n} rows; found {rows:?}")
        }
        free = rows.end;
    }
    dispatch!(query.tensor();
        cpu => cpu::linear_attention([query, key_value], heads, map, documents),
        reference => from_candle(&[query, key_value], |t| reference::linear_attention(t, heads, map, documents)))
}

/// Linear attention of the next tokens of some documents, without gradients: their result, and the state of each document
/// after them, `[documents, n_kv_heads·d_head, d_head]`, with a column more if the map is normalized. `states` are those after the
/// tokens before; `None` for none. The rows of `documents` follow one another; a document may have none.
///
/// # Errors
/// If the shapes do not fit each other or the heads, or an input has a gradient.
pub fn linear_attention_step(
    query: &Value,
    key_value: &Value,
    heads: Heads,
    map: FeatureMap,
    documents: &[Span],
    states: Option<&Tensor>,
) -> Result<(Value, Tensor)> {
    let (_, d_head) = check(query, key_value, heads)?;
    if query.has_gradient() || key_value.has_gradient() {
        bail!("linear_attention_step has no gradient; use it within `without_gradients`");
    }
    let (rows, columns) = (heads.n_kv_heads * d_head, d_head + usize::from(map.is_normalized()));
    let shape = [documents.len(), rows, columns];
    if let Some(states) = states
        && states.dims() != shape
    {
        bail!("linear_attention_step: expected states of {shape:?}; found {:?}", states.dims())
    }
    let (query, key_value) = (query.tensor(), key_value.tensor());
    let (y, states) = match Kernels::of(query) {
        Kernels::Cpu => cpu::step(query, key_value, heads, map, documents, states)?,
        _ => {
            let inputs = [query.to_dtype(DType::F32)?, key_value.to_dtype(DType::F32)?];
            let (y, states) = reference::step(&inputs, heads, map, documents, states)?;
            (y.to_dtype(query.dtype())?, states)
        }
    };
    Ok((Value::constant(y), states))
}

/// The number of rows, and the width of a head.
fn check(query: &Value, key_value: &Value, heads: Heads) -> Result<(usize, usize)> {
    let ((n, d), (m, d2)) = (query.dims2()?, key_value.dims2()?);
    let Heads { n_heads, n_kv_heads, .. } = heads;
    let whole = n_kv_heads > 0 && (1..=d).contains(&n_heads) && n_heads % n_kv_heads == 0 && d % n_heads == 0;
    if !whole || d2 != 2 * (d / n_heads) * n_kv_heads || n != m {
        bail!(
            "linear_attention: expected query [n, heads·d_head] and key_value [n, 2·kv_heads·d_head]; found [{n}, {d}], \
             [{m}, {d2}], {n_heads} and {n_kv_heads} heads"
        )
    }
    Ok((n, d / n_heads))
}

#[cfg(test)]
mod tests;
