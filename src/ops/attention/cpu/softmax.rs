//! The softmax of a row of scores, whose masked keys get weight 0.

use crate::ops::cpu::math;
use std::ops::Range;

/// The softmax of a query over tiles of keys, one after the other (Milakov and Gimelshein 2018).
#[derive(Clone, Copy)]
pub(super) struct OnlineSoftmax {
    /// The highest score so far.
    highest: f32,
    /// Σ exp(score − highest).
    total: f32,
}

impl Default for OnlineSoftmax {
    fn default() -> Self {
        Self { highest: f32::NEG_INFINITY, total: 0.0 }
    }
}

impl OnlineSoftmax {
    /// Replaces the scores of a tile by exp(score − highest), 0 for masked keys. `y` is the sum of values so far with such
    /// weights, which is scaled to the new highest score. `first` is the tile's first key.
    pub fn add(&mut self, row: &mut [f32], runs: &[Range<usize>], first: usize, y: &mut [f32]) {
        let in_row = |run: &Range<usize>| run.start - first..run.end - first;
        math::vectorize(
            #[inline(always)]
            || {
                let highest =
                    runs.iter().fold(self.highest, |most, run| most.max(math::max(&row[in_row(run)])));
                if highest > self.highest {
                    let scale = if self.total > 0.0 { math::exp(self.highest - highest) } else { 0.0 };
                    self.total *= scale;
                    y.iter_mut().for_each(|y| *y *= scale);
                    self.highest = highest;
                }
                let mut end = 0;
                for run in runs.iter().map(in_row) {
                    row[end..run.start].fill(0.0);
                    row[run.clone()].iter_mut().for_each(|score| *score = math::exp(*score - highest));
                    self.total += math::sum(&row[run.clone()]);
                    end = run.end;
                }
                row[end..].fill(0.0);
            },
        )
    }

    /// Divides the sum of values by that of the weights; returns the log-sum-exp. A query without keys has 0 and −∞.
    pub fn finish(&self, y: &mut [f32]) -> f32 {
        let inverse = if self.total > 0.0 { 1.0 / self.total } else { 0.0 };
        y.iter_mut().for_each(|y| *y *= inverse);
        self.highest + self.total.ln()
    }
}

/// Replaces a row of scores by weights, and a row of dy·vᵀ by the gradient of the scores: ds = w·(dw − Σ w·dw), where
/// the sum is y·dy.
pub(super) fn softmax_backward(
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
