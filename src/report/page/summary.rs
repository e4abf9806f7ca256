//! What a run learns, how far it is, and its scores beside those of a prediction that ignores the input.

use super::super::html::{Cell, Html};
use super::end;
use crate::config::TaskEntry;
use crate::inspect::rounded;
use crate::report::compare::ComparedRun;
use crate::run::Run;
use crate::sample::{Opened, OutputSettings};
use crate::task::joined;
use crate::train::baseline;
use std::collections::BTreeMap;

/// The most samples of a split for a baseline.
const SAMPLES: usize = 500;

/// The summary of a run; `not_used` is the number of samples that training could not use.
pub(super) fn body(
    run: &Run,
    compared: &ComparedRun,
    not_used: usize,
    tasks: &[(TaskEntry, Opened)],
) -> Html {
    let mut body = Html::new();
    for entry in run.config().tasks() {
        body.element("p", "", &task(&entry));
    }
    let best = compared.best_step.map_or(String::new(), |step| format!("; best evaluation at step {step}"));
    body.element("p", "", &format!("Training: {} steps, {}{best}.", compared.step, end(compared)));
    if not_used > 0 {
        body.element("p", "", &format!("Samples that could not be used: {not_used}."));
    }
    let baselines = baselines(tasks);
    let row = |(name, value): (&String, &f64)| -> Vec<Cell> {
        let baseline = baselines.get(name).map_or("–".into(), |value| rounded(*value));
        vec![Cell::Name(name.clone()), rounded(*value).into(), baseline.into()]
    };
    let caption = format!(
        "Metrics of the validation data at the best step. The baseline predicts from the frequencies of the targets alone, \
         over at most {SAMPLES} samples of each split."
    );
    body.table(&caption, &["metric", "value", "baseline"], compared.metrics.iter().map(row));
    body
}

/// The inputs and the outputs of a task: `image → class (classify)`.
fn task(entry: &TaskEntry) -> String {
    let inputs: Vec<&str> = entry.settings.inputs.keys().map(String::as_str).collect();
    let output = |(name, output): (&String, &OutputSettings)| format!("{name} ({})", output.head);
    let outputs: Vec<String> = entry.settings.outputs.iter().map(output).collect();
    let name = if entry.name.is_empty() { "Task".to_string() } else { format!("Task {}", entry.name) };
    let arrow = if inputs.is_empty() { "" } else { " → " };
    format!("{name}: {}{arrow}{}", inputs.join(" + "), outputs.join(", "))
}

/// The metrics of the baseline of each output, named as those of a [`ComparedRun`]; those of tasks that can be read.
fn baselines(tasks: &[(TaskEntry, Opened)]) -> BTreeMap<String, f64> {
    let is_one = tasks.iter().map(|(_, opened)| opened.task.outputs().len()).sum::<usize>() == 1;
    let mut all = BTreeMap::new();
    for (entry, opened) in tasks {
        let found = baseline(opened.train.as_ref(), opened.validation.as_ref(), SAMPLES).unwrap_or_default();
        for (head, metrics) in found {
            let output = joined(&[&entry.name, &opened.task.outputs()[head].name]);
            let named = |name: String| if is_one { name } else { format!("{output}.{name}") };
            all.extend(metrics.into_iter().map(|(name, value)| (named(name), value)));
        }
    }
    all
}
