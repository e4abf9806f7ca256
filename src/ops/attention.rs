//! Attention between two flat lists of tokens, under rules evaluated from their metadata.
//!
//! Scores exist for one block of queries at a time; backward computes them again from the log-sum-exp that
//! forward keeps, one number for each query and head (Dao et al. 2022). With n queries that see m keys each and
//! heads that are d wide together, forward takes 4·n·m·d FLOP and backward 10·n·m·d, over some 4·(n + m)·d
//! numbers: bound by arithmetic as soon as m passes a few dozen.

mod kernel;

use super::autograd::{Value, apply2, by_reference};
use super::storage::{Elements, has_kernel, slice};
use crate::rules::Visibility;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use kernel::{Inputs, Kept};
use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};

/// softmax(q·kᵀ/√d_head)·v over the keys that each query sees; a query that sees none gives 0.
///
/// `query` is `[n, d_model]`, `key_value` `[m, 2·d_model]` with keys left and values right; heads share d_model
/// evenly. The result is `[n, d_model]`. Self-attention and cross-attention differ only in `view`.
///
/// # Errors
/// Shapes that do not fit each other, the heads or the view.
pub fn attention(query: &Value, key_value: &Value, n_heads: usize, view: &Arc<Visibility>) -> Result<Value> {
    let ((n, d), (m, d2)) = (query.dims2()?, key_value.dims2()?);
    if d2 != 2 * d || n_heads == 0 || d % n_heads != 0 || view.shape() != (n, m) {
        bail!(
            "attention: expected query [n, d], key_value [m, 2·d], heads that divide d and a view of [n, m]; \
             found [{n}, {d}], [{m}, {d2}], {n_heads} heads and a view of {:?}",
            view.shape()
        )
    }
    #[cfg(feature = "cuda")]
    if super::cuda::has_kernel(query.tensor()) {
        let scale = 1.0 / ((d / n_heads) as f64).sqrt();
        return super::cuda::attention(query, key_value, n_heads, n_heads, scale, view);
    }
    if !has_kernel(query.tensor()) {
        return by_reference(&[query, key_value], |t| reference(&t[0], &t[1], n_heads, view));
    }
    let kernel = Kernel { n_heads, view: view.clone(), kept: OnceLock::new() };
    apply2(query, key_value, kernel)
}

/// [`attention`] in candle's own operations, with a dense mask for each document.
pub(crate) fn reference(
    query: &Tensor,
    key_value: &Tensor,
    n_heads: usize,
    view: &Arc<Visibility>,
) -> Result<Tensor> {
    let (device, dtype) = (query.device(), query.dtype());
    let d = query.dim(1)?;
    let d_head = d / n_heads;
    let mut documents = Vec::new();
    for (q_rows, k_rows) in view.documents().filter(|(q_rows, _)| !q_rows.is_empty()) {
        let (n, m) = (q_rows.len(), k_rows.len());
        if m == 0 {
            documents.push(Tensor::zeros((n, d), dtype, device)?);
            continue;
        }
        let mask = Tensor::from_vec(dense_mask(view, &q_rows, &k_rows), (n, m), device)?.to_dtype(dtype)?;
        let heads = |x: &Tensor, rows: &Range<usize>, from: usize| {
            let rows = x.narrow(0, rows.start, rows.len())?.narrow(1, from, d)?;
            rows.reshape((rows.dim(0)?, n_heads, d_head))?.transpose(0, 1)?.contiguous() // [heads, rows, d_head]
        };
        let (q, k, v) =
            (heads(query, &q_rows, 0)?, heads(key_value, &k_rows, 0)?, heads(key_value, &k_rows, d)?);
        let scores = (q.matmul(&k.t()?.contiguous()?)? / (d_head as f64).sqrt())?; // [heads, n, m]
        // What is hidden is moved far down before the maximum is taken, and is 0 in the end whatever its score.
        let seen = scores.broadcast_add(&((&mask - 1.0)? * 1e4)?)?;
        let highest = seen.detach().max_keepdim(2)?;
        let weights = seen.broadcast_sub(&highest)?.exp()?.broadcast_mul(&mask)?;
        let total = weights.sum_keepdim(2)?;
        let total = (&total + total.eq(0.0)?.to_dtype(dtype)?)?;
        let y = weights.broadcast_div(&total)?.matmul(&v)?; // [heads, n, d_head]
        documents.push(y.transpose(0, 1)?.reshape((n, d))?);
    }
    match documents.is_empty() {
        true => Tensor::zeros((0, d), dtype, device),
        false => Tensor::cat(&documents, 0),
    }
}

/// 1 where a query sees a key, `[n, m]` row-major, within one document.
fn dense_mask(view: &Visibility, queries: &Range<usize>, keys: &Range<usize>) -> Vec<f32> {
    let mut mask = vec![0.0; queries.len() * keys.len()];
    let mut runs = Vec::new();
    for (row, q) in mask.chunks_exact_mut(keys.len()).zip(queries.clone()) {
        view.runs(q, &mut runs);
        runs.iter().for_each(|run| row[run.start - keys.start..run.end - keys.start].fill(1.0));
    }
    mask
}

struct Kernel {
    n_heads: usize,
    view: Arc<Visibility>,
    /// From forward for backward.
    kept: OnceLock<Kept>,
}

impl Kernel {
    fn inputs<'a>(&'a self, query: &'a [f32], key_value: &'a [f32], d: usize) -> Inputs<'a> {
        Inputs { query, key_value, d, n_heads: self.n_heads, view: &self.view }
    }
}

impl CustomOp2 for Kernel {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        lq: &Layout,
        kv: &CpuStorage,
        lkv: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (n, d) = lq.shape().dims2()?;
        let (y, kept) = self.inputs(slice(q, lq)?, slice(kv, lkv)?, d).forward();
        let _ = self.kept.set(kept); // empty until now: an instance serves one call
        Ok((CpuStorage::F32(y), Shape::from((n, d))))
    }

    fn bwd(
        &self,
        query: &Tensor,
        key_value: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let d = query.dim(1)?;
        let Some(kept) = self.kept.get() else { bail!("attention: backward before forward") };
        let dy = dy.contiguous()?;
        let (q, kv, y, dy) =
            (Elements::of(query)?, Elements::of(key_value)?, Elements::of(y)?, Elements::of(&dy)?);
        let (d_query, d_key_value) = self.inputs(&q, &kv, d).backward(&y, &dy, kept);
        let device = query.device();
        Ok((
            Some(Tensor::from_vec(d_query, query.dims(), device)?),
            Some(Tensor::from_vec(d_key_value, key_value.dims(), device)?),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, check_gradients, check_kernel, input, random};
    use crate::rules::{AttentionRules, TokenMeta};

    /// Documents of these lengths whose tokens' kinds are 0, 1, 2, 0, …, three to a time step.
    fn list(lengths: &[usize]) -> Arc<TokenMeta> {
        let mut meta = TokenMeta::default();
        for (document, &n) in lengths.iter().enumerate() {
            let start = meta.len();
            let mut next = TokenMeta::document(&(0..n as u32).map(|i| i % 3).collect::<Vec<_>>());
            next.document.fill(document as u32);
            next.time.iter_mut().for_each(|t| *t /= 3);
            meta.document.extend(next.document);
            meta.kind.extend(next.kind);
            meta.order.extend(next.order);
            meta.time.extend(next.time);
            meta.positions.extend(next.positions);
            meta.documents.push(start..start + n);
        }
        Arc::new(meta)
    }

    fn uniform(rule: &str) -> Arc<AttentionRules> {
        Arc::new(AttentionRules::uniform(["a", "b", "c"], rule.parse().unwrap()))
    }

    /// A different rule for each pair of kinds; kind c sees nobody.
    fn mixed() -> Arc<AttentionRules> {
        let mut rules = AttentionRules::never(["a", "b", "c"]);
        for (query, key, rule) in
            [("a", "a", "all"), ("a", "b", "past"), ("b", "a", "causal"), ("b", "c", "near(4)")]
        {
            rules.set(query, key, rule.parse().unwrap()).unwrap();
        }
        Arc::new(rules)
    }

    fn inputs(n: usize, m: usize, d: usize) -> Result<Vec<Tensor>> {
        Ok(vec![random(&[n, d], 1)?, random(&[m, 2 * d], 2)?])
    }

    #[test]
    fn reference_has_the_right_gradients() -> Result<()> {
        for rules in [uniform("causal"), mixed()] {
            let meta = list(&[4, 1, 5]);
            let view = Arc::new(Visibility::new(rules, meta.clone(), meta));
            check_gradients(|t| reference(&t[0], &t[1], 2, &view), &inputs(10, 10, 4)?)?;
        }
        Ok(())
    }

    #[test]
    fn kernel_is_the_reference() -> Result<()> {
        let rules = [uniform("all"), uniform("causal"), uniform("never"), uniform("strict_past"), mixed()];
        for rules in rules {
            // Not one token alone: its only weight is 1 whatever its score, so the score's gradient is rounding.
            for lengths in [&[2][..], &[7, 0, 3], &[150], &[64, 65, 130, 2]] {
                let meta = list(lengths);
                let n = meta.len();
                let view = Arc::new(Visibility::new(rules.clone(), meta.clone(), meta));
                for (d, heads) in [(12, 3), (32, 1)] {
                    check_kernel(
                        |t| attention(&t[0], &t[1], heads, &view),
                        |t| reference(&t[0], &t[1], heads, &view),
                        &inputs(n, n, d)?,
                    )?;
                }
            }
        }
        Ok(())
    }

    /// Documents are cut into heads where they are fewer than the threads, and forward says so to backward.
    #[test]
    fn any_number_of_threads_gives_the_same() -> Result<()> {
        let meta = list(&[70, 3, 40]);
        let n = meta.len();
        let view = Arc::new(Visibility::new(mixed(), meta.clone(), meta));
        let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let (one, many) = (pool(1), pool(16));
        for pool in [&one, &many] {
            pool.install(|| {
                check_kernel(
                    |t| attention(&t[0], &t[1], 4, &view),
                    |t| reference(&t[0], &t[1], 4, &view),
                    &inputs(n, n, 16)?,
                )
            })?;
        }
        let inputs = inputs(n, n, 16)?;
        let variables = inputs.iter().map(candle_core::Var::from_tensor).collect::<Result<Vec<_>>>()?;
        let gradients = |forward: &rayon::ThreadPool, backward: &rayon::ThreadPool| {
            let values: Vec<Value> = variables.iter().zip(0..).map(|(x, i)| Value::parameter(x, i)).collect();
            let y = forward.install(|| attention(&values[0], &values[1], 4, &view))?;
            let loss = crate::ops::squared_error(&y, &vec![0.5; n * 16], &vec![1.0; n])?;
            backward.install(|| crate::ops::backward(vec![(loss, 1.0)]))
        };
        let (expected, found) = (gradients(&one, &one)?, gradients(&one, &many)?);
        for place in 0..2 {
            assert_close("gradient", found.get(place).unwrap(), expected.get(place).unwrap(), 1e-5)?;
        }
        Ok(())
    }

    #[test]
    fn queries_and_keys_may_be_different_lists() -> Result<()> {
        let (queries, keys) = (list(&[3, 70, 2]), list(&[9, 80, 0]));
        let (n, m) = (queries.len(), keys.len());
        let view = Arc::new(Visibility::new(mixed(), queries, keys));
        check_kernel(
            |t| attention(&t[0], &t[1], 2, &view),
            |t| reference(&t[0], &t[1], 2, &view),
            &inputs(n, m, 8)?,
        )
    }

    #[test]
    fn a_query_without_keys_gives_zero() -> Result<()> {
        let meta = list(&[3]);
        let view = Arc::new(Visibility::new(uniform("strict_past"), meta.clone(), meta));
        let inputs = inputs(3, 3, 4)?;
        let y = attention(&input(&inputs[0]), &input(&inputs[1]), 2, &view)?.into_tensor();
        assert_eq!(y.to_vec2::<f32>()?, [[0.0; 4]; 3]);
        Ok(())
    }

    #[test]
    fn great_scores_do_not_overflow() -> Result<()> {
        let meta = list(&[5]);
        let view = Arc::new(Visibility::new(uniform("all"), meta.clone(), meta));
        let inputs: Vec<Tensor> = inputs(5, 5, 4)?.iter().map(|t| t * 100.0).collect::<Result<_>>()?;
        let (kernel, plain) = (
            attention(&input(&inputs[0]), &input(&inputs[1]), 1, &view)?,
            reference(&inputs[0], &inputs[1], 1, &view)?,
        );
        assert_close("output", kernel.tensor(), &plain, 1e-4)
    }

    #[test]
    fn shapes_that_do_not_fit_are_named() -> Result<()> {
        let meta = list(&[3]);
        let view = Arc::new(Visibility::new(uniform("all"), meta.clone(), meta));
        let error = attention(&input(&random(&[3, 4], 1)?), &input(&random(&[4, 8], 1)?), 2, &view)
            .unwrap_err()
            .to_string();
        assert!(error.contains("[4, 8]") && error.contains("(3, 3)"), "{error}");
        assert!(attention(&input(&random(&[3, 4], 1)?), &input(&random(&[3, 8], 1)?), 3, &view).is_err());
        Ok(())
    }
}
