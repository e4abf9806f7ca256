//! Tests of all operations, and helpers for tests of one: seeded inputs, finite differences, kernel against reference.

use super::autograd::Value;
use super::cases::{cases, result_name, results, upstream};
use candle_core::{DType, Device, Result, Tensor, Var};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use rayon::prelude::*;

/// Every kernel against its reference, and the references of small cases against finite differences.
#[test]
fn kernels_match_their_references_and_these_finite_differences() -> Result<()> {
    cases()?.par_iter().try_for_each(|case| {
        let Some(reference) = &case.reference else { return Ok(()) };
        let inputs = [&case.activations[..], &case.parameters].concat();
        let differences = if case.small { check_gradients(&case.name, reference, &inputs) } else { Ok(()) };
        let checked = differences.and_then(|()| check_kernel(&case.name, &case.run, reference, &inputs));
        checked.map_err(|error| error.context(case.name.clone()))
    })
}

/// Every kernel in `bf16` against itself in `f32`, for inputs that `bf16` holds.
#[test]
fn kernels_in_bf16_match_those_in_f32() -> Result<()> {
    cases()?.par_iter().filter(|case| !case.small).try_for_each(|case| {
        let in_type = |x: &[Tensor], dtype| x.iter().map(|x| x.to_dtype(dtype)).collect::<Result<Vec<_>>>();
        let rounded = in_type(&case.activations, DType::BF16)?;
        let run =
            |activations: Vec<Tensor>| results(&case.run, &[activations, case.parameters.clone()].concat());
        let expected = run(in_type(&rounded, DType::F32)?)?;
        // The derivative of ReLU jumps at 0, where rounding decides it for a few inputs.
        let tolerance = if case.name.contains("Relu") { 5e-2 } else { 1e-2 };
        for (i, (actual, expected)) in run(rounded)?.iter().zip(&expected).enumerate() {
            assert_close(&format!("{} in bf16: {}", case.name, result_name(i)), actual, expected, tolerance)?;
        }
        Ok(())
    })
}

/// A CPU `f32` tensor of uniform values in −2..2.
pub(crate) fn random(shape: &[usize], seed: u64) -> Result<Tensor> {
    let mut rng = Pcg64::seed_from_u64(seed);
    let values = (0..shape.iter().product()).map(|_| rng.random_range(-2.0..2.0_f32)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)
}

/// A tensor as an input without a gradient.
pub(crate) fn input(x: &Tensor) -> Value {
    Value::constant(x.clone())
}

/// Compares the gradients of `f` with central differences in `f64`, for a random linear functional of its output.
///
/// For each input, ‖Δ‖ may be 1e-6 of the gradient's norm. `f` must be smooth at `inputs`.
fn check_gradients(name: &str, f: impl Fn(&[Tensor]) -> Result<Tensor>, inputs: &[Tensor]) -> Result<()> {
    const STEP: f64 = 1e-5;
    let inputs = inputs.iter().map(|input| input.to_dtype(DType::F64)).collect::<Result<Vec<_>>>()?;
    let upstream = upstream(f(&inputs)?.dims())?.to_dtype(DType::F64)?;
    if upstream.elem_count() == 0 {
        return Ok(()); // candle tracks nothing then
    }
    let objective = |inputs: &[Tensor]| (f(inputs)? * &upstream)?.sum_all();
    let gradients = gradients(&objective, &inputs)?;
    for (i, (input, gradient)) in inputs.iter().zip(&gradients).enumerate() {
        let values = input.flatten_all()?.to_vec1::<f64>()?;
        let shifted = |j: usize, step: f64| {
            let mut values = values.clone();
            values[j] += step;
            let mut inputs = inputs.clone();
            inputs[i] = Tensor::from_vec(values, input.dims(), input.device())?;
            objective(&inputs)?.to_scalar::<f64>()
        };
        let differences = (0..values.len())
            .map(|j| Ok((shifted(j, STEP)? - shifted(j, -STEP)?) / (2.0 * STEP)))
            .collect::<Result<Vec<_>>>()?;
        let differences = Tensor::from_vec(differences, input.dims(), input.device())?;
        assert_close(
            &format!("{name}: gradient of the reference's input {i}"),
            gradient,
            &differences,
            1e-6,
        )?;
    }
    Ok(())
}

/// Compares `kernel` with `reference` in `f32`: the output, and every input's gradient for a random upstream gradient.
///
/// For each tensor, ‖Δ‖ may be 1e-4 of the reference's norm.
pub(crate) fn check_kernel(
    name: &str,
    kernel: impl Fn(&[Value]) -> Result<Value>,
    reference: impl Fn(&[Tensor]) -> Result<Tensor>,
    inputs: &[Tensor],
) -> Result<()> {
    let y = reference(inputs)?;
    let upstream = upstream(y.dims())?;
    let gradients = match upstream.elem_count() {
        0 => inputs.iter().map(Tensor::zeros_like).collect::<Result<_>>()?, // candle tracks nothing then
        _ => gradients(&|inputs| (reference(inputs)? * &upstream)?.sum_all(), inputs)?,
    };
    let found = results(kernel, inputs)?;
    for (i, (expected, found)) in [y].iter().chain(&gradients).zip(&found).enumerate() {
        assert_close(&format!("{name}: {}", result_name(i)), found, expected, 1e-4)?;
    }
    Ok(())
}

/// Asserts equal shapes, finite values and ‖actual − expected‖ ≤ `tolerance`·‖expected‖ (or ≤ 1e-9).
pub(crate) fn assert_close(what: &str, actual: &Tensor, expected: &Tensor, tolerance: f64) -> Result<()> {
    assert_eq!(actual.dims(), expected.dims(), "shape of the {what}");
    let values = |tensor: &Tensor| tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
    let (actual, expected) = (values(actual)?, values(expected)?);
    assert!(actual.iter().chain(&expected).all(|value| value.is_finite()), "{what}: not finite");
    let error = actual.iter().zip(&expected).map(|(a, e)| (a - e).powi(2)).sum::<f64>().sqrt();
    let norm = expected.iter().map(|e| e.powi(2)).sum::<f64>().sqrt();
    assert!(error <= tolerance * norm + 1e-9, "{what}: off by {error:e} of {norm:e}");
    Ok(())
}

/// The gradients of a scalar for each input. Panics if an input gets none.
fn gradients(objective: &impl Fn(&[Tensor]) -> Result<Tensor>, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    let variables = inputs.iter().map(Var::from_tensor).collect::<Result<Vec<_>>>()?;
    let tensors: Vec<Tensor> = variables.iter().map(|variable| variable.as_tensor().clone()).collect();
    let mut store = objective(&tensors)?.backward()?;
    let gradient = |(i, tensor)| store.remove(tensor).unwrap_or_else(|| panic!("input {i} gets no gradient"));
    Ok(tensors.iter().enumerate().map(gradient).collect())
}
