//! The end of a training: its model card, and what is printed of it.

use super::train;
use crate::cli::{checks, print, progress};
use crate::data::CorruptSamples;
use crate::registry::Modalities;
use crate::report::card::{self, CARD_FILE, Form};
use crate::report::curves::Evaluation;
use crate::report::{summary::Summary, tensorboard::TensorBoard};
use crate::task::TaskSpec;
use crate::train::{Outcome, Ranks, Trainer};
use anyhow::Result;
use serde_json::json;
use std::path::Path;

/// Trains a run, with event files in the folder `events` if there is one, and writes its model card.
pub fn train_run(
    trainer: &mut Trainer,
    folder: &Path,
    events: Option<&Path>,
    ranks: &dyn Ranks,
    modalities: &Modalities,
) -> Result<Outcome> {
    let events = events.filter(|_| ranks.rank() == 0);
    let events = events.map(|events| TensorBoard::new(events, trainer)).transpose()?;
    let mut outcome = train(trainer, folder, ranks, events)?;
    if ranks.rank() == 0 {
        outcome.warnings.extend(write_card(folder, modalities).err().map(|error| print::message(&error)));
    }
    Ok(outcome)
}

/// Prints the result of a training: the metrics of the weights that the run keeps and, if they differ, of the last evaluation.
pub fn show(outcome: &Outcome, trainer: &Trainer, folder: &Path, as_json: bool) -> Result<()> {
    let tasks = trainer.model().tasks();
    let loss_weights = tasks.iter().flat_map(TaskSpec::loss_weights).collect();
    let Summary { best, last, .. } = Summary::read(folder, &loss_weights, |_| {})?;
    if as_json {
        let (best_step, metrics) = best.map(|best| (best.step, best.metrics)).unzip();
        return print::json(&json!({
            "run": folder,
            "step": outcome.step,
            "end": outcome.end,
            "best_step": best_step,
            "metrics": metrics.unwrap_or_default(),
            "last": last,
            "corrupt_samples": outcome.corrupt,
            "warnings": outcome.warnings,
        }));
    }
    if let Some(best) = best {
        let last = last.filter(|last| last.step != best.step);
        show_metrics(&best, last.as_ref(), &progress::loss_units(tasks));
    }
    show_problems(outcome, false);
    println!("{} is at step {}", folder.display(), outcome.step);
    Ok(())
}

/// Prints the metrics of the best evaluation, beside those of the last one.
fn show_metrics(best: &Evaluation, last: Option<&Evaluation>, units: &progress::LossUnits) {
    let evaluations: Vec<&Evaluation> = [best].into_iter().chain(last).collect();
    let kept = format!("kept weights, step {}", best.step);
    let last = last.map(|last| format!("last weights, step {}", last.step));
    let mut header = vec!["output", "metric", &kept];
    header.extend(last.as_deref());
    let row = |(output, metric): (&String, &String)| {
        let mut row = vec![output.clone(), progress::metric_name(metric, units.get(output))];
        row.extend(evaluations.iter().map(|evaluation| {
            let value = evaluation.metrics.get(output).and_then(|metrics| metrics.get(metric));
            value.map_or("–".into(), |value| print::metric(metric, *value))
        }));
        row
    };
    let names = best.metrics.iter();
    let names = names.flat_map(|(output, metrics)| metrics.keys().map(move |metric| (output, metric)));
    print::table(&header, &names.map(row).collect::<Vec<_>>());
}

/// Prints the warnings of a training, and the samples that could not be used, which are a table on standard output.
pub fn show_problems(outcome: &Outcome, as_json: bool) {
    if !as_json {
        show_corrupt(&outcome.corrupt);
    }
    outcome.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
}

/// Prints the samples that could not be used, and how often each was drawn.
fn show_corrupt(corrupt: &CorruptSamples) {
    let mut rows: Vec<Vec<String>> =
        corrupt.named().iter().map(|(problem, times)| vec![problem.clone(), times.to_string()]).collect();
    if corrupt.others() > 0 {
        rows.push(vec!["others".into(), corrupt.others().to_string()]);
    }
    print::answers(&["not used", "times drawn"], &rows);
}

/// Writes the model card of a run, unless the user has edited it.
fn write_card(folder: &Path, modalities: &Modalities) -> Result<()> {
    if !card::write(&checks::open(folder, modalities)?, folder, Form::Run)? {
        print::note(&format!(
            "note: {} was edited and is kept, so its metrics and settings may be out of date; to write it anew, remove it and \
             run `smalti train --resume --out {}`",
            folder.join(CARD_FILE).display(),
            folder.display()
        ));
    }
    Ok(())
}
