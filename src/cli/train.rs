//! `smalti train`

mod find_lr;
mod outcome;
mod resume;
mod sweep;

use super::device::{DeviceChoice, Gpus};
use super::{checks, launch, notice, print, progress};
use crate::config::{self, RunConfig};
use crate::registry::Modalities;
use crate::report::tensorboard::TensorBoard;
use crate::run::{self, Run, Start};
use crate::train::ranks::{self, Launched, Ranks};
use crate::train::{End, Observer, Observers, Outcome, Silent, TrainConfig, Trainer, check_folder};
use anyhow::{Context, Result, bail};
use candle_core::Device;
use clap::Args;
pub use outcome::{show_problems, train_run};
use std::path::{Path, PathBuf};
use std::sync::{
    Arc, OnceLock,
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
    /// train.warmup_steps, train.resume_schedule, train.patience), the cost of a step (train.checkpoint_activations,
    /// train.workers) and what the model card states (card.license and others). The run keeps the new values. A new schedule
    /// that leaves no step to train is an error.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Train a run for each value of a setting: model.d_model=64,128. May be repeated, for all combinations.
    ///
    /// The runs are trained one after another, each in a folder of --out with the name of its values: d_model=64,seed=1. All
    /// values are checked before the first run trains. The same command again skips finished runs and resumes others. At the
    /// end the runs are compared, as `smalti compare` does.
    #[arg(long = "sweep", value_name = "KEY=VALUE,VALUE…", conflicts_with_all = ["resume", "print", "devices"])]
    sweep: Vec<String>,
    #[command(flatten)]
    find_lr: find_lr::FindLrArgs,
    /// Run folder [default: runs/ and the preset's name].
    ///
    /// With --sweep, the folder of the runs; with --find-lr, a file for its figure (.svg or .png), and none by default.
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
    /// the new length, from the current step on; with train.resume_schedule=constant it stays as it is, and with
    /// train.resume_schedule=rewarm it warms up again.
    #[arg(long)]
    resume: bool,
    /// Write event files for TensorBoard into DIR [default: RUN/tensorboard].
    ///
    /// With --sweep, each run has a folder of its name in DIR.
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
    /// The folder of the event files of a run, if they are written; each run of a sweep has its own.
    fn event_folder(&self, run: &Path) -> Option<PathBuf> {
        Some(match self.tensorboard.as_ref()? {
            None => run.join("tensorboard"),
            Some(folder) if self.sweep.is_empty() => folder.clone(),
            Some(folder) => folder.join(run.file_name().unwrap_or_default()),
        })
    }
}

/// Trains, under a launcher as one of its processes.
pub fn run(args: TrainArgs, modalities: &Modalities) -> Result<()> {
    if args.print {
        return print_settings(&args, modalities);
    }
    if args.find_lr.is_on() {
        return find_lr::run(&args, modalities);
    }
    if !args.sweep.is_empty() {
        return sweep::run(&args, modalities);
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
        resume::resume(&args.set, modalities, &folder, device, ranks)?
    } else {
        NewRun::of(args, &[], modalities)?.begin(&folder, device, ranks, modalities)?
    };
    let events = args.event_folder(&folder);
    let outcome = train_run(&mut trainer, &folder, events.as_deref(), ranks.as_ref(), modalities)?;
    match ranks.rank() {
        0 => outcome::show(&outcome, &trainer, &folder, args.json),
        _ => Ok(()),
    }
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

/// Most parameters to list of a kind.
const LISTED: usize = 10;

/// A new run before its first step: its settings, and the run that it starts from.
struct NewRun {
    config: RunConfig,
    from: Option<Run>,
    /// Whether it takes the learning rate of that run, and not that of the preset.
    fine_tunes: bool,
}

impl NewRun {
    /// The run of these arguments, with more overrides.
    fn of(args: &TrainArgs, more: &[String], modalities: &Modalities) -> Result<Self> {
        let set = [&args.set[..], more].concat();
        let from = args.from.as_deref().map(|from| checks::open(from, modalities)).transpose()?;
        let rate = from.as_ref().map_or(vec![], |from| fine_tuning_rate(args.preset.as_deref(), &set, from));
        let preset = match (&args.preset, &from) {
            (Some(preset), _) => preset.clone(),
            (None, Some(from)) => from.folder().join(run::CONFIG_FILE).display().to_string(),
            (None, None) => bail!("expected a preset or a TOML file"),
        };
        let config = RunConfig::of_preset_or_file_with(&preset, &[&set[..], &rate].concat(), modalities)?;
        Ok(Self { config, from, fine_tunes: !rate.is_empty() })
    }

    /// Writes its folder; a trainer at its first step.
    fn begin(
        self,
        folder: &Path,
        device: &Device,
        ranks: &Arc<dyn Ranks>,
        all: &Modalities,
    ) -> Result<Trainer> {
        let Self { config, from, fine_tunes } = self;
        let Some(other) = &from else {
            return Ok(Run::create_with(folder, config, device, ranks.clone(), all)?.1);
        };
        let learning_rate = config.train.learning_rate;
        let (_, trainer, start) = Run::create_from(folder, config, device, ranks.clone(), other)?;
        if ranks.rank() > 0 {
            return Ok(trainer);
        }
        let from = other.folder().display();
        if fine_tunes {
            eprintln!(
                "fine-tuning at learning rate {learning_rate:e}, as {from} holds published weights; to change it, add --set \
                 train.learning_rate=RATE"
            );
        }
        eprintln!("from {from}: {} parameters loaded", start.loaded.len());
        list_start(&start, folder);
        Ok(trainer)
    }
}

/// Prints the parameters that a new run did not load unchanged.
fn list_start(Start { interpolated, new, skipped, .. }: &Start, folder: &Path) {
    for (what, names) in [("interpolated", interpolated), ("new", new), ("skipped", skipped)] {
        names.iter().take(LISTED).for_each(|name| eprintln!("  {what}: {name}"));
        if names.len() > LISTED {
            let file = folder.join(run::START_FILE);
            eprintln!("  {what}: {} in all, which {} lists", names.len(), file.display());
        }
    }
}

/// Overrides to the learning rate of `other` if its weights are published ones and the user has set none: the rate of a
/// preset, for new weights, would destroy them.
fn fine_tuning_rate(preset: Option<&str>, set: &[String], other: &Run) -> Vec<String> {
    let is_set = |key| config::is_set(preset, set, key);
    if !other.is_imported() || is_set("train.learning_rate") {
        return vec![];
    }
    let TrainConfig { learning_rate, min_learning_rate, .. } = other.config().train;
    let mut rate = vec![format!("train.learning_rate={learning_rate}")];
    if !is_set("train.min_learning_rate") {
        rate.push(format!("train.min_learning_rate={min_learning_rate}"));
    }
    rate
}

/// The flag that Ctrl-C sets, in the whole process.
fn stop_flag() -> Result<&'static AtomicBool> {
    static STOP: AtomicBool = AtomicBool::new(false);
    static IS_CAUGHT: OnceLock<()> = OnceLock::new();
    if IS_CAUGHT.get().is_none() {
        ctrlc::set_handler(|| STOP.store(true, Ordering::Relaxed)).context("Ctrl-C cannot be caught")?;
        let _ = IS_CAUGHT.set(());
    }
    Ok(&STOP)
}

/// Trains with a progress bar, which rank 0 shows; Ctrl-C saves and stops. Writes event files, if there are any.
fn train(
    trainer: &mut Trainer,
    folder: &Path,
    ranks: &dyn Ranks,
    mut events: Option<TensorBoard>,
) -> Result<Outcome> {
    let stop = stop_flag()?;
    if ranks.rank() > 0 {
        return Ok(trainer.run(Some(folder), stop, &mut Silent)?);
    }
    let (done, steps) = trainer.progress();
    let together = match ranks.world_size() {
        1 => String::new(),
        n => format!(", {n} processes"),
    };
    eprintln!("{} parameters, {done} of {steps} steps done{together}", trainer.model().params().count());
    schedule_notes(trainer.config(), steps).iter().for_each(|text| notice::note(text));
    let mut progress = progress::Progress::new(trainer);
    let mut observers = Observers(vec![&mut progress]);
    observers.0.extend(events.iter_mut().map(|events| events as &mut dyn Observer));
    let outcome = trainer.run(Some(folder), stop, &mut observers);
    progress.finish();
    let mut outcome = outcome?;
    let unwritten = events.and_then(|events| events.finish().err());
    outcome.warnings.extend(unwritten.map(|error| format!("TensorBoard lacks events: {error}")));
    match outcome.end {
        End::Stopped => eprintln!("stopped at step {} of {steps}; --resume continues", outcome.step),
        End::Patience if outcome.step > done => eprintln!(
            "stopped at step {} of {steps}: {} evaluations without a lower validation loss (train.patience); the run keeps the \
             weights of the best one",
            outcome.step,
            trainer.config().patience
        ),
        _ => {}
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

/// Prints the settings that these arguments train with; those of a preset with its comments, if nothing changes them.
fn print_settings(args: &TrainArgs, modalities: &Modalities) -> Result<()> {
    let is_changed = args.from.is_some() || !args.set.is_empty();
    match args.preset.as_deref().and_then(config::preset).filter(|_| !is_changed) {
        Some(text) => print!("{text}"),
        None => print!("{}", NewRun::of(args, &[], modalities)?.config.to_toml()?),
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
