//! AdamW over all parameters, clipping, and the moving average of weights.

use super::TrainConfig;
use crate::ops::{AdamwSettings, AdamwStep, Gradients, square_sum};
use crate::params::Params;
use candle_core::{Result, Tensor, Var};
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap};

/// The Euclidean norm over all gradients.
///
/// # Errors
/// Where the tensor library refuses.
pub fn norm(gradients: &Gradients) -> Result<f64> {
    let all: Vec<&Tensor> = gradients.iter().collect();
    let squares = all.into_par_iter().map(square_sum).collect::<Result<Vec<f64>>>()?;
    Ok(squares.iter().sum::<f64>().sqrt())
}

/// AdamW (Loshchilov and Hutter 2019) with its moments, and the moving average of weights.
pub struct Optimizer {
    /// One for each parameter, in their order.
    states: Vec<State>,
    config: TrainConfig,
}

/// What is kept of one parameter.
struct State {
    name: String,
    mean: Var,
    square: Var,
    average: Option<Var>,
}

impl Optimizer {
    /// Moments of zero for these parameters.
    ///
    /// # Errors
    /// Where memory is short.
    pub fn new(config: &TrainConfig, params: &Params) -> Result<Self> {
        let state = |(name, var): (&str, &Var)| {
            let zero = || Var::zeros(var.shape(), var.dtype(), var.device());
            let average = match config.ema > 0.0 {
                true => Some(Var::from_tensor(&var.as_detached_tensor().copy()?)?),
                false => None,
            };
            Ok(State { name: name.to_string(), mean: zero()?, square: zero()?, average })
        };
        let states = params.iter().map(state).collect::<Result<_>>()?;
        Ok(Self { states, config: config.clone() })
    }

    /// One step, number `step` counted from 0, along gradients of this norm: moves every parameter that has a
    /// gradient, and its average. All parameters are one piece of parallel work.
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
        // A young average follows the weights more closely than its decay says.
        let decay = self.config.ema.min((1.0 + step as f64) / (10.0 + step as f64));
        let parameters: Vec<&Var> = params.iter().map(|(_, var)| var).collect();
        parameters.into_par_iter().zip(&self.states).enumerate().try_for_each(|(place, (var, state))| {
            let Some(grad) = grads.get(place) else { return Ok(()) };
            let settings = AdamwSettings {
                beta1: self.config.beta1,
                beta2: self.config.beta2,
                eps: self.config.eps,
                // Biases, norms and other vectors are not pulled to zero.
                weight_decay: if var.rank() >= 2 { self.config.weight_decay } else { 0.0 },
            };
            let average = state.average.as_ref().map(|average| (average, decay));
            AdamwStep { settings, learning_rate: rate, step: step + 1, gradient_scale: scale }.apply(
                var,
                grad,
                &state.mean,
                &state.square,
                average,
            )
        })
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

    /// Everything to be saved, by name.
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

    /// Sets everything from what [`tensors`](Self::tensors) gave.
    ///
    /// # Errors
    /// Where a tensor is missing or of another shape.
    pub fn load(&mut self, saved: &HashMap<String, Tensor>) -> Result<()> {
        let find = |name: String| {
            saved.get(&name).ok_or_else(|| candle_core::Error::Msg(format!("saved state has no {name}")))
        };
        for State { name, mean, square, average } in &self.states {
            mean.set(find(format!("{FIRST}{name}"))?)?;
            square.set(find(format!("{SECOND}{name}"))?)?;
            if let Some(average) = average {
                average.set(find(format!("{AVERAGE}{name}"))?)?;
            }
        }
        Ok(())
    }
}

const FIRST: &str = "adamw.m.";
const SECOND: &str = "adamw.v.";
const AVERAGE: &str = "ema.";

/// Detached: what is kept must not keep the graph of the steps behind it.
fn set(params: &Params, values: &[Tensor]) -> Result<()> {
    params.iter().zip(values).try_for_each(|((_, var), value)| var.set(value))
}
