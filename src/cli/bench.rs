//! `smalti bench`

use super::{device::DeviceChoice, print};
use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;
use smalti::bench::{Growth, LOADS, Load, Measured, growth, inference, product_rate, read_rate, tokenizers};
use std::process::{Command, Stdio};

/// Measure speed: training steps on the standard loads, inference, tokenizers.
#[derive(Args)]
pub struct BenchArgs {
    /// A training load: text-nano, text-char, image-tiny, trajectory, audio, or all of them, each in a process of its
    /// own; inference: text generated, images classified, actions chosen; tokenizers: bytes to tokens, on one
    /// thread; growth: training steps against the length of a document and threads.
    #[arg(default_value = "all")]
    what: String,
    /// Training steps that are measured, after three that are not.
    #[arg(long, default_value_t = 20)]
    steps: u64,
    /// Computes on auto, cpu, cuda or cuda:N.
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Prints one JSON object, with more figures than the table.
    #[arg(long)]
    json: bool,
}

/// Measures.
pub fn run(args: BenchArgs) -> Result<()> {
    if args.steps == 0 {
        bail!("--steps must be at least 1");
    }
    match args.what.as_str() {
        "all" => {
            let measured = LOADS.iter().map(|load| apart(load, &args)).collect::<Result<Vec<_>>>()?;
            print_loads(&measured, &args)
        }
        "inference" => print_inference(&args),
        "tokenizers" => print_tokenizers(&args),
        "growth" => print_growth(&args),
        name => {
            let Some(load) = Load::named(name) else {
                let known = LOADS.map(|load| load.name).join(", ");
                bail!("no load is named {name:?}; known: {known}, all, inference, tokenizers, growth");
            };
            let measured = load.measure(args.steps, product_rate(), &args.device.open()?)?;
            print_loads(&[measured], &args)
        }
    }
}

/// Measures a load in another process, so that its peak of memory is its own.
fn apart(load: &Load, args: &BenchArgs) -> Result<Measured> {
    let program = std::env::current_exe().context("this program cannot find itself")?;
    let output = Command::new(program)
        .args(["bench", load.name, "--json", "--steps", &args.steps.to_string()])
        .args(["--device", &args.device.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("the process for {} cannot be started", load.name))?;
    if !output.status.success() {
        bail!("the process for {} failed: {}", load.name, output.status);
    }
    let mut said: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    Ok(serde_json::from_value(said["loads"][0].take())?)
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
            format!("{:.0}%", 100.0 * m.share_of_peak),
            m.peak_memory_mib.map_or("–".into(), |mib| format!("{mib:.0} MiB")),
        ]
    });
    print::table(
        &["load", "parameters", "tokens", "step", "tokens/s", "GFLOP/s", "of peak", "memory"],
        &rows.collect::<Vec<_>>(),
    );
    println!("of peak: of the rate of a 1,024 × 1,024 × 1,024 matrix product, measured before each load");
    Ok(())
}

fn print_inference(args: &BenchArgs) -> Result<()> {
    let bandwidth = read_rate();
    let measured = inference(bandwidth, &args.device.open()?)?;
    if args.json {
        return print::json(&json!({ "inference": measured, "read_gb_per_s": bandwidth / 1e9 }));
    }
    let rows = measured.iter().map(|m| {
        vec![
            m.what.clone(),
            m.parameters.to_string(),
            format!("{:.0} {}/s", m.per_s, m.unit),
            format!("{:.1} MiB", m.mib_read),
            format!("{:.0}%", 100.0 * m.share_of_bandwidth),
        ]
    });
    print::table(
        &["what", "parameters", "speed", "read for each", "of bandwidth"],
        &rows.collect::<Vec<_>>(),
    );
    println!("bandwidth: {:.1} GB/s read from memory by all threads, measured first", bandwidth / 1e9);
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
            m.bytes.to_string(),
            m.tokens.to_string(),
            format!("{:.2} ms", m.ms),
            format!("{:.0}", m.inputs_per_s),
            format!("{:.0}", m.tokens_per_s),
        ]
    });
    print::table(
        &["one thread", "bytes", "tokens", "time", "inputs/s", "tokens/s"],
        &rows.collect::<Vec<_>>(),
    );
    Ok(())
}

fn print_growth(args: &BenchArgs) -> Result<()> {
    let mut measured: Vec<Growth> = Vec::new();
    growth(args.steps, &args.device.open()?, |line| {
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
    print::table(&["rule", "tokens", "threads", "step", "a token"], &rows.collect::<Vec<_>>());
    Ok(())
}
