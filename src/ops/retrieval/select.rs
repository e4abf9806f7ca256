//! The choice of the keys that each query retrieves.

use super::Memory;
use crate::ops::Heads;
use candle_core::{DType, Device, Result, Tensor};
use rayon::prelude::*;
use std::ops::Range;

/// For each query and head, `k` chosen keys.
pub(super) struct Chosen {
    /// `[n, n_heads, k]`: rows of the keys of all heads, `[m·n_kv_heads, d_head]`; 0 for a place without a key.
    pub rows: Vec<u32>,
    /// `[n, n_heads, k]`: 1 for a key, 0 for a place without one.
    pub valid: Vec<f32>,
    pub k: usize,
}

/// The keys of each query's memory with the highest scores, in the order of the keys.
pub(super) fn choose(query: &Tensor, keys: &Tensor, heads: Heads, memory: &Memory) -> Result<Chosen> {
    let numbers =
        |x: &Tensor| x.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
    let (n, m) = memory.attended.shape();
    let d_head = query.dim(1)? / heads.n_heads;
    let (query, keys) = (numbers(query)?, numbers(keys)?);
    let k = memory.top_k.min(m).max(1);
    let of_query = |q: usize| {
        let (mut rows, mut valid) = (vec![0; heads.n_heads * k], vec![0.0; heads.n_heads * k]);
        let candidates = candidates(q, memory);
        for head in 0..heads.n_heads {
            let of_head = &query[(q * heads.n_heads + head) * d_head..][..d_head];
            let row_of = |key: usize| key * heads.n_kv_heads + head / heads.group();
            let score = |key: usize| {
                let key = &keys[row_of(key) * d_head..][..d_head];
                of_head.iter().zip(key).map(|(a, b)| a * b).sum::<f32>()
            };
            let mut scored: Vec<(f32, usize)> = candidates.iter().map(|&key| (score(key), key)).collect();
            if scored.len() > k {
                scored.select_nth_unstable_by(k, |a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
                scored.truncate(k);
            }
            scored.sort_unstable_by_key(|&(_, key)| key);
            for (place, (_, key)) in scored.into_iter().enumerate() {
                (rows[head * k + place], valid[head * k + place]) = (row_of(key) as u32, 1.0);
            }
        }
        (rows, valid)
    };
    let chosen: Vec<(Vec<u32>, Vec<f32>)> = (0..n).into_par_iter().map(of_query).collect();
    let (rows, valid): (Vec<_>, Vec<_>) = chosen.into_iter().unzip();
    Ok(Chosen { rows: rows.concat(), valid: valid.concat(), k })
}

/// The keys in the memory of query `q`: the latest that are allowed, before it, and not attended to anyway.
fn candidates(q: usize, memory: &Memory) -> Vec<usize> {
    let (mut allowed, mut attended) = (vec![], vec![]);
    memory.allowed.runs(q, &mut allowed);
    memory.attended.runs(q, &mut attended);
    let (queries, keys) = memory.allowed.orders();
    let is_attended = |key: &usize| attended.iter().any(|run: &Range<usize>| run.contains(key));
    let before = allowed.into_iter().flatten().filter(|&key| keys[key] < queries[q]);
    let mut candidates: Vec<usize> = before.filter(|key| !is_attended(key)).collect();
    candidates.drain(..candidates.len().saturating_sub(memory.size));
    candidates
}
