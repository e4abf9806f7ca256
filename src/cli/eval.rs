//! `smalti eval`

use super::{device::DeviceChoice, print};
use crate::config::RunConfig;
use crate::registry::Modalities;
use crate::run::{self, Run};
use crate::train::evaluate;
use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Measure a run on validation data, its own or others.
#[derive(Args)]
pub struct EvalArgs {
    /// The run folder.
    run: PathBuf,
    /// Other data of the same sort, in place of the run's data.path; for runs of one task.
    #[arg(long)]
    data: Option<String>,
    /// Overrides a setting of the data: data.valid="speaker=theo", data.concat=[3,6]. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// At most this many samples of each task; 0 for all.
    #[arg(long, default_value_t = 0)]
    samples: usize,
    /// The best weights by validation loss, or those of the last checkpoint.
    #[arg(long, value_enum, default_value_t = Weights::Best)]
    weights: Weights,
    /// Computes on auto, cpu, cuda or cuda:N.
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Prints one JSON object: each task's metrics by name.
    #[arg(long)]
    json: bool,
}

/// Which weights of a run.
#[derive(Clone, Copy, ValueEnum)]
pub enum Weights {
    /// The best by validation loss.
    Best,
    /// Those of the last checkpoint.
    Last,
}

impl From<Weights> for run::Weights {
    fn from(weights: Weights) -> Self {
        match weights {
            Weights::Best => run::Weights::Best,
            Weights::Last => run::Weights::Last,
        }
    }
}

/// Evaluates.
pub fn run(args: EvalArgs, modalities: &Modalities) -> Result<()> {
    let run = Run::open_with(&args.run, modalities)?;
    let device = args.device.open()?;
    let (model, _) = run.load(args.weights.into(), &device)?;
    if let Some(set) = args.set.iter().find(|set| set.starts_with("model.") || set.starts_with("train.")) {
        bail!(
            "--set {set}: a run is evaluated with the model and training that it had; only data can be set"
        );
    }
    let mut overrides = args.set.clone();
    overrides.extend(args.data.as_ref().map(|path| format!("data.path={path}")));
    let config = RunConfig::parse("the run's settings", &run.config().to_toml()?, &overrides)?;
    let mut all = BTreeMap::new();
    for (number, (named, splits)) in run.splits(&config)?.into_iter().enumerate() {
        let task = named.task.as_task();
        let batch = config.train.batch.max(32);
        let (valid, mut bad) = (splits.valid.as_ref(), Vec::new());
        let metrics = evaluate(&model, number, task.as_ref(), valid, args.samples, batch, &mut bad)?;
        print::not_used(&bad);
        all.insert(named.name, metrics);
    }
    if args.json {
        return print::json(&json!(all));
    }
    let rows = all.iter().flat_map(|(task, metrics)| {
        metrics.iter().map(move |(name, value)| vec![task.clone(), name.clone(), print::number(*value)])
    });
    print::table(&["task", "metric", "value"], &rows.collect::<Vec<_>>());
    Ok(())
}
