//! A step of all parameters together, along gradients that are clipped to a norm.

use super::{AdamwSettings, AdamwStep, square_sum};
use candle_core::{DType, Result, Tensor, Var};
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

/// The Euclidean norm over all gradients.
#[derive(Clone, Debug)]
pub enum Norm {
    /// Known here.
    Known(f64),
    /// A scalar on the GPU, which may not have come so far.
    There(Tensor),
}

impl Norm {
    /// The number; waits for the GPU where it is there.
    ///
    /// # Errors
    /// Where the GPU failed.
    pub fn value(&self) -> Result<f64> {
        match self {
            Self::Known(norm) => Ok(*norm),
            Self::There(norm) => norm.to_dtype(DType::F64)?.to_scalar(),
        }
    }
}

impl StepOfAll {
    /// Moves every parameter along its gradient, and its average. Nothing moves where the norm is not finite. All
    /// parameters are one piece of parallel work.
    ///
    /// # Errors
    /// Where shapes differ, or a variable is given twice.
    pub fn take(&self, all: &[Moved]) -> Result<Norm> {
        #[cfg(feature = "cuda")]
        if all.iter().all(|moved| crate::ops::cuda::has_kernel(moved.gradient)) && !all.is_empty() {
            let [b1, b2, r1, r2, keep, rate, root, eps] =
                super::Kernel::new(&self.of_one(1.0, true)).numbers();
            let (clip, decay) = (self.clip as f32, self.average_decay as f32);
            let factors = [b1, b2, r1, r2, keep, rate, root, eps, clip, decay];
            return crate::ops::cuda::step(all, factors).map(Norm::There);
        }
        let squares = all.par_iter().map(|moved| square_sum(moved.gradient)).collect::<Result<Vec<f64>>>()?;
        let norm = squares.iter().sum::<f64>().sqrt();
        if !norm.is_finite() {
            return Ok(Norm::Known(norm));
        }
        let scale = if self.clip > 0.0 && norm > self.clip { self.clip / norm } else { 1.0 };
        all.par_iter().try_for_each(|moved| {
            let average = moved.average.map(|average| (average, self.average_decay));
            let step = self.of_one(scale, moved.decays);
            step.apply(moved.parameter, moved.gradient, moved.mean, moved.square, average)
        })?;
        Ok(Norm::Known(norm))
    }

    fn of_one(&self, gradient_scale: f64, decays: bool) -> AdamwStep {
        let weight_decay = if decays { self.settings.weight_decay } else { 0.0 };
        let settings = AdamwSettings { weight_decay, ..self.settings };
        AdamwStep { settings, learning_rate: self.learning_rate, step: self.step, gradient_scale }
    }
}
