//! `smalti compare`

use super::{checks, print};
use crate::registry::Modalities;
use crate::report::compare::{ComparedRun, Comparison, compare};
use crate::run::Run;
use crate::train::End;
use anyhow::Result;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

/// Compare runs: settings that differ, parameters, steps, metrics at the best evaluation.
///
/// The best run comes first. Runs of different tasks have the settings and metrics that all of them have; their losses do not
/// compare.
#[derive(Args)]
pub struct CompareArgs {
    /// Run folders.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Metric to sort by: loss, accuracy or, of several outputs, NAME.accuracy [default: loss].
    ///
    /// `loss` is the sum of the validation losses of all outputs, each with its weight. The metrics are those of the evaluation
    /// at which it is lowest, whose weights the run keeps.
    #[arg(long, value_name = "NAME")]
    metric: Option<String>,
    /// Print one JSON object: the runs with the settings that differ and all metrics.
    #[arg(long)]
    json: bool,
}

/// Compares.
pub fn run(args: CompareArgs, modalities: &Modalities) -> Result<()> {
    show(&args.runs, args.metric.as_deref(), args.json, modalities)
}

/// The most settings in the table.
const MOST_SETTINGS: usize = 8;

/// Prints the comparison of the runs in these folders.
pub fn show(folders: &[PathBuf], metric: Option<&str>, json: bool, modalities: &Modalities) -> Result<()> {
    let runs =
        folders.iter().map(|folder| checks::open(folder, modalities)).collect::<Result<Vec<Run>, _>>()?;
    let comparison = compare(&runs, metric)?;
    if json {
        return print::json(&json!(comparison));
    }
    let Comparison { metric, same_task, settings, metrics, runs } = &comparison;
    if !same_task {
        print::note(&format!(
            "note: the runs have different inputs or outputs, so their metrics do not compare; they are in the order of {metric}"
        ));
    }
    let listed = &settings[..settings.len().min(MOST_SETTINGS)];
    let mut header = vec!["run"];
    header.extend(listed.iter().map(String::as_str));
    header.extend(["parameters", "steps", "best at"]);
    header.extend(metrics.iter().map(String::as_str));
    header.extend(["time", "tokens/s"]);
    let rows: Vec<_> = runs.iter().map(|run| row(run, listed, metrics)).collect();
    print::table(&header, &rows);
    if listed.len() < settings.len() {
        println!("{} more settings differ; --json lists them", settings.len() - listed.len());
    }
    Ok(())
}

/// The row of a run.
fn row(run: &ComparedRun, settings: &[String], metrics: &[String]) -> Vec<String> {
    const NONE: &str = "–";
    let end = match run.end {
        Some(End::Finished) => "",
        Some(End::Patience) => " (patience)",
        Some(End::Stopped) | None => " (unfinished)",
    };
    let mut row = vec![run.run.display().to_string()];
    row.extend(settings.iter().map(|key| run.settings.get(key).map_or(NONE.into(), Clone::clone)));
    row.extend([run.parameters.to_string(), format!("{}{end}", run.step)]);
    row.push(run.best_step.map_or(NONE.into(), |step| step.to_string()));
    let metric =
        |name: &String| run.metrics.get(name).map_or(NONE.into(), |value| print::metric(name, *value));
    row.extend(metrics.iter().map(metric));
    row.push(run.seconds.map_or(NONE.into(), |seconds| format!("{:.1} min", seconds / 60.0)));
    row.push(run.tokens_per_s.map_or(NONE.into(), |rate| format!("{rate:.0}")));
    row
}
