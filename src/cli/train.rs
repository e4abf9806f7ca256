//! `smalti train`

use super::device::{DeviceChoice, Gpus};
use super::{checks, launch, print, progress};
use crate::config::{self, Change, RunConfig};
use crate::data::CorruptSamples;
use crate::registry::Modalities;
use crate::report::card::{self, CARD_FILE, Form};
use crate::report::{curves, tensorboard::TensorBoard};
use crate::run::{self, Run, Start};
use crate::train::ranks::{self, Launched, Ranks};
use crate::train::{
    MODEL_FILE, Observer, Observers, Outcome, Silent, TrainConfig, Trainer, check_folder, log,
};
use anyhow::{Context, Result, bail};
use candle_core::Device;
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Train a model from a preset or a TOML file, or resume a run.
#[derive(Args)]
pub struct TrainArgs {
    /// Preset (text, image, audio, trajectory, mix) or TOML file.
    ///
    /// Leave it out with --resume, and with --from to train with the settings of the other run.
    preset: Option<String>,
    /// Initialize the parameters from another run, as far as names and shapes match.
    ///
    /// The other run may be an imported one. Position embeddings of another size are interpolated, other parameters are
    /// drawn at random. start.json in the new run's folder lists what became of each parameter.
    #[arg(long, value_name = "RUN", conflicts_with = "resume")]
    from: Option<PathBuf>,
    /// Override a setting: train.max_steps=500, data.source=my.txt, model.n_layers=6. May be repeated.
    ///
    /// With --resume, only the schedule (train.max_steps, train.epochs, train.learning_rate, train.min_learning_rate,
    /// train.warmup_steps), the cost of a step (train.checkpoint_activations, train.workers) and what the model card states
    /// (card.license and others). The run keeps the new values.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Run folder [default: runs/ and the preset's name].
    #[arg(long)]
    out: Option<PathBuf>,
    /// Device: auto, cpu, cuda or cuda:N.
    ///
    /// With auto and cuda, each process that torchrun or srun starts takes the next GPU of its host.
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// GPUs of this host to train on, such as 0,1,2,3; needs the feature `nccl`.
    ///
    /// Each GPU has a process, and gradients are all-reduced to their sum: a step on N GPUs equals a step on one GPU with N
    /// times the train.gradient_accumulation_steps.
    #[arg(long, value_name = "N,N…", conflicts_with = "device")]
    devices: Option<Gpus>,
    /// Resume the run in --out from its last checkpoint, bit-exactly.
    ///
    /// With --set train.max_steps=N or train.epochs=N a finished run trains on. The learning rate then follows the cosine of
    /// the new length, from the current step on.
    #[arg(long)]
    resume: bool,
    /// Write event files for TensorBoard into DIR [default: RUN/tensorboard].
    ///
    /// They have the losses, metrics, learning rate, gradient norm and tokens per second as scalars, the attention rules as a
    /// figure, and at each evaluation histograms of the weights and their gradients. With --resume, a new file continues at
    /// the checkpoint's step.
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true)]
    tensorboard: Option<Option<PathBuf>>,
    /// Print the settings with their overrides as TOML, and exit.
    #[arg(long)]
    print: bool,
    /// Print the result as one JSON object.
    #[arg(long)]
    json: bool,
}

impl TrainArgs {
    /// The folder of the event files of a run, if they are written.
    fn event_folder(&self, run: &Path) -> Option<PathBuf> {
        Some(self.tensorboard.as_ref()?.clone().unwrap_or_else(|| run.join("tensorboard")))
    }
}

/// Trains, under a launcher as one of its processes.
pub fn run(args: TrainArgs, modalities: &Modalities) -> Result<()> {
    if args.print {
        return print_settings(&args);
    }
    if let Some(gpus) = args.devices.as_ref().filter(|_| !launch::is_started()) {
        return launch::start(gpus);
    }
    if let Some(events) = args.event_folder(&folder(&args)?) {
        check_folder(&events)?;
    }
    // Errors in the settings are found before ranks wait for one another.
    match args.preset.as_deref() {
        _ if args.resume => drop(checks::open(&folder(&args)?, modalities)?.resumed_with(&args.set)?),
        Some(preset) => drop(RunConfig::of_preset_or_file_with(preset, &args.set, modalities)?),
        None => {}
    }
    if let Some(launched) = Launched::find()? {
        let Launched { rank, world_size, .. } = launched;
        print::note(&format!("rank {rank} of {world_size} joins the others {}", launched.rendezvous()));
    }
    let ranks = ranks::join(|error| {
        print::note(&format!("error: {error}"));
        launch::exit(launch::PEER_FAILED)
    })?;
    let trained = train_over(&args, modalities, &ranks);
    if let Err(error) = &trained
        && ranks.world_size() > 1
    {
        let message = print::message(error);
        print::note(&format!("error: rank {}: {message}", ranks.rank()));
        ranks.abort(&message);
        launch::exit(launch::exit_code(error))
    }
    trained
}

fn train_over(args: &TrainArgs, modalities: &Modalities, ranks: &Arc<dyn Ranks>) -> Result<()> {
    let (device, ranks) = &on_device(args, ranks)?;
    let folder = folder(args)?;
    let mut trainer = if args.resume {
        resume(args, modalities, &folder, device, ranks)?
    } else {
        begin(args, modalities, &folder, device, ranks)?
    };
    let events = args.event_folder(&folder).filter(|_| ranks.rank() == 0);
    let events = events.map(|events| TensorBoard::new(&events, &trainer)).transpose()?;
    let mut outcome = train(&mut trainer, Some(&folder), ranks.as_ref(), events)?;
    if ranks.rank() > 0 {
        return Ok(());
    }
    outcome.warnings.extend(write_card(&folder, modalities).err().map(|error| print::message(&error)));
    if outcome.metrics.is_empty() && !outcome.stopped {
        // The run had finished before.
        let mut last = None;
        for line in log::lines(&folder)? {
            last = curves::evaluation(&line?).or(last);
        }
        outcome.metrics = last.map(|evaluation| evaluation.metrics).unwrap_or_default();
    }
    if args.json {
        return print::json(&json!({
            "run": folder,
            "step": outcome.step,
            "stopped": outcome.stopped,
            "metrics": outcome.metrics,
            "corrupt_samples": outcome.corrupt,
            "warnings": outcome.warnings,
        }));
    }
    let units = &progress::loss_units(trainer.model().tasks());
    let rows = outcome.metrics.iter().flat_map(|(output, metrics)| {
        let name = |name| progress::metric_name(name, units.get(output));
        metrics
            .iter()
            .map(move |(metric, value)| vec![output.clone(), name(metric), print::metric(metric, *value)])
    });
    print::table(&["output", "metric", "value"], &rows.collect::<Vec<_>>());
    print_corrupt(&outcome.corrupt);
    outcome.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    println!("{} is at step {}", folder.display(), outcome.step);
    Ok(())
}

/// The run's folder.
fn folder(args: &TrainArgs) -> Result<PathBuf> {
    match (&args.out, &args.preset) {
        (Some(_), Some(preset)) if args.resume => {
            bail!("--resume takes the settings of the run in --out; leave out {preset}")
        }
        (Some(out), _) => Ok(out.clone()),
        (None, Some(preset)) => {
            Ok(Path::new("runs").join(Path::new(preset).file_stem().context("the preset has no name")?))
        }
        (None, None) if args.from.is_some() => bail!("--from: expected the new run's folder, --out RUN"),
        (None, None) => bail!("expected a preset or a TOML file, or --out RUN with --resume"),
    }
}

/// The device of this process, and the ranks on their devices.
fn on_device(args: &TrainArgs, ranks: &Arc<dyn Ranks>) -> Result<(Device, Arc<dyn Ranks>)> {
    let local = Launched::find()?.map_or(0, |launched| launched.local_rank);
    let Some(Gpus(gpus)) = &args.devices else {
        let device = args.device.open_for(local)?;
        let alone = ranks.world_size() == 1;
        let ranks = if alone { ranks.clone() } else { ranks::on_device(ranks.clone(), &device)? };
        return Ok((device, ranks));
    };
    if gpus.len() != ranks.world_size() {
        bail!("--devices: expected {} GPUs, one for each process; found {}", ranks.world_size(), gpus.len());
    }
    let device = DeviceChoice::Cuda(gpus.get(local).copied()).open()?;
    let ranks = ranks::on_device(ranks.clone(), &device)?;
    Ok((device, ranks))
}

/// A trainer at the last checkpoint of a run.
fn resume(
    args: &TrainArgs,
    modalities: &Modalities,
    folder: &Path,
    device: &Device,
    ranks: &Arc<dyn Ranks>,
) -> Result<Trainer> {
    let run = checks::open(folder, modalities)?;
    let before = run.config().clone();
    let run = run.resumed_with(&args.set)?;
    let lacks_model = !folder.join(MODEL_FILE).exists();
    let trainer = run.resume(device, ranks.clone())?;
    if ranks.rank() == 0 {
        let model = folder.join(MODEL_FILE);
        if lacks_model && model.exists() {
            eprintln!("{} was missing; it now has the weights of the last checkpoint", model.display());
        }
        let (done, steps) = trainer.progress();
        let changes = before.changes(run.config())?;
        match done < steps {
            true if done == 0 => eprintln!("{} has no checkpoint yet; it starts at step 0", folder.display()),
            true if changes.is_empty() => report_edited(&log::read(folder)?, run.config(), &trainer),
            true => report_changes(&changes, &trainer),
            false => report_finished(&before.train, steps),
        }
    }
    Ok(trainer)
}

/// Prints which settings a resumed run changes, and how its learning rate continues.
fn report_changes(changes: &[Change], trainer: &Trainer) {
    if changes.is_empty() {
        return;
    }
    let (done, steps) = trainer.progress();
    let schedule = match changes.iter().any(|change| config::SCHEDULE.contains(&change.key.as_str())) {
        true => format!(
            "; the learning rate follows the cosine schedule of {steps} steps from step {done} on: {:.1e} now",
            trainer.learning_rate()
        ),
        false => String::new(),
    };
    let changes: Vec<String> =
        changes.iter().map(|Change { key, before, now }| format!("{key}: {before} → {now}")).collect();
    eprintln!("{}{schedule}", changes.join(", "));
}

/// Prints that the schedule in run.toml was edited, if the last logged step before the checkpoint had another learning rate.
fn report_edited(lines: &[serde_json::Value], config: &RunConfig, trainer: &Trainer) {
    let (done, steps) = trainer.progress();
    let logged =
        lines.iter().rev().filter_map(|line| Some((line["step"].as_u64()?, line["learning_rate"].as_f64()?)));
    let Some((step, before)) = logged.into_iter().find(|(step, _)| (1..=done).contains(step)) else { return };
    let now = config.train.learning_rate_at(step - 1, steps);
    if (before - now).abs() > 1e-9 * before {
        eprintln!(
            "the schedule in run.toml differs from that of step {step}, whose learning rate was {before:.1e} and would be \
             {now:.1e}; from step {done} on it is the new one: {:.1e} now",
            trainer.learning_rate()
        );
    }
}

/// Prints how to train on a run that has finished its steps, and so keeps its settings.
fn report_finished(train: &TrainConfig, steps: u64) {
    let twice = match train.max_steps {
        0 => format!("train.epochs={}", 2.0 * train.epochs),
        _ => format!("train.max_steps={}", 2 * steps),
    };
    eprintln!("the run has finished its {steps} steps; to train on, add --set {twice}");
}

/// Most parameters to list of a kind.
const LISTED: usize = 10;

/// A trainer at the first step of a new run.
fn begin(
    args: &TrainArgs,
    modalities: &Modalities,
    folder: &Path,
    device: &Device,
    ranks: &Arc<dyn Ranks>,
) -> Result<Trainer> {
    let Some(from) = &args.from else {
        let preset = args.preset.as_deref().context("expected a preset or a TOML file")?;
        let config = RunConfig::of_preset_or_file(preset, &args.set)?;
        return Ok(Run::create_with(folder, config, device, ranks.clone(), modalities)?.1);
    };
    let other = checks::open(from, modalities)?;
    let set = with_fine_tuning_rate(args, &other);
    let config = match &args.preset {
        Some(preset) => RunConfig::of_preset_or_file(preset, &set)?,
        None => RunConfig::of_preset_or_file(&from.join(run::CONFIG_FILE).display().to_string(), &set)?,
    };
    let learning_rate = config.train.learning_rate;
    let (_, trainer, start) = Run::create_from(folder, config, device, ranks.clone(), &other)?;
    let Start { loaded, interpolated, new, skipped } = &start;
    if ranks.rank() > 0 {
        return Ok(trainer);
    }
    if set.len() > args.set.len() {
        eprintln!(
            "fine-tuning at learning rate {learning_rate:e}, as {} holds published weights; to change it, add --set \
             train.learning_rate=RATE",
            from.display()
        );
    }
    eprintln!("from {}: {} parameters loaded", from.display(), loaded.len());
    for (what, names) in [("interpolated", interpolated), ("new", new), ("skipped", skipped)] {
        names.iter().take(LISTED).for_each(|name| eprintln!("  {what}: {name}"));
        if names.len() > LISTED {
            let file = folder.join(run::START_FILE);
            eprintln!("  {what}: {} in all, which {} lists", names.len(), file.display());
        }
    }
    Ok(trainer)
}

/// The overrides, with the learning rate of `other` if its weights are published ones and the user has set none: the rate of
/// a preset, for new weights, would destroy them.
fn with_fine_tuning_rate(args: &TrainArgs, other: &Run) -> Vec<String> {
    let is_set = |key| config::is_set(args.preset.as_deref(), &args.set, key);
    let mut set = args.set.clone();
    if other.is_imported() && !is_set("train.learning_rate") {
        let TrainConfig { learning_rate, min_learning_rate, .. } = other.config().train;
        set.push(format!("train.learning_rate={learning_rate}"));
        if !is_set("train.min_learning_rate") {
            set.push(format!("train.min_learning_rate={min_learning_rate}"));
        }
    }
    set
}

/// Prints the samples that could not be used, and how often each was drawn.
fn print_corrupt(corrupt: &CorruptSamples) {
    if corrupt.total() == 0 {
        return;
    }
    let mut rows: Vec<Vec<String>> =
        corrupt.named().iter().map(|(problem, times)| vec![problem.clone(), times.to_string()]).collect();
    if corrupt.others() > 0 {
        rows.push(vec!["others".into(), corrupt.others().to_string()]);
    }
    print::table(&["not used", "times drawn"], &rows);
}

/// Writes the model card of a run, unless the user has edited it.
pub fn write_card(folder: &Path, modalities: &Modalities) -> Result<()> {
    if !card::write(&checks::open(folder, modalities)?, folder, Form::Run)? {
        let card = folder.join(CARD_FILE);
        print::note(&format!("note: {} was edited, and is kept as it is", card.display()));
    }
    Ok(())
}

/// Trains with a progress bar, which rank 0 shows; Ctrl-C saves and stops. Writes event files, if there are any.
pub fn train(
    trainer: &mut Trainer,
    folder: Option<&Path>,
    ranks: &dyn Ranks,
    mut events: Option<TensorBoard>,
) -> Result<Outcome> {
    let stop = Arc::new(AtomicBool::new(false));
    let on_signal = stop.clone();
    ctrlc::set_handler(move || on_signal.store(true, Ordering::Relaxed))
        .context("Ctrl-C cannot be caught")?;
    if ranks.rank() > 0 {
        return Ok(trainer.run(folder, &stop, &mut Silent)?);
    }
    let (done, steps) = trainer.progress();
    let together = match ranks.world_size() {
        1 => String::new(),
        n => format!(", {n} processes"),
    };
    eprintln!("{} parameters, {done} of {steps} steps done{together}", trainer.model().params().count());
    schedule_notes(trainer.config(), steps).iter().for_each(|note| print::note(&format!("note: {note}")));
    let mut progress = progress::Progress::new(trainer);
    let mut observers = Observers(vec![&mut progress]);
    observers.0.extend(events.iter_mut().map(|events| events as &mut dyn Observer));
    let outcome = trainer.run(folder, &stop, &mut observers);
    progress.finish();
    let mut outcome = outcome?;
    let unwritten = events.and_then(|events| events.finish().err());
    outcome.warnings.extend(unwritten.map(|error| format!("TensorBoard lacks events: {error}")));
    if outcome.stopped {
        eprintln!("stopped at step {} of {steps}; --resume continues", outcome.step);
    }
    Ok(outcome)
}

/// What a user may not expect of the length of the training.
fn schedule_notes(train: &TrainConfig, steps: u64) -> Vec<String> {
    let mut notes = vec![];
    if train.max_steps == 0 {
        notes.push(format!(
            "train.max_steps is 0, so train.epochs = {} is the length: {steps} steps",
            train.epochs
        ));
    }
    if train.warmup_steps > steps {
        notes.push(format!(
            "train.warmup_steps = {} is more than the {steps} steps: the learning rate does not reach train.learning_rate = {}",
            train.warmup_steps, train.learning_rate
        ));
    }
    notes
}

fn print_settings(args: &TrainArgs) -> Result<()> {
    let preset = args.preset.as_deref().context("--print: expected a preset or a TOML file")?;
    match config::preset(preset).filter(|_| args.set.is_empty()) {
        Some(text) => print!("{text}"),
        None => print!("{}", RunConfig::of_preset_or_file(preset, &args.set)?.to_toml()?),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_training_is_noted_where_it_may_surprise() {
        let train = TrainConfig { max_steps: 10, warmup_steps: 4, ..TrainConfig::default() };
        assert!(schedule_notes(&train, 10).is_empty());
        let long = TrainConfig { warmup_steps: 20, ..train.clone() };
        assert!(
            schedule_notes(&long, 10)[0].starts_with("train.warmup_steps = 20 is more than the 10 steps")
        );
        let epochs = TrainConfig { max_steps: 0, epochs: 2.0, ..train };
        let notes = schedule_notes(&epochs, 30);
        assert_eq!(notes, ["train.max_steps is 0, so train.epochs = 2 is the length: 30 steps"]);
    }
}
