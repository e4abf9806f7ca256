//! `smalti train --sweep`: a run for each combination of values, one after another.

use super::{NewRun, TrainArgs, resume, show_problems, train_run};
use crate::cli::{checks, compare, print};
use crate::config::{self, Change, SweepPoint, sweep_points};
use crate::registry::Modalities;
use crate::report::summary::Summary;
use crate::run::{CONFIG_FILE, Run, RunError};
use crate::train::ranks::Launched;
use crate::train::{Alone, End, Ranks, SaveError, TrainError, check_folder};
use anyhow::{Context, Result, bail};
use candle_core::Device;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One run of the sweep.
struct Member {
    point: SweepPoint,
    folder: PathBuf,
    state: State,
}

impl Member {
    /// Its values, as the user gave them.
    fn values(&self) -> String {
        self.point.overrides.join(" ")
    }
}

/// How far a run is.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Missing,
    Begun,
    Finished,
}

/// Trains the runs that are not finished, and compares all.
pub fn run(args: &TrainArgs, modalities: &Modalities) -> Result<()> {
    if let Some(Launched { world_size, .. }) = Launched::find()? {
        bail!("--sweep: expected one process; found {world_size}; start it without torchrun, srun or mpirun");
    }
    check_unset(args)?;
    if let Some(Some(events)) = &args.tensorboard {
        check_folder(events)?;
    }
    let (out, device) = (folder(args)?, args.device.open()?);
    let points = sweep_points(&args.sweep)?;
    let members = points.into_iter().map(|point| member(args, &out, point, modalities));
    let members = members.collect::<Result<Vec<Member>>>()?;
    let count = |state| members.iter().filter(|member| member.state == state).count();
    let (begun, finished) = (count(State::Begun), count(State::Finished));
    eprintln!("{} runs in {}: {finished} finished, {begun} to resume", members.len(), out.display());
    for member in members.iter().filter(|member| member.state == State::Missing) {
        let NewRun { config, from, .. } = NewRun::of(args, &member.point.overrides, modalities)?;
        Run::trainer(config, &device, modalities, from.as_ref()).with_context(|| member.values())?;
    }
    let mut failed = vec![];
    for (number, member) in members.iter().enumerate().filter(|(_, member)| member.state != State::Finished) {
        eprintln!("run {} of {}: {}", number + 1, members.len(), member.point.name);
        match trained(args, member, &device, modalities) {
            Ok(End::Stopped) => {
                print::note("the sweep has stopped; the same command continues");
                return Ok(());
            }
            Ok(_) => {}
            Err(error) if is_busy(&error) => {
                print::note(&format!("note: {}: trained by another process", member.folder.display()));
            }
            // Values at which training diverges are a result of the sweep, too.
            Err(error) => {
                print::note(&format!("error: {}: {}", member.values(), print::message(&error)));
                failed.push(member.values());
            }
        }
    }
    let folders = members.iter().map(|member| member.folder.clone());
    let folders: Vec<PathBuf> = folders.filter(|folder| folder.join(CONFIG_FILE).exists()).collect();
    compare::show(&folders, None, args.json, modalities)?;
    match failed.is_empty() {
        true => Ok(()),
        false => bail!("{} of {} runs failed: {}", failed.len(), members.len(), failed.join("; ")),
    }
}

/// Fails if --set has a setting of the sweep, whose values would replace it.
fn check_unset(args: &TrainArgs) -> Result<()> {
    for sweep in &args.sweep {
        let key = sweep.split('=').next().unwrap_or_default().trim();
        let is_swept = |set: &&String| config::is_set(None, std::slice::from_ref(*set), key);
        if let Some(set) = args.set.iter().find(is_swept) {
            bail!("--sweep {sweep} and --set {set} both set {key}; leave one of them out");
        }
    }
    Ok(())
}

/// The folder of the runs.
fn folder(args: &TrainArgs) -> Result<PathBuf> {
    match (&args.out, &args.preset) {
        (Some(out), _) => Ok(out.clone()),
        (None, Some(preset)) => {
            let name = Path::new(preset).file_stem().context("the preset has no name")?;
            Ok(Path::new("runs").join(format!("{}-sweep", name.to_string_lossy())))
        }
        (None, None) => bail!("--sweep: expected a preset or a TOML file, or --from RUN with --out FOLDER"),
    }
}

/// A run of the sweep, whose settings are checked; one that there is already must have the same.
fn member(args: &TrainArgs, out: &Path, point: SweepPoint, modalities: &Modalities) -> Result<Member> {
    let folder = out.join(&point.name);
    let state = state(&folder)?;
    let member = Member { point, folder, state };
    let new = NewRun::of(args, &member.point.overrides, modalities).with_context(|| member.values())?;
    if member.state == State::Missing {
        return Ok(member);
    }
    let run = checks::open(&member.folder, modalities)?;
    // A start from another run may untie the heads.
    let may_differ = |change: &Change| args.from.is_some() && change.key == "model.head.tie_embeddings";
    let changes = run.config().changes(&new.config)?;
    if let Some(Change { key, before, now }) = changes.iter().find(|change| !may_differ(change)) {
        bail!(
            "{}: {key}: expected {now}, as in the sweep; found {before}: choose another --out, or give the run's settings",
            member.folder.display()
        );
    }
    Ok(member)
}

/// How far the run in a folder is.
fn state(folder: &Path) -> Result<State> {
    if !folder.join(CONFIG_FILE).exists() {
        return Ok(State::Missing);
    }
    Ok(match Summary::read(folder, &BTreeMap::new(), |_| {})?.end {
        Some(End::Finished | End::Patience) => State::Finished,
        Some(End::Stopped) | None => State::Begun,
    })
}

/// Whether another process trains the run, or has begun it.
fn is_busy(error: &anyhow::Error) -> bool {
    let locked = match error.downcast_ref() {
        Some(RunError::Exists(_)) => return true,
        Some(RunError::Save(error) | RunError::Train(TrainError::Save(error))) => error,
        _ => return false,
    };
    matches!(locked, SaveError::Locked { .. })
}

/// Trains a run of the sweep to its end, unless another process has done so since the sweep began.
fn trained(args: &TrainArgs, member: &Member, device: &Device, modalities: &Modalities) -> Result<End> {
    let ranks: Arc<dyn Ranks> = Arc::new(Alone);
    let folder = &member.folder;
    let mut trainer = match state(folder)? {
        State::Finished => return Ok(End::Finished),
        State::Missing => NewRun::of(args, &member.point.overrides, modalities)?
            .begin(folder, device, &ranks, modalities)?,
        State::Begun => resume::resume(&[], modalities, folder, device, &ranks)?,
    };
    let events = args.event_folder(folder);
    let outcome = train_run(&mut trainer, folder, events.as_deref(), ranks.as_ref(), modalities)?;
    show_problems(&outcome, args.json);
    Ok(outcome.end)
}
