//! Normalization of each token.

use super::config::{ModelConfig, NormKind};
use super::params::Scope;
use crate::ops::{self, Value};
use candle_core::Result;

/// Normalizes each token.
pub enum Norm {
    /// Layer norm.
    Layer {
        /// `[d]`.
        weight: Value,
        /// `[d]`.
        bias: Option<Value>,
        /// Added to the variance.
        eps: f64,
    },
    /// Root-mean-square norm.
    Rms {
        /// `[d]`.
        weight: Value,
        /// Added to the mean square.
        eps: f64,
    },
    /// Changes nothing.
    None,
}

impl Norm {
    /// A norm of the configured kind.
    ///
    /// # Errors
    /// If a parameter's name is taken.
    pub fn new(scope: Scope, config: &ModelConfig) -> Result<Self> {
        Self::of_width(scope, config, config.d_model)
    }

    /// A norm of the configured kind for `d` features.
    ///
    /// # Errors
    /// If a parameter's name is taken.
    pub fn of_width(mut scope: Scope, config: &ModelConfig, d: usize) -> Result<Self> {
        let eps = config.norm_eps;
        Ok(match config.norm {
            NormKind::None => Norm::None,
            NormKind::Rms => Norm::Rms { weight: scope.ones("weight", d)?, eps },
            NormKind::Layer => {
                let weight = scope.ones("weight", d)?;
                let bias = config.bias.then(|| scope.zeros("bias", d)).transpose()?;
                Norm::Layer { weight, bias, eps }
            }
        })
    }

    /// `[n, d]` → the same shape.
    ///
    /// # Errors
    /// If the width differs.
    pub fn forward(&self, x: &Value) -> Result<Value> {
        match self {
            Norm::Layer { weight, bias, eps } => ops::layer_norm(x, weight, bias.as_ref(), *eps),
            Norm::Rms { weight, eps } => ops::rms_norm(x, weight, *eps),
            Norm::None => Ok(x.clone()),
        }
    }
}
