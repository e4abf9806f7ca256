//! `smalti train`

use super::device::{DeviceChoice, Gpus};
use super::{launch, print, progress::Progress};
use crate::config::{self, RunConfig};
use crate::data::BadSamples;
use crate::registry::Modalities;
use crate::run::{self, Run, Start};
use crate::train::ranks::{self, Launched, Ranks};
use crate::train::{Outcome, Silent, Trainer};
use anyhow::{Context, Result, bail};
use candle_core::Device;
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Train a model from a preset or a TOML file, or go on with a run.
#[derive(Args)]
pub struct TrainArgs {
    /// A preset (text, image, audio, trajectory, mix) or a TOML file; left out with --resume, and with --from for the
    /// other run's own settings.
    preset: Option<String>,
    /// Starts from the weights of another run, one that was imported, say, as far as they fit: positions of another size
    /// are interpolated, and what is new is drawn. RUN/start.json says what became of each.
    #[arg(long, value_name = "RUN", conflicts_with = "resume")]
    from: Option<PathBuf>,
    /// Overrides a setting: train.max_steps=500, data.source=my.txt, model.n_layers=6. May be repeated. With --resume only
    /// train.checkpoint_activations and train.workers, which change no result; the run keeps its own, so say it each time.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The run folder; by default runs/ and the preset's name.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Computes on auto, cpu, cuda or cuda:N. Started by torchrun or srun, each process takes the next GPU of its host
    /// with auto and cuda.
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Computes on several GPUs of this host, such as 0,1,2,3: a process for each, whose gradients are summed, so that a
    /// step is that of one GPU with as many times the train.gradient_accumulation_steps. Wants the feature `nccl`.
    #[arg(long, value_name = "N,N…", conflicts_with = "device")]
    devices: Option<Gpus>,
    /// Goes on with the run in --out from its last checkpoint, as if it had never stopped.
    #[arg(long)]
    resume: bool,
    /// Prints the settings with their overrides as TOML, and stops.
    #[arg(long)]
    print: bool,
    /// Prints the result as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Trains, under a launcher as one of its processes.
pub fn run(args: TrainArgs, modalities: &Modalities) -> Result<()> {
    if args.print {
        return print_settings(&args);
    }
    if let Some(gpus) = args.devices.as_ref().filter(|_| !launch::is_started()) {
        return launch::start(gpus);
    }
    // A mistake in the settings is said before ranks wait for one another.
    match args.preset.as_deref() {
        _ if args.resume => drop(Run::open_with(&folder(&args)?, modalities)?.resumed_with(&args.set)?),
        Some(preset) => drop(RunConfig::of_preset_or_file(preset, &args.set)?),
        None => {}
    }
    if let Some(launched) = Launched::find()? {
        let Launched { rank, size, .. } = launched;
        print::note(&format!("rank {rank} of {size} meets the others {}", launched.place()));
    }
    let ranks = ranks::join()?;
    let trained = train_over(&args, modalities, &ranks);
    if let Err(error) = &trained
        && ranks.size() > 1
    {
        eprintln!("error: rank {}: {}", ranks.rank(), print::message(error));
        ranks.abort()
    }
    trained
}

fn train_over(args: &TrainArgs, modalities: &Modalities, ranks: &Arc<dyn Ranks>) -> Result<()> {
    let (device, ranks) = &on_device(args, ranks)?;
    let folder = folder(args)?;
    let mut trainer = if args.resume {
        Run::open_with(&folder, modalities)?.resumed_with(&args.set)?.resume(device, ranks.clone())?
    } else {
        begin(args, modalities, &folder, device, ranks)?
    };
    let outcome = train(&mut trainer, Some(&folder), ranks.as_ref())?;
    if ranks.rank() > 0 {
        return Ok(());
    }
    if args.json {
        return print::json(&json!({
            "run": folder,
            "step": outcome.step,
            "stopped": outcome.stopped,
            "metrics": outcome.metrics,
            "bad": outcome.bad,
        }));
    }
    let rows = outcome.metrics.iter().flat_map(|(task, metrics)| {
        metrics.iter().map(move |(name, value)| vec![task.clone(), name.clone(), print::number(*value)])
    });
    print::table(&["task", "metric", "value"], &rows.collect::<Vec<_>>());
    show_bad(&outcome.bad);
    println!("{} is at step {}", folder.display(), outcome.step);
    Ok(())
}

/// The run's folder.
fn folder(args: &TrainArgs) -> Result<PathBuf> {
    match (&args.out, &args.preset) {
        (Some(_), Some(preset)) if args.resume => {
            bail!("--resume goes on with the run in --out and its settings; leave out {preset}")
        }
        (Some(out), _) => Ok(out.clone()),
        (None, Some(preset)) => {
            Ok(Path::new("runs").join(Path::new(preset).file_stem().context("the preset has no name")?))
        }
        (None, None) if args.from.is_some() => bail!("say the new run's folder: --out RUN"),
        (None, None) => bail!("say a preset or file to train from, or --out RUN with --resume"),
    }
}

/// What this process computes on, and the ranks as they then are.
fn on_device(args: &TrainArgs, ranks: &Arc<dyn Ranks>) -> Result<(Device, Arc<dyn Ranks>)> {
    let local = Launched::find()?.map_or(0, |launched| launched.local);
    let Some(Gpus(gpus)) = &args.devices else {
        let device = args.device.open_for(local)?;
        let alone = ranks.size() == 1;
        let ranks = if alone { ranks.clone() } else { ranks::on(ranks.clone(), &device)? };
        return Ok((device, ranks));
    };
    if gpus.len() != ranks.size() {
        bail!("--devices names {} GPUs, and {} processes train", gpus.len(), ranks.size());
    }
    let device = DeviceChoice::Cuda(gpus.get(local).copied()).open()?;
    let ranks = ranks::on(ranks.clone(), &device)?;
    Ok((device, ranks))
}

/// A trainer at the first step of a new run.
fn begin(
    args: &TrainArgs,
    modalities: &Modalities,
    folder: &Path,
    device: &Device,
    ranks: &Arc<dyn Ranks>,
) -> Result<Trainer> {
    let Some(from) = &args.from else {
        let preset = args.preset.as_deref().context("say a preset or a file to train from")?;
        let config = RunConfig::of_preset_or_file(preset, &args.set)?;
        return Ok(Run::create_with(folder, config, device, ranks.clone(), modalities)?.1);
    };
    let other = Run::open_with(from, modalities)?;
    let config = match &args.preset {
        Some(preset) => RunConfig::of_preset_or_file(preset, &args.set)?,
        None => RunConfig::of_preset_or_file(&from.join(run::CONFIG_FILE).display().to_string(), &args.set)?,
    };
    let (_, trainer, start) = Run::create_from(folder, config, device, ranks.clone(), &other)?;
    let Start { loaded, interpolated, new, skipped } = &start;
    if ranks.rank() > 0 {
        return Ok(trainer);
    }
    eprintln!("from {}: {} parameters are as they were", from.display(), loaded.len());
    for (what, names) in [("interpolated", interpolated), ("new", new), ("not taken over", skipped)] {
        names.iter().for_each(|name| eprintln!("  {what}: {name}"));
    }
    Ok(trainer)
}

/// What could not be used, each with how often it was drawn.
fn show_bad(bad: &BadSamples) {
    if bad.total() == 0 {
        return;
    }
    let mut rows: Vec<Vec<String>> =
        bad.named().iter().map(|(problem, times)| vec![problem.clone(), times.to_string()]).collect();
    if bad.others() > 0 {
        rows.push(vec!["others".into(), bad.others().to_string()]);
    }
    print::table(&["not used", "times drawn"], &rows);
}

/// Trains with a progress bar, which rank 0 shows; Ctrl-C saves and stops.
pub fn train(trainer: &mut Trainer, folder: Option<&Path>, ranks: &dyn Ranks) -> Result<Outcome> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    ctrlc::set_handler(move || asked.store(true, Ordering::Relaxed)).context("Ctrl-C cannot be caught")?;
    if ranks.rank() > 0 {
        return Ok(trainer.run(folder, &stop, &mut Silent)?);
    }
    let (done, steps) = trainer.progress();
    let together = match ranks.size() {
        1 => String::new(),
        n => format!(", {n} processes"),
    };
    eprintln!("{} parameters, {done} of {steps} steps done{together}", trainer.model().params().count());
    if done == steps {
        eprintln!("nothing is left to do");
    }
    let mut progress = Progress::new(done, steps);
    let outcome = trainer.run(folder, &stop, &mut progress);
    progress.finish();
    let outcome = outcome?;
    if outcome.stopped {
        eprintln!("stopped at step {} of {steps}; --resume goes on", outcome.step);
    }
    Ok(outcome)
}

fn print_settings(args: &TrainArgs) -> Result<()> {
    let preset = args.preset.as_deref().context("say which preset or file to print")?;
    match config::preset(preset).filter(|_| args.set.is_empty()) {
        Some(text) => print!("{text}"),
        None => print!("{}", RunConfig::of_preset_or_file(preset, &args.set)?.to_toml()?),
    }
    Ok(())
}
