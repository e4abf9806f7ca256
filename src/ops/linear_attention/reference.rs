//! In candle's own operations, with the weights of all pairs of a document's tokens.

use super::{EPS, FeatureMap, Span};
use crate::ops::attention::Heads;
use candle_core::{DType, Result, Tensor};

/// [`linear_attention`](super::linear_attention()). `t` holds queries, and keys and values.
pub(crate) fn linear_attention(
    t: &[Tensor],
    heads: Heads,
    map: FeatureMap,
    documents: &[Span],
) -> Result<Tensor> {
    let (n, d) = t[0].dims2()?;
    // Rows of no document, of which there may be none: each input still gets a gradient.
    let zeros = |rows: usize| Tensor::zeros((rows, d), t[0].dtype(), t[0].device());
    let mut parts: Vec<Tensor> =
        t.iter().map(|x| x.narrow(0, 0, 0)?.reshape((0, d))).collect::<Result<_>>()?;
    let mut end = 0;
    for Span { rows, causal } in documents.iter().filter(|span| !span.rows.is_empty()) {
        parts.push(zeros(rows.start - end)?);
        let [query, key_value] = [0, 1].map(|i| t[i].narrow(0, rows.start, rows.len()));
        parts.push(document(&query?, &key_value?, heads, map, *causal, None)?.0);
        end = rows.end;
    }
    parts.push(zeros(n - end)?);
    Tensor::cat(&parts, 0)
}

/// [`linear_attention_step`](super::linear_attention_step()) of queries, and keys and values.
pub(super) fn step(
    [query, key_value]: &[Tensor; 2],
    heads: Heads,
    map: FeatureMap,
    documents: &[Span],
    states: Option<&Tensor>,
) -> Result<(Tensor, Tensor)> {
    let d_head = query.dim(1)? / heads.n_heads;
    let shape = (heads.n_kv_heads * d_head, d_head + usize::from(map.is_normalized()));
    let (mut y, mut after) = (vec![query.narrow(0, 0, 0)?], vec![]);
    for (place, Span { rows, causal }) in documents.iter().enumerate() {
        let mut state = match states {
            Some(states) => states.get(place)?,
            None => Tensor::zeros(shape, DType::F32, query.device())?,
        };
        if !rows.is_empty() {
            let [query, key_value] = [query, key_value].map(|x| x.narrow(0, rows.start, rows.len()));
            let (of_rows, next) = document(&query?, &key_value?, heads, map, *causal, Some(&state))?;
            y.push(of_rows);
            state = next;
        }
        after.push(state);
    }
    Ok((Tensor::cat(&y, 0)?, Tensor::stack(&after, 0)?))
}

/// The result of one document, and its state: that of the tokens before, `state`, plus φ(k)ᵀv of its own.
pub(super) fn document(
    query: &Tensor,
    key_value: &Tensor,
    heads: Heads,
    map: FeatureMap,
    causal: bool,
    state: Option<&Tensor>,
) -> Result<(Tensor, Tensor)> {
    let ((n, d), (device, dtype)) = (query.dims2()?, (query.device(), query.dtype()));
    let (d_head, kv) = (d / heads.n_heads, heads.n_kv_heads);
    let split = |x: &Tensor, from: usize, width: usize| {
        let columns = x.narrow(1, from, width)?.reshape((n, width / d_head, d_head))?;
        columns.transpose(0, 1)?.contiguous() // [heads, n, d_head]
    };
    let shared = |x: &Tensor| {
        let (_, rows, columns) = x.dims3()?;
        let all = (kv, heads.group(), rows, columns);
        x.unsqueeze(1)?.broadcast_as(all)?.reshape((heads.n_heads, rows, columns))?.contiguous()
    };
    let q = features(&split(query, 0, d)?, map)?; // [n_heads, n, d_head]
    let k = features(&split(key_value, 0, kv * d_head)?, map)?; // [n_kv_heads, n, d_head]
    let mut v = split(key_value, kv * d_head, kv * d_head)?;
    if map.is_normalized() {
        v = Tensor::cat(&[&v, &Tensor::ones((kv, n, 1), dtype, device)?], 2)?; // the weights' sum
    }
    let mut weights = q.matmul(&shared(&k)?.t()?.contiguous()?)?; // [n_heads, n, n]
    if causal {
        let allowed = (0..n * n).map(|i| if i % n <= i / n { 1_f32 } else { 0.0 }).collect::<Vec<_>>();
        weights = weights.broadcast_mul(&Tensor::from_vec(allowed, (n, n), device)?.to_dtype(dtype)?)?;
    }
    let mut sums = weights.matmul(&shared(&v)?)?; // [n_heads, n, d_head or d_head + 1]
    let mut own = k.t()?.contiguous()?.matmul(&v)?; // [n_kv_heads, d_head, d_head or d_head + 1]
    if let Some(state) = state {
        let state = state.reshape(own.dims())?;
        sums = (sums + q.matmul(&shared(&state)?)?)?;
        own = (own + state)?;
    }
    let y = match map.is_normalized() {
        false => (sums * f64::from(heads.scale))?,
        true => {
            let total = (sums.narrow(2, d_head, 1)? + f64::from(EPS))?;
            sums.narrow(2, 0, d_head)?.broadcast_div(&total)?
        }
    };
    let columns = own.dim(2)?;
    Ok((y.transpose(0, 1)?.reshape((n, d))?, own.reshape((kv * d_head, columns))?))
}

/// φ(x).
fn features(x: &Tensor, map: FeatureMap) -> Result<Tensor> {
    match map {
        FeatureMap::Elu => x.relu()? + x.neg()?.relu()?.neg()?.exp()?,
        FeatureMap::Identity => Ok(x.clone()),
    }
}
