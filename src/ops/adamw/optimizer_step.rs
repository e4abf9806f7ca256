//! An AdamW step of all parameters together, with gradient clipping.

use super::{AdamwSettings, AdamwStep, square_sum};
use crate::ops::dispatch::dispatch;
use candle_core::{Device, Result, Tensor, Var};
use rayon::prelude::*;

/// One parameter, its gradient, and its optimizer state.
#[derive(Clone, Copy)]
pub struct AdamwParameter<'a> {
    /// The parameter.
    pub parameter: &'a Var,
    /// Of the parameter's shape.
    pub gradient: &'a Tensor,
    /// The moving mean of its gradients.
    pub mean: &'a Var,
    /// The moving mean of their squares.
    pub square: &'a Var,
    /// The moving average of the parameter, if wanted.
    pub average: Option<&'a Var>,
    /// Whether weight decay applies to it.
    pub decays: bool,
}

/// One step of the optimizer over all parameters.
#[derive(Clone, Copy, Debug)]
pub struct OptimizerStep {
    /// The constants.
    pub settings: AdamwSettings,
    /// The learning rate of this step.
    pub learning_rate: f64,
    /// Number of the step, counted from 1.
    pub step: u64,
    /// Largest norm of all gradients together; 0 for no clipping.
    pub clip: f64,
    /// Decay of the moving averages.
    pub average_decay: f64,
}

impl OptimizerStep {
    /// Updates every parameter and its average, in parallel. Returns the Euclidean norm of all gradients, a scalar that the
    /// device may still have to compute. If the norm is not finite, nothing changes.
    ///
    /// # Errors
    /// If shapes differ, or a variable is passed twice.
    pub fn apply(&self, all: &[AdamwParameter]) -> Result<Tensor> {
        let Some(first) = all.first() else { return Tensor::new(0.0, &Device::Cpu) };
        dispatch!(first.gradient;
            cuda if all.iter().all(|one| crate::cuda::has_kernel(one.gradient)) => super::cuda::step(self, all),
            reference => self.apply_one_by_one(all))
    }

    fn apply_one_by_one(&self, all: &[AdamwParameter]) -> Result<Tensor> {
        let squares = all.par_iter().map(|one| square_sum(one.gradient)).collect::<Result<Vec<f64>>>()?;
        let norm = squares.iter().sum::<f64>().sqrt();
        if !norm.is_finite() {
            return Tensor::new(norm, &Device::Cpu);
        }
        let scale = if self.clip > 0.0 && norm > self.clip { self.clip / norm } else { 1.0 };
        all.par_iter().try_for_each(|one| {
            let average = one.average.map(|average| (average, self.average_decay));
            let step = self.of_one(scale, one.decays);
            step.apply(one.parameter, one.gradient, one.mean, one.square, average)
        })?;
        Tensor::new(norm, &Device::Cpu)
    }

    /// The step of one parameter.
    pub(super) fn of_one(&self, gradient_scale: f64, decays: bool) -> AdamwStep {
        let weight_decay = if decays { self.settings.weight_decay } else { 0.0 };
        let settings = AdamwSettings { weight_decay, ..self.settings };
        AdamwStep { settings, learning_rate: self.learning_rate, step: self.step, gradient_scale }
    }
}
