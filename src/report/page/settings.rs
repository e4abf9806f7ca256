//! The settings, sizes and scores of one or several runs, as [`compare`](super::super::compare) finds them, and all settings.

use super::super::html::{Cell, Html, escaped};
use super::end;
use crate::config::SettingsError;
use crate::inspect::rounded;
use crate::report::compare::{CompareError, ComparedRun, Comparison};
use crate::run::Run;

/// The comparison with a column for each run, and all settings of each.
pub(super) fn body(
    runs: &[&Run],
    names: &[String],
    comparison: &Result<Comparison, CompareError>,
) -> Result<Html, SettingsError> {
    let mut body = Html::new();
    match comparison {
        Ok(comparison) => compared(runs, names, comparison, &mut body),
        Err(error) => body.element("p", "class=\"note\"", &format!("Without a comparison: {error}")),
    }
    for (name, run) in names.iter().zip(runs) {
        let (name, toml) = (escaped(name), escaped(&run.config().to_toml()?));
        body.raw(&format!("<details><summary>All settings of {name}</summary><pre>{toml}</pre></details>"));
    }
    Ok(body)
}

/// The settings that differ, the size, the steps and the metrics at the best evaluation of each run, in the order of the runs.
fn compared(runs: &[&Run], names: &[String], comparison: &Comparison, body: &mut Html) {
    const NONE: &str = "–";
    let found = |run: &&Run| comparison.runs.iter().find(|compared| compared.run == run.folder());
    let runs: Vec<&ComparedRun> = runs.iter().filter_map(found).collect();
    let row = |name: &str, value: &dyn Fn(&ComparedRun) -> Option<String>| -> Vec<Cell> {
        let values = runs.iter().map(|run| Cell::Text(value(run).unwrap_or_else(|| NONE.into())));
        std::iter::once(Cell::Name(name.into())).chain(values).collect()
    };
    let mut rows = vec![row("folder", &|run| Some(run.run.display().to_string()))];
    rows.extend(comparison.settings.iter().map(|key| row(key, &|run| run.settings.get(key).cloned())));
    rows.push(row("parameters", &|run| Some(run.parameters.to_string())));
    rows.push(row("steps", &|run| Some(run.step.to_string())));
    rows.push(row("training", &|run| Some(end(run).into())));
    rows.push(row("best at step", &|run| Some(run.best_step?.to_string())));
    let metric = |name: &String| row(name, &|run| run.metrics.get(name).map(|value| rounded(*value)));
    rows.extend(comparison.metrics.iter().map(metric));
    rows.push(row("time", &|run| Some(format!("{:.1} min", run.seconds? / 60.0))));
    rows.push(row("tokens/s", &|run| Some(format!("{:.0}", run.tokens_per_s?))));
    let caption = "Settings that differ, size, steps, and the metrics at the best step";
    let header: Vec<&str> = std::iter::once("").chain(names.iter().map(String::as_str)).collect();
    body.table(caption, &header, rows);
    if runs.len() > 1 && comparison.settings.is_empty() {
        body.element("p", "", "The runs have the same settings.");
    }
}
