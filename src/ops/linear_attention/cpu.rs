//! The CPU kernel: tasks in parallel, each of which takes one document and one head of keys, chunk by chunk.

use super::{EPS, FeatureMap, Span};
use crate::ops::attention::Heads;
use crate::ops::autograd::{Value, with_rule};
use crate::ops::cpu::math::exp;
use crate::ops::cpu::product::{Matrix, MatrixMut, gemm_f32};
use crate::ops::cpu::storage::{Elements, gradient, tensor};
use candle_core::{Result, Tensor};
use gemm::Parallelism;
use rayon::prelude::*;
use std::ops::Range;

/// Tokens whose weights for each other are computed one by one.
const CHUNK: usize = 64;

pub(super) fn linear_attention(
    inputs: [&Value; 2],
    heads: Heads,
    map: FeatureMap,
    documents: &[Span],
) -> Result<Value> {
    let (tensors, documents) = (inputs.map(|input| input.tensor().clone()), documents.to_vec());
    let y = on(&tensors, heads, map, |inputs| inputs.forward(&documents))?;
    Ok(with_rule(tensor(y, &tensors[0])?, &inputs, move |dy| {
        let dy = dy.contiguous()?;
        let dy = Elements::of(&dy)?;
        let gradients = on(&tensors, heads, map, |inputs| inputs.backward(&documents, &dy))?;
        gradients.into_iter().zip(&tensors).map(|(values, like)| gradient(values, like)).collect()
    }))
}

/// The result of the next tokens of each document, and the states after them.
pub(super) fn step(
    query: &Tensor,
    key_value: &Tensor,
    heads: Heads,
    map: FeatureMap,
    documents: &[Span],
    states: Option<&Tensor>,
) -> Result<(Tensor, Tensor)> {
    let mut states = match states {
        Some(states) => states.flatten_all()?.to_vec1::<f32>()?,
        None => vec![],
    };
    let tensors = [query.clone(), key_value.clone()];
    let (y, rows, columns) = on(&tensors, heads, map, |inputs| {
        let (tasks, columns) = (inputs.tasks(documents), inputs.d_sum());
        states.resize(tasks.len() * inputs.d_head * columns, 0.0);
        let of_tasks = states.par_chunks_exact_mut(inputs.d_head * columns).zip(&tasks);
        let forward =
            |(state, (span, head)): (&mut [f32], &(&Span, usize))| inputs.part(span, *head).forward(state);
        let results: Vec<Vec<f32>> = of_tasks.map(forward).collect();
        let mut y = vec![0.0; inputs.query.len()];
        for ((span, head), result) in tasks.iter().zip(&results) {
            inputs.write(&mut y, &span.rows, *head, result);
        }
        (y, heads.n_kv_heads * inputs.d_head, columns)
    })?;
    let states = Tensor::from_vec(states, (documents.len(), rows, columns), query.device())?;
    Ok((tensor(y, query)?, states))
}

fn on<T>(
    [query, key_value]: &[Tensor; 2],
    heads: Heads,
    map: FeatureMap,
    compute: impl FnOnce(Inputs) -> T,
) -> Result<T> {
    let d_head = query.dim(1)? / heads.n_heads;
    let (query, key_value) = (Elements::of(query)?, Elements::of(key_value)?);
    Ok(compute(Inputs { query: &query, key_value: &key_value, d_head, heads, map }))
}

/// The inputs of one call.
#[derive(Clone, Copy)]
struct Inputs<'a> {
    /// `[n, n_heads·d_head]`.
    query: &'a [f32],
    /// `[n, 2·n_kv_heads·d_head]`.
    key_value: &'a [f32],
    d_head: usize,
    heads: Heads,
    map: FeatureMap,
}

impl Inputs<'_> {
    fn forward(&self, documents: &[Span]) -> Vec<f32> {
        let tasks = self.tasks(documents);
        let forward = |(span, head): &(&Span, usize)| {
            self.part(span, *head).forward(&mut vec![0.0; self.d_head * self.d_sum()])
        };
        let results: Vec<Vec<f32>> = tasks.par_iter().map(forward).collect();
        let mut y = vec![0.0; self.query.len()];
        for ((span, head), result) in tasks.into_iter().zip(&results) {
            self.write(&mut y, &span.rows, head, result);
        }
        y
    }

    /// The gradients of the queries, and of keys and values.
    fn backward(&self, documents: &[Span], dy: &[f32]) -> Vec<Vec<f32>> {
        let (d, group, kv) = (self.d_head, self.heads.group(), self.heads.n_kv_heads);
        let tasks = self.tasks(documents);
        let backward = |(span, head): &(&Span, usize)| {
            let width = group * d;
            let dy = columns(dy, &span.rows, self.heads.n_heads * d, head * width, width);
            self.part(span, *head).backward(&dy)
        };
        let results: Vec<[Vec<f32>; 3]> = tasks.par_iter().map(backward).collect();
        let (mut d_query, mut d_key_value) = (vec![0.0; self.query.len()], vec![0.0; self.key_value.len()]);
        for ((span, head), [query, keys, values]) in tasks.into_iter().zip(&results) {
            self.write(&mut d_query, &span.rows, head, query);
            for (side, part) in [keys, values].into_iter().enumerate() {
                write(&mut d_key_value, &span.rows, 2 * kv * d, (side * kv + head) * d, part, d);
            }
        }
        vec![d_query, d_key_value]
    }

    /// Each document with each head of keys.
    fn tasks<'a>(&self, documents: &'a [Span]) -> Vec<(&'a Span, usize)> {
        documents.iter().flat_map(|span| (0..self.heads.n_kv_heads).map(move |head| (span, head))).collect()
    }

    /// Columns of a sum: those of the values, and one for the sum of the weights if results are divided by it.
    fn d_sum(&self) -> usize {
        self.d_head + usize::from(self.map.is_normalized())
    }

    /// The features of one document and one head of keys.
    fn part(&self, span: &Span, head: usize) -> Part {
        let (d, group, kv) = (self.d_head, self.heads.group(), self.heads.n_kv_heads);
        let map = |mut x: Vec<f32>| {
            if self.map == FeatureMap::Elu {
                x.iter_mut().for_each(|x| *x = if *x > 0.0 { *x + 1.0 } else { exp(*x) });
            }
            x
        };
        let query = |i: usize| {
            map(columns(self.query, &span.rows, self.heads.n_heads * d, (head * group + i) * d, d))
        };
        let of_keys =
            |side: usize| columns(self.key_value, &span.rows, 2 * kv * d, (side * kv + head) * d, d);
        let values = match self.map.is_normalized() {
            false => of_keys(1),
            true => of_keys(1).chunks_exact(d).flat_map(|v| v.iter().copied().chain([1.0])).collect(),
        };
        Part {
            n: span.rows.len(),
            causal: span.causal,
            d,
            d_sum: self.d_sum(),
            scale: if self.map.is_normalized() { 1.0 } else { self.heads.scale },
            queries: (0..group).map(query).collect(),
            keys: map(of_keys(0)),
            values,
        }
    }

    /// Writes the columns `part` of the query heads that share a head of keys.
    fn write(&self, all: &mut [f32], rows: &Range<usize>, head: usize, part: &[f32]) {
        let (width, stride) = (self.heads.group() * self.d_head, self.heads.n_heads * self.d_head);
        write(all, rows, stride, head * width, part, width);
    }
}

/// Copies `width` columns of some rows of a matrix.
fn columns(x: &[f32], rows: &Range<usize>, stride: usize, from: usize, width: usize) -> Vec<f32> {
    rows.clone().flat_map(|row| &x[row * stride + from..][..width]).copied().collect()
}

/// Writes `width` columns of some rows of a matrix.
fn write(all: &mut [f32], rows: &Range<usize>, stride: usize, from: usize, part: &[f32], width: usize) {
    for (row, part) in rows.clone().zip(part.chunks_exact(width)) {
        all[row * stride + from..][..width].copy_from_slice(part);
    }
}

/// One document's features for one head of keys and the query heads that share it.
struct Part {
    n: usize,
    causal: bool,
    d: usize,
    /// Columns of `values` and of sums.
    d_sum: usize,
    scale: f32,
    /// For each query head φ(q), `[n, d]`.
    queries: Vec<Vec<f32>>,
    /// φ(k), `[n, d]`.
    keys: Vec<f32>,
    /// v, `[n, d_sum]`, whose last column is 1 if results are divided by the sum of the weights.
    values: Vec<f32>,
}

impl Part {
    /// The results of the query heads side by side, `[n, heads·d]`. `state` `[d, d_sum]` becomes that after these tokens.
    fn forward(&self, state: &mut [f32]) -> Vec<f32> {
        let width = self.queries.len() * self.d;
        let mut y = vec![0.0; self.n * width];
        self.walk(state, false, &|chunk, state| self.add_keys(chunk, state), &mut |chunk, state| {
            for (head, queries) in self.queries.iter().enumerate() {
                let sums = self.sums(queries, chunk, state);
                for (row, sums) in chunk.clone().zip(sums.chunks_exact(self.d_sum)) {
                    let factor = self.factor(sums);
                    let y = &mut y[row * width + head * self.d..][..self.d];
                    y.iter_mut().zip(sums).for_each(|(y, sum)| *y = factor * sum);
                }
            }
        });
        y
    }

    /// The gradients of the query heads side by side, of the keys, and of the values.
    fn backward(&self, dy: &[f32]) -> [Vec<f32>; 3] {
        let (d, w, heads) = (self.d, self.d_sum, self.queries.len());
        let mut d_query = vec![0.0; self.n * heads * d];
        let mut d_sums = vec![vec![0.0; self.n * w]; heads];
        let mut state = vec![0.0; d * w];
        self.walk(&mut state, false, &|chunk, state| self.add_keys(chunk, state), &mut |chunk, state| {
            for (head, queries) in self.queries.iter().enumerate() {
                let sums = self.sums(queries, chunk, state);
                let d_sums = &mut d_sums[head][chunk.start * w..chunk.end * w];
                for (row, (sums, d_sum)) in
                    chunk.clone().zip(sums.chunks_exact(w).zip(d_sums.chunks_exact_mut(w)))
                {
                    self.d_sums(sums, &dy[(row * heads + head) * d..][..d], d_sum);
                }
                let d_sums = Matrix::new(d_sums, chunk.len(), w);
                let mut dq = product(d_sums, Matrix::new(state, d, w).t());
                if self.causal {
                    let weights = past(product(d_sums, rows(&self.values, chunk, w).t()), chunk.len());
                    add_product(
                        Matrix::new(&weights, chunk.len(), chunk.len()),
                        rows(&self.keys, chunk, d),
                        &mut dq,
                    );
                }
                let target = d_query[chunk.start * heads * d..].chunks_exact_mut(heads * d);
                let sources = dq.chunks_exact(d).zip(queries[chunk.start * d..].chunks_exact(d));
                target.zip(sources).for_each(|(all, (dq, q))| self.unmap(dq, q, &mut all[head * d..][..d]));
            }
        });
        let [d_keys, d_values] = self.backward_keys(&d_sums);
        [d_query, d_keys, d_values]
    }

    /// The gradients of keys and values: a scan from the last chunk to the first, whose state is the gradient of the state.
    fn backward_keys(&self, d_sums: &[Vec<f32>]) -> [Vec<f32>; 2] {
        let (d, w) = (self.d, self.d_sum);
        let (mut d_keys, mut d_values) = (vec![0.0; self.n * d], vec![0.0; self.n * d]);
        let add = |chunk: &Range<usize>, d_state: &mut [f32]| {
            for (queries, d_sums) in self.queries.iter().zip(d_sums) {
                add_product(rows(queries, chunk, d).t(), rows(d_sums, chunk, w), d_state);
            }
        };
        self.walk(&mut vec![0.0; d * w], true, &add, &mut |chunk, d_state| {
            let n = chunk.len();
            let (keys, values) = (rows(&self.keys, chunk, d), rows(&self.values, chunk, w));
            let mut dk = product(values, Matrix::new(d_state, d, w).t()); // [n, d]
            let mut dv = product(keys, Matrix::new(d_state, d, w)); // [n, d_sum]
            for (queries, d_sums) in self.queries.iter().zip(d_sums).filter(|_| self.causal) {
                let (queries, d_sums) = (rows(queries, chunk, d), rows(d_sums, chunk, w));
                let weights = past(product(d_sums, values.t()), n);
                add_product(Matrix::new(&weights, n, n).t(), queries, &mut dk);
                let weights = past(product(queries, keys.t()), n);
                add_product(Matrix::new(&weights, n, n).t(), d_sums, &mut dv);
            }
            for (place, row) in chunk.clone().enumerate() {
                let key = &self.keys[row * d..][..d];
                self.unmap(&dk[place * d..][..d], key, &mut d_keys[row * d..][..d]);
                d_values[row * d..][..d].copy_from_slice(&dv[place * w..][..d]);
            }
        });
        [d_keys, d_values]
    }

    /// Visits each chunk with the state that its tokens read: the sum over the chunks before, or over all if it is not causal.
    fn walk(
        &self,
        state: &mut [f32],
        backwards: bool,
        add: &dyn Fn(&Range<usize>, &mut [f32]),
        visit: &mut dyn FnMut(&Range<usize>, &[f32]),
    ) {
        let chunks = (0..self.n).step_by(CHUNK).map(|start| start..(start + CHUNK).min(self.n));
        let mut chunks: Vec<Range<usize>> = chunks.collect();
        if backwards {
            chunks.reverse();
        }
        for chunk in &chunks {
            if self.causal {
                visit(chunk, state);
            }
            add(chunk, state);
        }
        if !self.causal {
            chunks.iter().for_each(|chunk| visit(chunk, state));
        }
    }

    /// Adds φ(k)ᵀv of a chunk.
    fn add_keys(&self, chunk: &Range<usize>, state: &mut [f32]) {
        add_product(rows(&self.keys, chunk, self.d).t(), rows(&self.values, chunk, self.d_sum), state);
    }

    /// Σ φ(q)·φ(k) v of a chunk's queries, `[chunk, d_sum]`.
    fn sums(&self, queries: &[f32], chunk: &Range<usize>, state: &[f32]) -> Vec<f32> {
        let (queries, n) = (rows(queries, chunk, self.d), chunk.len());
        let mut sums = product(queries, Matrix::new(state, self.d, self.d_sum));
        if self.causal {
            let weights = past(product(queries, rows(&self.keys, chunk, self.d).t()), n);
            add_product(Matrix::new(&weights, n, n), rows(&self.values, chunk, self.d_sum), &mut sums);
        }
        sums
    }

    /// The factor from a sum to the result.
    fn factor(&self, sums: &[f32]) -> f32 {
        match sums.get(self.d) {
            Some(total) => 1.0 / (total + EPS),
            None => self.scale,
        }
    }

    /// The gradient of a sum.
    fn d_sums(&self, sums: &[f32], dy: &[f32], d_sums: &mut [f32]) {
        let factor = self.factor(sums);
        d_sums.iter_mut().zip(dy).for_each(|(d_sum, dy)| *d_sum = factor * dy);
        if let Some(d_total) = d_sums.get_mut(self.d) {
            let y_dy: f32 = sums.iter().zip(dy).map(|(sum, dy)| factor * sum * dy).sum();
            *d_total = -factor * y_dy;
        }
    }

    /// The gradient of x from that of φ(x).
    fn unmap(&self, d_features: &[f32], features: &[f32], dx: &mut [f32]) {
        let elu = self.d_sum > self.d;
        for ((dx, d_feature), feature) in dx.iter_mut().zip(d_features).zip(features) {
            // The slope of elu(x) + 1 is eˣ below 0, which is the feature, and 1 above.
            *dx = if elu { d_feature * feature.min(1.0) } else { *d_feature };
        }
    }
}

/// The rows of a chunk.
fn rows<'a>(x: &'a [f32], chunk: &Range<usize>, width: usize) -> Matrix<'a> {
    Matrix::new(&x[chunk.start * width..chunk.end * width], chunk.len(), width)
}

/// a·b, row-major.
fn product(a: Matrix, b: Matrix) -> Vec<f32> {
    let mut c = vec![0.0; a.rows() * b.cols()];
    add_product(a, b, &mut c);
    c
}

/// c ← c + a·b.
fn add_product(a: Matrix, b: Matrix, c: &mut [f32]) {
    gemm_f32(1.0, a, b, 1.0, MatrixMut::new(c, a.rows(), b.cols()), Parallelism::None);
}

/// Weights `[n, n]` with those of later keys set to 0.
fn past(mut weights: Vec<f32>, n: usize) -> Vec<f32> {
    weights.chunks_exact_mut(n).enumerate().for_each(|(row, weights)| weights[row + 1..].fill(0.0));
    weights
}
