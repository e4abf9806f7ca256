//! `smalti train --find-lr`: the learning-rate range test (Smith 2017).

use super::{NewRun, TrainArgs, stop_flag};
use crate::cli::{print, progress::Progress};
use crate::registry::Modalities;
use crate::report::figure::Format;
use crate::report::range_test;
use crate::run::Run;
use crate::train::ranks::Launched;
use crate::train::{RangeTest, RangeTestConfig, check_target, checkpoint::write_atomically};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::json;

/// The options of the range test.
#[derive(Args)]
pub struct FindLrArgs {
    /// Find a learning rate by a range test, which writes no run.
    ///
    /// The learning rate rises geometrically from step to step, until the smoothed loss is four times its lowest value
    /// (Smith 2017). Prints the curve, the learning rate at which the smoothed loss falls most steeply, and one tenth of the
    /// learning rate with the lowest smoothed loss.
    #[arg(long, conflicts_with_all = ["resume", "print", "devices", "sweep", "tensorboard"])]
    find_lr: bool,
    /// First learning rate of --find-lr [default: 1e-7].
    #[arg(long, value_name = "RATE", value_parser = rate, requires = "find_lr")]
    lr_from: Option<f64>,
    /// Last learning rate of --find-lr [default: 1].
    #[arg(long, value_name = "RATE", value_parser = rate, requires = "find_lr")]
    lr_to: Option<f64>,
    /// Steps of --find-lr, from 10 to 10000 [default: 100].
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u64).range(10..=10_000), requires = "find_lr")]
    lr_steps: Option<u64>,
}

impl FindLrArgs {
    /// Whether to make the test.
    pub fn is_on(&self) -> bool {
        self.find_lr
    }

    fn config(&self) -> Result<RangeTestConfig> {
        let default = RangeTestConfig::default();
        let from = self.lr_from.unwrap_or(default.from);
        let to = self.lr_to.unwrap_or(default.to);
        ensure!(from < to, "--lr-from: expected less than --lr-to, {to}; found {from}");
        Ok(RangeTestConfig { from, to, steps: self.lr_steps.unwrap_or(default.steps) })
    }
}

/// Parses a learning rate.
fn rate(text: &str) -> Result<f64, String> {
    const RATES: std::ops::RangeInclusive<f64> = 1e-12..=1e4;
    let found = text.parse::<f64>().ok().filter(|found| RATES.contains(found));
    found.ok_or_else(|| format!("expected a number from {:e} to {:e}", RATES.start(), RATES.end()))
}

/// Size of the plot in characters, and the most rows of the table.
const COLUMNS: usize = 60;
const ROWS: usize = 12;
const MOST_ROWS: usize = 20;

/// Makes the test, and prints what it found.
pub fn run(args: &TrainArgs, modalities: &Modalities) -> Result<()> {
    let config = args.find_lr.config()?;
    if let Some(Launched { world_size, .. }) = Launched::find()? {
        bail!(
            "--find-lr: expected one process; found {world_size}; start it without torchrun, srun or mpirun"
        );
    }
    let figure = args.out.as_deref().map(|path| {
        let expected = "--out: expected a file for the figure of --find-lr, with the extension .svg or .png";
        check_target(path)?;
        anyhow::Ok((path, Format::of(path).with_context(|| format!("{expected}; found {}", path.display()))?))
    });
    let figure = figure.transpose()?;
    let new = NewRun::of(args, &[], modalities)?;
    let trainer = Run::trainer(new.config, &args.device.open()?, modalities, new.from.as_ref())?;
    let mut progress = Progress::of_steps(&trainer, 0, config.steps);
    let found = trainer.range_test(&config, stop_flag()?, &mut progress);
    progress.finish();
    let found = found?;
    if let Some((path, format)) = figure {
        write_atomically(path, &range_test::figure(&found).encode(format)?)?;
    }
    if args.json {
        return print::json(&json!(found));
    }
    show(&found);
    if let Some((path, _)) = figure {
        println!("{} has the figure", path.display());
    }
    Ok(())
}

/// Prints the table, the plot and the learning rates to try.
fn show(found: &RangeTest) {
    let RangeTest { points, blew_up, steepest, tenth_of_lowest } = found;
    let every = points.len().div_ceil(MOST_ROWS).max(1);
    let shown = points.iter().enumerate().filter(|(i, _)| i % every == 0 || i + 1 == points.len());
    let rows = shown.map(|(i, point)| {
        let rate = format!("{:.1e}", point.learning_rate);
        vec![(i + 1).to_string(), rate, print::number(point.loss), print::number(point.smoothed)]
    });
    print::table(&["step", "learning rate", "loss", "smoothed loss"], &rows.collect::<Vec<_>>());
    println!("{}", range_test::plot(found, COLUMNS, ROWS));
    if *blew_up {
        println!("the loss blew up at step {}", points.len());
    }
    match (steepest, tenth_of_lowest) {
        (Some(steepest), Some(tenth)) => println!(
            "steepest descent of the smoothed loss: {steepest:.1e}\n\
             one tenth of the learning rate with the lowest smoothed loss: {tenth:.1e}\n\
             to try: --set train.learning_rate={steepest:.1e}, the first; if training is then unstable, the lower of the two"
        ),
        _ => {
            println!("the loss never falls; try a wider range with --lr-from and --lr-to, or more --lr-steps")
        }
    }
}
