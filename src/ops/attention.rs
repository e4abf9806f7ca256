//! Attention between two flat lists of tokens, under rules evaluated from their metadata.
//!
//! Scores exist for one block of queries at a time; backward computes them again from the log-sum-exp that
//! forward keeps, one number for each query and head (Dao et al. 2022). With n queries that see m keys each and
//! heads that are d wide together, forward takes 4·n·m·d FLOP and backward 10·n·m·d, over some 4·(n + m)·d
//! numbers: bound by arithmetic as soon as m passes a few dozen.

use super::autograd::{Value, apply2, by_reference};
use super::linear::{Matrix, MatrixMut, gemm_f32};
use super::math;
use super::storage::{Elements, has_kernel, slice};
use crate::rules::Visibility;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use gemm::Parallelism;
use rayon::prelude::*;
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
    if !has_kernel(query.tensor()) {
        return by_reference(&[query, key_value], |t| reference(&t[0], &t[1], n_heads, view));
    }
    let kernel = Kernel { n_heads, view: view.clone(), log_sum_exp: OnceLock::new() };
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
    /// `[n, heads]`: ln Σ exp(score) of each query, from forward for backward; −∞ where it sees no key.
    log_sum_exp: OnceLock<Vec<f32>>,
}

/// Queries whose scores exist at one time: enough to fill a product, few enough to stay in the second cache.
const BLOCK: usize = 64;

/// The inputs of one call and how to cut them.
#[derive(Clone, Copy)]
struct Inputs<'a> {
    query: &'a [f32],
    key_value: &'a [f32],
    d: usize,
    n_heads: usize,
    view: &'a Visibility,
    /// Of each product: documents run in parallel, and a few large ones share the threads.
    parallelism: Parallelism,
}

/// A block of queries and the keys that any of them sees.
struct Block {
    queries: Range<usize>,
    /// From the first to the last key in sight.
    keys: Range<usize>,
    /// For each query, the keys that it sees.
    runs: Vec<Vec<Range<usize>>>,
}

impl<'a> Inputs<'a> {
    fn blocks(&self, queries: Range<usize>) -> impl Iterator<Item = Block> + '_ {
        queries.clone().step_by(BLOCK).filter_map(move |start| {
            let queries = start..(start + BLOCK).min(queries.end);
            let mut runs = vec![Vec::new(); queries.len()];
            queries.clone().zip(&mut runs).for_each(|(q, runs)| self.view.runs(q, runs));
            let first = runs.iter().filter_map(|runs| runs.first()).map(|run| run.start).min()?;
            let last = runs.iter().filter_map(|runs| runs.last()).map(|run| run.end).max()?;
            Some(Block { queries, keys: first..last, runs })
        })
    }

    fn d_head(&self) -> usize {
        self.d / self.n_heads
    }

    fn queries(&self, rows: &Range<usize>, head: usize) -> Matrix<'a> {
        let start = rows.start * self.d + head * self.d_head();
        Matrix::strided(&self.query[start..], rows.len(), self.d_head(), self.d)
    }

    fn keys(&self, rows: &Range<usize>, head: usize) -> Matrix<'a> {
        let start = rows.start * 2 * self.d + head * self.d_head();
        Matrix::strided(&self.key_value[start..], rows.len(), self.d_head(), 2 * self.d)
    }

    fn values(&self, rows: &Range<usize>, head: usize) -> Matrix<'a> {
        let start = rows.start * 2 * self.d + self.d + head * self.d_head();
        Matrix::strided(&self.key_value[start..], rows.len(), self.d_head(), 2 * self.d)
    }

    /// The scaled scores of a block, `[queries, keys]`, those of hidden pairs included.
    fn scores(&self, block: &Block, head: usize, scores: &mut Vec<f32>) {
        let (n, m) = (block.queries.len(), block.keys.len());
        scores.resize(n * m, 0.0);
        let scale = 1.0 / (self.d_head() as f32).sqrt();
        let (q, k) = (self.queries(&block.queries, head), self.keys(&block.keys, head));
        gemm_f32(scale, q, k.t(), 0.0, MatrixMut::new(scores, n, m), self.parallelism);
    }

    /// One document forward: `y` and `log_sum_exp` are its rows, `[n, d]` and `[n, heads]`.
    fn forward(&self, queries: Range<usize>, y: &mut [f32], log_sum_exp: &mut [f32]) {
        let mut scores = Vec::new();
        for block in self.blocks(queries.clone()) {
            let m = block.keys.len();
            let first = block.queries.start - queries.start;
            for head in 0..self.n_heads {
                self.scores(&block, head, &mut scores);
                for (row, (weights, runs)) in scores.chunks_exact_mut(m).zip(&block.runs).enumerate() {
                    let kept = &mut log_sum_exp[(first + row) * self.n_heads + head];
                    *kept = softmax_in_sight(weights, runs, block.keys.start);
                }
                let y = &mut y[first * self.d + head * self.d_head()..];
                let y = MatrixMut::strided(y, block.queries.len(), self.d_head(), self.d);
                let weights = Matrix::new(&scores, block.queries.len(), m);
                gemm_f32(1.0, weights, self.values(&block.keys, head), 0.0, y, self.parallelism);
            }
        }
    }

    /// One document backward, from its rows of y, dy and the log-sum-exp to its rows of the gradients.
    fn backward(&self, document: &Document, d_query: &mut [f32], d_key_value: &mut [f32]) {
        let (d, d_head) = (self.d, self.d_head());
        let scale = 1.0 / (d_head as f32).sqrt();
        let (mut weights, mut d_weights) = (Vec::new(), Vec::new());
        for block in self.blocks(document.queries.clone()) {
            let (n, m) = (block.queries.len(), block.keys.len());
            let first = block.queries.start - document.queries.start;
            let first_key = block.keys.start - document.keys.start;
            d_weights.resize(n * m, 0.0);
            for head in 0..self.n_heads {
                let column = head * d_head;
                let dy = Matrix::strided(&document.dy[first * d + column..], n, d_head, d);
                self.scores(&block, head, &mut weights);
                let d_scores = MatrixMut::new(&mut d_weights, n, m);
                gemm_f32(1.0, dy, self.values(&block.keys, head).t(), 0.0, d_scores, self.parallelism);
                for row in 0..n {
                    let at = (first + row) * d + column;
                    let rows = row * m..(row + 1) * m;
                    softmax_backward(
                        &mut weights[rows.clone()],
                        &mut d_weights[rows],
                        &block.runs[row],
                        block.keys.start,
                        document.log_sum_exp[(first + row) * self.n_heads + head],
                        math::dot(&document.y[at..at + d_head], &document.dy[at..at + d_head]),
                    );
                }
                let (weights, d_scores) = (Matrix::new(&weights, n, m), Matrix::new(&d_weights, n, m));
                let dq = MatrixMut::strided(&mut d_query[first * d + column..], n, d_head, d);
                gemm_f32(scale, d_scores, self.keys(&block.keys, head), 0.0, dq, self.parallelism);
                let dk = MatrixMut::strided(&mut d_key_value[first_key * 2 * d + column..], m, d_head, 2 * d);
                let q = self.queries(&block.queries, head);
                gemm_f32(scale, d_scores.t(), q, 1.0, dk, self.parallelism);
                let dv =
                    MatrixMut::strided(&mut d_key_value[first_key * 2 * d + d + column..], m, d_head, 2 * d);
                gemm_f32(1.0, weights.t(), dy, 1.0, dv, self.parallelism);
            }
        }
    }
}

/// One document's rows of what backward reads.
struct Document<'a> {
    queries: Range<usize>,
    keys: Range<usize>,
    y: &'a [f32],
    dy: &'a [f32],
    log_sum_exp: &'a [f32],
}

/// Turns a row of scores into attention weights, 0 for hidden keys; returns the log-sum-exp.
fn softmax_in_sight(row: &mut [f32], runs: &[Range<usize>], first: usize) -> f32 {
    let in_row = |run: &Range<usize>| run.start - first..run.end - first;
    math::vectorize(
        #[inline(always)]
        || {
            let highest =
                runs.iter().fold(f32::NEG_INFINITY, |most, run| most.max(math::max(&row[in_row(run)])));
            let mut total = 0.0;
            let mut end = 0;
            for run in runs.iter().map(in_row) {
                row[end..run.start].fill(0.0);
                row[run.clone()].iter_mut().for_each(|score| *score = math::exp(*score - highest));
                total += math::sum(&row[run.clone()]);
                end = run.end;
            }
            row[end..].fill(0.0);
            // A query without keys has no run: its row is all 0 and stays so.
            let inverse = if total > 0.0 { 1.0 / total } else { 0.0 };
            row.iter_mut().for_each(|weight| *weight *= inverse);
            highest + total.ln()
        },
    )
}

/// Turns a row of scores into weights again, and a row of dy·vᵀ into the gradient of the scores:
/// ds = w·(dw − Σ w·dw), where the sum is y·dy.
fn softmax_backward(
    weights: &mut [f32],
    d_weights: &mut [f32],
    runs: &[Range<usize>],
    first: usize,
    log_sum_exp: f32,
    y_dot_dy: f32,
) {
    math::vectorize(
        #[inline(always)]
        || {
            let mut end = 0;
            for run in runs.iter().map(|run| run.start - first..run.end - first) {
                weights[end..run.start].fill(0.0);
                d_weights[end..run.start].fill(0.0);
                for (w, dw) in weights[run.clone()].iter_mut().zip(&mut d_weights[run.clone()]) {
                    *w = math::exp(*w - log_sum_exp);
                    *dw = *w * (*dw - y_dot_dy);
                }
                end = run.end;
            }
            weights[end..].fill(0.0);
            d_weights[end..].fill(0.0);
        },
    )
}

impl Kernel {
    fn inputs<'a>(&'a self, query: &'a [f32], key_value: &'a [f32], d: usize) -> Inputs<'a> {
        let few = self.view.documents().len() < rayon::current_num_threads();
        let parallelism = if few { Parallelism::Rayon(0) } else { Parallelism::None };
        Inputs { query, key_value, d, n_heads: self.n_heads, view: &self.view, parallelism }
    }
}

/// Cuts consecutive ranges of rows, each `width` wide, out of one slice.
fn cut(mut slice: &mut [f32], rows: impl Iterator<Item = usize>, width: usize) -> Vec<&mut [f32]> {
    let mut parts = Vec::new();
    for rows in rows {
        let (part, rest) = slice.split_at_mut(rows * width);
        parts.push(part);
        slice = rest;
    }
    parts
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
        let inputs = self.inputs(slice(q, lq)?, slice(kv, lkv)?, d);
        let mut y = vec![0.0; n * d];
        let mut log_sum_exp = vec![f32::NEG_INFINITY; n * self.n_heads];
        let rows = || self.view.documents().map(|(queries, _)| queries.len());
        cut(&mut y, rows(), d)
            .into_par_iter()
            .zip(cut(&mut log_sum_exp, rows(), self.n_heads))
            .zip(self.view.documents().collect::<Vec<_>>())
            .for_each(|((y, log_sum_exp), (queries, _))| inputs.forward(queries, y, log_sum_exp));
        let _ = self.log_sum_exp.set(log_sum_exp); // empty until now: an instance serves one call
        Ok((CpuStorage::F32(y), Shape::from((n, d))))
    }

    fn bwd(
        &self,
        query: &Tensor,
        key_value: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let ((n, d), m) = (query.dims2()?, key_value.dim(0)?);
        let Some(log_sum_exp) = self.log_sum_exp.get() else { bail!("attention: backward before forward") };
        let dy = dy.contiguous()?;
        let (q, kv, y, dy) =
            (Elements::of(query)?, Elements::of(key_value)?, Elements::of(y)?, Elements::of(&dy)?);
        let inputs = self.inputs(&q, &kv, d);
        let (mut d_query, mut d_key_value) = (vec![0.0; n * d], vec![0.0; m * 2 * d]);
        let documents: Vec<Document> = self
            .view
            .documents()
            .map(|(queries, keys)| Document {
                y: &y[queries.start * d..queries.end * d],
                dy: &dy[queries.start * d..queries.end * d],
                log_sum_exp: &log_sum_exp[queries.start * self.n_heads..queries.end * self.n_heads],
                queries,
                keys,
            })
            .collect();
        let q_rows = documents.iter().map(|document| document.queries.len());
        let k_rows = documents.iter().map(|document| document.keys.len());
        cut(&mut d_query, q_rows, d)
            .into_par_iter()
            .zip(cut(&mut d_key_value, k_rows, 2 * d))
            .zip(&documents)
            .for_each(|((dq, dkv), document)| inputs.backward(document, dq, dkv));
        let device = query.device();
        Ok((
            Some(Tensor::from_vec(d_query, (n, d), device)?),
            Some(Tensor::from_vec(d_key_value, (m, 2 * d), device)?),
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
