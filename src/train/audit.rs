//! The gradient audit: after the first backward pass, every parameter that the batch used has a gradient.

use crate::model::Params;
use crate::ops::Gradients;
use candle_core::{DType, Result};

/// What the audit found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Used by the batch, but not reached: some operation cut the gradient.
    pub unreached: Vec<String>,
    /// Reached, with a gradient that is infinite or not a number.
    pub not_finite: Vec<String>,
    /// Reached, with a gradient of zeros only: worth a warning.
    pub zero: Vec<String>,
}

/// Looks at the gradient of each parameter that the batch used.
///
/// # Errors
/// Where the tensor library refuses.
pub fn audit(params: &Params, grads: &Gradients, used: impl Fn(&str) -> bool) -> Result<Audit> {
    let mut audit = Audit::default();
    for (place, (name, _)) in params.iter().enumerate().filter(|(_, (name, _))| used(name)) {
        let Some(grad) = grads.get(place) else {
            audit.unreached.push(name.into());
            continue;
        };
        let total = grad.abs()?.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()?;
        if !total.is_finite() {
            audit.not_finite.push(name.into());
        } else if total == 0.0 {
            audit.zero.push(name.into());
        }
    }
    Ok(audit)
}
