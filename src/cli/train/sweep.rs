//! `smalti train --sweep`: a run for each combination of values, one after another.

use super::{NewRun, TrainArgs, resume, train};
use crate::cli::{checks, compare, print};
use crate::config::{Change, SweepPoint, sweep_points};
use crate::registry::Modalities;
use crate::run::{CONFIG_FILE, Run};
use crate::train::ranks::Launched;
use crate::train::{Alone, End, Ranks, log};
use anyhow::{Context, Result, bail};
use candle_core::Device;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One run of the sweep.
struct Member {
    point: SweepPoint,
    folder: PathBuf,
    state: State,
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
        bail!("--sweep: expected one process; found {world_size}");
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
        Run::trainer(config, &device, modalities, from.as_ref())
            .with_context(|| member.point.name.clone())?;
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
            // Values at which training diverges are a result of the sweep, too.
            Err(error) => {
                print::note(&format!("error: {}: {}", member.point.name, print::message(&error)));
                failed.push(member.point.name.as_str());
            }
        }
    }
    let folders = members.iter().map(|member| member.folder.clone());
    let folders: Vec<PathBuf> = folders.filter(|folder| folder.join(CONFIG_FILE).exists()).collect();
    compare::show(&folders, None, args.json, modalities)?;
    match failed[..] {
        [] => Ok(()),
        _ => bail!("{} of {} runs failed: {}", failed.len(), members.len(), failed.join("; ")),
    }
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
    let named = || point.name.clone();
    let new = NewRun::of(args, &point.overrides, modalities).with_context(named)?;
    let folder = out.join(&point.name);
    if !folder.join(CONFIG_FILE).exists() {
        return Ok(Member { point, folder, state: State::Missing });
    }
    let run = checks::open(&folder, modalities)?;
    // A start from another run may untie the heads.
    let may_differ = |change: &Change| args.from.is_some() && change.key == "model.head.tie_embeddings";
    let changes = run.config().changes(&new.config)?;
    if let Some(Change { key, before, now }) = changes.iter().find(|change| !may_differ(change)) {
        bail!(
            "{}: {key}: expected {now}, as in the sweep; found {before}: choose another --out, or give the run's settings",
            folder.display()
        );
    }
    let mut state = State::Begun;
    for line in log::lines(&folder)? {
        state = match line?[log::END].as_str() {
            Some("finished" | "patience") => State::Finished,
            _ => State::Begun,
        };
    }
    Ok(Member { point, folder, state })
}

/// Trains a run of the sweep to its end.
fn trained(args: &TrainArgs, member: &Member, device: &Device, modalities: &Modalities) -> Result<End> {
    let ranks: Arc<dyn Ranks> = Arc::new(Alone);
    let folder = &member.folder;
    let mut trainer = match member.state {
        State::Missing => NewRun::of(args, &member.point.overrides, modalities)?
            .begin(folder, device, &ranks, modalities)?,
        _ => resume::resume(&[], modalities, folder, device, &ranks)?,
    };
    Ok(train(&mut trainer, Some(folder), ranks.as_ref(), None)?.end)
}
