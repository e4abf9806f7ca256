//! The CPU kernel: blocks of rows in parallel.

use crate::ops::autograd::{Value, with_rule};
use crate::ops::cpu::blank::{by_blocks_with, zeroed};
use crate::ops::cpu::math::{add, sum, sum_by, sum_by2, vectorize};
use crate::ops::cpu::rows::{add_in_order, rows_in_block};
use crate::ops::cpu::storage::{Elements, gradient, tensor};
use candle_core::{Result, Tensor};

/// `inputs` are x, the weight, and the bias, if any.
pub(super) fn norm(inputs: &[&Value], eps: f64, centre: bool) -> Result<Value> {
    let norm = Norm { eps: eps as f32, centre };
    let t: Vec<Tensor> = inputs.iter().map(|input| input.tensor().clone()).collect();
    let bias = t.get(2).map(Elements::of).transpose()?;
    let (y, rows) = norm.forward(&Elements::of(&t[0])?, &Elements::of(&t[1])?, bias.as_deref());
    let y = tensor(y, &t[0])?;
    drop(bias);
    Ok(with_rule(y, inputs, move |dy| {
        let dy = dy.contiguous()?;
        let gradients =
            norm.backward(&Elements::of(&t[0])?, &Elements::of(&t[1])?, &Elements::of(&dy)?, &rows);
        gradients.into_iter().zip(&t).map(|(values, like)| gradient(values, like)).collect()
    }))
}

/// The mean and scale of one row.
#[derive(Clone, Copy, Default)]
struct Row {
    mean: f32,
    /// 1/√(variance + eps).
    scale: f32,
}

struct Norm {
    eps: f32,
    centre: bool,
}

impl Norm {
    /// The result, and what backward needs of each row.
    fn forward(&self, x: &[f32], weight: &[f32], bias: Option<&[f32]>) -> (Vec<f32>, Vec<Row>) {
        let d = weight.len();
        let block = rows_in_block(x.len() / d, d);
        let (y, rows) = by_blocks_with(x.len(), block * d, |number, y| {
            let (y, x) = (zeroed(y), &x[number * block * d..]);
            let normalized = vectorize(
                #[inline(always)]
                || {
                    let normalize = |(y, x): (&mut [f32], &[f32])| {
                        let row = self.measure(x);
                        normalize(y, x, row, weight, bias);
                        row
                    };
                    y.chunks_exact_mut(d).zip(x.chunks_exact(d)).map(normalize).collect::<Vec<Row>>()
                },
            );
            (y, normalized)
        });
        (y, rows.concat())
    }

    /// The mean and scale of a row, in two passes: the row is in the cache, and no digits are lost to cancellation.
    #[inline(always)]
    fn measure(&self, x: &[f32]) -> Row {
        let d = x.len() as f32;
        let mean = if self.centre { sum(x) / d } else { 0.0 };
        let variance = sum_by(
            x,
            #[inline(always)]
            |x| (x - mean) * (x - mean),
        ) / d;
        Row { mean, scale: 1.0 / (variance + self.eps).sqrt() }
    }

    /// The gradients of x, of the weight and of the bias.
    fn backward(&self, x: &[f32], weight: &[f32], dy: &[f32], rows: &[Row]) -> [Vec<f32>; 3] {
        let d = weight.len();
        let block = rows_in_block(x.len() / d, d);
        let (dx, sums) = by_blocks_with(x.len(), block * d, |number, dx| {
            let (first, dx) = (number * block, zeroed(dx));
            let inputs =
                x[first * d..].chunks_exact(d).zip(dy[first * d..].chunks_exact(d)).zip(&rows[first..]);
            let (mut dw, mut db) = (vec![0.0; d], vec![0.0; d]);
            vectorize(
                #[inline(always)]
                || {
                    for (dx, ((x, dy), row)) in dx.chunks_exact_mut(d).zip(inputs) {
                        self.backward_row(dx, x, dy, *row, weight);
                        add_parameter_gradients(&mut dw, &mut db, x, dy, *row);
                    }
                },
            );
            (dx, (dw, db))
        });
        let (dw, db) = sums.into_iter().unzip();
        [dx, add_in_order(dw, d), add_in_order(db, d)]
    }

    /// dx = scale·(g − mean(g) − x̂·mean(g·x̂)) with g = dy·weight and x̂ the normalised row; without centring
    /// there is no mean(g).
    #[inline(always)]
    fn backward_row(&self, dx: &mut [f32], x: &[f32], dy: &[f32], row: Row, weight: &[f32]) {
        let Row { mean, scale } = row;
        for ((g, &dy), &weight) in dx.iter_mut().zip(dy).zip(weight) {
            *g = dy * weight;
        }
        let d = x.len() as f32;
        let mean_g = if self.centre { sum(dx) / d } else { 0.0 };
        let mean_gx = sum_by2(
            dx,
            x,
            #[inline(always)]
            |g, x| g * (x - mean),
        ) * scale
            / d;
        for (dx, &x) in dx.iter_mut().zip(x) {
            *dx = scale * (*dx - mean_g - (x - mean) * scale * mean_gx);
        }
    }
}

/// y = (x − mean)·scale·weight + bias.
#[inline(always)]
fn normalize(y: &mut [f32], x: &[f32], row: Row, weight: &[f32], bias: Option<&[f32]>) {
    for ((y, &x), &weight) in y.iter_mut().zip(x).zip(weight) {
        *y = (x - row.mean) * row.scale * weight;
    }
    if let Some(bias) = bias {
        add(y, bias);
    }
}

/// dw += dy·x̂ and db += dy.
#[inline(always)]
fn add_parameter_gradients(dw: &mut [f32], db: &mut [f32], x: &[f32], dy: &[f32], row: Row) {
    for (((dw, db), &x), &dy) in dw.iter_mut().zip(db).zip(x).zip(dy) {
        *dw += dy * (x - row.mean) * row.scale;
        *db += dy;
    }
}
