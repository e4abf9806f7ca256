//! The gradient audit: after the first backward pass, every parameter that the batch uses has a gradient.

use crate::model::Params;
use crate::ops::Gradients;
use candle_core::{DType, Result};

/// The parameters whose gradients are missing or suspicious.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Unreached parameters: used by the batch, but without a gradient, because an operation has none.
    pub unreached: Vec<String>,
    /// Parameters whose gradient is infinite or not a number.
    pub not_finite: Vec<String>,
    /// Parameters whose gradient is all zero, which deserves a warning.
    pub zero: Vec<String>,
}

/// Audits the gradient of each parameter for which `used` is true.
///
/// # Errors
/// If an operation fails.
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
