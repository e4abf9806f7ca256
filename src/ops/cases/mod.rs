//! The table of calls of every operation: what tests and `smalti bench ops` compare.
//!
//! Tests compare the CPU kernel of each case with its reference, and the reference of a small case with finite differences;
//! `smalti bench ops` compares a GPU with the CPU in the other cases.

pub(super) mod attention;
mod dense;
mod losses;
mod mixers;
mod rows;

use super::autograd::{Gradient, Value, backward, with_rule};
use crate::random;
use candle_core::{DType, Device, Result, Tensor, Var, bail};
use std::sync::Arc;

type Run = Box<dyn Fn(&[Value]) -> Result<Value> + Send + Sync>;
type Reference = Box<dyn Fn(&[Tensor]) -> Result<Tensor> + Send + Sync>;

/// One call of an operation.
pub(crate) struct Case {
    /// The operation, and the shapes or settings of the call.
    pub(crate) name: String,
    /// Inputs in the precision under test.
    pub(crate) activations: Vec<Tensor>,
    /// Inputs in `f32`, after the activations.
    pub(crate) parameters: Vec<Tensor>,
    /// Whether there are few enough numbers for finite differences, and too few for `bf16`, where the rounding of one of
    /// them would decide.
    pub(crate) small: bool,
    pub(crate) run: Run,
    /// The same in candle's own operations; none if candle's backward pass would overflow the stack.
    #[cfg_attr(not(test), allow(dead_code))] // for tests
    pub(crate) reference: Option<Reference>,
}

impl Case {
    /// A case without parameters. `run` and `reference` are called with `settings`.
    fn new<S: Send + Sync + 'static>(
        name: String,
        activations: impl Into<Vec<Tensor>>,
        settings: S,
        run: impl Fn(&S, &[Value]) -> Result<Value> + Send + Sync + 'static,
        reference: impl Fn(&S, &[Tensor]) -> Result<Tensor> + Send + Sync + 'static,
    ) -> Self {
        let settings = Arc::new(settings);
        let same = settings.clone();
        Self {
            name,
            activations: activations.into(),
            parameters: vec![],
            small: false,
            run: Box::new(move |x| run(&settings, x)),
            reference: Some(Box::new(move |t| reference(&same, t))),
        }
    }

    fn parameters(self, parameters: impl Into<Vec<Tensor>>) -> Self {
        Self { parameters: parameters.into(), ..self }
    }
}

/// Every case.
pub(crate) fn cases() -> Result<Vec<Case>> {
    let all = [dense::cases()?, rows::cases()?, losses::cases()?, attention::cases()?, mixers::cases()?];
    Ok(all.into_iter().flatten().collect())
}

/// The cases of each of these shapes.
fn each<S: Copy>(small: &[S], others: &[S], cases: impl Fn(S) -> Result<Vec<Case>>) -> Result<Vec<Case>> {
    let mut all = Vec::new();
    for (shapes, small) in [(small, true), (others, false)] {
        for &shape in shapes {
            all.extend(cases(shape)?.into_iter().map(|case| Case { small, ..case }));
        }
    }
    Ok(all)
}

/// The output of a call, and the gradient of each input for the [`upstream`] gradient.
///
/// # Errors
/// If an operation fails, or an input gets no gradient.
pub(crate) fn results(run: impl Fn(&[Value]) -> Result<Value>, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    let variables = inputs.iter().map(Var::from_tensor).collect::<Result<Vec<Var>>>()?;
    let values: Vec<Value> = variables.iter().zip(0..).map(|(x, place)| Value::parameter(x, place)).collect();
    let y = run(&values)?;
    let dy = upstream(y.dims())?.to_device(y.tensor().device())?.to_dtype(y.tensor().dtype())?;
    let root = Tensor::zeros((), DType::F32, y.tensor().device())?;
    let root = with_rule(root, &[&y], move |_| Ok(vec![Some(Gradient::shared(&dy))]));
    let gradients = backward(vec![(root, 1.0)])?;
    let mut results = vec![y.into_tensor()];
    for place in 0..inputs.len() {
        match gradients.get(place) {
            Some(gradient) => results.push(gradient.clone()),
            None => bail!("input {place} gets no gradient"),
        }
    }
    Ok(results)
}

/// The name of result number `i` of [`results`].
pub(crate) fn result_name(i: usize) -> String {
    i.checked_sub(1).map_or("output".into(), |place| format!("gradient of input {place}"))
}

/// A random gradient for an output of these dimensions: multiples of 1/32, which `bf16` holds exactly.
pub(crate) fn upstream(dims: &[usize]) -> Result<Tensor> {
    let numbers = numbers(dims.iter().product(), 99).into_iter().map(|x| (x * 32.0).round() / 32.0);
    Tensor::from_iter(numbers, &Device::Cpu)?.reshape(dims)
}

/// Samples of the standard normal distribution.
fn numbers(n: usize, seed: u64) -> Vec<f32> {
    random::normal(&mut random::generator(seed), n)
}

pub(crate) fn matrix(rows: usize, columns: usize, seed: u64) -> Result<Tensor> {
    Tensor::from_vec(numbers(rows * columns, seed), (rows, columns), &Device::Cpu)
}

fn vector(n: usize, seed: u64) -> Result<Tensor> {
    Tensor::from_vec(numbers(n, seed), n, &Device::Cpu)
}

/// Weights of a map whose outputs have the variance of its inputs.
fn weight(outputs: usize, inputs: usize, seed: u64) -> Result<Tensor> {
    matrix(outputs, inputs, seed)? * (inputs as f64).sqrt().recip()
}
