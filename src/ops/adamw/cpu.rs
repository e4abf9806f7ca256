//! The CPU kernel: blocks of elements in parallel.

use super::{AdamwStep, Factors};
use crate::ops::cpu::math::{BLOCK, dot, vectorize};
use crate::ops::cpu::storage::{Elements, update};
use candle_core::{Result, Tensor, Var};
use rayon::prelude::*;

pub(super) fn step(
    step: &AdamwStep,
    parameter: &Var,
    gradient: &Tensor,
    [mean, square]: [&Var; 2],
    average: Option<(&Var, f64)>,
) -> Result<()> {
    let gradient = gradient.contiguous()?;
    let gradient = Elements::of(&gradient)?;
    let factors = Factors::new(step);
    update(parameter, |parameter| {
        update(mean, |mean| update(square, |square| factors.apply(parameter, &gradient, mean, square)))??;
        average.map_or(Ok(()), |(average, decay)| {
            update(average, |average| update_average(average, parameter, decay as f32))
        })
    })?
}

/// Σ gᵢ² in `f64`.
pub(super) fn square_sum(gradient: &Tensor) -> Result<f64> {
    let gradient = gradient.contiguous()?;
    let sums: Vec<f64> = Elements::of(&gradient)?
        .par_chunks(BLOCK)
        .map(|block| {
            f64::from(vectorize(
                #[inline(always)]
                || dot(block, block),
            ))
        })
        .collect();
    Ok(sums.iter().sum())
}

/// average ← decay·average + (1 − decay)·value.
fn update_average(average: &mut [f32], value: &[f32], decay: f32) {
    average.par_chunks_mut(BLOCK).zip(value.par_chunks(BLOCK)).for_each(|(average, value)| {
        vectorize(
            #[inline(always)]
            || {
                for (average, &value) in average.iter_mut().zip(value) {
                    *average = decay * *average + (1.0 - decay) * value;
                }
            },
        )
    });
}

impl Factors {
    fn apply(&self, parameter: &mut [f32], gradient: &[f32], mean: &mut [f32], square: &mut [f32]) {
        let moments = mean.par_chunks_mut(BLOCK).zip(square.par_chunks_mut(BLOCK));
        let blocks = parameter.par_chunks_mut(BLOCK).zip(gradient.par_chunks(BLOCK)).zip(moments);
        blocks.for_each(|((parameter, gradient), (mean, square))| {
            vectorize(
                #[inline(always)]
                || {
                    let moments = mean.iter_mut().zip(square);
                    for ((p, &g), (m, v)) in parameter.iter_mut().zip(gradient).zip(moments) {
                        let g = g * self.gradient_scale;
                        *m = self.beta1 * *m + self.rest1 * g;
                        *v = self.beta2 * *v + self.rest2 * (g * g);
                        *p = self.decay_factor * *p
                            - self.rate * *m / (v.sqrt() * self.by_root_correction + self.eps);
                    }
                },
            )
        });
    }
}
