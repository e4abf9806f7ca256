//! In candle's own operations.

use super::{Distances, Heads};
use crate::rules::AttentionMask;
use candle_core::{Result, Tensor};
use std::{ops::Range, sync::Arc};

/// [`attention`](super::attention()), with a dense mask for each document. `t` holds queries; keys and values;
/// and the table of biases if there are buckets of distances.
pub(crate) fn attention(
    t: &[Tensor],
    distances: Option<&Distances>,
    heads: Heads,
    mask: &Arc<AttentionMask>,
) -> Result<Tensor> {
    let (query, key_value) = (&t[0], &t[1]);
    let (device, dtype, d) = (query.device(), query.dtype(), query.dim(1)?);
    let (d_head, d_keys) = (d / heads.n_heads, key_value.dim(1)? / 2);
    let attends = mask.documents().any(|(q_rows, k_rows)| !q_rows.is_empty() && !k_rows.is_empty());
    // If no query has a key, each input still gets a gradient, of zeros, as from a kernel.
    let mut documents = match attends {
        true => vec![],
        false => t.iter().map(|x| x.narrow(0, 0, 0)?.reshape((0, d))).collect::<Result<_>>()?,
    };
    for (q_rows, k_rows) in mask.documents().filter(|(q_rows, _)| !q_rows.is_empty()) {
        let n = q_rows.len();
        if k_rows.is_empty() {
            documents.push(Tensor::zeros((n, d), dtype, device)?);
            continue;
        }
        let weights = weights_within(t, distances, heads, mask, [&q_rows, &k_rows])?;
        let v = shared(split(key_value, &k_rows, d_keys..2 * d_keys, d_head)?, heads)?;
        let y = weights.matmul(&v)?; // [heads, n, d_head]
        documents.push(y.transpose(0, 1)?.reshape((n, d))?);
    }
    Tensor::cat(&documents, 0)
}

/// [`attention_weights`](super::attention_weights()).
pub(super) fn weights(
    t: &[Tensor],
    distances: Option<&Distances>,
    heads: Heads,
    mask: &Arc<AttentionMask>,
    most_pairs: usize,
) -> Result<Vec<Option<Tensor>>> {
    let within = |(q_rows, k_rows): (Range<usize>, Range<usize>)| {
        let (n, m) = (q_rows.len(), k_rows.len());
        let weights = match n * m {
            0 => Tensor::zeros((heads.n_heads, n, m), t[0].dtype(), t[0].device())?,
            pairs if pairs > most_pairs => return Ok(None),
            _ => weights_within(t, distances, heads, mask, [&q_rows, &k_rows])?,
        };
        Ok(Some(weights))
    };
    mask.documents().map(within).collect()
}

/// The weights of a document with queries and keys, `[heads, queries, keys]`: 0 for keys that a query does not attend to.
fn weights_within(
    t: &[Tensor],
    distances: Option<&Distances>,
    heads: Heads,
    mask: &Arc<AttentionMask>,
    [q_rows, k_rows]: [&Range<usize>; 2],
) -> Result<Tensor> {
    let (query, key_value) = (&t[0], &t[1]);
    let (device, dtype, d) = (query.device(), query.dtype(), query.dim(1)?);
    let (d_head, d_keys, n, m) = (d / heads.n_heads, key_value.dim(1)? / 2, q_rows.len(), k_rows.len());
    let allowed = Tensor::from_vec(dense_mask(mask, q_rows, k_rows), (n, m), device)?.to_dtype(dtype)?;
    let q = split(query, q_rows, 0..d, d_head)?;
    let k = shared(split(key_value, k_rows, 0..d_keys, d_head)?, heads)?;
    let mut scores = (q.matmul(&k.t()?.contiguous()?)? * f64::from(heads.scale))?; // [heads, n, m]
    match distances {
        None => {}
        Some(Distances::Buckets(buckets)) => {
            let places = Tensor::from_vec(buckets.dense(mask, q_rows, k_rows), n * m, device)?;
            let bias = t[2].index_select(&places, 0)?.reshape((n, m, heads.n_heads))?;
            scores = (scores + bias.permute((2, 0, 1))?.contiguous()?)?;
        }
        Some(Distances::Slopes(slopes)) => {
            let apart = Tensor::from_vec(distances_of(mask, q_rows, k_rows), (1, n, m), device)?;
            let slopes = Tensor::from_slice(slopes, (heads.n_heads, 1, 1), device)?;
            scores = (scores - apart.broadcast_mul(&slopes)?.to_dtype(dtype)?)?;
        }
    }
    if let Some(cap) = heads.soft_cap.map(f64::from) {
        scores = ((scores / cap)?.tanh()? * cap)?;
    }
    // Masked scores must not decide the maximum; the product with `allowed` makes their weights exactly 0.
    let masked = scores.broadcast_add(&((&allowed - 1.0)? * 1e4)?)?;
    let highest = masked.detach().max_keepdim(2)?;
    let weights = masked.broadcast_sub(&highest)?.exp()?.broadcast_mul(&allowed)?;
    let total = weights.sum_keepdim(2)?;
    let total = (&total + total.eq(0.0)?.to_dtype(dtype)?)?;
    weights.broadcast_div(&total)
}

/// Rows and columns of `x` by head: `[heads, rows, d_head]`.
fn split(x: &Tensor, rows: &Range<usize>, columns: Range<usize>, d_head: usize) -> Result<Tensor> {
    let rows = x.narrow(0, rows.start, rows.len())?.narrow(1, columns.start, columns.len())?;
    rows.reshape((rows.dim(0)?, columns.len() / d_head, d_head))?.transpose(0, 1)?.contiguous()
}

/// The keys or values of each query head, of which several share one.
fn shared(x: Tensor, heads: Heads) -> Result<Tensor> {
    let (_, m, d_head) = x.dims3()?;
    let all = (heads.n_kv_heads, heads.group(), m, d_head);
    x.unsqueeze(1)?.broadcast_as(all)?.reshape((heads.n_heads, m, d_head))?.contiguous()
}

/// |key's place − query's place| of each pair, `[n, m]` row-major.
fn distances_of(mask: &AttentionMask, queries: &Range<usize>, keys: &Range<usize>) -> Vec<f32> {
    let (query_orders, key_orders) = mask.orders();
    let pairs = queries.clone().flat_map(|q| keys.clone().map(move |k| (q, k)));
    pairs.map(|(q, k)| query_orders[q].abs_diff(key_orders[k]) as f32).collect()
}

/// The mask within one document, `[n, m]` row-major: 1 if the query attends to the key, else 0.
fn dense_mask(mask: &AttentionMask, queries: &Range<usize>, keys: &Range<usize>) -> Vec<f32> {
    let mut dense = vec![0.0; queries.len() * keys.len()];
    let mut runs = Vec::new();
    for (row, q) in dense.chunks_exact_mut(keys.len()).zip(queries.clone()) {
        mask.runs(q, &mut runs);
        runs.iter().for_each(|run| row[run.start - keys.start..run.end - keys.start].fill(1.0));
    }
    dense
}
