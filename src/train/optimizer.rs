//! AdamW over all parameters, clipping, and the moving average of weights.

use super::TrainConfig;
use crate::ops::{AdamwSettings, AdamwStep, square_sum};
use crate::params::Params;
use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, Var};
use std::collections::{BTreeMap, HashMap};

/// The gradients of every parameter that some micro-batch reached, summed.
#[derive(Default)]
pub struct Gradients {
    by_name: BTreeMap<String, Tensor>,
}

impl Gradients {
    /// Adds the gradients of one backward pass.
    ///
    /// # Errors
    /// Where the tensor library refuses.
    pub fn add(&mut self, params: &Params, grads: &GradStore) -> Result<()> {
        for (name, var) in params.iter() {
            let Some(grad) = grads.get(var) else { continue };
            let sum = match self.by_name.get(name) {
                Some(sum) => (sum + grad)?,
                None => grad.clone(),
            };
            self.by_name.insert(name.into(), sum);
        }
        Ok(())
    }

    /// The gradient of a parameter, where one reached it.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.by_name.get(name)
    }

    /// The Euclidean norm over all gradients.
    ///
    /// # Errors
    /// Where the tensor library refuses.
    pub fn norm(&self) -> Result<f64> {
        let squares = self.by_name.values().map(square_sum).collect::<Result<Vec<f64>>>()?;
        Ok(squares.iter().sum::<f64>().sqrt())
    }
}

/// AdamW (Loshchilov and Hutter 2019) with its moments, and the moving average of weights.
pub struct Optimizer {
    /// First and second moments of each parameter.
    moments: BTreeMap<String, (Var, Var)>,
    average: Option<BTreeMap<String, Tensor>>,
    config: TrainConfig,
}

impl Optimizer {
    /// Moments of zero for these parameters.
    ///
    /// # Errors
    /// Where memory is short.
    pub fn new(config: &TrainConfig, params: &Params) -> Result<Self> {
        let mut moments = BTreeMap::new();
        for (name, var) in params.iter() {
            let zero = || Var::zeros(var.shape(), var.dtype(), var.device());
            moments.insert(name.to_string(), (zero()?, zero()?));
        }
        let average = match config.ema > 0.0 {
            true => Some(copies(params)?),
            false => None,
        };
        Ok(Self { moments, average, config: config.clone() })
    }

    /// One step, number `step` counted from 0, along gradients of this norm. Returns nothing but moves every
    /// parameter that has a gradient.
    ///
    /// # Errors
    /// Where the tensor library refuses.
    pub fn step(
        &mut self,
        params: &Params,
        grads: &Gradients,
        norm: f64,
        step: u64,
        rate: f64,
    ) -> Result<()> {
        let clip = self.config.clip;
        let scale = if clip > 0.0 && norm > clip { clip / norm } else { 1.0 };
        for (name, var) in params.iter() {
            let (Some(grad), Some((m, v))) = (grads.get(name), self.moments.get(name)) else { continue };
            let settings = AdamwSettings {
                beta1: self.config.beta1,
                beta2: self.config.beta2,
                eps: self.config.eps,
                // Biases, norms and other vectors are not pulled to zero.
                weight_decay: if var.rank() >= 2 { self.config.weight_decay } else { 0.0 },
            };
            AdamwStep { settings, learning_rate: rate, step: step + 1, gradient_scale: scale }
                .apply(var, grad, m, v)?;
        }
        if let Some(average) = &mut self.average {
            // A young average follows the weights more closely than its decay says.
            let decay = self.config.ema.min((1.0 + step as f64) / (10.0 + step as f64));
            for (name, var) in params.iter() {
                if let Some(kept) = average.get_mut(name) {
                    *kept = ((&*kept * decay)? + (var.as_detached_tensor() * (1.0 - decay))?)?;
                }
            }
        }
        Ok(())
    }

    /// Runs `f` with the averaged weights in place, where there is an average, and puts the weights back.
    ///
    /// # Errors
    /// What `f` returns, and where the tensor library refuses.
    pub fn with_average<T, E: From<candle_core::Error>>(
        &self,
        params: &Params,
        f: impl FnOnce() -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let Some(average) = &self.average else { return f() };
        let weights = copies(params)?;
        set(params, average)?;
        let outcome = f();
        set(params, &weights)?;
        outcome
    }

    /// Everything to be saved, by name.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        let mut tensors = BTreeMap::new();
        for (name, (m, v)) in &self.moments {
            tensors.insert(format!("{FIRST}{name}"), m.as_tensor().clone());
            tensors.insert(format!("{SECOND}{name}"), v.as_tensor().clone());
        }
        for (name, kept) in self.average.iter().flatten() {
            tensors.insert(format!("{AVERAGE}{name}"), kept.clone());
        }
        tensors
    }

    /// Sets everything from what [`tensors`](Self::tensors) gave.
    ///
    /// # Errors
    /// Where a tensor is missing or of another shape.
    pub fn load(&mut self, saved: &HashMap<String, Tensor>) -> Result<()> {
        let find = |name: String| {
            saved.get(&name).ok_or_else(|| candle_core::Error::Msg(format!("saved state has no {name}")))
        };
        for (name, (m, v)) in &self.moments {
            m.set(find(format!("{FIRST}{name}"))?)?;
            v.set(find(format!("{SECOND}{name}"))?)?;
        }
        for (name, kept) in self.average.iter_mut().flatten() {
            *kept = find(format!("{AVERAGE}{name}"))?.clone();
        }
        Ok(())
    }
}

const FIRST: &str = "adamw.m.";
const SECOND: &str = "adamw.v.";
const AVERAGE: &str = "ema.";

/// Detached: what is kept must not keep the graph of the steps behind it.
fn copies(params: &Params) -> Result<BTreeMap<String, Tensor>> {
    params.iter().map(|(name, var)| Ok((name.to_string(), var.as_detached_tensor().copy()?))).collect()
}

fn set(params: &Params, values: &BTreeMap<String, Tensor>) -> Result<()> {
    params.iter().try_for_each(|(name, var)| values.get(name).map_or(Ok(()), |value| var.set(value)))
}
