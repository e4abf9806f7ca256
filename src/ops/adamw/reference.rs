//! In candle's own operations.

use super::{AdamwSettings, AdamwStep};
use candle_core::{Result, Tensor, Var};

/// [`AdamwStep::apply`].
pub(super) fn step(
    step: &AdamwStep,
    parameter: &Var,
    gradient: &Tensor,
    [mean, square]: [&Var; 2],
    average: Option<(&Var, f64)>,
) -> Result<()> {
    if parameter.elem_count() == 0 {
        return Ok(()); // candle returns the same storage, which `set` rejects
    }
    let AdamwSettings { beta1, beta2, eps, weight_decay } = step.settings;
    let (correction1, correction2) = step.corrections();
    let gradient = (gradient.detach() * step.gradient_scale)?;
    let new_mean = ((mean.as_detached_tensor() * beta1)? + (&gradient * (1.0 - beta1))?)?;
    let new_square = ((square.as_detached_tensor() * beta2)? + (gradient.sqr()? * (1.0 - beta2))?)?;
    let root = ((&new_square / correction2)?.sqrt()? + eps)?;
    let decayed = (parameter.as_detached_tensor() * (1.0 - step.learning_rate * weight_decay))?;
    parameter.set(&(decayed - ((&new_mean / root)? * (step.learning_rate / correction1))?)?)?;
    mean.set(&new_mean)?;
    square.set(&new_square)?;
    average.map_or(Ok(()), |(average, decay)| {
        let old = (average.as_detached_tensor() * decay)?;
        average.set(&(old + (parameter.as_detached_tensor() * (1.0 - decay))?)?)
    })
}
