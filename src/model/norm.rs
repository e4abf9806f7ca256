//! Normalization of each token.

use super::config::{ModelConfig, NormKind};
use super::params::Scope;
use crate::ops::{self, Value};
use candle_core::Result;

/// Normalizes each token.
pub enum Norm {
    /// Layer norm.
    Layer {
        /// `[d_model]`.
        weight: Value,
        /// `[d_model]`.
        bias: Option<Value>,
        /// Added to the variance.
        eps: f64,
    },
    /// Root-mean-square norm.
    Rms {
        /// `[d_model]`.
        weight: Value,
        /// Added to the mean square.
        eps: f64,
    },
}

impl Norm {
    /// A norm of the configured kind.
    ///
    /// # Errors
    /// If a parameter's name is taken.
    pub fn new(scope: Scope, config: &ModelConfig) -> Result<Self> {
        Self::of_width(scope, config, config.d_model)
    }

    /// A norm of `d` features of the configured kind.
    ///
    /// # Errors
    /// If a parameter's name is taken.
    pub fn of_width(mut scope: Scope, config: &ModelConfig, d: usize) -> Result<Self> {
        let eps = config.norm_eps;
        let weight = scope.ones("weight", d)?;
        Ok(match config.norm {
            NormKind::Rms => Norm::Rms { weight, eps },
            NormKind::Layer => {
                let bias = config.bias.then(|| scope.zeros("bias", d)).transpose()?;
                Norm::Layer { weight, bias, eps }
            }
        })
    }

    /// `[n, d_model]` → the same shape.
    ///
    /// # Errors
    /// If the width differs.
    pub fn forward(&self, x: &Value) -> Result<Value> {
        match self {
            Norm::Layer { weight, bias, eps } => ops::layer_norm(x, weight, bias.as_ref(), *eps),
            Norm::Rms { weight, eps } => ops::rms_norm(x, weight, *eps),
        }
    }
}
