//! The metrics of a trained run, as `smalti eval` and `smalti rollout` compute them, also with other settings.

use super::ReproduceError;
use super::experiment::{Measure, RolloutSpec, WhichWeights};
use super::judge::Judge;
use super::points::MeasurePoint;
use super::views::{self, View};
use crate::config::{RunConfig, TaskEntry};
use crate::env::{self, EnvError, VectorEnvironment};
use crate::inference::{
    Generated, Generation, RolloutError, RolloutSettings, Sampling, generate_rows, rollout, score_generated,
};
use crate::model::Model;
use crate::run::{Run, RunError, Weights};
use crate::sample::Opened;
use crate::task::joined;
use crate::train::{Alone, Metrics, baseline, evaluate, evaluate_predictions};
use candle_core::Device;
use smalti_contract::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Metrics by output.
pub(super) type ByOutput = BTreeMap<String, Metrics>;

/// A run to measure.
pub(super) struct Trained<'a> {
    pub run: &'a Run,
    pub name: &'a str,
    pub device: &'a Device,
    /// A folder for what an evaluation writes.
    pub scratch: &'a Path,
}

/// Samples of either split from which a baseline is computed.
const BASELINE_SAMPLES: usize = 20_000;

impl Trained<'_> {
    /// All metrics of a measure's evaluation, or of the evaluation of its judge. `settings` are the measure's, with paths.
    pub fn measure(
        &self,
        point: &MeasurePoint,
        settings: &[String],
        judge: Option<&Run>,
    ) -> Result<ByOutput, ReproduceError> {
        let (model, opened) = self.open(point, settings)?;
        if let Some(spec) = &point.measure.rollout {
            return roll_out(&model, &opened, spec, point.measure.output.as_deref());
        }
        let measure = &point.measure;
        if let Some(field) = &measure.prediction {
            return self.score_field(field, &model, &opened, measure, settings);
        }
        let batch = self.run.config().train.batch_size.max(1);
        if let Some(judge) = judge {
            let judge = Judge::open(judge, self.device).map_err(|error| self.failed(error))?;
            return judge.measure(&model, &opened, measure, batch);
        }
        let mut all = ByOutput::new();
        for (number, (entry, opened)) in opened.iter().enumerate() {
            let (task, validation) = (opened.task.as_ref(), opened.validation.as_ref());
            let scores = evaluate(&model, number, task, validation, measure.samples, batch, &mut vec![])?;
            all.extend(scores.metrics());
            for (output, more) in generated_metrics(&model, number, opened, measure)? {
                all.entry(joined(&[&entry.name, &output])).or_default().extend(more);
            }
        }
        Ok(all)
    }

    /// A measure of an alignment or of positions. `settings` are the measure's, with paths.
    pub fn view(&self, point: &MeasurePoint, settings: &[String]) -> Result<View, ReproduceError> {
        let (model, opened) = self.open(point, settings)?;
        let measure = &point.measure;
        let viewed = match (&measure.positions, &measure.alignment) {
            (Some(kind), _) => views::positions(&model, kind),
            (None, Some(spec)) => views::alignment(&model, &opened, spec, measure.samples),
            (None, None) => return Ok(View::default()), // without a metric
        };
        let failed =
            |problem| ReproduceError::View { measure: format!("{}.{}", self.name, point.name), problem };
        viewed.map_err(failed)
    }

    /// The metrics of a field of the rows as predictions, instead of the model's own.
    fn score_field(
        &self,
        field: &str,
        model: &Model,
        opened: &[(TaskEntry, Opened)],
        measure: &Measure,
        settings: &[String],
    ) -> Result<ByOutput, ReproduceError> {
        let outputs = |(number, (entry, opened)): (usize, &'_ (TaskEntry, Opened))| {
            let output = |name: &String| (number, entry.name.clone(), name.clone());
            opened.task.outputs().iter().map(|it| output(&it.name)).collect::<Vec<_>>()
        };
        let mut outputs = opened.iter().enumerate().flat_map(outputs);
        let is_chosen = |task: &str, output: &str| {
            measure.output.as_ref().is_none_or(|chosen| *chosen == joined(&[task, output]))
        };
        let Some((number, task, output)) = outputs.find(|(_, task, output)| is_chosen(task, output)) else {
            return Ok(ByOutput::new()); // without a metric
        };
        let path = match task.is_empty() {
            true => format!("outputs.{output}.field"),
            false => format!("mix.{task}.outputs.{output}.field"),
        };
        let field = format!("{path}={}", toml::Value::from(field));
        let with_field: Vec<String> = settings.iter().cloned().chain([field]).collect();
        let predictions = self.run.splits(&self.config(&with_field)?).map_err(|error| self.failed(error))?;
        let batch = self.run.config().train.batch_size.max(1);
        let (scored, predicted) = (&opened[number].1, &predictions[number].1);
        let datasets = [scored.validation.as_ref(), predicted.validation.as_ref()];
        let task = scored.task.as_ref();
        Ok(evaluate_predictions(model, number, task, datasets, measure.samples, batch)?.metrics())
    }

    /// The settings of the run with those of an evaluation.
    fn config(&self, settings: &[String]) -> Result<RunConfig, ReproduceError> {
        self.run.config().with(settings).map_err(|error| self.failed(error.into()))
    }

    /// The metrics of predictions that ignore the input.
    pub fn baseline(&self) -> Result<ByOutput, ReproduceError> {
        let mut all = ByOutput::new();
        for (entry, opened) in self.run.splits(self.run.config()).map_err(|error| self.failed(error))? {
            for (head, metrics) in
                baseline(opened.train.as_ref(), opened.validation.as_ref(), BASELINE_SAMPLES)?
            {
                let output = opened.task.outputs().get(head).map(|output| output.name.as_str());
                all.insert(joined(&[&entry.name, output.unwrap_or_default()]), metrics);
            }
        }
        Ok(all)
    }

    /// The model and its data. If the settings are of the data alone, the model is that of the run; otherwise the model is built
    /// anew and gets the learned weights.
    fn open(
        &self,
        point: &MeasurePoint,
        settings: &[String],
    ) -> Result<(Model, Vec<(TaskEntry, Opened)>), ReproduceError> {
        let failed = |error| self.failed(error);
        let config = self.config(settings)?;
        if point.is_of_data() {
            let weights = match point.measure.weights {
                WhichWeights::Best => Weights::Best,
                WhichWeights::Last => Weights::Last,
            };
            let (model, _) = self.run.load(weights, self.device).map_err(failed)?;
            return Ok((model, self.run.splits(&config).map_err(failed)?));
        }
        let folder = tempfile::tempdir_in(self.scratch);
        let folder =
            folder.map_err(|source| crate::train::SaveError::Write { path: self.scratch.into(), source })?;
        let folder = folder.path().join("run");
        let created = Run::create_from(&folder, config, self.device, Arc::new(Alone), self.run);
        let (rebuilt, trainer, start) = created.map_err(failed)?;
        if !start.new.is_empty() {
            let names = start.new.join(", ");
            return Err(ReproduceError::NewParameters {
                measure: format!("{}.{}", self.name, point.name),
                names,
            });
        }
        let opened = rebuilt.splits(rebuilt.config()).map_err(failed)?;
        Ok((trainer.into_model(), opened))
    }

    fn failed(&self, problem: RunError) -> ReproduceError {
        ReproduceError::Run { run: self.name.into(), problem: Box::new(problem) }
    }
}

/// How a measure generates.
pub(super) fn generation(measure: &Measure) -> Generation {
    let sampling = Sampling { temperature: measure.temperature, ..Sampling::greedy() };
    Generation { sampling, ..Generation::default() }
}

/// The metrics of generated texts, by output. `matches` is the share of texts in which the measure's regular expression is found.
fn generated_metrics(
    model: &Model,
    number: usize,
    opened: &Opened,
    measure: &Measure,
) -> Result<ByOutput, ReproduceError> {
    if measure.generate == 0 {
        return Ok(ByOutput::new());
    }
    let (task, rows) = (opened.task.as_ref(), opened.validation_rows.as_ref());
    let is_text = |value: &Value| matches!(value, Value::Text(_));
    let values = generate_rows(model, number, task, rows, measure.generate, &generation(measure), &is_text)?;
    let mut all = score_generated(task, rows, &values)?;
    let Ok(Some(pattern)) = measure.pattern() else { return Ok(all) };
    for (output, metrics) in &mut all {
        let is_own = |made: &&Generated| task.outputs()[made.output].name == *output;
        let texts = values.iter().filter(is_own).filter_map(|made| match &made.value {
            Value::Text(text) => Some(text),
            _ => None,
        });
        // A text for which a pattern takes too long does not match.
        let found: Vec<bool> = texts.map(|text| pattern.is_match(text).unwrap_or(false)).collect();
        let matching = found.iter().filter(|found| **found).count();
        metrics.insert("matches".into(), matching as f64 / found.len().max(1) as f64);
    }
    Ok(all)
}

/// Time-out of an environment's start and of each answer.
const ENVIRONMENT_TIMEOUT: Duration = Duration::from_secs(60);

/// The environments of a rollout.
pub(super) fn environments(spec: &RolloutSpec) -> Result<Box<dyn VectorEnvironment>, RolloutError> {
    let failed = |problem: EnvError| {
        let problem = match problem {
            EnvError::Process { problem, .. } => problem, // without the command, which this error names
            problem => problem.to_string(),
        };
        RolloutError::Environment { name: spec.env.clone(), problem }
    };
    env::open(&spec.env, ENVIRONMENT_TIMEOUT).map_err(failed)
}

/// Acts in an environment with the first task that predicts a series, or with the task of this name.
fn roll_out(
    model: &Model,
    opened: &[(TaskEntry, Opened)],
    spec: &RolloutSpec,
    name: Option<&str>,
) -> Result<ByOutput, ReproduceError> {
    let acts = |(_, (entry, opened)): &(usize, &(TaskEntry, Opened))| {
        name.is_none_or(|name| name == entry.name)
            && opened.task.outputs().iter().any(|output| output.is_series(opened.task.parts()))
    };
    let Some((number, (entry, policy))) = opened.iter().enumerate().find(acts) else {
        return Ok(ByOutput::new());
    };
    let mut environments = environments(spec)?;
    let RolloutSpec { target_return, episodes, .. } = *spec;
    let settings = RolloutSettings { target_return, episodes, ..RolloutSettings::default() };
    let played = rollout(&policy.task, model, number, environments.as_mut(), &settings)?;
    let mut metrics = Metrics::from([
        ("return_mean".to_string(), played.return_mean()),
        ("return_std".into(), played.return_std()),
    ]);
    metrics.extend(played.success_rate().map(|rate| ("success_rate".to_string(), rate)));
    Ok(ByOutput::from([(entry.name.clone(), metrics)]))
}
