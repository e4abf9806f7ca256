//! `smalti bench`

use super::{device::DeviceChoice, print};
use crate::bench::{
    ATTENTION_LENGTHS, ATTENTION_RULES, AttentionCost, Checked, Growth, LOADS, Load, Measured,
    attention_cost, gpu_product_rate, growth, inference, operations, product_rate, read_rate, tokenizers,
};
use crate::rules::Rule;
use crate::train::{Precision, TrainConfig};
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::process::{Command, Stdio};

/// Benchmark training, inference, tokenizers, the loader, attention, and growth with sequence length.
#[derive(Args)]
pub struct BenchArgs {
    /// Benchmark to run.
    #[arg(value_enum, default_value_t = Benchmark::All)]
    what: Benchmark,
    /// Number of training steps to measure, after three warm-up steps [default: 20].
    ///
    /// For attention, the number of measurements, after one to warm up [default: 3]. Not for inference, tokenizers and ops.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    steps: Option<u64>,
    /// Device: auto, cpu, cuda or cuda:N [default: auto].
    ///
    /// Not for tokenizers, which always run on the CPU.
    #[arg(long)]
    device: Option<DeviceChoice>,
    /// Arithmetic of training loads: f32 or bf16, or on a GPU tf32.
    #[arg(long, value_parser = precision)]
    precision: Option<Precision>,
    /// Length of the document for attention, in tokens [default: 8192 and 32768].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    length: Option<u32>,
    /// Rule of attention [default: causal and "causal & near(64, order)"].
    #[arg(long)]
    rule: Option<Rule>,
    /// Train with activation checkpointing (train.checkpoint_activations).
    #[arg(long)]
    checkpoint_activations: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Benchmark {
    /// Training: all loads, each in its own process.
    All,
    /// Training: 4 layers 128 wide, 12 texts of 64 characters.
    TextNano,
    /// Training: 6 layers 384 wide, 4 texts of 256 characters.
    TextChar,
    /// Training: 6 layers 192 wide, 128 images of 64 patches.
    ImageTiny,
    /// Training: 3 layers 128 wide, 64 windows of 20 steps.
    Trajectory,
    /// Training: 4 layers 256 wide, 16 clips of 150 slices and their texts.
    Audio,
    /// Training: 12 layers 768 wide, 16 texts of 1,024 tokens. For a GPU.
    #[value(name = "gpt2-124m")]
    Gpt2,
    /// Training: 12 layers 384 wide, 256 images of 196 patches. For a GPU.
    #[value(name = "vit-s16")]
    Vit,
    /// Operations: results and gradients on a GPU against the CPU.
    Ops,
    /// Inference: generating text, classifying images, choosing actions.
    Inference,
    /// Tokenizers: files to tokens, on one thread.
    Tokenizers,
    /// Loader: images on disk to batches, against the speed of training.
    #[cfg(feature = "image")]
    Loader,
    /// Attention: forward and backward pass on one long document, each in its own process.
    Attention,
    /// Training: step time by sequence length, attention rule and number of threads.
    Growth,
}

impl Benchmark {
    /// The training load of this name.
    fn load(self) -> Option<Load> {
        Load::named(self.to_possible_value()?.get_name())
    }
}

impl BenchArgs {
    fn steps(&self) -> u64 {
        self.steps.unwrap_or(20)
    }

    fn device(&self) -> DeviceChoice {
        self.device.unwrap_or(DeviceChoice::Auto)
    }

    fn precision(&self) -> Precision {
        self.precision.unwrap_or_default()
    }

    /// Fails for an option that this benchmark does not use.
    fn refuse_unused(&self) -> Result<()> {
        if self.steps.is_some()
            && matches!(self.what, Benchmark::Inference | Benchmark::Tokenizers | Benchmark::Ops)
        {
            bail!("--steps is for training loads, the loader, attention and growth");
        }
        if (self.length.is_some() || self.rule.is_some()) && self.what != Benchmark::Attention {
            bail!("--length and --rule are for attention");
        }
        let trains = self.what.load().is_some() || self.what == Benchmark::All;
        if self.precision.is_some() && !trains {
            bail!("--precision is for training loads");
        }
        if self.checkpoint_activations && !trains {
            bail!("--checkpoint-activations is for training loads");
        }
        if self.device.is_some() && self.what == Benchmark::Tokenizers {
            bail!("--device is not for tokenizers, which always run on the CPU");
        }
        Ok(())
    }
}

/// Measures.
pub fn run(args: BenchArgs) -> Result<()> {
    args.refuse_unused()?;
    match (args.what.load(), args.what) {
        (Some(load), _) => {
            let device = args.device().open()?;
            let peak = match device.is_cpu() {
                true => product_rate(args.precision()),
                false => gpu_product_rate(args.precision(), &device)?,
            };
            let (steps, precision) = (args.steps(), args.precision());
            let train = TrainConfig {
                max_steps: steps,
                precision,
                checkpoint_activations: args.checkpoint_activations,
                ..TrainConfig::default()
            };
            print_loads(&[load.measure(&train, Some(peak), &device)?], &args)
        }
        (None, Benchmark::Inference) => print_inference(&args),
        (None, Benchmark::Tokenizers) => print_tokenizers(&args),
        (None, Benchmark::Attention) => print_attention(&args),
        (None, Benchmark::Growth) => print_growth(&args),
        (None, Benchmark::Ops) => check_operations(&args),
        #[cfg(feature = "image")]
        (None, Benchmark::Loader) => print_loading(&args),
        (None, _) => {
            let measured =
                LOADS.iter().map(|load| measure_in_process(load, &args)).collect::<Result<Vec<_>>>()?;
            print_loads(&measured, &args)
        }
    }
}

/// Measures a load in another process, so that its peak memory is its own.
fn measure_in_process(load: &Load, args: &BenchArgs) -> Result<Measured> {
    let (steps, device) = (args.steps().to_string(), args.device().to_string());
    let mut line =
        vec![load.name, "--steps", &steps, "--device", &device, "--precision", args.precision().name()];
    line.extend(args.checkpoint_activations.then_some("--checkpoint-activations"));
    Ok(serde_json::from_value(bench_in_process(&line)?["loads"][0].take())?)
}

/// Runs `smalti bench` with these arguments in another process; returns the JSON that it prints.
fn bench_in_process(line: &[&str]) -> Result<serde_json::Value> {
    let program = std::env::current_exe().context("the file of this program cannot be found")?;
    let output = Command::new(program)
        .args(["bench", "--json"])
        .args(line)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("the process for {} cannot be started", line[0]))?;
    if !output.status.success() {
        bail!("the process for {} failed: {}", line[0], output.status);
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Measures attention, each of several lengths and rules in another process, so that its peak memory is its own.
fn measure_attention(args: &BenchArgs) -> Result<Vec<AttentionCost>> {
    let (repeats, device) = (args.steps.unwrap_or(3), args.device());
    let lengths = args.length.map_or(ATTENTION_LENGTHS.to_vec(), |length| vec![length as usize]);
    let shipped = || ATTENTION_RULES.iter().map(|rule| rule.parse()).collect();
    let rules: Vec<Rule> = args.rule.clone().map_or_else(shipped, |rule| Ok(vec![rule]))?;
    if let ([length], [rule]) = (&lengths[..], &rules[..]) {
        return Ok(vec![attention_cost(*length, rule, repeats, &device.open()?)?]);
    }
    let (repeats, device) = (repeats.to_string(), device.to_string());
    let in_process = |(length, rule): (&usize, &Rule)| {
        let (length, rule) = (length.to_string(), rule.to_string());
        let line =
            ["attention", "--length", &length, "--rule", &rule, "--steps", &repeats, "--device", &device];
        Ok(serde_json::from_value(bench_in_process(&line)?["attention"][0].take())?)
    };
    let all = lengths.iter().flat_map(|length| rules.iter().map(move |rule| (length, rule)));
    all.map(in_process).collect()
}

fn print_attention(args: &BenchArgs) -> Result<()> {
    let measured = measure_attention(args)?;
    if args.json {
        return print::json(&json!({ "attention": measured }));
    }
    let rows = measured.iter().map(|m| {
        vec![
            m.length.to_string(),
            m.rule.clone(),
            format!("{:.1} ms", m.forward_ms),
            format!("{:.1} ms", m.backward_ms),
            format!("{:.0}", m.gflop_per_s),
            m.peak_memory_mib.map_or("–".into(), |mib| format!("{mib:.0} MiB")),
        ]
    });
    print::table(&["tokens", "rule", "forward", "backward", "GFLOP/s", "memory"], &rows.collect::<Vec<_>>());
    Ok(())
}

fn print_loads(measured: &[Measured], args: &BenchArgs) -> Result<()> {
    if args.json {
        return print::json(&json!({ "loads": measured }));
    }
    let rows = measured.iter().map(|m| {
        vec![
            m.load.clone(),
            m.parameters.to_string(),
            m.tokens.to_string(),
            format!("{:.2} ms", m.step_ms),
            format!("{:.0}", m.tokens_per_s),
            format!("{:.0}", m.gflop_per_s),
            percent(m.share_of_peak),
            m.peak_memory_mib.map_or("–".into(), |mib| format!("{mib:.0} MiB")),
        ]
    });
    print::table(
        &["load", "parameters", "tokens", "step", "tokens/s", "GFLOP/s", "of peak", "memory"],
        &rows.collect::<Vec<_>>(),
    );
    if let Some(first) = measured.first() {
        println!("products of linear maps: {}", first.product_kernel);
    }
    println!(
        "of peak: share of the rate of a large matrix product, 1,024 wide (8,192 on a GPU), measured before each load"
    );
    Ok(())
}

fn print_inference(args: &BenchArgs) -> Result<()> {
    let device = args.device().open()?;
    let bandwidth = device.is_cpu().then(read_rate);
    let measured = inference(bandwidth, &device)?;
    if args.json {
        return print::json(
            &json!({ "inference": measured, "read_gb_per_s": bandwidth.map(|rate| rate / 1e9) }),
        );
    }
    let rows = measured.iter().map(|m| {
        vec![
            m.what.clone(),
            m.parameters.to_string(),
            format!("{:.0} {}/s", m.per_s, m.unit),
            format!("{:.1} MiB", m.mib_read),
            percent(m.share_of_bandwidth),
        ]
    });
    print::table(
        &["what", "parameters", "speed", "read for each", "of bandwidth"],
        &rows.collect::<Vec<_>>(),
    );
    if let Some(bandwidth) = bandwidth {
        println!("bandwidth: {:.1} GB/s read from memory by all threads, measured before", bandwidth / 1e9);
    }
    Ok(())
}

fn print_tokenizers(args: &BenchArgs) -> Result<()> {
    let measured = tokenizers()?;
    if args.json {
        return print::json(&json!({ "tokenizers": measured }));
    }
    let rows = measured.iter().map(|m| {
        vec![
            m.what.to_string(),
            m.threads.to_string(),
            m.bytes.to_string(),
            m.tokens.to_string(),
            format!("{:.2} ms", m.ms),
            format!("{:.0}", m.inputs_per_s),
            format!("{:.0}", m.tokens_per_s),
        ]
    });
    print::table(
        &["input", "threads", "bytes", "tokens", "time", "inputs/s", "tokens/s"],
        &rows.collect::<Vec<_>>(),
    );
    Ok(())
}

#[cfg(feature = "image")]
fn print_loading(args: &BenchArgs) -> Result<()> {
    let (consumed, measured) = crate::bench::loading(args.steps(), &args.device().open()?)?;
    if args.json {
        return print::json(&json!({ "training_samples_per_s": consumed, "loader": measured }));
    }
    let rows = measured.iter().map(|m| {
        vec![
            m.workers.to_string(),
            if m.shuffle == 0 { "all".into() } else { m.shuffle.to_string() },
            format!("{:.0}", m.samples_per_s),
            format!("{:.1}", m.times_training),
            format!("{:.1} ms", m.first_ms),
            format!("{:.1} ms", m.resumed_ms),
        ]
    });
    print::table(
        &["threads", "shuffled", "samples/s", "times training", "first batch", "in epoch 1,000"],
        &rows.collect::<Vec<_>>(),
    );
    println!("training image-tiny consumes {consumed:.0} samples/s");
    Ok(())
}

fn print_growth(args: &BenchArgs) -> Result<()> {
    let mut measured: Vec<Growth> = Vec::new();
    growth(args.steps(), &args.device().open()?, |line| {
        eprintln!("{} tokens, {}, {} threads: {:.2} ms", line.length, line.rule, line.threads, line.step_ms);
        measured.push(line);
    })?;
    if args.json {
        return print::json(&json!({ "growth": measured }));
    }
    let rows = measured.iter().map(|m| {
        vec![
            m.rule.clone(),
            m.length.to_string(),
            m.threads.to_string(),
            format!("{:.2} ms", m.step_ms),
            format!("{:.1} µs", m.us_per_token),
        ]
    });
    print::table(&["rule", "tokens", "threads", "step", "per token"], &rows.collect::<Vec<_>>());
    Ok(())
}

/// Fails after all operations if the error of one exceeds its tolerance.
fn check_operations(args: &BenchArgs) -> Result<()> {
    let device = args.device().open()?;
    if device.is_cpu() {
        bail!("bench ops: expected a GPU, to compare with the CPU; found the CPU; add --device cuda");
    }
    let mut checked: Vec<Checked> = Vec::new();
    operations(&device, |line| {
        if !line.passes() {
            eprintln!("{} in {}: error of {} is {:.1e}", line.operation, line.dtype, line.of, line.error);
        }
        checked.push(line);
    })?;
    let failed = checked.iter().filter(|line| !line.passes()).count();
    if args.json {
        print::json(&json!({ "operations": checked, "failed": failed }))?;
    } else {
        let rows = checked.iter().map(|c| {
            let verdict = if c.passes() { "passes" } else { "FAILS" };
            let (error, tolerance) = (format!("{:.1e}", c.error), format!("{:.0e}", c.tolerance));
            vec![c.operation.clone(), c.dtype.into(), c.of.clone(), error, tolerance, verdict.into()]
        });
        let headers = ["operation", "dtype", "largest error in", "relative error", "tolerance", ""];
        print::table(&headers, &rows.collect::<Vec<_>>());
    }
    if failed > 0 {
        bail!("{failed} of {} checks of operations failed", checked.len());
    }
    Ok(())
}

fn precision(text: &str) -> Result<Precision, String> {
    Precision::named(text).ok_or_else(|| format!("expected f32, tf32 or bf16; found {text:?}"))
}

/// A share in percent, if it is known.
fn percent(share: Option<f64>) -> String {
    share.map_or("–".into(), |share| format!("{:.0}%", 100.0 * share))
}
