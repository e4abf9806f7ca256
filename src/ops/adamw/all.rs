//! A step of all parameters together, along gradients that are clipped to a norm.

use super::{AdamwSettings, AdamwStep, square_sum};
use candle_core::{Device, Result, Tensor, Var};
use rayon::prelude::*;

/// One parameter, its gradient, and what moves with it.
#[derive(Clone, Copy)]
pub struct Moved<'a> {
    /// The parameter.
    pub parameter: &'a Var,
    /// Of the parameter's shape.
    pub gradient: &'a Tensor,
    /// The mean of its gradients.
    pub mean: &'a Var,
    /// The mean of their squares.
    pub square: &'a Var,
    /// The moving average of the parameter.
    pub average: Option<&'a Var>,
    /// Whether weight decay is for it.
    pub decays: bool,
}

/// One step of the optimizer over all parameters.
#[derive(Clone, Copy, Debug)]
pub struct StepOfAll {
    /// The constants.
    pub settings: AdamwSettings,
    /// The learning rate of this step.
    pub learning_rate: f64,
    /// Which step it is, counted from 1.
    pub step: u64,
    /// The largest norm of all gradients together; 0 for any.
    pub clip: f64,
    /// Decay of the moving averages.
    pub average_decay: f64,
}

impl StepOfAll {
    /// Moves every parameter along its gradient, and its average. All parameters are one piece of parallel work. Gives the
    /// Euclidean norm over all gradients, a scalar of the device that computes it, which may not have come so far; where it
    /// is not finite, nothing moves.
    ///
    /// # Errors
    /// Where shapes differ, or a variable is given twice.
    pub fn take(&self, all: &[Moved]) -> Result<Tensor> {
        #[cfg(feature = "cuda")]
        if all.iter().all(|moved| crate::ops::cuda::has_kernel(moved.gradient)) && !all.is_empty() {
            let [b1, b2, r1, r2, keep, rate, root, eps] =
                super::Kernel::new(&self.of_one(1.0, true)).numbers();
            let (clip, decay) = (self.clip as f32, self.average_decay as f32);
            let factors = [b1, b2, r1, r2, keep, rate, root, eps, clip, decay];
            return crate::ops::cuda::step(all, factors);
        }
        let squares = all.par_iter().map(|moved| square_sum(moved.gradient)).collect::<Result<Vec<f64>>>()?;
        let norm = squares.iter().sum::<f64>().sqrt();
        if !norm.is_finite() {
            return Tensor::new(norm, &Device::Cpu);
        }
        let scale = if self.clip > 0.0 && norm > self.clip { self.clip / norm } else { 1.0 };
        all.par_iter().try_for_each(|moved| {
            let average = moved.average.map(|average| (average, self.average_decay));
            let step = self.of_one(scale, moved.decays);
            step.apply(moved.parameter, moved.gradient, moved.mean, moved.square, average)
        })?;
        Tensor::new(norm, &Device::Cpu)
    }

    fn of_one(&self, gradient_scale: f64, decays: bool) -> AdamwStep {
        let weight_decay = if decays { self.settings.weight_decay } else { 0.0 };
        let settings = AdamwSettings { weight_decay, ..self.settings };
        AdamwStep { settings, learning_rate: self.learning_rate, step: self.step, gradient_scale }
    }
}
