//! Comparison of each operation on a device with the CPU: output and gradients.

use super::BenchError;
use crate::ops::cases::{Case, cases, matrix, result_name, results};
use crate::ops::{AdamwParameter, AdamwSettings, OptimizerStep, Readback};
use candle_core::{DType, Device, Result, Tensor, Var};
use serde::Serialize;

/// The error of an operation on a device, relative to the CPU.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// The operation, and the shapes or settings of the call.
    pub operation: String,
    /// `f32` or `bf16`.
    pub dtype: &'static str,
    /// The worst of output and gradients.
    pub of: String,
    /// ‖Δ‖/‖reference‖, or infinite if a value is not finite or has another shape.
    pub error: f64,
    /// The largest error that passes.
    pub tolerance: f64,
}

impl Checked {
    /// Whether the error is within the tolerance; NaN is not.
    pub fn passes(&self) -> bool {
        self.error <= self.tolerance
    }
}

/// Run every operation in `f32` and, on a GPU, in `bf16`; calls `report` after each case.
///
/// # Errors
/// If the CPU or the optimizer fails; the error of an operation on the device is reported instead.
pub fn operations(device: &Device, mut report: impl FnMut(Checked)) -> std::result::Result<(), BenchError> {
    let dtypes = [("f32", DType::F32, 1e-4), ("bf16", DType::BF16, 1e-2)];
    for (name, dtype, tolerance) in
        dtypes.into_iter().filter(|(_, d, _)| *d == DType::F32 || device.is_cuda())
    {
        for case in cases()?.into_iter().filter(|case| !case.small) {
            let (of, error) = match compare(&case, dtype, device) {
                Ok(worst) => worst,
                Err(error) => (error.to_string(), f64::INFINITY),
            };
            report(Checked { operation: case.name, dtype: name, of, error, tolerance });
        }
    }
    let (of, error) = compare_steps(device)?;
    report(Checked { operation: "adamw".into(), dtype: "f32", of, error, tolerance: 1e-5 });
    Ok(())
}

/// The worst of output and gradients, and its error.
fn compare(case: &Case, dtype: DType, device: &Device) -> Result<(String, f64)> {
    // Activations are rounded first, so that the error does not include their rounding.
    let rounded = |x: &Tensor| x.to_dtype(dtype)?.to_dtype(DType::F32);
    let activations = case.activations.iter().map(rounded).collect::<Result<Vec<_>>>()?;
    let run_on = |dtype: DType, device: &Device| -> Result<Vec<Tensor>> {
        let activations = activations.iter().map(|x| x.to_device(device)?.to_dtype(dtype));
        let inputs = activations.chain(case.parameters.iter().map(|x| x.to_device(device)));
        let results = results(&case.run, &inputs.collect::<Result<Vec<_>>>()?)?;
        results.iter().map(|x| x.to_device(&Device::Cpu)?.to_dtype(DType::F32)).collect()
    };
    let expected = run_on(DType::F32, &Device::Cpu)?;
    let (actual, again) = (run_on(dtype, device)?, run_on(dtype, device)?);
    let mut worst = (String::new(), 0.0);
    for (i, (expected, (actual, again))) in expected.iter().zip(actual.iter().zip(&again)).enumerate() {
        if bits(actual)? != bits(again)? {
            return Ok((format!("{} differs when run again", result_name(i)), f64::INFINITY));
        }
        let error = distance(actual, expected)?;
        if error > worst.1 || error.is_nan() || worst.0.is_empty() {
            worst = (result_name(i), error);
        }
    }
    Ok(worst)
}

fn bits(x: &Tensor) -> Result<Vec<u32>> {
    Ok(x.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f32::to_bits).collect())
}

/// ‖actual − expected‖/‖expected‖.
fn distance(actual: &Tensor, expected: &Tensor) -> Result<f64> {
    if actual.dims() != expected.dims() {
        return Ok(f64::INFINITY);
    }
    let values = |x: &Tensor| x.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
    let (actual, expected) = (values(actual)?, values(expected)?);
    let sum = |numbers: &mut dyn Iterator<Item = f64>| numbers.map(|x| x * x).sum::<f64>().sqrt();
    let difference = sum(&mut actual.iter().zip(&expected).map(|(a, e)| a - e));
    let norm = sum(&mut expected.iter().copied());
    Ok(if norm == 0.0 { difference } else { difference / norm })
}

/// Compares three steps of AdamW over parameters of several sizes, with clipping and averages, and a fourth with an infinite
/// gradient.
fn compare_steps(device: &Device) -> Result<(String, f64)> {
    let shapes = [(1, 1), (300, 500), (7, 3), (1, 70_000)];
    let take = |device: &Device| -> Result<Vec<Tensor>> {
        let new = |scale: f64| {
            let of = |(seed, (rows, columns)): (usize, &(usize, usize))| {
                Var::from_tensor(&(matrix(*rows, *columns, seed as u64)? * scale)?.to_device(device)?)
            };
            shapes.iter().enumerate().map(of).collect::<Result<Vec<Var>>>()
        };
        let (parameters, averages, means, squares) = (new(1.0)?, new(1.0)?, new(0.0)?, new(0.0)?);
        let mut norms = Vec::new();
        for step in 1..=4 {
            let of = |(rows, columns): &(usize, usize)| {
                let size = if step == 4 { f64::INFINITY } else { step as f64 };
                (matrix(*rows, *columns, 10 + step)? * size)?.to_device(device)
            };
            let gradients = shapes.iter().map(of).collect::<Result<Vec<_>>>()?;
            let step_parameters = (0..shapes.len()).map(|i| AdamwParameter {
                parameter: &parameters[i],
                gradient: &gradients[i],
                mean: &means[i],
                square: &squares[i],
                average: Some(&averages[i]),
                decays: i % 2 == 0,
            });
            let settings = AdamwSettings { weight_decay: 0.1, ..Default::default() };
            let all = OptimizerStep { settings, learning_rate: 0.02, step, clip: 500.0, average_decay: 0.9 };
            norms.push(all.apply(&step_parameters.collect::<Vec<_>>())?);
        }
        norms.pop();
        let norms = Readback::of(&norms)?.values()?.into_iter().map(|norm| norm as f32).collect::<Vec<_>>();
        let mut results = vec![Tensor::new(norms, &Device::Cpu)?];
        for variables in [&parameters, &averages, &means, &squares] {
            for variable in variables {
                results.push(variable.as_detached_tensor().to_device(&Device::Cpu)?.copy()?);
            }
        }
        Ok(results)
    };
    let (expected, actual) = (take(&Device::Cpu)?, take(device)?);
    let mut worst = (String::from("norm"), 0.0);
    for (i, (expected, actual)) in expected.iter().zip(&actual).enumerate() {
        let error = distance(actual, expected)?;
        if error > worst.1 || error.is_nan() {
            worst = (if i == 0 { "norm".into() } else { format!("state {i}") }, error);
        }
    }
    Ok(worst)
}
