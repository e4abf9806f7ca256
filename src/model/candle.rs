//! candle's layers in a model, on the model's parameters.

use super::params::{Params, Scope};
use crate::ops::{self, Value};
use crate::random;
use candle_core::{DType, Device, Result, Shape, Tensor, Var, bail};
use candle_nn::Init;
use candle_nn::init::NormalOrUniform;
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Module, VarBuilder};
use std::sync::{Arc, Mutex, PoisonError};

/// A layer built with a [`VarBuilder`], whose parameters are among those of a model: seeded by name, saved, resumed, frozen and
/// checked like all others.
pub struct CandleLayer<M> {
    layer: M,
    /// Each parameter as the layer and as the model has it.
    parameters: Vec<(Var, Value)>,
}

impl<M> CandleLayer<M> {
    /// Builds a layer; the names of its parameters are below `scope`.
    ///
    /// # Errors
    /// If `build` fails, or a parameter's name is taken.
    pub fn new(mut scope: Scope, build: impl FnOnce(VarBuilder) -> Result<M>) -> Result<Self> {
        let (seed, prefix, device) = scope.origin();
        let variables = Arc::new(Mutex::new(Vec::new()));
        let backend = SeededVariables { seed, prefix, variables: variables.clone() };
        let layer = build(VarBuilder::from_backend(Box::new(backend), DType::F32, device))?;
        let variables = std::mem::take(&mut *variables.lock().unwrap_or_else(PoisonError::into_inner));
        let adopt = |(name, variable): (String, Var)| Ok((variable.clone(), scope.adopt(&name, variable)?));
        let parameters = variables.into_iter().map(adopt).collect::<Result<_>>()?;
        Ok(Self { layer, parameters })
    }

    /// `f` of the layer and of some inputs, a differentiable expression of candle's operations.
    ///
    /// # Errors
    /// As of [`ops::from_candle()`].
    pub fn apply(&self, inputs: &[&Value], f: impl FnOnce(&M, &[Tensor]) -> Result<Tensor>) -> Result<Value> {
        ops::from_candle_with(inputs, &self.parameters, |tensors| f(&self.layer, tensors))
    }
}

impl<M: Module> CandleLayer<M> {
    /// The layer's output.
    ///
    /// # Errors
    /// If the layer fails.
    pub fn forward(&self, x: &Value) -> Result<Value> {
        self.apply(&[x], |layer, inputs| layer.forward(&inputs[0]))
    }
}

impl Params {
    /// A [`VarBuilder`] of the parameters, for layers of candle that use them: `vb.pp("stack.blocks.0.mlp.inner")`.
    pub fn var_builder(&self) -> VarBuilder<'static> {
        VarBuilder::from_tensors(self.tensors().into_iter().collect(), DType::F32, self.device())
    }
}

/// The source of new parameters: each is drawn by its name, as a model's own are.
struct SeededVariables {
    /// `None` for parameters that are loaded.
    seed: Option<u64>,
    /// Of names: that of the scope.
    prefix: String,
    variables: Arc<Mutex<Vec<(String, Var)>>>,
}

impl SeededVariables {
    fn draw(&self, name: &str, shape: &Shape, init: Init, device: &Device) -> Result<Tensor> {
        let Some(seed) = self.seed else { return Tensor::zeros(shape, DType::F32, device) };
        let generator = &mut random::generator(random::named(seed, &format!("{}{name}", self.prefix)));
        let n = shape.elem_count();
        let (dist, center, spread) = match init {
            Init::Const(value) => return Tensor::full(value as f32, shape, device),
            Init::Randn { mean, stdev } => (NormalOrUniform::Normal, mean, stdev),
            Init::Uniform { lo, up } => (NormalOrUniform::Uniform, (lo + up) / 2.0, (up - lo) / 2.0),
            Init::Kaiming { dist, fan, non_linearity } => {
                let std = non_linearity.gain() / (fan.for_shape(shape) as f64).sqrt();
                let spread =
                    if matches!(dist, NormalOrUniform::Uniform) { 3.0_f64.sqrt() * std } else { std };
                (dist, 0.0, spread)
            }
        };
        let unit: Vec<f64> = match dist {
            NormalOrUniform::Normal => random::normal(generator, n).into_iter().map(f64::from).collect(),
            NormalOrUniform::Uniform => (0..n).map(|_| 2.0 * random::uniform(generator) - 1.0).collect(),
        };
        let values: Vec<f32> = unit.into_iter().map(|x| (center + spread * x) as f32).collect();
        Tensor::from_vec(values, shape, device)
    }
}

impl SimpleBackend for SeededVariables {
    fn get(&self, shape: Shape, name: &str, init: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        let mut variables = self.variables.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = variables.iter().find(|(known, _)| known == name) {
            if *known.shape() != shape {
                bail!("parameter {name}: expected {:?}, as before; found {shape:?}", known.shape());
            }
            return Ok(known.as_tensor().clone());
        }
        if dtype != DType::F32 {
            bail!("parameter {name}: expected f32; found {dtype:?}");
        }
        let variable = Var::from_tensor(&self.draw(name, &shape, init, device)?)?;
        let tensor = variable.as_tensor().clone();
        variables.push((name.into(), variable));
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        bail!("parameter {name}: expected a layer that says its shape")
    }

    fn contains_tensor(&self, _: &str) -> bool {
        true
    }
}
