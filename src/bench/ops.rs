//! Comparison of each operation on a device with the CPU: output and gradients.

use super::BenchError;
use crate::ops::{
    self, Activation, AdamwParameter, AdamwSettings, Angles, Buckets, Heads, OptimizerStep, Readback,
    RelativeBias, Value, backward,
};
use crate::random;
use crate::rules::{AttentionMask, AttentionRules, TokenMeta};
use candle_core::{DType, Device, Result, Tensor, Var};
use serde::Serialize;
use std::sync::Arc;

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

/// Runs an operation on its inputs.
type Run<'a> = Box<dyn Fn(&[Value]) -> Result<Value> + 'a>;

/// One call: activations, in the precision under test, and parameters, in `f32`.
struct Call<'a> {
    name: String,
    activations: Vec<Tensor>,
    parameters: Vec<Tensor>,
    run: Run<'a>,
}

/// Run every operation in `f32` and, on a GPU, in `bf16`; calls `report` after each one.
///
/// # Errors
/// If the CPU or the optimizer fails; the error of an operation on the device is reported instead.
pub fn operations(device: &Device, mut report: impl FnMut(Checked)) -> std::result::Result<(), BenchError> {
    let dtypes = [("f32", DType::F32, 1e-4), ("bf16", DType::BF16, 1e-2)];
    for (name, dtype, tolerance) in
        dtypes.into_iter().filter(|(_, d, _)| *d == DType::F32 || device.is_cuda())
    {
        for call in calls()? {
            let (of, error) = match call.compare(dtype, device) {
                Ok(worst) => worst,
                Err(error) => (error.to_string(), f64::INFINITY),
            };
            report(Checked { operation: call.name, dtype: name, of, error, tolerance });
        }
    }
    let (of, error) = compare_steps(device)?;
    report(Checked { operation: "adamw".into(), dtype: "f32", of, error, tolerance: 1e-5 });
    Ok(())
}

impl Call<'_> {
    /// The worst of output and gradients, and its error.
    fn compare(&self, dtype: DType, device: &Device) -> Result<(String, f64)> {
        // Inputs are rounded first, so that the error does not include their rounding.
        let rounded = |x: &Tensor| x.to_dtype(dtype)?.to_dtype(DType::F32);
        let activations = self.activations.iter().map(rounded).collect::<Result<Vec<_>>>()?;
        let expected = self.results(&activations, DType::F32, &Device::Cpu)?;
        let actual = self.results(&activations, dtype, device)?;
        let again = self.results(&activations, dtype, device)?;
        let mut worst = (String::new(), 0.0);
        for (i, (expected, (actual, again))) in expected.iter().zip(actual.iter().zip(&again)).enumerate() {
            let of = if i == 0 { "output".into() } else { format!("gradient of input {i}") };
            if bits(actual)? != bits(again)? {
                return Ok((format!("{of} differs when run again"), f64::INFINITY));
            }
            let error = distance(actual, expected)?;
            if error > worst.1 || error.is_nan() || worst.0.is_empty() {
                worst = (of, error);
            }
        }
        Ok(worst)
    }

    /// The output, and the gradient of each input for a fixed upstream gradient.
    fn results(&self, activations: &[Tensor], dtype: DType, device: &Device) -> Result<Vec<Tensor>> {
        let variable = |x: &Tensor, dtype| Var::from_tensor(&x.to_device(device)?.to_dtype(dtype)?);
        let activations = activations.iter().map(|x| variable(x, dtype));
        let inputs = activations.chain(self.parameters.iter().map(|x| variable(x, DType::F32)));
        let inputs = inputs.collect::<Result<Vec<Var>>>()?;
        let values: Vec<Value> =
            inputs.iter().zip(0..).map(|(x, place)| Value::parameter(x, place)).collect();
        let y = (self.run)(&values)?;
        let loss = match y.dims() {
            [] => y.clone(),
            dims => {
                let n: usize = dims[0];
                let d = dims.iter().product::<usize>() / n.max(1);
                let flat = ops::cast(&y, DType::F32)?;
                ops::squared_error(&flat, &numbers(n * d, 99), &vec![1.0; n])?
            }
        };
        let gradients = backward(vec![(loss, 1.0)])?;
        let mut results = vec![y.into_tensor()];
        for (place, input) in inputs.iter().enumerate() {
            results.push(match gradients.get(place) {
                Some(gradient) => gradient.clone(),
                None => input.zeros_like()?,
            });
        }
        results.iter().map(|x| x.to_device(&Device::Cpu)?.to_dtype(DType::F32)).collect()
    }
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

fn numbers(n: usize, seed: u64) -> Vec<f32> {
    random::normal(&mut random::generator(seed), n)
}

fn matrix(rows: usize, columns: usize, seed: u64) -> Result<Tensor> {
    Tensor::from_vec(numbers(rows * columns, seed), (rows, columns), &Device::Cpu)
}

fn vector(n: usize, seed: u64) -> Result<Tensor> {
    Tensor::from_vec(numbers(n, seed), n, &Device::Cpu)
}

/// Random weights of a map whose outputs have the variance of its inputs.
fn weight(outputs: usize, inputs: usize, seed: u64) -> Result<Tensor> {
    matrix(outputs, inputs, seed)? * (inputs as f64).sqrt().recip()
}

fn calls<'a>() -> Result<Vec<Call<'a>>> {
    let mut calls = Vec::new();
    let mut add = |name: String, activations, parameters, run: Run<'static>| {
        calls.push(Call { name, activations, parameters, run });
    };
    for (n, k, m) in [(1, 64, 48), (67, 33, 129), (512, 256, 384)] {
        let parameters = vec![weight(m, k, 2)?, vector(m, 3)?];
        add(
            format!("linear {n}x{k}x{m}"),
            vec![matrix(n, k, 1)?],
            parameters,
            Box::new(|x| ops::linear(&x[0], &x[1], Some(&x[2]))),
        );
    }
    // The norm and the residual sum both have a gradient for the residual stream.
    let parameters = [vector(96, 2)?, vector(96, 3)?, weight(96, 96, 4)?, vector(96, 5)?];
    let run = |x: &[Value]| {
        let read = ops::layer_norm(&x[0], &x[1], Some(&x[2]), 1e-5)?;
        ops::linear_residual(&read, &x[3], Some(&x[4]), &x[0])
    };
    add("norm and linear_residual".into(), vec![matrix(200, 96, 1)?], parameters.to_vec(), Box::new(run));
    let parameters = [vector(64, 2)?, weight(128, 64, 3)?, weight(64, 128, 4)?, vector(128, 5)?];
    let run = |x: &[Value]| {
        let read = ops::rms_norm(&x[0], &x[1], 1e-5)?;
        ops::mlp_residual(&read, (&x[2], Some(&x[4])), (&x[3], None), Activation::Gelu, &x[0])
    };
    add("norm and mlp_residual".into(), vec![matrix(600, 64, 1)?], parameters.to_vec(), Box::new(run));
    for (activation, d) in
        [(Activation::Gelu, 96), (Activation::GeluTanh, 64), (Activation::Relu, 30), (Activation::Silu, 64)]
    {
        let inner_bias = match activation {
            // Far from 0, where rounding would decide the slope.
            Activation::Relu => {
                let far = (0..2 * d).map(|i| if i % 2 == 0 { 8.0 } else { -8.0 }).collect::<Vec<f32>>();
                Tensor::from_vec(far, 2 * d, &Device::Cpu)?
            }
            _ => vector(2 * d, 4)?,
        };
        let parameters = vec![weight(2 * d, d, 2)?, weight(d, 2 * d, 3)?, inner_bias, vector(d, 5)?];
        let run = move |x: &[Value]| ops::mlp(&x[0], (&x[1], Some(&x[3])), (&x[2], Some(&x[4])), activation);
        add(format!("mlp {activation:?} {d}"), vec![matrix(200, d, 1)?], parameters, Box::new(run));
        add(
            format!("activation {activation:?} {d}"),
            vec![matrix(50, d + 1, 1)?],
            vec![],
            Box::new(move |x| ops::activation(&x[0], activation)),
        );
    }
    for (activation, n, d) in
        [(Activation::Silu, 300, 130), (Activation::GeluTanh, 51, 97), (Activation::Gelu, 2, 3)]
    {
        add(
            format!("gate {activation:?} {n}x{d}"),
            vec![matrix(n, d, 1)?, matrix(n, d, 2)?],
            vec![],
            Box::new(move |x| ops::gate(&x[0], &x[1], activation)),
        );
    }
    for (n, d) in [(2, 9), (5, 7), (700, 130), (2000, 384)] {
        let (x, by) = (vec![matrix(n, d, 1)?], vec![vector(d, 2)?]);
        let run = |x: &[Value]| ops::scale_columns(&x[0], &x[1]);
        add(format!("scale_columns {n}x{d}"), x.clone(), by.clone(), Box::new(run));
        let run = |x: &[Value]| ops::add_to_columns(&x[0], &x[1]);
        add(format!("add_to_columns {n}x{d}"), x, by, Box::new(run));
    }
    for d in [1, 33, 128, 384, 768, 2048] {
        let (x, w, b) = (vec![matrix(300, d, 1)?], vector(d, 2)?, vector(d, 3)?);
        if d > 1 {
            add(
                format!("layer_norm {d}"),
                x.clone(),
                vec![w.clone(), b],
                Box::new(|x| ops::layer_norm(&x[0], &x[1], Some(&x[2]), 1e-5)),
            );
        }
        add(format!("rms_norm {d}"), x, vec![w], Box::new(|x| ops::rms_norm(&x[0], &x[1], 1e-6)));
    }
    for (v, smoothing) in [(10, 0.0), (65, 0.1), (5003, 0.0), (5008, 0.1)] {
        let n = 70;
        let targets: Vec<u32> = (0..n).map(|i| i * 7 % v as u32).collect();
        let weights: Vec<f32> = (0..n).map(|i| (i % 4) as f32 * 0.6).collect();
        let run = move |x: &[Value]| ops::cross_entropy(&x[0], &targets, &weights, smoothing);
        add(
            format!("cross_entropy {v}, smoothing {smoothing}"),
            vec![(matrix(n as usize, v, 1)? * 3.0)?],
            vec![],
            Box::new(run),
        );
    }
    for (n, d) in [(40, 3), (1, 1), (300, 768)] {
        let weights: Vec<f32> = (1..=n).map(|i| (i % 3) as f32 * 0.7).collect();
        add(
            format!("squared_error {n}x{d}"),
            vec![matrix(n, d, 1)?],
            vec![],
            Box::new(move |x| ops::squared_error(&x[0], &numbers(n * d, 2), &weights)),
        );
    }
    for (n, c) in [(40, 3), (1, 1), (300, 80)] {
        let weights: Vec<f32> = (1..=n).map(|i| (i % 3) as f32 * 0.7).collect();
        let targets: Vec<f32> = (0..n * c).map(|i| [0.0, 1.0, 0.3][i % 3]).collect();
        add(
            format!("binary_cross_entropy {n}x{c}"),
            vec![(matrix(n, c, 1)? * 3.0)?],
            vec![],
            Box::new(move |x| ops::binary_cross_entropy(&x[0], &targets, &weights)),
        );
    }
    for (n, d, each) in [(9, 5, 3), (1000, 384, 65)] {
        let ranges: Vec<_> = (0..n / each).map(|i| i * each..(i + 1) * each).chain([1..4, 2..2]).collect();
        let run = move |x: &[Value]| ops::mean_rows(&x[0], &ranges);
        add(format!("mean_rows {n}x{d}"), vec![matrix(n, d, 1)?], vec![], Box::new(run));
    }
    let labels = vec![vec![1, 2, 2, 3], vec![0], vec![]];
    let run = move |x: &[Value]| ops::ctc::ctc(&x[0], &[0..20, 20..31, 33..40], &labels, &[1.0, 0.5, 1.0], 5);
    add("ctc".into(), vec![matrix(40, 6, 1)?], vec![], Box::new(run));
    // More states than a block has threads; labels that repeat; frames of no document before them.
    let labels = [(0..600).map(|i| 1 + i * i % 29).collect(), vec![3; 40]];
    let run = move |x: &[Value]| ops::ctc::ctc(&x[0], &[3..1303, 1303..1400], &labels, &[0.01, 0.1], 0);
    add("ctc of long texts".into(), vec![matrix(1400, 30, 2)?], vec![], Box::new(run));
    let keys: Vec<u64> = (0..100).map(|i| random::mix(3, i)).collect();
    add(
        "dropout".into(),
        vec![matrix(100, 77, 1)?],
        vec![],
        Box::new(move |x| ops::dropout(&x[0], 0.3, 7, &keys)),
    );
    let places: Vec<u32> = (0..100).map(|i| i * 7 % 90).collect();
    let angles = Arc::new(Angles::new(&places, 32, 1e4, None));
    add(
        "rotary".into(),
        vec![matrix(100, 3 * 32 + 40, 1)?],
        vec![],
        Box::new(move |x| ops::rotary(&x[0], 96, &angles)),
    );
    add(
        "add".into(),
        vec![matrix(123, 457, 1)?, matrix(123, 457, 2)?],
        vec![],
        Box::new(|x| ops::add(&x[0], &x[1])),
    );
    add(
        "add to itself".into(),
        vec![matrix(64, 64, 1)?],
        vec![],
        Box::new(|x| ops::add(&ops::add(&x[0], &x[0])?, &x[0])),
    );
    add("concat_rows".into(), vec![matrix(9, 31, 1)?, matrix(5, 31, 2)?], vec![], Box::new(ops::concat_rows));
    let replaced = |x: &[Value]| ops::replace_rows(&x[0], &[3, 0, 7], &x[1]);
    add("replace_rows".into(), vec![matrix(9, 16, 1)?, matrix(3, 16, 2)?], vec![], Box::new(replaced));
    for (v, n, d) in [(300, 1000, 33), (3, 2000, 64), (5000, 70, 128)] {
        let rows: Vec<u32> = (0..n).map(|i| (i * i * 31 + 7) % v as u32).collect();
        add(
            format!("gather_rows {n} of {v}"),
            vec![matrix(v, d, 1)?],
            vec![],
            Box::new(move |x| ops::gather_rows(&x[0], &rows)),
        );
    }
    attentions(&mut add)?;
    Ok(calls)
}

/// Adds a call: name, activations, parameters, what to run.
type Add<'a> = dyn FnMut(String, Vec<Tensor>, Vec<Tensor>, Run<'static>) + 'a;

/// Attention under several rules, over documents of several lengths, with heads of sizes for the matrix units and others.
fn attentions(add: &mut Add) -> Result<()> {
    let rules = ["all", "causal", "past", "strict_past", "near(3)", "causal & near(70, order)", "mixed"];
    for (rule, lengths) in rules.into_iter().zip([
        &[150, 64, 1][..],
        &[300, 20],
        &[90, 66],
        &[130],
        &[200],
        &[400],
        &[100, 0, 37],
    ]) {
        for (heads, d_head) in [(2, 64), (1, 128), (3, 32), (2, 24), (2, 16)] {
            let meta = documents(lengths);
            let n = meta.len();
            let mask = Arc::new(AttentionMask::new(table(rule, &KINDS), meta.clone(), meta));
            let x = vec![matrix(n, heads * d_head, 1)?, matrix(n, 2 * heads * d_head, 2)?];
            add(
                format!("attention {rule}, {heads} heads of {d_head}"),
                x,
                vec![],
                Box::new(move |x| {
                    ops::attention(&x[0], &x[1], None, Heads::even(heads, heads * d_head), &mask)
                }),
            );
        }
    }
    for (rule, n_kv_heads) in [("causal", 4), ("causal & near(70, order)", 2), ("all", 1)] {
        let heads = Heads { n_heads: 4, n_kv_heads, scale: 0.125 };
        let meta = Arc::new(TokenMeta::document(&[0; 197]));
        let mask = Arc::new(AttentionMask::new(table(rule, &["one"]), meta.clone(), meta));
        let x = vec![matrix(197, 256, 1)?, matrix(197, 128 * n_kv_heads, 2)?];
        let run = move |x: &[Value]| ops::attention(&x[0], &x[1], None, heads, &mask);
        add(format!("attention {rule}, one kind, {n_kv_heads} key heads"), x, vec![], Box::new(run));
    }
    for (rule, both_ways, n_kv_heads, d_head, buckets) in
        [("all", true, 4, 64, 32), ("causal", false, 2, 32, 32), ("mixed", true, 1, 24, 40)]
    {
        let heads = Heads { n_heads: 4, n_kv_heads, scale: 1.0 / (d_head as f32).sqrt() };
        let (meta, buckets) = (documents(&[200, 0, 66, 2]), Arc::new(Buckets::new(buckets, 128, both_ways)));
        let n = meta.len();
        let mask = Arc::new(AttentionMask::new(table(rule, &KINDS), meta.clone(), meta));
        let x = vec![matrix(n, 4 * d_head, 1)?, matrix(n, 2 * n_kv_heads * d_head, 2)?];
        let biases = vec![matrix(buckets.len(), 4, 3)?];
        let run = move |x: &[Value]| {
            let bias = RelativeBias { table: &x[2], buckets: &buckets };
            ops::attention(&x[0], &x[1], Some(bias), heads, &mask)
        };
        let name = format!("attention with biases {rule}, {n_kv_heads} key heads of {d_head}");
        add(name, x, biases, Box::new(run));
    }
    let (queries, keys) = (documents(&[3, 70, 2]), documents(&[90, 80, 0]));
    let x = vec![matrix(queries.len(), 128, 1)?, matrix(keys.len(), 256, 2)?];
    let mask = Arc::new(AttentionMask::new(table("all", &KINDS), queries, keys));
    add(
        "attention to another list".into(),
        x,
        vec![],
        Box::new(move |x| ops::attention(&x[0], &x[1], None, Heads::even(2, 128), &mask)),
    );
    Ok(())
}

/// The kinds of [`documents`].
const KINDS: [&str; 3] = ["a", "b", "c"];

/// One rule for all pairs of these kinds; for `mixed`, rules for four pairs.
fn table(rule: &str, kinds: &[&str]) -> Arc<AttentionRules> {
    if let Ok(rule) = rule.parse() {
        return Arc::new(AttentionRules::uniform(kinds.iter().copied(), rule));
    }
    let mut rules = AttentionRules::never(kinds.iter().copied());
    for (query, key, rule) in
        [("a", "a", "all"), ("a", "b", "past"), ("b", "a", "causal"), ("b", "c", "near(4)")]
    {
        if let Ok(rule) = rule.parse() {
            let _ = rules.set(query, key, rule); // the kinds are those above
        }
    }
    Arc::new(rules)
}

/// Documents of these lengths, with three alternating kinds and three tokens for each time step.
fn documents(lengths: &[usize]) -> Arc<TokenMeta> {
    let mut meta = TokenMeta::default();
    for (document, &n) in lengths.iter().enumerate() {
        let start = meta.len();
        let next = TokenMeta::document(&(0..n as u32).map(|i| i % 3).collect::<Vec<_>>());
        meta.document.extend(vec![document as u32; n]);
        meta.kind.extend(next.kind);
        meta.order.extend(next.order);
        meta.time.extend(next.time.iter().map(|time| time / 3));
        meta.positions.extend((0..n as u32).map(|i| [i / 10, i % 10]));
        meta.documents.push(start..start + n);
    }
    Arc::new(meta)
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
