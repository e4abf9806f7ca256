//! The MLP of a block.

use super::config::ModelConfig;
use super::linear::{Linear, init_std};
use super::params::Scope;
use crate::ops::{self, Activation, Value};
use candle_core::Result;

/// Two linear maps with an activation between them, optionally gated by a third map (Shazeer 2020).
pub struct Mlp {
    inner: Linear,
    /// The map whose output multiplies the activation's output.
    gated: Option<Linear>,
    outer: Linear,
    activation: Activation,
}

impl Mlp {
    /// An MLP of the configured width; `residual_std` is the deviation of the weights that write to the residual stream.
    ///
    /// # Errors
    /// If a parameter's name is taken.
    pub fn new(mut scope: Scope, config: &ModelConfig, residual_std: f64) -> Result<Self> {
        let (d, d_ff, bias) = (config.d_model, config.d_ff(), config.mlp.bias.unwrap_or(config.bias));
        let gated = match config.mlp.gated {
            true => Some(Linear::new(scope.at("gated"), d, d_ff, bias, init_std(d))?),
            false => None,
        };
        Ok(Self {
            inner: Linear::new(scope.at("inner"), d, d_ff, bias, init_std(d))?,
            gated,
            outer: Linear::new(scope.at("outer"), d_ff, d, bias, residual_std)?,
            activation: config.mlp.activation,
        })
    }

    /// `[n, d_model]` → the same shape, added to `residual` if there is one.
    ///
    /// # Errors
    /// If shapes differ.
    pub fn forward(&self, x: &Value, residual: Option<&Value>) -> Result<Value> {
        let (inner, outer, activation) = (self.inner.parts(), self.outer.parts(), self.activation);
        match (&self.gated, residual) {
            (Some(gated), _) => {
                let hidden = ops::gate(&self.inner.forward(x)?, &gated.forward(x)?, activation)?; // [n, d_ff]
                self.outer.forward_residual(&hidden, residual)
            }
            (None, Some(residual)) => ops::mlp_residual(x, inner, outer, activation, residual),
            (None, None) => ops::mlp(x, inner, outer, activation),
        }
    }
}
