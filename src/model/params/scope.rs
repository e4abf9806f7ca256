//! Places in the tree of parameters, where layers make theirs.

use super::Params;
use crate::model::weight::{QuantizedParameter, Weight};
use crate::ops::{QuantizedType, Value};
use crate::random;
use candle_core::{DType, Device, Result, Shape, Tensor, Var, bail};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A place in the tree of names: `blocks.0.attention`.
pub struct Scope<'a> {
    pub(super) params: &'a mut Params,
    pub(super) prefix: String,
    /// The type of the weights of linear maps in this scope; `None` for f32.
    pub(super) weights: Option<QuantizedType>,
}

impl Scope<'_> {
    /// The scope `name` below this one.
    pub fn at(&mut self, name: impl std::fmt::Display) -> Scope<'_> {
        let prefix = format!("{}{name}.", self.prefix);
        Scope { params: self.params, prefix, weights: self.weights }
    }

    /// The same scope, for a layer that takes a scope by value.
    pub(in crate::model) fn borrowed(&mut self) -> Scope<'_> {
        Scope { params: self.params, prefix: self.prefix.clone(), weights: self.weights }
    }

    /// The same scope, in which no weight is rounded.
    pub(in crate::model) fn in_f32(self) -> Self {
        Self { weights: None, ..self }
    }

    /// The same scope, in which weights that are rounded are rounded to int8.
    pub(in crate::model) fn in_int8(self) -> Self {
        Self { weights: self.weights.map(|_| QuantizedType::Int8), ..self }
    }

    /// The number of parameters so far, which is the place of the next one.
    pub fn n_parameters(&self) -> usize {
        self.params.named.len() + self.params.shapes.as_ref().map_or(0, BTreeMap::len)
    }

    /// A parameter from a normal distribution of mean 0 and standard deviation `std`.
    ///
    /// # Errors
    /// If the name is taken.
    pub fn normal(&mut self, name: &str, shape: impl Into<Shape>, std: f64) -> Result<Value> {
        let shape = shape.into();
        let Some(seed) = self.seed_of(name) else { return self.zeros(name, shape) };
        check_size(name, &shape)?;
        let mut generator = random::generator(random::named(seed, &self.full(name)));
        let mut values = random::normal(&mut generator, shape.elem_count());
        values.iter_mut().for_each(|x| *x *= std as f32);
        self.adopt(name, Var::from_vec(values, shape, &self.params.device)?)
    }

    /// The weight of a linear map, `[outputs, inputs]`, from a normal distribution of mean 0 and standard deviation `std`.
    ///
    /// # Errors
    /// If the name is taken.
    pub fn weight(&mut self, name: &str, dims: (usize, usize), std: f64) -> Result<Weight> {
        let (Some(dtype), None) = (self.weights, &self.params.shapes) else {
            return self.normal(name, dims, std).map(Weight::Float);
        };
        let full = self.full(name);
        if self.params.rounded().any(|(known, _)| known == full) {
            bail!("parameter {full} exists already");
        }
        check_size(name, &dims.into())?;
        let weight = Arc::new(QuantizedParameter::blank(full, dims.into(), dtype));
        if self.seed_of(name).is_some() {
            let mut drawn = Params::new(self.params.seed.unwrap_or_default(), &self.params.device);
            let scope = &mut Scope { params: &mut drawn, prefix: self.prefix.clone(), weights: None };
            weight.set(scope.normal(name, dims, std)?.tensor())?;
        }
        self.params.quantized.push(weight.clone());
        Ok(Weight::Quantized(weight))
    }

    /// The parameter `table`, `[outputs, inputs]`, as the weight of a linear map. If weights are rounded, it is a copy.
    ///
    /// # Errors
    /// If the table is no matrix.
    pub(in crate::model) fn shared_weight(&mut self, table: &Value) -> Result<Weight> {
        let (Some(dtype), None) = (self.weights, &self.params.shapes) else {
            return Ok(Weight::Float(table.clone()));
        };
        let weight = Arc::new(QuantizedParameter::copy(table.tensor(), dtype)?);
        if self.params.seed.is_some() {
            weight.set_to_copy()?;
        }
        self.params.quantized.push(weight.clone());
        Ok(Weight::Quantized(weight))
    }

    /// A parameter of zeros.
    ///
    /// # Errors
    /// If the name is taken.
    pub fn zeros(&mut self, name: &str, shape: impl Into<Shape>) -> Result<Value> {
        let shape = shape.into();
        check_size(name, &shape)?;
        match &self.params.shapes {
            Some(_) => self.outline(name, &shape),
            None => self.adopt(name, Var::zeros(shape, DType::F32, &self.params.device)?),
        }
    }

    /// A parameter of ones.
    ///
    /// # Errors
    /// If the name is taken.
    pub fn ones(&mut self, name: &str, shape: impl Into<Shape>) -> Result<Value> {
        self.constant(name, shape, 1.0)
    }

    /// A parameter filled with `value`.
    ///
    /// # Errors
    /// If the name is taken.
    pub fn constant(&mut self, name: &str, shape: impl Into<Shape>, value: f64) -> Result<Value> {
        self.values(name, shape, |_| value)
    }

    /// A parameter of given values; `value` is called with the number of each element, row by row.
    ///
    /// # Errors
    /// If the name is taken.
    pub fn values(
        &mut self,
        name: &str,
        shape: impl Into<Shape>,
        value: impl Fn(usize) -> f64,
    ) -> Result<Value> {
        let shape = shape.into();
        if self.seed_of(name).is_none() {
            return self.zeros(name, shape);
        }
        check_size(name, &shape)?;
        let values: Vec<f32> = (0..shape.elem_count()).map(|i| value(i) as f32).collect();
        self.adopt(name, Var::from_vec(values, shape, &self.params.device)?)
    }

    /// The seed; `None` for a parameter whose value is set later.
    fn seed_of(&self, name: &str) -> Option<u64> {
        self.params.seed.filter(|_| !self.params.set_later.contains(&self.full(name)))
    }

    /// The seed, if values are drawn, the prefix of names, and the device of parameters that are made in this scope.
    pub(in crate::model) fn origin(&self) -> (Option<u64>, String, Device) {
        (self.params.seed, self.prefix.clone(), self.params.device.clone())
    }

    /// Takes a variable as a parameter.
    ///
    /// # Errors
    /// If the name is taken.
    pub(in crate::model) fn adopt(&mut self, name: &str, variable: Var) -> Result<Value> {
        let name = self.full(name);
        if self.params.places.contains_key(&name) {
            bail!("parameter {name} exists already");
        }
        let value = match self.params.is_frozen(&name) {
            true => Value::constant(variable.as_detached_tensor()),
            false => Value::parameter(&variable, self.params.named.len()),
        };
        self.params.places.insert(name.clone(), self.params.named.len());
        self.params.named.push((name, variable));
        Ok(value)
    }

    /// Keeps the shape of a parameter, whose value is one number that is repeated without being copied.
    fn outline(&mut self, name: &str, shape: &Shape) -> Result<Value> {
        let name = self.full(name);
        let value = Tensor::zeros((), DType::F32, &self.params.device)?.broadcast_as(shape.clone())?;
        let shapes = self.params.shapes.get_or_insert_default();
        if shapes.insert(name.clone(), shape.dims().to_vec()).is_some() {
            bail!("parameter {name} exists already");
        }
        Ok(Value::constant(value))
    }

    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

/// Most numbers in one parameter, so that their size in bytes is no overflow.
const MOST_NUMBERS: usize = isize::MAX as usize / size_of::<f64>();

/// Checks the size of a parameter before it is allocated.
fn check_size(name: &str, shape: &Shape) -> Result<()> {
    let numbers = shape.dims().iter().try_fold(1_usize, |numbers, &dim| numbers.checked_mul(dim));
    match numbers {
        Some(numbers) if numbers <= MOST_NUMBERS => Ok(()),
        _ => bail!(
            "parameter {name} of {shape:?}: expected fewer than 2^60 numbers; lower the sizes in [model] and in the \
             inputs and outputs"
        ),
    }
}
