//! The weight of a linear map, in `f32` or rounded to few bits.

use super::saved::SavedTensors;
use crate::ops::{self, QuantizedType, QuantizedWeight, Value};
use candle_core::{DType, Device, Result, Tensor, Var, bail};
use std::sync::{Arc, OnceLock};

/// The weight of a linear map, `[outputs, inputs]`.
#[derive(Clone, Debug)]
pub enum Weight {
    /// In `f32`: a parameter.
    Float(Value),
    /// Rounded, for inference on the CPU.
    Quantized(Arc<QuantizedParameter>),
}

impl Weight {
    /// x·Wᵀ + b: `x` is `[n, inputs]`, `bias` `[outputs]`; the result is `[n, outputs]`.
    ///
    /// # Errors
    /// If the shapes do not fit. With a rounded weight, if it has no values yet, x is not `f32` on the CPU, or x or the bias has
    /// a gradient.
    pub fn linear(&self, x: &Value, bias: Option<&Value>) -> Result<Value> {
        match self {
            Self::Float(weight) => ops::linear(x, weight, bias),
            Self::Quantized(weight) => ops::quantized_linear(x, weight.get()?, bias),
        }
    }

    /// As [`linear`](Self::linear), added to `residual` `[n, outputs]`.
    ///
    /// # Errors
    /// As for `linear`.
    pub fn linear_residual(&self, x: &Value, bias: Option<&Value>, residual: &Value) -> Result<Value> {
        match self {
            Self::Float(weight) => ops::linear_residual(x, weight, bias, residual),
            Self::Quantized(_) => ops::add(residual, &self.linear(x, bias)?),
        }
    }
}

/// A parameter that is rounded when its values are known.
#[derive(Debug)]
pub struct QuantizedParameter {
    name: String,
    dims: [usize; 2],
    dtype: QuantizedType,
    /// The parameter that it is a copy of; `None` if it has values of its own.
    copied_from: Option<Tensor>,
    rounded: OnceLock<QuantizedWeight>,
}

impl QuantizedParameter {
    /// A parameter without values.
    pub(super) fn blank(name: String, dims: [usize; 2], dtype: QuantizedType) -> Self {
        Self { name, dims, dtype, copied_from: None, rounded: OnceLock::new() }
    }

    /// A rounded copy of the parameter `of`, which stays as it is.
    pub(super) fn copy(of: &Tensor, dtype: QuantizedType) -> Result<Self> {
        let (outputs, inputs) = of.dims2()?;
        Ok(Self { copied_from: Some(of.clone()), ..Self::blank(String::new(), [outputs, inputs], dtype) })
    }

    /// Its name; `None` for a copy.
    pub(super) fn name(&self) -> Option<&str> {
        self.copied_from.is_none().then_some(self.name.as_str())
    }

    /// Its shape.
    pub(super) fn dims(&self) -> [usize; 2] {
        self.dims
    }

    /// The type of its rounded values.
    pub(super) fn dtype(&self) -> QuantizedType {
        self.dtype
    }

    /// Rounds saved values, or those of the parameter that it copies.
    pub(super) fn load(&self, saved: &impl SavedTensors) -> Result<()> {
        if let Some(of) = &self.copied_from {
            return self.set(of);
        }
        // The values in f32 are dropped before the next parameter's are read.
        let values = Var::zeros(&self.dims, DType::F32, &Device::Cpu)?;
        saved.read(&self.name, &values)?;
        self.set(values.as_tensor())
    }

    /// Rounds its values.
    pub(super) fn set(&self, values: &Tensor) -> Result<()> {
        match self.rounded.set(QuantizedWeight::quantize(values, self.dtype)?) {
            Ok(()) => Ok(()),
            Err(_) => bail!("weights in {} are loaded once; build the model anew", self.dtype),
        }
    }

    /// Rounds the parameter that it copies, whose values are known.
    pub(super) fn set_to_copy(&self) -> Result<()> {
        self.copied_from.as_ref().map_or(Ok(()), |of| self.set(of))
    }

    /// The bytes of its rounded values.
    pub(super) fn bytes(&self) -> usize {
        self.rounded.get().map_or(0, QuantizedWeight::bytes)
    }

    fn get(&self) -> Result<&QuantizedWeight> {
        match self.rounded.get() {
            Some(rounded) => Ok(rounded),
            None => bail!("weights in {} have no values yet: load them first", self.dtype),
        }
    }
}
