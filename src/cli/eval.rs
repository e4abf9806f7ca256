//! `smalti eval`

use super::{checks, dtype::LoadArgs, print, progress};
use crate::cli::count::{MANY, up_to};
use crate::config::{RunConfig, TaskEntry};
use crate::inference::{Generation, measure_generated};
use crate::metrics::Confusion;
use crate::registry::Modalities;
use crate::run::{self, Run};
use crate::sample::Rows;
use crate::task::joined;
use crate::train::{check_target, checkpoint::write_atomically, evaluate};
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use indexmap::IndexMap;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Evaluate a run on its validation data or on other data.
#[derive(Args)]
pub struct EvalArgs {
    /// Run folder.
    run: PathBuf,
    /// Data to evaluate on, all rows of them, in place of the run's; for runs with one task.
    ///
    /// --set data.validation="split = test" selects some of the rows.
    #[arg(long)]
    data: Option<String>,
    /// Override a setting of the data: data.validation="speaker=theo", data.concat=[3,6]. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Maximum number of samples of each task; 0 for all.
    #[arg(long, default_value_t = 0, value_parser = up_to::<MANY>)]
    samples: usize,
    /// Number of rows to generate texts for, to measure BLEU, chrF, WER and CER; 0 for none.
    #[arg(long, value_name = "ROWS", default_value_t = 100, value_parser = up_to::<MANY>)]
    generate: usize,
    /// Write the confusion matrix of an output with classes, the only one or --output.
    #[arg(long, value_name = "FILE.csv")]
    confusion: Option<PathBuf>,
    /// Output of --confusion.
    #[arg(long, requires = "confusion")]
    output: Option<String>,
    /// Weights to evaluate.
    #[arg(long, value_enum, default_value_t = Weights::Best)]
    weights: Weights,
    #[command(flatten)]
    load: LoadArgs,
    /// Print one JSON object: each task's metrics by name.
    #[arg(long)]
    json: bool,
}

/// Weights of a run.
#[derive(Clone, Copy, ValueEnum)]
pub enum Weights {
    /// Best by validation loss.
    Best,
    /// Last checkpoint.
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
    args.confusion.as_deref().map_or(Ok(()), check_target)?;
    let run = checks::open(&args.run, modalities)?;
    let (device, dtype) = args.load.open()?;
    let (model, _) = run.load_in(args.weights.into(), &device, dtype)?;
    let config = settings(&args, &run)?;
    let mut all: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    let (mut confusions, mut measured) = (BTreeMap::new(), vec![]);
    for (number, (entry, opened)) in run.splits(&config)?.into_iter().enumerate() {
        let (task, validation) = (opened.task.as_ref(), opened.validation.as_ref());
        let (batch, mut corrupt) = (config.train.batch_size.max(32), Vec::new());
        let scores = evaluate(&model, number, task, validation, args.samples, batch, &mut corrupt)?;
        print::not_used(&corrupt);
        measured.push(measured_rows(&entry.name, opened.validation_rows.rows()));
        let mut metrics = scores.metrics();
        if args.generate > 0 {
            let limit = if args.samples == 0 { args.generate } else { args.generate.min(args.samples) };
            let generation = Generation::default();
            let generated =
                measure_generated(&model, number, task, &opened.validation_rows, limit, &generation)?;
            for (output, more) in generated {
                metrics.entry(joined(&[&entry.name, &output])).or_default().extend(more);
            }
        }
        for (output, metrics) in metrics {
            let mut about: Map<String, Value> =
                metrics.into_iter().map(|(name, value)| (name, json!(value))).collect();
            if let Some(confusion) = scores.confusion(&output) {
                let by_class = confusion.labels().iter().zip(confusion.classes());
                about.insert(
                    "classes".into(),
                    by_class
                        .map(|(label, scores)| (label.clone(), json!(scores)))
                        .collect::<Map<_, _>>()
                        .into(),
                );
                confusions.insert(output.clone(), confusion);
            }
            all.insert(output, about);
        }
    }
    if let Some(path) = &args.confusion {
        write_confusion(path, args.output.as_deref(), &confusions)?;
    }
    if args.json {
        measured.iter().for_each(|rows| print::note(rows));
        return print::json(&json!(all));
    }
    measured.iter().for_each(|rows| println!("{rows}"));
    let units = progress::loss_units(model.tasks());
    let rows = all.iter().flat_map(|(output, metrics)| {
        let named = |name| progress::metric_name(name, units.get(output));
        let numbers = metrics.iter().filter_map(|(name, value)| Some((name, value.as_f64()?)));
        numbers.map(move |(name, value)| vec![output.clone(), named(name), print::metric(name, value)])
    });
    print::table(&["output", "metric", "value"], &rows.collect::<Vec<_>>());
    confusions.iter().for_each(|(output, confusion)| show_classes(output, confusion));
    Ok(())
}

/// The run's settings with those of the arguments. Of other data all rows are measured, unless the arguments select some: the
/// run's own filters are for its own source.
fn settings(args: &EvalArgs, run: &Run) -> Result<RunConfig> {
    if let Some(set) = args.set.iter().find(|set| set.starts_with("model.") || set.starts_with("train.")) {
        bail!(
            "--set {set}: expected a setting of the data; the settings of the model and of training are fixed"
        );
    }
    let mut overrides = vec![];
    if let Some(path) = &args.data {
        if run.config().data.is_none() {
            bail!("--data is for runs with one task; set mix.TASK.data.validation_source with --set");
        }
        let path = toml::Value::String(path.clone());
        let sources = ["source", "validation_source"].map(|key| format!("data.{key}={path}"));
        overrides.extend(sources);
        overrides.extend(["data.train=", "data.validation="].map(String::from));
    }
    overrides.extend_from_slice(&args.set);
    let config = run.config().with(&overrides)?;
    check_fitted(run.config(), &config)?;
    Ok(config)
}

/// Fails if a setting of a modality or a head differs: tokenizers and heads are those that the run has saved.
fn check_fitted(own: &RunConfig, changed: &RunConfig) -> Result<()> {
    let fitted = |config: &RunConfig| -> BTreeMap<String, Map<String, Value>> {
        let of_task = |entry: TaskEntry| {
            let key = |part: &str| joined(&[&entry.name, part]);
            let inputs = entry.settings.inputs.iter().map(|(name, it)| (key(name), it.settings.clone()));
            let outputs = entry.settings.outputs.iter().map(|(name, it)| (key(name), it.settings.clone()));
            inputs.chain(outputs).collect::<Vec<_>>()
        };
        config.tasks().into_iter().flat_map(of_task).collect()
    };
    let own = fitted(own);
    for (part, settings) in fitted(changed) {
        let Some(own) = own.get(&part) else { continue };
        let keys = settings.keys().chain(own.keys());
        if let Some(key) = keys.into_iter().find(|key| settings.get(*key) != own.get(*key)) {
            bail!(
                "--set: {key} of {part}: expected a setting of the data, or which field a part reads; the tokenizers and heads of \
                 a run are fixed; train a run with this setting, with `smalti train --from`"
            );
        }
    }
    Ok(())
}

/// The rows that a task is measured on, and their splits if they are of several.
fn measured_rows(task: &str, rows: &Rows) -> String {
    let mut splits: IndexMap<String, usize> = IndexMap::new();
    if rows.table.fields().iter().any(|field| field == "split") {
        let split = |row: &u32| rows.table.peek(*row as usize, "split").ok()?.into_label().ok();
        rows.rows.iter().filter_map(split).for_each(|split| *splits.entry(split).or_default() += 1);
    }
    let task = if task.is_empty() { String::new() } else { format!("{task}: ") };
    let splits = match splits.len() {
        0 | 1 => String::new(),
        _ => {
            let counts = splits.iter().map(|(split, n)| format!("{split} {n}"));
            format!(" ({})", smalti_contract::listed(counts, ", "))
        }
    };
    format!("{task}measured on {}{splits}", rows.chosen)
}

/// Most classes to print; --json has all.
const SHOWN: usize = 50;

fn show_classes(output: &str, confusion: &Confusion) {
    let classes = confusion.classes();
    if classes.len() > SHOWN {
        return;
    }
    let rows = confusion.labels().iter().zip(&classes).map(|(label, class)| {
        let [precision, recall, f1] = [class.precision, class.recall, class.f1].map(print::number);
        vec![output.to_string(), label.clone(), precision, recall, f1, class.support.to_string()]
    });
    print::table(&["output", "class", "precision", "recall", "f1", "rows"], &rows.collect::<Vec<_>>());
}

fn write_confusion(
    path: &Path,
    output: Option<&str>,
    confusions: &BTreeMap<String, Confusion>,
) -> Result<()> {
    let names = confusions.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let confusion = match (output, confusions.len()) {
        (Some(output), _) => confusions
            .get(output)
            .with_context(|| format!("--output: expected one of {names}; found {output:?}"))?,
        (None, 1) => &confusions[&names],
        (None, 0) => bail!("--confusion: no output has classes"),
        (None, _) => bail!("--confusion: several outputs have classes; choose one with --output: {names}"),
    };
    let mut bytes = vec![];
    confusion.write_csv(&mut bytes)?;
    Ok(write_atomically(path, &bytes)?)
}
