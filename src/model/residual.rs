//! The residual stream around a sublayer: its norm, layer scale, dropout and sum.

use super::config::{ModelConfig, NormPlacement};
use super::dropout::Dropout;
use super::norm::Norm;
use super::params::Scope;
use crate::ops::{self, Value};
use candle_core::Result;

/// The norms of a sublayer and its sum with the residual stream.
pub struct Residual {
    /// Of the sublayer's input.
    input_norm: Option<Norm>,
    /// Of the sublayer's output.
    output_norm: Option<Norm>,
    /// Of the sum.
    sum_norm: Option<Norm>,
    /// `[d_model]`: a learned scale of the sublayer's output (Touvron et al. 2021).
    layer_scale: Option<Value>,
    /// Number of this sublayer's dropout, unique in the model.
    dropout_site: u64,
}

impl Residual {
    /// The residual stream around the sublayer `name`, with a norm `NAME_norm`, a second one `NAME_output_norm` if the placement
    /// is both, and `NAME_scale` if `layer_scale` has an initial value.
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
        let mut norm = |name: String| Norm::new(scope.at(name), config).map(Some);
        let first = norm(format!("{name}_norm"))?;
        let (input_norm, output_norm, sum_norm) = match config.norm_placement {
            NormPlacement::Pre => (first, None, None),
            NormPlacement::Both => (first, norm(format!("{name}_output_norm"))?, None),
            NormPlacement::Post => (None, None, first),
        };
        let plain = Self::without_norm(scope, name, config, layer_scale, dropout_site)?;
        Ok(Self { input_norm, output_norm, sum_norm, ..plain })
    }

    /// As [`new`](Self::new), without norms: for a sublayer whose input another one has normalized.
    ///
    /// # Errors
    /// If a parameter's name is taken.
    pub fn without_norm(
        scope: &mut Scope,
        name: &str,
        config: &ModelConfig,
        layer_scale: Option<f64>,
        dropout_site: u64,
    ) -> Result<Self> {
        let layer_scale = match layer_scale {
            Some(initial) => {
                Some(scope.at(format!("{name}_scale")).constant("weight", config.d_model, initial)?)
            }
            None => None,
        };
        Ok(Self { input_norm: None, output_norm: None, sum_norm: None, layer_scale, dropout_site })
    }

    /// The sublayer's input: norm(x), or x if the norm is after the sum; `[n, d_model]` → the same shape.
    ///
    /// # Errors
    /// If the width differs.
    pub fn pre_norm(&self, x: &Value) -> Result<Value> {
        match &self.input_norm {
            Some(norm) => norm.forward(x),
            None => Ok(x.clone()),
        }
    }

    /// x + y, x + norm(y) or norm(x + y), as the norms are placed; y is the output of the sublayer. `sublayer` returns y, or
    /// x + y if its argument is x, which saves an addition.
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
        let sum = match (&self.output_norm, &self.layer_scale, dropout) {
            (None, None, None) => sublayer(Some(x))?,
            (output_norm, layer_scale, dropout) => {
                let mut y = sublayer(None)?;
                if let Some(norm) = output_norm {
                    y = norm.forward(&y)?;
                }
                if let Some(layer_scale) = layer_scale {
                    y = ops::scale_columns(&y, layer_scale)?;
                }
                if let Some(dropout) = dropout {
                    y = dropout.forward(&y, self.dropout_site)?;
                }
                ops::add(x, &y)?
            }
        };
        match &self.sum_norm {
            Some(norm) => norm.forward(&sum),
            None => Ok(sum),
        }
    }
}
