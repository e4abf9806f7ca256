//! The residual stream around a sublayer: its norm, layer scale, dropout and sum.

use super::config::{ModelConfig, NormPlacement};
use super::dropout::Dropout;
use super::norm::Norm;
use super::params::Scope;
use crate::ops::{self, Value};
use candle_core::Result;

/// The norm of a sublayer and its sum with the residual stream.
pub struct Residual {
    norm: Norm,
    placement: NormPlacement,
    /// `[d_model]`: a learned scale of the sublayer's output (Touvron et al. 2021).
    layer_scale: Option<Value>,
    /// Number of this sublayer's dropout, unique in the model.
    dropout_site: u64,
}

impl Residual {
    /// The residual stream around the sublayer `name`, with a norm `NAME_norm`, and `NAME_scale` if `layer_scale` has an
    /// initial value.
    ///
    /// # Errors
    /// If a parameter's name is taken.
    pub fn new(
        scope: &mut Scope,
        name: &str,
        config: &ModelConfig,
        layer_scale: Option<f64>,
        dropout_site: u64,
    ) -> Result<Self> {
        let norm = Norm::new(scope.at(format!("{name}_norm")), config)?;
        let layer_scale = match layer_scale {
            Some(initial) => {
                Some(scope.at(format!("{name}_scale")).constant("weight", config.d_model, initial)?)
            }
            None => None,
        };
        Ok(Self { norm, placement: config.norm_placement, layer_scale, dropout_site })
    }

    /// The sublayer's input: norm(x) with pre-norm, else x; `[n, d_model]` → the same shape.
    ///
    /// # Errors
    /// If the width differs.
    pub fn pre_norm(&self, x: &Value) -> Result<Value> {
        match self.placement {
            NormPlacement::Pre => self.norm.forward(x),
            NormPlacement::Post => Ok(x.clone()),
        }
    }

    /// x + y with pre-norm, else norm(x + y); y is the output of the sublayer. `sublayer` returns y, or x + y if its argument
    /// is x, which saves an addition.
    ///
    /// # Errors
    /// If shapes differ.
    pub fn add(
        &self,
        x: &Value,
        dropout: Option<&Dropout>,
        sublayer: impl FnOnce(Option<&Value>) -> Result<Value>,
    ) -> Result<Value> {
        let dropout = dropout.filter(|dropout| dropout.rate > 0.0);
        let sum = match (&self.layer_scale, dropout) {
            (None, None) => sublayer(Some(x))?,
            (layer_scale, dropout) => {
                let mut y = sublayer(None)?;
                if let Some(layer_scale) = layer_scale {
                    y = ops::scale_columns(&y, layer_scale)?;
                }
                if let Some(dropout) = dropout {
                    y = dropout.forward(&y, self.dropout_site)?;
                }
                ops::add(x, &y)?
            }
        };
        match self.placement {
            NormPlacement::Pre => Ok(sum),
            NormPlacement::Post => self.norm.forward(&sum),
        }
    }
}
