//! The CPU kernel: tasks in parallel, each of which takes some heads of one document.

mod bias;
mod block;
mod parts;
mod softmax;

use super::{Distances, Heads};
use crate::ops::autograd::{Value, with_rule};
use crate::ops::cpu::blank::zeros;
use crate::ops::cpu::product::Matrix;
use crate::ops::cpu::rows::add_in_order;
use crate::ops::cpu::storage::{Elements, gradient, tensor};
use crate::rules::AttentionMask;
use bias::Biases;
use block::Upstream;
use candle_core::{Result, Tensor};
use parts::cut;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// `inputs` are queries, keys and values, and the table of biases if they are learned.
pub(super) fn attention(
    inputs: &[&Value],
    distances: Option<Distances>,
    heads: Heads,
    mask: &Arc<AttentionMask>,
) -> Result<Value> {
    let call =
        Call { tensors: inputs.iter().map(|input| input.tensor().clone()).collect(), distances, heads };
    let (y, saved) = call.on(mask, |inputs| inputs.forward())?;
    let y = tensor(y, &call.tensors[0])?;
    let (output, mask) = (y.clone(), mask.clone());
    Ok(with_rule(y, inputs, move |dy| {
        let dy = dy.contiguous()?;
        let (y, dy) = (Elements::of(&output)?, Elements::of(&dy)?);
        let gradients = call.on(&mask, |inputs| inputs.backward(&y, &dy, &saved))?;
        gradients.into_iter().zip(&call.tensors).map(|(values, like)| gradient(values, like)).collect()
    }))
}

/// The inputs that forward and backward of one call share.
struct Call {
    /// Queries; keys and values; the table of biases, if any.
    tensors: Vec<Tensor>,
    distances: Option<Distances>,
    heads: Heads,
}

impl Call {
    fn on<T>(&self, mask: &AttentionMask, compute: impl FnOnce(Inputs) -> T) -> Result<T> {
        let (query, key_value) = (Elements::of(&self.tensors[0])?, Elements::of(&self.tensors[1])?);
        let table = self.tensors.get(2).map(Elements::of).transpose()?;
        let table = table.as_deref().unwrap_or_default();
        let bias = self.distances.as_ref().map(|by| Biases::new(by, table, self.heads.n_heads));
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

/// The side of the keys in a row of keys and values.
const KEYS: usize = 0;
/// The side of the values.
const VALUES: usize = 1;

/// The inputs of one call and how to cut them.
#[derive(Clone, Copy)]
struct Inputs<'a> {
    /// `[n, d]`.
    query: &'a [f32],
    /// `[m, 2·n_kv_heads·d_head]`.
    key_value: &'a [f32],
    /// The biases of scores.
    bias: Option<&'a Biases<'a>>,
    d: usize,
    heads: Heads,
    mask: &'a AttentionMask,
}

/// The values that forward saves for backward.
struct Saved {
    /// ln Σ exp(score) of each query and head, part by part; −∞ for a query without keys.
    log_sum_exp: Vec<f32>,
    /// The size of the parts, which depends on the number of threads during forward.
    kv_heads_of_part: usize,
}

impl Inputs<'_> {
    /// The result `[n, d]`, parts in parallel.
    fn forward(&self) -> (Vec<f32>, Saved) {
        let kv_heads = self.kv_heads_of_part();
        let (parts, heads) = (self.parts(kv_heads), kv_heads * self.heads.group());
        let (n, _) = self.mask.shape();
        let mut y = zeros(n * self.d);
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
    fn backward(&self, y: &[f32], dy: &[f32], saved: &Saved) -> Vec<Vec<f32>> {
        let kv_heads = saved.kv_heads_of_part;
        let (parts, heads) = (self.parts(kv_heads), kv_heads * self.heads.group());
        let (mut d_query, mut d_key_value) = (zeros(self.query.len()), zeros(self.key_value.len()));
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
        let learned = self.bias.and_then(Biases::learned);
        gradients.extend(learned.map(|bias| bias.table_gradient(&add_in_order(d_biases, bias.values.len()))));
        gradients
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

    /// The [`KEYS`] or [`VALUES`] of a query head.
    fn keys_or_values(&self, rows: &Range<usize>, head: usize, side: usize) -> Matrix<'_> {
        let kv_head = head / self.heads.group();
        let start = rows.start * 2 * self.d_keys() + side * self.d_keys() + kv_head * self.d_head();
        Matrix::strided(&self.key_value[start..], rows.len(), self.d_head(), 2 * self.d_keys())
    }

    fn keys(&self, rows: &Range<usize>, head: usize) -> Matrix<'_> {
        self.keys_or_values(rows, head, KEYS)
    }

    fn values(&self, rows: &Range<usize>, head: usize) -> Matrix<'_> {
        self.keys_or_values(rows, head, VALUES)
    }
}
