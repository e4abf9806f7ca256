//! A linear map of each token.

use super::params::Scope;
use super::weight::Weight;
use crate::ops::Value;
use candle_core::Result;

/// A linear map of each token: x·Wᵀ + b.
#[derive(Clone)]
pub struct Linear {
    weight: Weight,
    bias: Option<Value>,
}

impl Linear {
    /// A map from `inputs` to `outputs` features; its weights are normal with deviation `std`, its bias is 0.
    ///
    /// # Errors
    /// If a parameter's name is taken.
    pub fn new(mut scope: Scope, inputs: usize, outputs: usize, bias: bool, std: f64) -> Result<Self> {
        let weight = scope.weight("weight", (outputs, inputs), std)?;
        let bias = bias.then(|| scope.zeros("bias", outputs)).transpose()?;
        Ok(Self { weight, bias })
    }

    /// Weight and bias, for an operation that computes the map inside; `None` for a rounded weight.
    pub(super) fn parts(&self) -> Option<(&Value, Option<&Value>)> {
        match &self.weight {
            Weight::Float(weight) => Some((weight, self.bias.as_ref())),
            Weight::Quantized(_) => None,
        }
    }

    /// `[n, inputs]` → `[n, outputs]`.
    ///
    /// # Errors
    /// If the width differs.
    pub fn forward(&self, x: &Value) -> Result<Value> {
        self.weight.linear(x, self.bias.as_ref())
    }

    /// As [`forward`](Self::forward), added to `residual` `[n, outputs]` if there is one.
    ///
    /// # Errors
    /// If shapes differ.
    pub fn forward_residual(&self, x: &Value, residual: Option<&Value>) -> Result<Value> {
        match residual {
            Some(residual) => self.weight.linear_residual(x, self.bias.as_ref(), residual),
            None => self.forward(x),
        }
    }
}

/// Standard deviation of initial weights: GPT-2's 0.02 at its width of 768, and at any width attention scores of one size.
pub fn init_std(d_model: usize) -> f64 {
    (3.0 * d_model as f64).sqrt().recip()
}
