//! `smalti bench`

use super::{device::DeviceChoice, print};
use anyhow::{Result, bail};
use clap::Args;
use smalti::bench::{LOADS, Load, product_rate};

/// Measure training speed on the standard loads.
#[derive(Args)]
pub struct BenchArgs {
    /// text-nano, text-char, image-tiny, trajectory, audio, or all of them.
    #[arg(default_value = "all")]
    load: String,
    /// Steps that are measured, after three that are not.
    #[arg(long, default_value_t = 20)]
    steps: u64,
    /// Computes on auto, cpu, cuda or cuda:N.
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Prints one JSON object: for each load parameters, tokens, step_ms, tokens_per_s, gflop_per_s, share_of_peak.
    #[arg(long)]
    json: bool,
}

/// Measures.
pub fn run(args: BenchArgs) -> Result<()> {
    let loads: Vec<Load> = LOADS.into_iter().filter(|l| args.load == "all" || l.name == args.load).collect();
    if loads.is_empty() {
        let known = LOADS.map(|load| load.name).join(", ");
        bail!("no load is named {:?}; known: {known}, all", args.load);
    }
    if args.steps == 0 {
        bail!("--steps must be at least 1");
    }
    let device = args.device.open()?;
    let peak = product_rate();
    let measured =
        loads.iter().map(|load| load.measure(args.steps, peak, &device)).collect::<Result<Vec<_>, _>>()?;
    if args.json {
        return print::json(&serde_json::json!({ "loads": measured, "product_gflop_per_s": peak / 1e9 }));
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
        ]
    });
    print::table(
        &["load", "parameters", "tokens", "step", "tokens_per_s", "GFLOP/s", "of peak"],
        &rows.collect::<Vec<_>>(),
    );
    println!("peak: {:.0} GFLOP/s in a matrix product of 1,024 × 1,024 × 1,024, measured first", peak / 1e9);
    Ok(())
}
