//! AdamW over all parameters, gradient clipping, and the moving average of weights.

use super::TrainConfig;
use crate::model::{Params, SavedTensors};
use crate::ops::{AdamwParameter, AdamwSettings, Gradients, OptimizerStep};
use candle_core::{Result, Tensor, Var};
use std::collections::BTreeMap;

/// AdamW (Loshchilov and Hutter 2019) with its moments, and the moving average of weights.
pub struct Optimizer {
    /// The state of each parameter, in the order of parameters.
    states: Vec<State>,
    config: TrainConfig,
}

/// The optimizer state of one parameter.
struct State {
    name: String,
    mean: Var,
    square: Var,
    average: Option<Var>,
}

impl Optimizer {
    /// An optimizer of these parameters with zero moments.
    ///
    /// # Errors
    /// If memory is short.
    pub fn new(config: &TrainConfig, params: &Params) -> Result<Self> {
        let state = |(name, var): (&str, &Var)| {
            let zero = || Var::zeros(var.shape(), var.dtype(), var.device());
            let average = match config.ema_decay > 0.0 {
                true => Some(Var::from_tensor(&var.as_detached_tensor().copy()?)?),
                false => None,
            };
            Ok(State { name: name.to_string(), mean: zero()?, square: zero()?, average })
        };
        let states = params.iter().map(state).collect::<Result<_>>()?;
        Ok(Self { states, config: config.clone() })
    }

    /// One step, number `step` counted from 0: updates every parameter that has a gradient, and its average. Returns the norm
    /// of all gradients, a scalar on the device; if it is not finite, no parameter changes.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn step(&mut self, params: &Params, grads: &Gradients, step: u64, rate: f64) -> Result<Tensor> {
        let TrainConfig { beta1, beta2, eps, weight_decay, max_grad_norm: clip, ema_decay: ema, .. } =
            self.config;
        let optimizer_step = OptimizerStep {
            settings: AdamwSettings { beta1, beta2, eps, weight_decay },
            learning_rate: rate,
            step: step + 1,
            clip,
            // In the first steps a smaller decay keeps the initial weights from dominating the average.
            average_decay: ema.min((1.0 + step as f64) / (10.0 + step as f64)),
        };
        let with_gradient = params.iter().zip(&self.states).enumerate();
        let parameters = with_gradient.filter_map(|(place, ((_, parameter), state))| {
            let State { mean, square, average, .. } = state;
            let gradient = grads.get(place)?;
            // Weight decay applies to matrices, not to biases, norms and other vectors.
            let decays = parameter.rank() >= 2;
            Some(AdamwParameter { parameter, gradient, mean, square, average: average.as_ref(), decays })
        });
        optimizer_step.apply(&parameters.collect::<Vec<_>>())
    }

    /// Runs `f` with the averaged weights in place of the weights, if there is an average, and then restores the weights.
    ///
    /// # Errors
    /// If `f` or an operation fails.
    pub fn with_average<T, E: From<candle_core::Error>>(
        &self,
        params: &Params,
        f: impl FnOnce() -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let averages: Option<Vec<Tensor>> =
            self.states.iter().map(|state| Some(state.average.as_ref()?.as_detached_tensor())).collect();
        let Some(averages) = averages else { return f() };
        let weights =
            params.iter().map(|(_, var)| var.as_detached_tensor().copy()).collect::<Result<Vec<_>>>()?;
        set(params, &averages)?;
        let outcome = f();
        set(params, &weights)?;
        outcome
    }

    /// The moments and averages, by name.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        let mut tensors = BTreeMap::new();
        for State { name, mean, square, average } in &self.states {
            tensors.insert(format!("{FIRST}{name}"), mean.as_tensor().clone());
            tensors.insert(format!("{SECOND}{name}"), square.as_tensor().clone());
            if let Some(average) = average {
                tensors.insert(format!("{AVERAGE}{name}"), average.as_tensor().clone());
            }
        }
        tensors
    }

    /// Restores the moments and averages that [`tensors`](Self::tensors) returned.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape.
    pub fn load(&mut self, saved: &impl SavedTensors) -> Result<()> {
        for State { name, mean, square, average } in &self.states {
            saved.read(&format!("{FIRST}{name}"), mean)?;
            saved.read(&format!("{SECOND}{name}"), square)?;
            if let Some(average) = average {
                saved.read(&format!("{AVERAGE}{name}"), average)?;
            }
        }
        Ok(())
    }
}

const FIRST: &str = "adamw.m.";
const SECOND: &str = "adamw.v.";
const AVERAGE: &str = "ema.";

/// Sets each parameter to a value.
fn set(params: &Params, values: &[Tensor]) -> Result<()> {
    params.iter().zip(values).try_for_each(|((_, var), value)| var.set(value))
}
