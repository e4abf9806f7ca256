//! `smalti train --resume`: what changes and how the learning rate continues.

use crate::cli::checks;
use crate::config::{self, Change, RunConfig};
use crate::registry::Modalities;
use crate::train::{End, MODEL_FILE, Ranks, ResumeSchedule, TrainConfig, Trainer, log};
use anyhow::{Result, bail};
use candle_core::Device;
use std::path::Path;
use std::sync::Arc;

/// A trainer at the last checkpoint of a run, with these overrides.
pub fn resume(
    set: &[String],
    modalities: &Modalities,
    folder: &Path,
    device: &Device,
    ranks: &Arc<dyn Ranks>,
) -> Result<Trainer> {
    let run = checks::open(folder, modalities)?;
    let before = run.config().clone();
    let run = run.resumed_with(set)?;
    let lacks_model = !folder.join(MODEL_FILE).exists();
    let trainer = run.resume(device, ranks.clone())?;
    let changes = before.changes(run.config())?;
    let end = trainer.end().map(|end| ended(end, &trainer, &before.train));
    // The cost of a step changes no result, and the card may change at any time.
    let is_dropped = |key: &str| config::SCHEDULE.contains(&key) && config::is_set(None, set, key);
    let dropped = changes.iter().find(|change| is_dropped(&change.key));
    if let (Some(end), Some(Change { key, now, .. })) = (&end, dropped) {
        bail!("{key}={now} has no effect: {end}");
    }
    if ranks.rank() == 0 {
        let model = folder.join(MODEL_FILE);
        if lacks_model && model.exists() {
            eprintln!("{} was missing; it now has the weights of the last checkpoint", model.display());
        }
        let (done, _) = trainer.progress();
        match end {
            Some(message) => eprintln!("{message}"),
            None if done == 0 => eprintln!("{} has no checkpoint yet; it starts at step 0", folder.display()),
            None if changes.is_empty() => report_edited(&log::read(folder)?, run.config(), &trainer),
            None => report_changes(&changes, &trainer),
        }
    }
    Ok(trainer)
}

/// How the learning rate continues from the current step on.
fn schedule(trainer: &Trainer) -> String {
    let ((done, steps), now) = (trainer.progress(), trainer.learning_rate());
    match trainer.further_training().map(|_| trainer.config().resume_schedule) {
        None | Some(ResumeSchedule::Cosine) => format!(
            "the learning rate follows the cosine schedule of {steps} steps from step {done} on: {now:.1e} now"
        ),
        Some(ResumeSchedule::Constant) => {
            format!("the learning rate stays at {now:.1e} from step {done} on")
        }
        Some(ResumeSchedule::Rewarm) => format!(
            "the learning rate warms up again from step {done} on: {now:.1e} now, up to {:.1e}, then a cosine to step {steps}",
            trainer.config().learning_rate
        ),
    }
}

/// Prints which settings a resumed run changes, and how its learning rate continues.
fn report_changes(changes: &[Change], trainer: &Trainer) {
    let of_rate =
        |change: &Change| config::SCHEDULE.contains(&change.key.as_str()) && change.key != "train.patience";
    let schedule = match changes.iter().any(of_rate) {
        true => format!("; {}", schedule(trainer)),
        false => String::new(),
    };
    let changes: Vec<String> =
        changes.iter().map(|Change { key, before, now }| format!("{key}: {before} → {now}")).collect();
    eprintln!("{}{schedule}", changes.join(", "));
}

/// Prints that the schedule in run.toml was edited, if the last logged step before the checkpoint had another learning rate.
fn report_edited(lines: &[serde_json::Value], config: &RunConfig, trainer: &Trainer) {
    let (done, steps) = trainer.progress();
    let further = trainer.further_training();
    if further.is_some_and(|further| further.start == done) {
        eprintln!("the schedule in run.toml differs from that of step {done}; {}", schedule(trainer));
        return;
    }
    let logged =
        lines.iter().rev().filter_map(|line| Some((line["step"].as_u64()?, line["learning_rate"].as_f64()?)));
    let Some((step, before)) = logged.into_iter().find(|(step, _)| (1..=done).contains(step)) else { return };
    if further.is_some_and(|further| step <= further.start) {
        return;
    }
    let now = config.train.learning_rate_at(step - 1, steps, further);
    if (before - now).abs() > 1e-9 * before {
        eprintln!(
            "the schedule in run.toml differs from that of step {step}, whose learning rate was {before:.1e} and would be \
             {now:.1e}; from step {done} on it is the new one: {:.1e} now",
            trainer.learning_rate()
        );
    }
}

/// Why no step is left to train, and how to train on.
fn ended(end: End, trainer: &Trainer, before: &TrainConfig) -> String {
    let ((done, steps), patience) = (trainer.progress(), trainer.config().patience);
    if end == End::Patience {
        return format!(
            "the run has stopped at step {done} of {steps}: {patience} evaluations had no lower validation loss; to train on, \
             add --set train.patience={}, or 0 to never stop early",
            2 * patience
        );
    }
    let twice = match before.max_steps {
        0 => format!("train.epochs={}", 2.0 * before.epochs),
        _ => format!("train.max_steps={}", 2 * steps),
    };
    format!("the run has finished its {steps} steps; to train on, add --set {twice}")
}
