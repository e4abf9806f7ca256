//! Runs side by side: the settings that differ, sizes, and metrics at the best evaluation.

use super::curves::{self, Evaluation};
use super::summary::Summary;
use crate::config::{RunConfig, SettingsError};
use crate::metrics::higher_is_better;
use crate::model::{Model, ModelError};
use crate::run::{Run, RunError};
use crate::task::{Task, TaskSpec};
use crate::train::{End, SaveError, is_count};
use serde::Serialize;
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// The name of the weighted sum of the validation losses of all outputs, by which a run keeps its best weights.
pub const LOSS: &str = "loss";

/// Runs side by side, the best first.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The metric by which they are sorted.
    pub metric: String,
    /// Whether all runs have the same inputs and outputs; the losses of other tasks do not compare.
    pub same_task: bool,
    /// The settings that differ.
    pub settings: Vec<String>,
    /// The metrics that all runs with an evaluation have.
    pub metrics: Vec<String>,
    /// The runs; those without the metric come last.
    pub runs: Vec<ComparedRun>,
}

/// One of several runs.
#[derive(Clone, Debug, Serialize)]
pub struct ComparedRun {
    /// Its folder.
    pub run: PathBuf,
    /// The values of the settings that differ, as TOML; without those that it does not have.
    pub settings: BTreeMap<String, String>,
    /// The number of parameters.
    pub parameters: u64,
    /// Steps done, as far as they are logged.
    pub step: u64,
    /// Why its training ended; `None` while it trains, and if it was stopped or killed.
    pub end: Option<End>,
    /// The step of the best evaluation.
    pub best_step: Option<u64>,
    /// The metrics at the best evaluation: [`LOSS`], and those of the outputs. They have the name of their output before
    /// them if there are several.
    pub metrics: BTreeMap<String, f64>,
    /// The seconds of its training.
    pub seconds: Option<f64>,
    /// The median of the logged tokens per second.
    pub tokens_per_s: Option<f64>,
}

/// Why runs cannot be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompareError {
    /// No run has the metric.
    #[error("metric: expected one of {}; found {metric:?}", known.join(", "))]
    NoMetric {
        /// The metric.
        metric: String,
        /// The metrics of the runs.
        known: Vec<String>,
    },
    /// No run has an evaluation, and so a metric.
    #[error("no run has an evaluation yet; wait for one, or set train.eval_every")]
    NoEvaluation,
    /// A run's log cannot be read.
    #[error(transparent)]
    Log(#[from] SaveError),
    /// A run's tasks cannot be restored.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A run's model cannot be described.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A run's settings cannot be listed.
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

/// Compares runs, sorted by a metric at their best evaluation: [`LOSS`], unless another is chosen.
///
/// Runs of other inputs and outputs are compared by the settings and the metrics that all of them have.
///
/// # Errors
/// [`CompareError`].
pub fn compare<R: Borrow<Run>>(runs: &[R], metric: Option<&str>) -> Result<Comparison, CompareError> {
    let runs: Vec<&Run> = runs.iter().map(R::borrow).collect();
    let mut compared = runs.iter().map(|run| summary(run)).collect::<Result<Vec<_>, _>>()?;
    let same_task = runs.windows(2).all(|pair| parts(pair[0].config()) == parts(pair[1].config()));
    let settings = differing(&runs, same_task)?;
    for (run, compared) in runs.iter().zip(&mut compared) {
        compared.settings = run.config().values()?;
        compared.settings.retain(|key, _| settings.contains(key));
    }
    let evaluated = || compared.iter().map(|run| &run.metrics).filter(|metrics| !metrics.is_empty());
    let known: BTreeSet<String> = evaluated().flat_map(BTreeMap::keys).cloned().collect();
    if let Some(metric) = metric.filter(|metric| !known.contains(*metric)) {
        let known: Vec<String> = known.into_iter().collect();
        return Err(match known[..] {
            [] => CompareError::NoEvaluation,
            _ => CompareError::NoMetric { metric: metric.into(), known },
        });
    }
    let metric = metric.unwrap_or(LOSS).to_string();
    let is_shared = |name: &String| *name == metric || evaluated().all(|metrics| metrics.contains_key(name));
    let mut metrics: Vec<String> = known.iter().filter(|name| is_shared(name)).cloned().collect();
    metrics.sort_by_key(|name| (*name != metric, name != LOSS));
    compared.sort_by(|a, b| order(&metric, &a.metrics, &b.metrics));
    Ok(Comparison { metric, same_task, settings, metrics, runs: compared })
}

/// The better of two runs first; one without the metric last.
fn order(metric: &str, a: &BTreeMap<String, f64>, b: &BTreeMap<String, f64>) -> Ordering {
    match (a.get(metric), b.get(metric)) {
        (Some(a), Some(b)) if higher_is_better(metric) => b.total_cmp(a),
        (Some(a), Some(b)) => a.total_cmp(b),
        (a, b) => a.is_none().cmp(&b.is_none()),
    }
}

/// The settings whose values differ. Of runs with other inputs or outputs, those that all have, and those of training and
/// model.
fn differing(runs: &[&Run], same_task: bool) -> Result<Vec<String>, CompareError> {
    let values = runs.iter().map(|run| run.config().values()).collect::<Result<Vec<_>, _>>()?;
    let keys: BTreeSet<&String> = values.iter().flat_map(BTreeMap::keys).collect();
    let is_general = |key: &str| key.starts_with("train.") || key.starts_with("model.");
    let counts =
        |key: &str| same_task || is_general(key) || values.iter().all(|values| values.contains_key(key));
    let differs = |key: &&String| values.windows(2).any(|pair| pair[0].get(*key) != pair[1].get(*key));
    Ok(keys.into_iter().filter(|key| counts(key)).filter(differs).cloned().collect())
}

/// The names of the inputs and outputs of each task.
fn parts(config: &RunConfig) -> Vec<(String, BTreeSet<String>)> {
    let names = |task: crate::config::TaskEntry| {
        let inputs = task.settings.inputs.keys().map(|name| format!("inputs.{name}"));
        let outputs = task.settings.outputs.keys().map(|name| format!("outputs.{name}"));
        (task.name, inputs.chain(outputs).collect())
    };
    config.tasks().into_iter().map(names).collect()
}

/// A run by itself, without its settings.
fn summary(run: &Run) -> Result<ComparedRun, CompareError> {
    let tasks: Vec<TaskSpec> = run.tasks()?.iter().map(|named| named.task.spec().clone()).collect();
    let loss_weights: BTreeMap<String, f64> = tasks.iter().flat_map(TaskSpec::loss_weights).collect();
    let parameters = Model::outline(&run.config().model, &tasks)?.count(|_| true) as u64;
    let Summary { best, step, end, seconds, tokens_per_s, .. } =
        Summary::read(run.folder(), &loss_weights, |_| {})?;
    Ok(ComparedRun {
        run: run.folder().into(),
        settings: BTreeMap::new(),
        parameters,
        step: step.unwrap_or(0),
        end,
        best_step: best.as_ref().map(|best| best.step),
        metrics: best.map(|best| metrics(&best, &loss_weights)).unwrap_or_default(),
        seconds,
        tokens_per_s,
    })
}

/// The metrics of an evaluation by name, with the weighted sum of the losses.
fn metrics(best: &Evaluation, loss_weights: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    let is_one = best.metrics.len() == 1;
    let named = best.metrics.iter().flat_map(|(output, metrics)| {
        let measured = metrics.iter().filter(|(name, _)| !is_count(name));
        measured.map(move |(name, value)| match is_one {
            true => (name.clone(), *value),
            false => (format!("{output}.{name}"), *value),
        })
    });
    let total = (LOSS.to_string(), curves::weighted_loss(best, loss_weights));
    named.chain([total]).filter(|(_, value)| value.is_finite()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::SAMPLES;

    #[test]
    fn the_better_run_comes_first() {
        let of = |name: &str, value: f64| BTreeMap::from([(name.to_string(), value)]);
        let (low, high, none) = (0.5, 0.9, BTreeMap::new());
        assert_eq!(order("loss", &of("loss", low), &of("loss", high)), Ordering::Less);
        assert_eq!(
            order("class.accuracy", &of("class.accuracy", low), &of("class.accuracy", high)),
            Ordering::Greater
        );
        assert_eq!(order("loss", &none, &of("loss", high)), Ordering::Greater);
    }

    #[test]
    fn metrics_of_several_outputs_have_their_names() {
        let scores = |loss: f64| BTreeMap::from([("loss".to_string(), loss), (SAMPLES.to_string(), 9.0)]);
        let mut best = Evaluation { step: 1, metrics: BTreeMap::from([("a".to_string(), scores(1.0))]) };
        let weights = BTreeMap::from([("b".to_string(), 0.5)]);
        assert_eq!(metrics(&best, &weights), BTreeMap::from([("loss".to_string(), 1.0)]));
        best.metrics.insert("b".into(), scores(4.0));
        let expected = [("a.loss", 1.0), ("b.loss", 4.0), ("loss", 3.0)];
        assert_eq!(metrics(&best, &weights), expected.map(|(name, value)| (name.to_string(), value)).into());
    }
}
