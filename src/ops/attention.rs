//! Attention between two flat lists of tokens, under rules evaluated from their metadata.
//!
//! Scores exist for one block of queries at a time; backward recomputes them from the log-sum-exp that forward saves,
//! one number for each query and head (Dao et al. 2022). With n queries that attend to m keys each and heads that are d
//! wide together, forward takes 4·n·m·d FLOP and backward 10·n·m·d, over some 4·(n + m)·d numbers: bound by arithmetic
//! if m is more than a few dozen.

mod kernel;
mod relative;

pub use relative::{Buckets, RelativeBias};

use super::autograd::{Gradient, Value, with_rule};
use super::from_candle::from_candle;
use super::storage::{Elements, has_kernel};
use crate::rules::AttentionMask;
use candle_core::{Result, Tensor, bail};
use kernel::{BiasByDistance, Inputs};
use std::{ops::Range, sync::Arc};

/// The layout of heads in the columns of queries, keys and values, and the scale of scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heads {
    /// Query heads, side by side in the queries.
    pub n_heads: usize,
    /// Key-value heads, side by side in the keys and in the values; equally many query heads share each of them
    /// (Ainslie et al. 2023).
    pub n_kv_heads: usize,
    /// The factor of q·k.
    pub scale: f32,
}

impl Heads {
    /// `n` heads in `d` columns, each with keys and values of its own; scores are q·k/√(d/n).
    pub fn even(n: usize, d: usize) -> Self {
        Self { n_heads: n, n_kv_heads: n, scale: 1.0 / ((d / n.max(1)) as f32).sqrt() }
    }

    /// Query heads for each key-value head.
    pub(crate) fn group(&self) -> usize {
        self.n_heads / self.n_kv_heads
    }
}

/// softmax(scale·q·kᵀ + bias)·v over the keys that each query attends to; 0 for a query without keys.
///
/// `query` is `[n, n_heads·d_head]`, `key_value` `[m, 2·n_kv_heads·d_head]` with keys left and values right; the
/// result has the queries' shape. Self-attention and cross-attention differ only in `mask`.
///
/// # Errors
/// If the shapes do not fit each other, the heads, the mask or the bias.
pub fn attention(
    query: &Value,
    key_value: &Value,
    bias: Option<RelativeBias>,
    heads: Heads,
    mask: &Arc<AttentionMask>,
) -> Result<Value> {
    let ((n, d), (m, d2)) = (query.dims2()?, key_value.dims2()?);
    let Heads { n_heads, n_kv_heads, .. } = heads;
    let whole = n_kv_heads > 0 && n_heads > 0 && n_heads % n_kv_heads == 0 && d % n_heads == 0;
    if !whole || d2 != 2 * (d / n_heads) * n_kv_heads || mask.shape() != (n, m) {
        bail!(
            "attention: expected query [n, heads·d_head], key_value [m, 2·kv_heads·d_head] and a mask of [n, m]; \
             found [{n}, {d}], [{m}, {d2}], {n_heads} and {n_kv_heads} heads and a mask of {:?}",
            mask.shape()
        )
    }
    let table = bias.as_ref().map(|bias| bias.table);
    if let Some(bias) = &bias
        && bias.table.dims() != [bias.buckets.len(), n_heads]
    {
        let expected = [bias.buckets.len(), n_heads];
        bail!("attention: expected a bias table of {expected:?}; found {:?}", bias.table.dims())
    }
    #[cfg(feature = "cuda")]
    if super::cuda::has_kernel(query.tensor()) {
        return super::cuda::attention(query, key_value, bias, heads, mask);
    }
    let buckets = bias.map(|bias| bias.buckets.clone());
    let inputs: Vec<&Value> = [query, key_value].into_iter().chain(table).collect();
    if !has_kernel(query.tensor()) {
        return from_candle(&inputs, |t| reference(t, buckets.as_deref(), heads, mask));
    }
    let call = Call { tensors: inputs.iter().map(|input| input.tensor().clone()).collect(), buckets, heads };
    let (y, saved) = call.on(mask, |inputs| inputs.forward())?;
    let y = Tensor::from_vec(y, (n, d), query.tensor().device())?;
    let (output, mask) = (y.clone(), mask.clone());
    Ok(with_rule(y, &inputs, move |dy| {
        let dy = dy.contiguous()?;
        let (y, dy) = (Elements::of(&output)?, Elements::of(&dy)?);
        let gradients = call.on(&mask, |inputs| inputs.backward(&y, &dy, &saved))?;
        let own = |(values, like): (Vec<f32>, &Tensor)| {
            Ok(Some(Gradient::own(Tensor::from_vec(values, like.dims(), like.device())?)))
        };
        gradients.into_iter().zip(&call.tensors).map(own).collect()
    }))
}

/// The inputs that forward and backward of one call share.
struct Call {
    /// Queries; keys and values; the table of biases, if any.
    tensors: Vec<Tensor>,
    buckets: Option<Arc<Buckets>>,
    heads: Heads,
}

impl Call {
    fn on<T>(&self, mask: &AttentionMask, compute: impl FnOnce(Inputs) -> T) -> Result<T> {
        let (query, key_value) = (Elements::of(&self.tensors[0])?, Elements::of(&self.tensors[1])?);
        let table = self.tensors.get(2).map(Elements::of).transpose()?;
        let bias = self.buckets.as_deref().zip(table.as_deref());
        let bias = bias.map(|(buckets, table)| BiasByDistance::new(buckets, table, self.heads.n_heads));
        let d = self.tensors[0].dim(1)?;
        Ok(compute(Inputs {
            query: &query,
            key_value: &key_value,
            bias: bias.as_ref(),
            d,
            heads: self.heads,
            mask,
        }))
    }
}

/// [`attention`] in candle's own operations, with a dense mask for each document. `t` holds queries; keys and values;
/// and the table of biases if there are buckets.
pub(crate) fn reference(
    t: &[Tensor],
    buckets: Option<&Buckets>,
    heads: Heads,
    mask: &Arc<AttentionMask>,
) -> Result<Tensor> {
    let (query, key_value) = (&t[0], &t[1]);
    let (device, dtype, d) = (query.device(), query.dtype(), query.dim(1)?);
    let (d_head, d_keys) = (d / heads.n_heads, key_value.dim(1)? / 2);
    let mut documents = Vec::new();
    for (q_rows, k_rows) in mask.documents().filter(|(q_rows, _)| !q_rows.is_empty()) {
        let (n, m) = (q_rows.len(), k_rows.len());
        if m == 0 {
            documents.push(Tensor::zeros((n, d), dtype, device)?);
            continue;
        }
        let allowed =
            Tensor::from_vec(dense_mask(mask, &q_rows, &k_rows), (n, m), device)?.to_dtype(dtype)?;
        let split = |x: &Tensor, rows: &Range<usize>, from: usize, width: usize| {
            let rows = x.narrow(0, rows.start, rows.len())?.narrow(1, from, width)?;
            rows.reshape((rows.dim(0)?, width / d_head, d_head))?.transpose(0, 1)?.contiguous() // [heads, rows, d_head]
        };
        let shared = |x: Tensor| {
            let all = (heads.n_kv_heads, heads.group(), m, d_head);
            x.unsqueeze(1)?.broadcast_as(all)?.reshape((heads.n_heads, m, d_head))?.contiguous()
        };
        let q = split(query, &q_rows, 0, d)?;
        let k = shared(split(key_value, &k_rows, 0, d_keys)?)?;
        let v = shared(split(key_value, &k_rows, d_keys, d_keys)?)?;
        let mut scores = (q.matmul(&k.t()?.contiguous()?)? * f64::from(heads.scale))?; // [heads, n, m]
        if let Some(buckets) = buckets {
            let places = Tensor::from_vec(buckets.dense(mask, &q_rows, &k_rows), n * m, device)?;
            let bias = t[2].index_select(&places, 0)?.reshape((n, m, heads.n_heads))?;
            scores = (scores + bias.permute((2, 0, 1))?.contiguous()?)?;
        }
        // Masked scores must not decide the maximum; the product with `allowed` makes their weights exactly 0.
        let masked = scores.broadcast_add(&((&allowed - 1.0)? * 1e4)?)?;
        let highest = masked.detach().max_keepdim(2)?;
        let weights = masked.broadcast_sub(&highest)?.exp()?.broadcast_mul(&allowed)?;
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

    /// A different rule for each pair of kinds; kind c attends to no token.
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
            let mask = Arc::new(AttentionMask::new(rules, meta.clone(), meta));
            check_gradients(|t| reference(t, None, Heads::even(2, 4), &mask), &inputs(10, 10, 4)?)?;
        }
        Ok(())
    }

    #[test]
    fn kernel_matches_the_reference() -> Result<()> {
        let rules = [uniform("all"), uniform("causal"), uniform("never"), uniform("strict_past"), mixed()];
        for rules in rules {
            // No document of one token: its only weight is 1 for any score, so the score's gradient is rounding alone.
            for lengths in [&[2][..], &[7, 0, 3], &[150], &[64, 65, 130, 2]] {
                let meta = list(lengths);
                let n = meta.len();
                let mask = Arc::new(AttentionMask::new(rules.clone(), meta.clone(), meta));
                for (d, heads) in [(12, 3), (32, 1)] {
                    check_kernel(
                        |t| attention(&t[0], &t[1], None, Heads::even(heads, d), &mask),
                        |t| reference(t, None, Heads::even(heads, d), &mask),
                        &inputs(n, n, d)?,
                    )?;
                }
            }
        }
        Ok(())
    }

    /// If documents are fewer than threads, they are cut into heads; backward uses the cut of forward.
    #[test]
    fn any_number_of_threads_gives_the_same() -> Result<()> {
        let meta = list(&[70, 3, 40]);
        let n = meta.len();
        let mask = Arc::new(AttentionMask::new(mixed(), meta.clone(), meta));
        let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let (one, many) = (pool(1), pool(16));
        for pool in [&one, &many] {
            pool.install(|| {
                check_kernel(
                    |t| attention(&t[0], &t[1], None, Heads::even(4, 16), &mask),
                    |t| reference(t, None, Heads::even(4, 16), &mask),
                    &inputs(n, n, 16)?,
                )
            })?;
        }
        let inputs = inputs(n, n, 16)?;
        let variables = inputs.iter().map(candle_core::Var::from_tensor).collect::<Result<Vec<_>>>()?;
        let gradients = |forward: &rayon::ThreadPool, backward: &rayon::ThreadPool| {
            let values: Vec<Value> = variables.iter().zip(0..).map(|(x, i)| Value::parameter(x, i)).collect();
            let y = forward.install(|| attention(&values[0], &values[1], None, Heads::even(4, 16), &mask))?;
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
        let mask = Arc::new(AttentionMask::new(mixed(), queries, keys));
        check_kernel(
            |t| attention(&t[0], &t[1], None, Heads::even(2, 8), &mask),
            |t| reference(t, None, Heads::even(2, 8), &mask),
            &inputs(n, m, 8)?,
        )
    }

    #[test]
    fn a_query_without_keys_gives_zero() -> Result<()> {
        let meta = list(&[3]);
        let mask = Arc::new(AttentionMask::new(uniform("strict_past"), meta.clone(), meta));
        let inputs = inputs(3, 3, 4)?;
        let y =
            attention(&input(&inputs[0]), &input(&inputs[1]), None, Heads::even(2, 4), &mask)?.into_tensor();
        assert_eq!(y.to_vec2::<f32>()?, [[0.0; 4]; 3]);
        Ok(())
    }

    #[test]
    fn great_scores_do_not_overflow() -> Result<()> {
        let meta = list(&[5]);
        let mask = Arc::new(AttentionMask::new(uniform("all"), meta.clone(), meta));
        let inputs: Vec<Tensor> = inputs(5, 5, 4)?.iter().map(|t| t * 100.0).collect::<Result<_>>()?;
        let (kernel, plain) = (
            attention(&input(&inputs[0]), &input(&inputs[1]), None, Heads::even(1, 4), &mask)?,
            reference(&inputs, None, Heads::even(1, 4), &mask)?,
        );
        assert_close("output", kernel.tensor(), &plain, 1e-4)
    }

    /// Two query heads for each key-value head, and scores that also depend on the distance.
    #[test]
    fn grouped_heads_and_relative_bias() -> Result<()> {
        let heads = Heads { n_heads: 4, n_kv_heads: 2, scale: 0.7 };
        for (rules, both_ways) in [(uniform("all"), true), (uniform("causal"), false), (mixed(), true)] {
            let buckets = Arc::new(Buckets::new(8, 20, both_ways));
            for lengths in [&[5, 3][..], &[70, 0, 40]] {
                let meta = list(lengths);
                let n = meta.len();
                let mask = Arc::new(AttentionMask::new(rules.clone(), meta.clone(), meta));
                let of = |t: &[Value]| {
                    attention(
                        &t[0],
                        &t[1],
                        Some(RelativeBias { table: &t[2], buckets: &buckets }),
                        heads,
                        &mask,
                    )
                };
                let inputs = [random(&[n, 12], 1)?, random(&[n, 12], 2)?, random(&[8, 4], 3)?];
                check_kernel(of, |t| reference(t, Some(&buckets), heads, &mask), &inputs)?;
                if n < 10 {
                    check_gradients(|t| reference(t, Some(&buckets), heads, &mask), &inputs)?;
                }
            }
        }
        Ok(())
    }

    #[test]
    fn shapes_that_do_not_fit_are_named() -> Result<()> {
        let meta = list(&[3]);
        let mask = Arc::new(AttentionMask::new(uniform("all"), meta.clone(), meta));
        let of = |query: &[usize], key_value: &[usize], n_heads| {
            let (query, key_value) = (random(query, 1)?, random(key_value, 1)?);
            attention(&input(&query), &input(&key_value), None, Heads::even(n_heads, 4), &mask)
        };
        let error = of(&[3, 4], &[4, 8], 2).unwrap_err().to_string();
        assert!(error.contains("[4, 8]") && error.contains("(3, 3)"), "{error}");
        assert!(of(&[3, 4], &[3, 8], 3).is_err());
        assert!(of(&[3, 4], &[3, 8], 0).is_err());
        Ok(())
    }
}
