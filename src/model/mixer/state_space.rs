//! A diagonal state space as a mixer (S4D, Gu et al. 2022).

use super::{Mixer, MixerInput};
use crate::model::cache::MixerCache;
use crate::model::config::{ModelConfig, StateSpaceConfig};
use crate::model::linear::Linear;
use crate::model::params::Scope;
use crate::ops::{self, Activation, Value};
use candle_core::{DType, Result, Tensor};
use std::f64::consts::PI;

/// States of each feature that decay and rotate, with a skip connection, GELU and a linear map of all features.
///
/// Of s′ = A·s + B·x and y = Re C·s + D·x, everything is learned, and also the step Δ of a token. Parameters of the dynamics are
/// vectors, so that weight decay spares them, as in the paper.
pub struct StateSpace {
    /// ln Δ, `[d_model]`.
    step: Value,
    /// ln(−Re A), `[n_states·d_model]`.
    decay: Value,
    /// Im A, `[n_states·d_model]`; none for real states.
    frequency: Option<Value>,
    /// B, `[parts·n_states·d_model]`: real parts, before imaginary ones if there are any.
    input: Value,
    /// C of tokens before, and of tokens after if it reads both ways, `[parts·n_states, d_model]`.
    outputs: Vec<Value>,
    /// D, `[d_model]`.
    skip: Value,
    output: Linear,
    n_states: usize,
}

impl StateSpace {
    /// A mixer of the configured states; `residual_std` is the deviation of the weights of the output projection.
    ///
    /// # Errors
    /// If a parameter's name is taken.
    pub fn new(
        mut scope: Scope,
        config: &ModelConfig,
        settings: &StateSpaceConfig,
        residual_std: f64,
    ) -> Result<Self> {
        let (d, complex) = (config.d_model, settings.complex);
        let (n, parts) = if complex { (settings.d_state / 2, 2) } else { (settings.d_state, 1) };
        let [least, most] = [settings.min_step, settings.max_step].map(f64::ln);
        // A of S4D-Lin, −½ + iπn, or of S4D-Real, −(n + 1).
        let decay = |i: usize| if complex { 0.5_f64.ln() } else { ((i / d + 1) as f64).ln() };
        // The states of a conjugate pair add their real parts.
        let output_std = if complex { 2.0_f64.sqrt() } else { 1.0 };
        let names = ["output_state", "output_state_backwards"];
        let outputs = names.iter().take(1 + usize::from(settings.bidirectional));
        Ok(Self {
            step: scope.values("step", d, |i| least + (most - least) * (i as f64 + 0.5) / d as f64)?,
            decay: scope.values("decay", n * d, decay)?,
            frequency: match complex {
                true => Some(scope.values("frequency", n * d, |i| PI * (i / d) as f64)?),
                false => None,
            },
            input: scope.values("input", parts * n * d, |i| if i < n * d { 1.0 } else { 0.0 })?,
            outputs: outputs
                .map(|name| scope.normal(name, (parts * n, d), output_std))
                .collect::<Result<_>>()?,
            skip: scope.ones("skip", d)?,
            output: Linear::new(scope.at("output"), d, d, config.bias, residual_std)?,
            n_states: n,
        })
    }

    /// The exponents and the weights of `ops::state_space` with the output map `output`.
    fn discretized(&self, output: &Value) -> Result<[Value; 2]> {
        let (n, d) = (self.n_states, self.step.dims()[0]);
        let zeros = || {
            let zeros = Tensor::zeros((n, d), DType::F32, self.step.tensor().device())?;
            Ok::<_, candle_core::Error>(Value::constant(zeros))
        };
        let both = |x: Value| -> Result<Value> {
            match self.frequency {
                Some(_) => Ok(x),
                None => ops::concat_rows(&[x, zeros()?]),
            }
        };
        let decay = ops::reshape(&self.decay, &[n, d])?;
        let frequency = match &self.frequency {
            Some(frequency) => ops::reshape(frequency, &[n, d])?,
            None => zeros()?,
        };
        let parts = if self.frequency.is_some() { 2 } else { 1 };
        let input = both(ops::reshape(&self.input, &[parts * n, d])?)?;
        ops::discretize(&self.step, &decay, &frequency, &input, &both(output.clone())?)
    }
}

impl Mixer for StateSpace {
    fn mix(&self, tokens: &MixerInput, cache: Option<&mut MixerCache>) -> Result<Value> {
        let MixerInput { keys: x, plan, .. } = *tokens;
        let documents = plan.tokens().documents.as_slice();
        let [exponents, weights] = self.discretized(&self.outputs[0])?;
        let mut y = match cache {
            Some(cache) => {
                let state = cache.state.as_ref();
                let (y, state) = ops::state_space_step(x, &exponents, &weights, documents, state)?;
                cache.state = Some(state);
                y
            }
            None => ops::state_space(x, &exponents, &weights, documents, false)?,
        }; // [n_tokens, d_model]
        // With a cache, no later piece follows one that is read both ways: the rules of the cache refuse it.
        for output in &self.outputs[1..] {
            let [exponents, weights] = self.discretized(output)?;
            y = ops::add(&y, &ops::state_space(x, &exponents, &weights, documents, true)?)?;
        }
        y = ops::add(&y, &ops::scale_columns(x, &self.skip)?)?;
        plan.query_rows(&ops::activation(&y, Activation::Gelu)?) // [n_queries, d_model]
    }

    fn output_projection(&self, mixed: &Value, residual: Option<&Value>) -> Result<Value> {
        self.output.forward_residual(mixed, residual)
    }
}
