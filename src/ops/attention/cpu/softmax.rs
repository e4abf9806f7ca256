//! The softmax of a row of scores, whose masked keys get weight 0.

use crate::ops::cpu::math;
use std::ops::Range;

/// Replaces a row of scores by attention weights, 0 for masked keys; returns the log-sum-exp.
pub(super) fn masked_softmax(row: &mut [f32], runs: &[Range<usize>], first: usize) -> f32 {
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
