//! AdamW: Adam with decoupled weight decay (Loshchilov & Hutter 2019), in place.
//!
//! One pass over parameter, gradient and both moments: 28 bytes and about 12 FLOP an element, bound by memory.

mod cpu;
#[cfg(feature = "cuda")]
pub(super) mod cuda;
mod optimizer_step;
mod reference;

use super::dispatch::{Kernels, dispatch};
use candle_core::{DType, Result, Tensor, Var, bail};
use serde::{Deserialize, Serialize};

pub use optimizer_step::{AdamwParameter, OptimizerStep};

/// The constants of AdamW, with PyTorch's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamwSettings {
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of squared gradients.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Share of each parameter that a step of learning rate 1 removes.
    pub weight_decay: f64,
}

impl Default for AdamwSettings {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01 }
    }
}

/// One AdamW step for one parameter.
#[derive(Clone, Copy, Debug)]
pub struct AdamwStep {
    /// The constants.
    pub settings: AdamwSettings,
    /// The learning rate of this step.
    pub learning_rate: f64,
    /// Number of the step, counted from 1, for the bias correction.
    pub step: u64,
    /// Factor of the gradient from gradient clipping; 1 for no clipping.
    pub gradient_scale: f64,
}

impl AdamwStep {
    /// Updates `parameter` and its moments: `mean` of the gradients and `square`, that of their squares.
    ///
    /// The moments start as zeros. `average` is the moving average of the parameter and its decay.
    ///
    /// # Errors
    /// If a tensor has another shape than the parameter, a variable is passed twice, or the step is 0.
    pub fn apply(
        &self,
        parameter: &Var,
        gradient: &Tensor,
        mean: &Var,
        square: &Var,
        average: Option<(&Var, f64)>,
    ) -> Result<()> {
        let shapes = [gradient.dims(), mean.dims(), square.dims()];
        if shapes.iter().any(|dims| *dims != parameter.dims()) {
            bail!("adamw: parameter is {:?}; found gradient and moments {shapes:?}", parameter.dims())
        }
        if parameter.id() == mean.id() || parameter.id() == square.id() || mean.id() == square.id() {
            bail!("adamw: parameter and moments must be three variables")
        }
        if self.step == 0 {
            bail!("adamw: steps are counted from 1")
        }
        let others = [gradient, mean, square];
        dispatch!(parameter.as_tensor();
            cpu if others.into_iter().all(|x| Kernels::of(x) == Kernels::Cpu) =>
                cpu::step(self, parameter, gradient, [mean, square], average),
            reference => reference::step(self, parameter, gradient, [mean, square], average))
    }

    /// 1 − βᵗ for both moments: the bias of moments that start at 0.
    fn corrections(&self) -> (f64, f64) {
        let correction = |beta: f64| 1.0 - beta.powf(self.step as f64);
        (correction(self.settings.beta1), correction(self.settings.beta2))
    }
}

/// Σ gᵢ² in `f64`: the square of a gradient's norm, for clipping. Bit-reproducible.
pub fn square_sum(gradient: &Tensor) -> Result<f64> {
    dispatch!(gradient;
        cpu => cpu::square_sum(gradient),
        reference => gradient.sqr()?.sum_all()?.to_dtype(DType::F64)?.to_scalar())
}

/// The factors of a step, rounded once.
struct Factors {
    gradient_scale: f32,
    beta1: f32,
    beta2: f32,
    /// 1 − β, rounded from the exact difference.
    rest1: f32,
    rest2: f32,
    decay_factor: f32,
    rate: f32,
    by_root_correction: f32,
    eps: f32,
}

impl Factors {
    fn new(step: &AdamwStep) -> Self {
        let AdamwSettings { beta1, beta2, eps, weight_decay } = step.settings;
        let (correction1, correction2) = step.corrections();
        Self {
            gradient_scale: step.gradient_scale as f32,
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            rest1: (1.0 - beta1) as f32,
            rest2: (1.0 - beta2) as f32,
            decay_factor: (1.0 - step.learning_rate * weight_decay) as f32,
            rate: (step.learning_rate / correction1) as f32,
            by_root_correction: (1.0 / correction2.sqrt()) as f32,
            eps: eps as f32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, random};
    use candle_core::Device;

    fn step(step: u64) -> AdamwStep {
        let settings = AdamwSettings { weight_decay: 0.1, ..Default::default() };
        AdamwStep { settings, learning_rate: 0.02, step, gradient_scale: 0.5 }
    }

    #[test]
    fn values_match_the_published_formula() -> Result<()> {
        // Algorithm 2 of the paper in f64, for one parameter.
        let (mut p, mut m, mut v) = (0.7_f64, 0.0_f64, 0.0_f64);
        let parameter = Var::new(&[0.7_f32], &Device::Cpu)?;
        let (mean, square) = (Var::new(&[0_f32], &Device::Cpu)?, Var::new(&[0_f32], &Device::Cpu)?);
        for (t, gradient) in [0.3_f32, -1.2, 0.05, 2.0].into_iter().enumerate() {
            let (g, t) = (f64::from(gradient) * 0.5, t as i32 + 1);
            (m, v) = (0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g);
            let (m_hat, v_hat) = (m / (1.0 - 0.9_f64.powi(t)), v / (1.0 - 0.999_f64.powi(t)));
            p -= 0.02 * 0.1 * p + 0.02 * m_hat / (v_hat.sqrt() + 1e-8);
            step(t as u64).apply(
                &parameter,
                &Tensor::new(&[gradient], &Device::Cpu)?,
                &mean,
                &square,
                None,
            )?;
            assert!((f64::from(parameter.to_vec1::<f32>()?[0]) - p).abs() < 1e-6, "step {t}");
        }
        Ok(())
    }

    #[test]
    fn kernel_matches_the_reference() -> Result<()> {
        for shape in [&[1][..], &[0], &[3, 5], &[40, 1001]] {
            let new = || -> Result<[Var; 3]> {
                let zeros = || Var::from_tensor(&random(shape, 0)?.zeros_like()?);
                Ok([Var::from_tensor(&random(shape, 1)?)?, zeros()?, zeros()?])
            };
            let (actual, expected) = (new()?, new()?);
            for t in 1..4 {
                let gradient = random(shape, 10 + t)?;
                step(t).apply(&actual[0], &gradient, &actual[1], &actual[2], None)?;
                reference::step(&step(t), &expected[0], &gradient, [&expected[1], &expected[2]], None)?;
            }
            for (actual, expected) in actual.iter().zip(&expected) {
                assert_close("state", actual, expected, 1e-6)?;
            }
        }
        Ok(())
    }

    #[test]
    fn a_gradient_may_be_strided() -> Result<()> {
        let new = || Var::from_tensor(&random(&[3, 4], 1)?.zeros_like()?);
        let (gradient, variables) = (random(&[4, 3], 2)?.t()?, [new()?, new()?, new()?]);
        step(1).apply(&variables[0], &gradient, &variables[1], &variables[2], None)?;
        assert_close("mean", &variables[1], &(gradient * 0.05)?, 1e-6)
    }

    #[test]
    fn square_sum_is_the_squared_norm() -> Result<()> {
        for shape in [&[0][..], &[1], &[300, 333]] {
            let x = random(shape, 3)?;
            let expected: f64 =
                x.flatten_all()?.to_vec1::<f32>()?.iter().map(|&x| f64::from(x).powi(2)).sum();
            assert!((square_sum(&x)? - expected).abs() <= 1e-6 * expected);
        }
        let x = random(&[5, 7], 3)?;
        assert!((square_sum(&x.t()?)? - square_sum(&x.to_dtype(DType::F64)?)?).abs() < 1e-4);
        Ok(())
    }

    #[test]
    fn wrong_shapes_shared_variables_and_step_zero_are_errors() -> Result<()> {
        let new = |n: usize| Var::from_tensor(&random(&[n], 1)?);
        let (p, m, v) = (new(3)?, new(3)?, new(3)?);
        assert!(step(1).apply(&p, &random(&[4], 2)?, &m, &v, None).is_err());
        assert!(step(1).apply(&p, &random(&[3], 2)?, &m, &new(2)?, None).is_err());
        assert!(step(1).apply(&p, &random(&[3], 2)?, &m, &m, None).is_err());
        assert!(step(0).apply(&p, &random(&[3], 2)?, &m, &v, None).is_err());
        Ok(())
    }
}
