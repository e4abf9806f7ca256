//! The CPU kernel: blocks of queries against the keys that they attend to.

use super::{Buckets, Heads};
use crate::ops::math;
use crate::ops::product::{Matrix, MatrixMut, gemm_f32};
use crate::rules::AttentionMask;
use gemm::Parallelism;
use rayon::prelude::*;
use std::ops::Range;

/// Queries whose scores exist at one time: enough to fill a product, few enough to stay in the L2 cache.
const BLOCK: usize = 64;

/// The inputs of one call and how to cut them.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'a> {
    /// `[n, d]`.
    pub(super) query: &'a [f32],
    /// `[m, 2·n_kv_heads·d_head]`.
    pub(super) key_value: &'a [f32],
    /// The biases of scores.
    pub(super) bias: Option<&'a BiasByDistance<'a>>,
    pub(super) d: usize,
    pub(super) heads: Heads,
    pub(super) mask: &'a AttentionMask,
}

/// The table of biases laid out by distance, so that a pair of tokens needs one lookup and one addition.
pub(super) struct BiasByDistance<'a> {
    buckets: &'a Buckets,
    n_heads: usize,
    /// `[n_heads, distances]`.
    values: Vec<f32>,
}

impl<'a> BiasByDistance<'a> {
    /// `table` is `[buckets, n_heads]`.
    pub(super) fn new(buckets: &'a Buckets, table: &[f32], n_heads: usize) -> Self {
        let of_head = |head| {
            buckets.by_distance().iter().map(move |&bucket| table[usize::from(bucket) * n_heads + head])
        };
        Self { buckets, n_heads, values: (0..n_heads).flat_map(of_head).collect() }
    }

    fn of_head(&self, head: usize) -> &[f32] {
        &self.values[head * self.buckets.by_distance().len()..][..self.buckets.by_distance().len()]
    }

    /// From the gradient by distance, `[n_heads, distances]`, to that of the table.
    fn table_gradient(&self, by_distance: &[f32]) -> Vec<f32> {
        let mut table = vec![0.0; self.buckets.len() * self.n_heads];
        for (head, row) in by_distance.chunks_exact(self.buckets.by_distance().len()).enumerate() {
            for (gradient, &bucket) in row.iter().zip(self.buckets.by_distance()) {
                table[usize::from(bucket) * self.n_heads + head] += gradient;
            }
        }
        table
    }
}

/// The values that forward saves for backward.
pub(super) struct Saved {
    /// ln Σ exp(score) of each query and head, part by part; −∞ for a query without keys.
    log_sum_exp: Vec<f32>,
    /// The size of the parts, which depends on the number of threads during forward.
    kv_heads_of_part: usize,
}

/// The work of one task: some key-value heads of one document, and the query heads that share them.
struct Part {
    queries: Range<usize>,
    keys: Range<usize>,
    kv_heads: Range<usize>,
    heads: Range<usize>,
}

/// A block of queries, and the keys that any of them attends to.
struct Block {
    queries: Range<usize>,
    /// From the first to the last key that a query of the block attends to.
    keys: Range<usize>,
    /// For each query, the keys that it attends to.
    runs: Vec<Vec<Range<usize>>>,
}

/// The inputs of backward for one part: all rows of y and dy, and the part's log-sum-exp.
struct Upstream<'a> {
    y: &'a [f32],
    dy: &'a [f32],
    log_sum_exp: &'a [f32],
}

impl Inputs<'_> {
    /// The result `[n, d]`, parts in parallel.
    pub(super) fn forward(&self) -> (Vec<f32>, Saved) {
        let kv_heads = self.kv_heads_of_part();
        let (parts, heads) = (self.parts(kv_heads), kv_heads * self.heads.group());
        let (n, _) = self.mask.shape();
        let mut y = vec![0.0; n * self.d];
        let mut log_sum_exp = vec![f32::NEG_INFINITY; n * self.heads.n_heads];
        let rows = || parts.iter().map(|part| part.queries.len());
        cut(&mut y, rows(), heads * self.d_head())
            .into_par_iter()
            .zip(cut(&mut log_sum_exp, rows(), heads))
            .zip(&parts)
            .for_each(|((y, log_sum_exp), part)| self.forward_part(part, y, log_sum_exp));
        let y = self.by_rows(y, &parts, 1, |part| (&part.queries, part.heads.len()));
        (y, Saved { log_sum_exp, kv_heads_of_part: kv_heads })
    }

    /// The gradients of the queries, of keys and values, and of the table of biases, if any.
    pub(super) fn backward(&self, y: &[f32], dy: &[f32], saved: &Saved) -> Vec<Vec<f32>> {
        let kv_heads = saved.kv_heads_of_part;
        let (parts, heads) = (self.parts(kv_heads), kv_heads * self.heads.group());
        let (mut d_query, mut d_key_value) = (vec![0.0; self.query.len()], vec![0.0; self.key_value.len()]);
        let mut rest = &saved.log_sum_exp[..];
        let upstream: Vec<Upstream> = parts
            .iter()
            .map(|part| {
                let (log_sum_exp, others) = rest.split_at(part.queries.len() * heads);
                rest = others;
                Upstream { y, dy, log_sum_exp }
            })
            .collect();
        let (queries, keys) =
            (parts.iter().map(|part| part.queries.len()), parts.iter().map(|part| part.keys.len()));
        let d_biases: Vec<Vec<f32>> = cut(&mut d_query, queries, heads * self.d_head())
            .into_par_iter()
            .zip(cut(&mut d_key_value, keys, 2 * kv_heads * self.d_head()))
            .zip(parts.par_iter().zip(&upstream))
            .map(|((dq, dkv), (part, upstream))| self.backward_part(part, upstream, dq, dkv))
            .collect();
        let d_query = self.by_rows(d_query, &parts, 1, |part| (&part.queries, part.heads.len()));
        let d_key_value = self.by_rows(d_key_value, &parts, 2, |part| (&part.keys, part.kv_heads.len()));
        let mut gradients = vec![d_query, d_key_value];
        gradients.extend(
            self.bias.map(|bias| bias.table_gradient(&math::add_in_order(d_biases, bias.values.len()))),
        );
        gradients
    }

    /// The key-value heads of a part: all, so that a part is a whole document and its result needs no reordering; or one, if
    /// there are fewer documents than threads.
    fn kv_heads_of_part(&self) -> usize {
        let busy = self.mask.documents().filter(|(queries, _)| !queries.is_empty()).count();
        if busy >= rayon::current_num_threads() { self.heads.n_kv_heads } else { 1 }
    }

    fn parts(&self, kv_heads: usize) -> Vec<Part> {
        let group = self.heads.group();
        let parts = self.mask.documents().flat_map(|(queries, keys)| {
            (0..self.heads.n_kv_heads).step_by(kv_heads).map(move |first| Part {
                queries: queries.clone(),
                keys: keys.clone(),
                kv_heads: first..first + kv_heads,
                heads: first * group..(first + kv_heads) * group,
            })
        });
        parts.collect()
    }

    /// Reorders the results of parts, which follow each other as `[rows, sides·heads·d_head]`, to rows with all heads.
    /// `extent` gives a part's rows and heads.
    fn by_rows(
        &self,
        written: Vec<f32>,
        parts: &[Part],
        sides: usize,
        extent: impl Fn(&Part) -> (&Range<usize>, usize),
    ) -> Vec<f32> {
        let parts_of_document = self.heads.n_kv_heads;
        if parts.iter().all(|part| part.kv_heads.len() == parts_of_document) {
            return written;
        }
        // A document's parts follow each other, and start at the offset of its rows.
        let d_head = self.d_head();
        let mut by_rows = vec![0.0; written.len()];
        let heads = parts.first().map_or(0, |part| extent(part).1); // of one part
        let all = parts_of_document * heads;
        let documents: Vec<&Range<usize>> =
            parts.iter().step_by(parts_of_document).map(|part| extent(part).0).collect();
        let width = sides * all * d_head;
        let counts = documents.iter().map(|rows| rows.len());
        for (place, target) in documents.iter().zip(cut(&mut by_rows, counts, width)) {
            let n = place.len();
            let written = &written[place.start * width..];
            target.par_chunks_mut(width.max(1)).enumerate().for_each(|(row, target)| {
                for (column, target) in target.chunks_exact_mut(d_head).enumerate() {
                    let (side, head) = (column / all, column % all);
                    let (part, head) = (head / heads, head % heads);
                    let from = (((part * n + row) * sides + side) * heads + head) * d_head;
                    target.copy_from_slice(&written[from..][..d_head]);
                }
            });
        }
        by_rows
    }

    fn blocks(&self, queries: Range<usize>) -> impl Iterator<Item = Block> + '_ {
        queries.clone().step_by(BLOCK).filter_map(move |start| {
            let queries = start..(start + BLOCK).min(queries.end);
            let mut runs = vec![Vec::new(); queries.len()];
            queries.clone().zip(&mut runs).for_each(|(q, runs)| self.mask.runs(q, runs));
            let first = runs.iter().filter_map(|runs| runs.first()).map(|run| run.start).min()?;
            let last = runs.iter().filter_map(|runs| runs.last()).map(|run| run.end).max()?;
            Some(Block { queries, keys: first..last, runs })
        })
    }

    fn d_head(&self) -> usize {
        self.d / self.heads.n_heads
    }

    /// Columns of the keys, and of the values.
    fn d_keys(&self) -> usize {
        self.d_head() * self.heads.n_kv_heads
    }

    fn queries(&self, rows: &Range<usize>, head: usize) -> Matrix<'_> {
        let start = rows.start * self.d + head * self.d_head();
        Matrix::strided(&self.query[start..], rows.len(), self.d_head(), self.d)
    }

    /// The keys (`side` 0) or values (1) of a query head.
    fn keys_or_values(&self, rows: &Range<usize>, head: usize, side: usize) -> Matrix<'_> {
        let kv_head = head / self.heads.group();
        let start = rows.start * 2 * self.d_keys() + side * self.d_keys() + kv_head * self.d_head();
        Matrix::strided(&self.key_value[start..], rows.len(), self.d_head(), 2 * self.d_keys())
    }

    fn keys(&self, rows: &Range<usize>, head: usize) -> Matrix<'_> {
        self.keys_or_values(rows, head, 0)
    }

    fn values(&self, rows: &Range<usize>, head: usize) -> Matrix<'_> {
        self.keys_or_values(rows, head, 1)
    }

    /// The scores of a block, `[queries, keys]`; those of masked pairs have no bias.
    fn scores(&self, block: &Block, head: usize, scores: &mut Vec<f32>) {
        let (n, m) = (block.queries.len(), block.keys.len());
        scores.resize(n * m, 0.0);
        let (q, k) = (self.queries(&block.queries, head), self.keys(&block.keys, head));
        multiply(self.heads.scale, q, k.t(), 0.0, MatrixMut::new(scores, n, m));
        if let Some(bias) = self.bias {
            let values = bias.of_head(head);
            self.each_distance(block, bias, |place, distance| scores[place] += values[distance]);
        }
    }

    /// Calls `f` for each pair that the mask allows, with its place in the block's scores and the place of its distance
    /// in a head's biases.
    fn each_distance(&self, block: &Block, bias: &BiasByDistance, mut f: impl FnMut(usize, usize)) {
        let (queries, keys) = self.mask.orders();
        let m = block.keys.len();
        for ((row, q), runs) in block.queries.clone().enumerate().zip(&block.runs) {
            for k in runs.iter().cloned().flatten() {
                f(row * m + k - block.keys.start, bias.buckets.distance(queries[q], keys[k]));
            }
        }
    }

    /// `y` and `log_sum_exp` are the part's: `[n, width]` and `[n, heads]`.
    fn forward_part(&self, part: &Part, y: &mut [f32], log_sum_exp: &mut [f32]) {
        let (d_head, heads) = (self.d_head(), part.heads.len());
        let width = heads * d_head;
        let mut scores = Vec::new();
        for block in self.blocks(part.queries.clone()) {
            let m = block.keys.len();
            let first = block.queries.start - part.queries.start;
            for (place, head) in part.heads.clone().enumerate() {
                self.scores(&block, head, &mut scores);
                for (row, (weights, runs)) in scores.chunks_exact_mut(m).zip(&block.runs).enumerate() {
                    log_sum_exp[(first + row) * heads + place] =
                        masked_softmax(weights, runs, block.keys.start);
                }
                let y = &mut y[first * width + place * d_head..];
                let y = MatrixMut::strided(y, block.queries.len(), d_head, width);
                let weights = Matrix::new(&scores, block.queries.len(), m);
                multiply(1.0, weights, self.values(&block.keys, head), 0.0, y);
            }
        }
    }

    /// The gradients are the part's: `[n, heads·d_head]`, and `[m, 2·kv_heads·d_head]` with keys left and values right.
    /// Returns the gradient of the biases by distance; empty without biases.
    fn backward_part(
        &self,
        part: &Part,
        upstream: &Upstream,
        d_query: &mut [f32],
        d_key_value: &mut [f32],
    ) -> Vec<f32> {
        let (d, d_head, heads) = (self.d, self.d_head(), part.heads.len());
        let (width, kv_width) = (heads * d_head, part.kv_heads.len() * d_head);
        let scale = self.heads.scale;
        let (mut weights, mut d_weights) = (Vec::new(), Vec::new());
        let mut d_bias = vec![0.0; self.bias.map_or(0, |bias| bias.values.len())];
        for block in self.blocks(part.queries.clone()) {
            let (n, m) = (block.queries.len(), block.keys.len());
            let first = block.queries.start - part.queries.start;
            let first_key = block.keys.start - part.keys.start;
            d_weights.resize(n * m, 0.0);
            for (place, head) in part.heads.clone().enumerate() {
                let of_head = |row: usize| (block.queries.start + row) * d + head * d_head;
                let dy = Matrix::strided(&upstream.dy[of_head(0)..], n, d_head, d);
                self.scores(&block, head, &mut weights);
                let d_scores = MatrixMut::new(&mut d_weights, n, m);
                multiply(1.0, dy, self.values(&block.keys, head).t(), 0.0, d_scores);
                for row in 0..n {
                    let rows = row * m..(row + 1) * m;
                    softmax_backward(
                        &mut weights[rows.clone()],
                        &mut d_weights[rows],
                        &block.runs[row],
                        block.keys.start,
                        upstream.log_sum_exp[(first + row) * heads + place],
                        (&upstream.y[of_head(row)..][..d_head], &upstream.dy[of_head(row)..][..d_head]),
                    );
                }
                if let Some(bias) = self.bias {
                    let start = head * bias.buckets.by_distance().len();
                    self.each_distance(&block, bias, |place, distance| {
                        d_bias[start + distance] += d_weights[place]
                    });
                }
                let (weights, d_scores) = (Matrix::new(&weights, n, m), Matrix::new(&d_weights, n, m));
                let dq = MatrixMut::strided(&mut d_query[first * width + place * d_head..], n, d_head, width);
                multiply(scale, d_scores, self.keys(&block.keys, head), 0.0, dq);
                let column = first_key * 2 * kv_width + place / self.heads.group() * d_head;
                let dk = MatrixMut::strided(&mut d_key_value[column..], m, d_head, 2 * kv_width);
                multiply(scale, d_scores.t(), self.queries(&block.queries, head), 1.0, dk);
                let dv = MatrixMut::strided(&mut d_key_value[column + kv_width..], m, d_head, 2 * kv_width);
                multiply(1.0, weights.t(), dy, 1.0, dv);
            }
        }
        d_bias
    }
}

/// c ← `alpha`·a·b + `beta`·c on this thread.
fn multiply(alpha: f32, a: Matrix, b: Matrix, beta: f32, c: MatrixMut) {
    gemm_f32(alpha, a, b, beta, c, Parallelism::None);
}

/// Replaces a row of scores by attention weights, 0 for masked keys; returns the log-sum-exp.
fn masked_softmax(row: &mut [f32], runs: &[Range<usize>], first: usize) -> f32 {
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
            // The row of a query without keys has no run and is all 0.
            let inverse = if total > 0.0 { 1.0 / total } else { 0.0 };
            row.iter_mut().for_each(|weight| *weight *= inverse);
            highest + total.ln()
        },
    )
}

/// Replaces a row of scores by weights, and a row of dy·vᵀ by the gradient of the scores: ds = w·(dw − Σ w·dw), where
/// the sum is y·dy.
fn softmax_backward(
    weights: &mut [f32],
    d_weights: &mut [f32],
    runs: &[Range<usize>],
    first: usize,
    log_sum_exp: f32,
    (y, dy): (&[f32], &[f32]),
) {
    math::vectorize(
        #[inline(always)]
        || {
            let y_dot_dy = math::dot(y, dy);
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
