//! One task: blocks of queries against the keys that they attend to.

use super::Inputs;
use super::bias::Biases;
use super::parts::Part;
use super::softmax::{masked_softmax, softmax_backward};
use crate::ops::cpu::product::{Matrix, MatrixMut, gemm_f32};
use gemm::Parallelism;
use std::ops::Range;

/// Queries whose scores exist at one time: enough to fill a product, few enough to stay in the L2 cache.
const BLOCK: usize = 64;

/// A block of queries, and the keys that any of them attends to.
struct Block {
    queries: Range<usize>,
    /// From the first to the last key that a query of the block attends to.
    keys: Range<usize>,
    /// For each query, the keys that it attends to.
    runs: Vec<Vec<Range<usize>>>,
}

/// The inputs of backward for one part: all rows of y and dy, and the part's log-sum-exp.
pub(super) struct Upstream<'a> {
    pub(super) y: &'a [f32],
    pub(super) dy: &'a [f32],
    pub(super) log_sum_exp: &'a [f32],
}

impl Inputs<'_> {
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

    /// The scores of a block, `[queries, keys]`; those of masked pairs have no bias.
    fn scores(&self, block: &Block, head: usize, scores: &mut Vec<f32>) {
        let (n, m) = (block.queries.len(), block.keys.len());
        scores.resize(n * m, 0.0);
        let (q, k) = (self.queries(&block.queries, head), self.keys(&block.keys, head));
        multiply(self.heads.scale, q, k.t(), 0.0, MatrixMut::new(scores, n, m));
        match self.bias {
            None => {}
            Some(Biases::ByDistance(bias)) => {
                let values = bias.of_head(head);
                self.each_pair(block, |place, q, k| scores[place] += values[bias.buckets.distance(q, k)]);
            }
            Some(Biases::Slopes(slopes)) => {
                let slope = slopes[head];
                self.each_pair(block, |place, q, k| scores[place] -= slope * q.abs_diff(k) as f32);
            }
        }
    }

    /// Calls `f` for each pair that the mask allows, with its place in the block's scores and the places of query and key in
    /// their document.
    fn each_pair(&self, block: &Block, mut f: impl FnMut(usize, u32, u32)) {
        let (queries, keys) = self.mask.orders();
        let m = block.keys.len();
        for ((row, q), runs) in block.queries.clone().enumerate().zip(&block.runs) {
            for k in runs.iter().cloned().flatten() {
                f(row * m + k - block.keys.start, queries[q], keys[k]);
            }
        }
    }

    /// `y` and `log_sum_exp` are the part's: `[n, width]` and `[n, heads]`.
    pub(super) fn forward_part(&self, part: &Part, y: &mut [f32], log_sum_exp: &mut [f32]) {
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
    /// Returns the gradient of the learned biases by distance; empty without such biases.
    pub(super) fn backward_part(
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
        let learned = self.bias.and_then(Biases::learned);
        let mut d_bias = vec![0.0; learned.map_or(0, |bias| bias.values.len())];
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
                if let Some(bias) = learned {
                    let start = head * bias.buckets.by_distance().len();
                    self.each_pair(&block, |place, q, k| {
                        d_bias[start + bias.buckets.distance(q, k)] += d_weights[place]
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
