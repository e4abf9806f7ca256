//! The MLP of a block: one for all tokens, or a mixture of experts.

use super::config::ModelConfig;
use super::experts::Experts;
use super::linear::{Linear, init_std};
use super::params::Scope;
use super::routing::Routing;
use crate::ops::{self, Activation, Value};
use candle_core::Result;

/// The MLP sublayer of a block.
pub enum BlockMlp {
    /// One MLP for all tokens.
    Dense(Mlp),
    /// A mixture of experts.
    Experts(Experts),
}

impl BlockMlp {
    /// The MLP of block number `layer`; `residual_std` is the deviation of the weights that write to the residual stream.
    ///
    /// # Errors
    /// If a parameter's name is taken.
    pub fn new(scope: Scope, config: &ModelConfig, layer: usize, residual_std: f64) -> Result<Self> {
        Ok(match config.has_experts(layer) {
            false => Self::Dense(Mlp::new(scope, config, residual_std)?),
            true => Self::Experts(Experts::new(scope, config, residual_std)?),
        })
    }

    /// `[n, d_model]` → the same shape, added to `residual` if there is one; `routing` is that of a training batch.
    ///
    /// # Errors
    /// If shapes differ.
    pub fn forward(&self, x: &Value, residual: Option<&Value>, routing: Option<&Routing>) -> Result<Value> {
        match self {
            Self::Dense(mlp) => mlp.forward(x, residual),
            Self::Experts(experts) => experts.forward(x, residual, routing),
        }
    }
}

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
        let activation = self.activation;
        if let (None, Some(inner), Some(outer)) = (&self.gated, self.inner.parts(), self.outer.parts()) {
            return match residual {
                Some(residual) => ops::mlp_residual(x, inner, outer, activation, residual),
                None => ops::mlp(x, inner, outer, activation),
            };
        }
        let inner = self.inner.forward(x)?; // [n, d_ff]
        let hidden = match &self.gated {
            Some(gated) => ops::gate(&inner, &gated.forward(x)?, activation)?,
            None => ops::activation(&inner, activation)?,
        };
        self.outer.forward_residual(&hidden, residual)
    }
}
