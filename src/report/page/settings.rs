//! The settings and the state of one or several runs, and what differs between them.

use super::super::html::{Html, escaped};
use super::history::History;
use crate::config::{RunConfig, SettingsError};
use crate::inspect::rounded;
use crate::model::SavedTensors;
use crate::run::Run;
use crate::train::{MODEL_FILE, SAMPLES, SaveError, TensorFile};
use std::collections::{BTreeMap, BTreeSet};

/// The facts of each run, the settings that differ, and all settings of each.
pub(super) fn body(
    runs: &[&Run],
    names: &[String],
    histories: &[Result<History, SaveError>],
) -> Result<Html, SettingsError> {
    let mut body = Html::new();
    let header: Vec<&str> = std::iter::once("").chain(names.iter().map(String::as_str)).collect();
    body.table(&header, facts(runs, histories));
    let configs: Vec<&RunConfig> = runs.iter().map(|run| run.config()).collect();
    if let [first, others @ ..] = &configs[..]
        && !others.is_empty()
    {
        let differing = differing(first, others)?;
        body.element("h3", "", "Settings that differ");
        if differing.is_empty() {
            body.element("p", "", "None: the runs have the same settings.");
        }
        let header: Vec<&str> = std::iter::once("setting").chain(header[1..].iter().copied()).collect();
        body.table(&header, differing);
    }
    for (name, config) in names.iter().zip(configs) {
        let (name, toml) = (escaped(name), escaped(&config.to_toml()?));
        body.raw(&format!("<details><summary>All settings of {name}</summary><pre>{toml}</pre></details>"));
    }
    Ok(body)
}

/// A row for each fact: its name, and its value for each run.
fn facts(runs: &[&Run], histories: &[Result<History, SaveError>]) -> Vec<Vec<String>> {
    let of_runs = |name: &str, value: &dyn Fn(&Run) -> String| -> Vec<String> {
        std::iter::once(name.to_string()).chain(runs.iter().map(|run| value(run))).collect()
    };
    let of_histories = |name: &str, value: &dyn Fn(&History) -> Option<String>| -> Vec<String> {
        let values =
            histories.iter().map(|history| history.as_ref().ok().and_then(value).unwrap_or("–".into()));
        std::iter::once(name.to_string()).chain(values).collect()
    };
    let mut rows = vec![
        of_runs("folder", &|run| run.folder().display().to_string()),
        of_runs("parameters", &|run| parameters(run).map_or("–".into(), |count| count.to_string())),
        of_histories("last step", &|history| history.step.map(|step| step.to_string())),
        of_histories("best step", &|history| Some(history.best.as_ref()?.step.to_string())),
    ];
    let best = || histories.iter().flatten().filter_map(|history| history.best.as_ref());
    let metrics: BTreeSet<(&String, &String)> = best()
        .flat_map(|best| {
            best.metrics.iter().flat_map(|(output, metrics)| metrics.keys().map(move |name| (output, name)))
        })
        .filter(|(_, name)| *name != SAMPLES)
        .collect();
    for (output, metric) in metrics {
        let value = |history: &History| history.best.as_ref()?.metrics.get(output)?.get(metric).copied();
        rows.push(of_histories(&format!("{output} {metric}, at the best step"), &|history| {
            value(history).map(rounded)
        }));
    }
    if histories.iter().flatten().any(|history| history.not_used > 0) {
        rows.push(of_histories("samples not used", &|history| Some(history.not_used.to_string())));
    }
    rows
}

/// The number of parameters, from the header of the weights; `None` without weights.
fn parameters(run: &Run) -> Option<usize> {
    let saved = TensorFile::open(&run.folder().join(MODEL_FILE)).ok()?;
    Some(saved.shapes().into_values().map(|shape| shape.into_iter().product::<usize>()).sum())
}

/// A row for each setting that differs from the first run's in another run: its name, and its value in each run.
fn differing(first: &RunConfig, others: &[&RunConfig]) -> Result<Vec<Vec<String>>, SettingsError> {
    let mut rows: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (number, other) in others.iter().enumerate() {
        for change in first.changes(other)? {
            let values = rows.entry(change.key).or_insert_with(|| vec![change.before; others.len() + 1]);
            values[number + 1] = change.now;
        }
    }
    Ok(rows.into_iter().map(|(key, values)| std::iter::once(key).chain(values).collect()).collect())
}

#[cfg(all(test, feature = "text"))]
mod tests {
    use super::*;

    #[test]
    fn settings_that_differ_have_a_value_for_each_run() {
        let config = |set: &[&str]| {
            let set: Vec<String> = set.iter().map(ToString::to_string).collect();
            RunConfig::of_preset_or_file("text", &set).unwrap()
        };
        let (a, b, c) = (
            config(&["train.seed=1"]),
            config(&["train.seed=2"]),
            config(&["train.seed=1", "model.d_model=64"]),
        );
        let rows = differing(&a, &[&b, &c]).unwrap();
        let row =
            |key: &str| rows.iter().find(|row| row[0] == key).unwrap_or_else(|| panic!("{key}: {rows:?}"));
        assert_eq!(row("train.seed")[1..], ["1", "2", "1"]);
        assert_eq!(row("model.d_model")[3], "64");
        assert!(differing(&a, &[&a]).unwrap().is_empty());
    }
}
