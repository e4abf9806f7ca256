//! `smalti reproduce`

use super::{device::DeviceChoice, print, progress::Progress};
use crate::cli::count::up_to;
use crate::registry::Modalities;
use crate::report::figure::Format;
use crate::reproduce::{EXPERIMENTS, Experiment, Host, Lab, Report, ReproduceError, page};
use crate::train::{Metrics, Observer, StepReport, Trainer, checkpoint::write_atomically};
use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Map, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

/// Train what a claim about transformers needs, and compare with published numbers.
///
/// Prints each measure as its mean and standard deviation over the seeds beside the published number, and whether each bound
/// holds; a bound that is missed is printed as missed. Runs and evaluations are kept by content in --out: the same command
/// continues where it was stopped, and computes nothing twice.
#[derive(Args)]
pub struct ReproduceArgs {
    /// Experiment, all of them (all), or a TOML file; lists the experiments if left out.
    name: Option<String>,
    /// Number of seeds [default: that of the experiment].
    #[arg(long, value_parser = up_to::<1000>)]
    seeds: Option<usize>,
    /// Check in seconds that everything runs: tiny runs, which claim nothing.
    #[arg(long)]
    quick: bool,
    /// Folder of runs, results, figures, and of the table and page of `all`.
    #[arg(long, default_value = "runs/reproduce")]
    out: PathBuf,
    /// Folder of the data sets that the experiments read [default: the environment variable SMALTI_DATA].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Device: auto, cpu, cuda or cuda:N.
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Print one JSON object: each experiment's measures, baselines and bounds by name.
    #[arg(long)]
    json: bool,
}

/// The name of all experiments.
const ALL: &str = "all";

/// Set by Ctrl-C.
static STOP: AtomicBool = AtomicBool::new(false);

/// Runs one experiment or all.
pub fn run(args: ReproduceArgs, modalities: &Modalities) -> Result<()> {
    let Some(name) = args.name.as_deref() else { return list(args.json) };
    let names: Vec<&str> = match name {
        ALL => EXPERIMENTS.iter().map(|(name, _)| *name).collect(),
        one => vec![one],
    };
    let read = |name: &&str| Ok(changed(Experiment::named(name)?, &args));
    let experiments: Vec<Experiment> = names.iter().map(read).collect::<Result<_>>()?;
    std::fs::create_dir_all(&args.out).with_context(|| format!("--out {}", args.out.display()))?;
    ctrlc::set_handler(|| STOP.store(true, Ordering::Relaxed)).context("Ctrl-C cannot be caught")?;
    let data = args.data.clone().or_else(|| std::env::var_os("SMALTI_DATA").map(PathBuf::from));
    let (out, device) = (args.out.clone(), args.device.open()?);
    let mut lab = Lab { out, data, modalities, device, stop: &STOP, host: &mut Terminal };
    let (mut reports, mut left_out) = (vec![], Map::new());
    for experiment in &experiments {
        match lab.reproduce(experiment, args.quick) {
            Ok(report) => {
                write(&args.out, &report)?;
                if !args.json {
                    show(&report);
                }
                reports.push(report);
            }
            // The others do not need these data.
            Err(error @ (ReproduceError::NoData { .. } | ReproduceError::Make { .. })) if name == ALL => {
                print::note(&format!("{}: left out: {error}", experiment.name));
                left_out.insert(experiment.name.clone(), error.to_string().into());
            }
            Err(error) => return Err(anyhow::Error::from(error).context(experiment.name.clone())),
        }
    }
    if name == ALL {
        write_atomically(&args.out.join("RESULTS.md"), page::markdown(&reports).as_bytes())?;
        write_atomically(&args.out.join("index.html"), page::html(&reports)?.as_bytes())?;
    }
    if args.json {
        let by_name: BTreeMap<&str, &Report> = reports.iter().map(|report| (&*report.name, report)).collect();
        return print::json(&json!({ "out": args.out, "experiments": by_name, "left_out": left_out }));
    }
    if name == ALL {
        println!("the page of all is {}", args.out.join("index.html").display());
    }
    Ok(())
}

/// The experiment as the arguments change it.
fn changed(experiment: Experiment, args: &ReproduceArgs) -> Experiment {
    let mut experiment = if args.quick { experiment.quick() } else { experiment };
    experiment.seeds = args.seeds.map_or(experiment.seeds, |seeds| seeds.max(1));
    experiment
}

fn list(json: bool) -> Result<()> {
    let read = |(name, _): &(&str, &str)| Experiment::named(name);
    let experiments = EXPERIMENTS.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    if json {
        let about = |it: &Experiment| json!({ "name": it.name, "title": it.title, "papers": it.papers });
        return print::json(&json!({ "experiments": experiments.iter().map(about).collect::<Vec<_>>() }));
    }
    let row = |it: Experiment| vec![it.name, it.title, it.papers.join("; ")];
    print::table(&["experiment", "shows", "papers"], &experiments.into_iter().map(row).collect::<Vec<_>>());
    Ok(())
}

/// Writes the result and the figures of an experiment into a folder of its name.
fn write(out: &Path, report: &Report) -> Result<()> {
    let folder = out.join(&report.name);
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    write_atomically(&folder.join("result.json"), &serde_json::to_vec_pretty(report)?)?;
    for (place, figure) in report.figures().iter().enumerate() {
        let name = if place == 0 { "figure".to_string() } else { format!("figure-{}", place + 1) };
        for (ending, format) in [("svg", Format::Svg), ("png", Format::Png)] {
            write_atomically(&folder.join(format!("{name}.{ending}")), &figure.encode(format)?)?;
        }
    }
    Ok(())
}

fn show(report: &Report) {
    println!("\n{}: {}\n", report.name, report.title);
    println!("{}\n", report.text);
    let reference = |name: &str| report.references.get(name).map_or_else(String::new, |x| page::number(*x));
    let baseline = |name: &str| {
        let of = report.baselines.iter().filter(|(_, baseline)| baseline.of == name);
        let texts = of.map(|(label, baseline)| format!("{label} {}", page::number(baseline.value)));
        texts.collect::<Vec<_>>().join(", ")
    };
    let rows = report
        .measures
        .iter()
        .map(|(name, stat)| vec![name.clone(), page::spread(stat), reference(name), baseline(name)]);
    print::table(&["measure", "value", "reference", "baseline"], &rows.collect::<Vec<_>>());
    let others = report.references.iter().filter(|(name, _)| !report.measures.contains_key(*name));
    others.for_each(|(name, value)| println!("reference, {name}: {}", page::number(*value)));
    if !report.source.is_empty() {
        println!("source of the references: {}", report.source);
    }
    let rows = report.bounds.iter().map(|bound| {
        vec![
            bound.what.clone(),
            bound.wanted.clone(),
            page::found(bound),
            page::verdict(report, bound).to_string(),
        ]
    });
    print::answers(&["bound", "wanted", "found", "result"], &rows.collect::<Vec<_>>());
    for written in &report.texts {
        println!("{} writes, given {:?}:\n{}\n", written.run, written.given, written.text);
    }
    for (run, reason) in &report.left_out {
        println!("not measured: {run}, because {reason}");
    }
    println!("{} seed(s), {} of training for each", report.seeds, page::time(report.seconds));
}

/// The terminal: progress bars, and this program again to make data.
struct Terminal;

impl Host for Terminal {
    fn make(&mut self, arguments: &[String]) -> Result<(), String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        // Standard output is for the result.
        let status =
            Command::new(program).args(["data", "make"]).args(arguments).stdout(Stdio::null()).status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("{status}; its message is above")),
            Err(error) => Err(error.to_string()),
        }
    }

    fn watch(&mut self, trainer: &Trainer) -> Box<dyn Observer> {
        Box::new(Shown(Progress::new(trainer)))
    }

    fn note(&mut self, text: &str) {
        print::note(text);
    }
}

/// A progress bar that is removed when its training ends.
struct Shown(Progress);

impl Drop for Shown {
    fn drop(&mut self) {
        self.0.finish();
    }
}

impl Observer for Shown {
    fn step(&mut self, report: &StepReport) {
        self.0.step(report);
    }

    fn evaluated(&mut self, step: u64, metrics: &BTreeMap<String, Metrics>) {
        self.0.evaluated(step, metrics);
    }

    fn note(&mut self, text: &str) {
        self.0.note(text);
    }
}
