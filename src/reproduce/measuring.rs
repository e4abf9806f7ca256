//! The measures of trained runs, each computed once and kept.

use super::ReproduceError;
use super::data::digest;
use super::evaluation::{ByOutput, Trained};
use super::lab::{Session, failed, wrong};
use super::points::{MeasureId, MeasurePoint, RunPoint, overrides};
use super::report::Measurements;
use super::store;
use super::training::{KeptRun, Record};
use super::views::View;
use crate::run::Run;
use crate::train::Metrics;
use serde_json::json;

/// A trained run to measure.
pub(super) struct OpenRun {
    pub run: Run,
    pub name: String,
    pub key: String,
    record: Record,
}

impl Session<'_, '_> {
    /// Trains a run, measures it and lets it write; does nothing if there is nothing to measure. Baselines and texts are those of
    /// the first seed.
    pub(super) fn measure(
        &mut self,
        point: &RunPoint,
        seed: u64,
        measured: &mut Measurements,
    ) -> Result<(), ReproduceError> {
        if point.measures.is_empty() {
            return Ok(());
        }
        let trained = self.open(point, seed)?;
        for measure in &point.measures {
            // Without the run that judges it, a value is not measured.
            let judge = measure.measure.judge.as_ref();
            if judge.is_some_and(|judge| measured.left_out.contains_key(&judge.run)) {
                continue;
            }
            let id = MeasureId { run: point.name.clone(), measure: measure.name.clone() };
            let value = if measure.measure.is_view() {
                let View { metrics, matrices } = self.view(&trained, measure)?;
                measured.add_view(&id, seed, matrices);
                choose(&id, measure, &metrics)?
            } else if let Some(value) = trained.record.metric(&measure.measure.metric) {
                value.map_err(|why| ReproduceError::NotRecorded { measure: id.to_string(), why })?
            } else {
                let judge = self.judge(measure, seed)?;
                choose(&id, measure, &self.evaluate(&trained, measure, judge.as_ref())?)?
            };
            measured.add(&id, seed as usize, value);
        }
        if seed == 0 {
            self.compute_baselines(point, &trained, measured)?;
            measured.texts.extend(self.texts(&point.texts, &trained)?);
        }
        Ok(())
    }

    /// Computes the baselines of a run's measures that the experiment gives no value for.
    fn compute_baselines(
        &self,
        point: &RunPoint,
        trained: &OpenRun,
        measured: &mut Measurements,
    ) -> Result<(), ReproduceError> {
        for (label, baseline) in self.experiment.baselines.iter().filter(|(_, it)| it.value.is_none()) {
            let of = point.ids().zip(&point.measures).find(|(id, _)| id.is(&baseline.of));
            let Some((id, measure)) = of else { continue };
            let all = self.kept("baselines", &store::key(&json!(trained.key)), |session| {
                session.evaluation(trained).baseline()
            })?;
            measured.baselines.insert(label.clone(), choose(&id, measure, &all)?);
        }
        Ok(())
    }

    /// A trained run; it is trained if it is not kept.
    fn open(&mut self, point: &RunPoint, seed: u64) -> Result<OpenRun, ReproduceError> {
        let KeptRun { folder, key, record } = self.train(point, seed)?;
        let name = point.name.to_string();
        let run = Run::open_with(&folder, self.lab.modalities).map_err(|error| failed(&name, error))?;
        Ok(OpenRun { run, name, key, record })
    }

    /// The run that judges a measure.
    fn judge(&mut self, point: &MeasurePoint, seed: u64) -> Result<Option<OpenRun>, ReproduceError> {
        let judge = point.measure.judge.as_ref().and_then(|spec| self.named(&spec.run));
        judge.map(|judge| self.open(&judge, seed)).transpose()
    }

    /// All metrics of a measure's evaluation.
    fn evaluate(
        &mut self,
        trained: &OpenRun,
        point: &MeasurePoint,
        judge: Option<&OpenRun>,
    ) -> Result<ByOutput, ReproduceError> {
        let (settings, data) = self.evaluated_on(trained, point)?;
        let measure = &point.measure;
        let task = measure.output.as_deref().unwrap_or_default();
        let rollout = measure.rollout.as_ref().map(|spec| format!("{spec:?}{task}"));
        let weights = format!("{:?}", measure.weights);
        let of = json!([
            trained.key,
            overrides(&point.settings),
            data,
            weights,
            measure.samples,
            (measure.generate, measure.temperature, &measure.matches, &measure.output),
            judge.map(|judge| &judge.key),
            rollout.or_else(|| measure.prediction.clone())
        ]);
        self.kept("evaluations", &store::key(&of), |session| {
            session.evaluation(trained).measure(point, &settings, judge.map(|judge| &judge.run))
        })
    }

    /// The measure of an alignment or of positions, with its matrices.
    fn view(&mut self, trained: &OpenRun, point: &MeasurePoint) -> Result<View, ReproduceError> {
        let (settings, data) = self.evaluated_on(trained, point)?;
        let measure = &point.measure;
        let spec = format!("{:?} {:?} {:?}", measure.weights, measure.alignment, measure.positions);
        let of = json!([trained.key, overrides(&point.settings), data, spec, measure.samples]);
        self.kept("views", &store::key(&of), |session| session.evaluation(trained).view(point, &settings))
    }

    /// The settings of a measure with paths, and a digest of its data.
    fn evaluated_on(
        &mut self,
        trained: &OpenRun,
        point: &MeasurePoint,
    ) -> Result<(Vec<String>, String), ReproduceError> {
        let settings = overrides(&self.places.resolve(&point.settings)?);
        let config = trained.run.config().with(&settings);
        let config = config.map_err(|problem| wrong(&format!("{}.{}", trained.name, point.name), problem))?;
        let data = digest(&config, &mut self.digests)?;
        Ok((settings, data))
    }

    fn evaluation<'a>(&'a self, trained: &'a OpenRun) -> Trained<'a> {
        let OpenRun { run, name, .. } = trained;
        Trained { run, name, device: &self.lab.device, scratch: &self.store.0 }
    }
}

/// The metric of a measure.
fn choose(id: &MeasureId, point: &MeasurePoint, all: &ByOutput) -> Result<f64, ReproduceError> {
    let measure = &point.measure;
    let of = measure.judge.as_ref().map_or(&measure.output, |judge| &judge.output);
    let mut outputs = all.iter().filter(|(name, _)| of.as_ref().is_none_or(|output| output == *name));
    if let (Some((_, metrics)), None) = (outputs.next(), outputs.next())
        && let Some(value) = metric(metrics, &measure.metric)
    {
        return Ok(value);
    }
    let of_output = |(output, metrics): (&String, &Metrics)| {
        metrics.keys().map(|metric| format!("{metric} of {output:?}")).collect::<Vec<_>>()
    };
    Err(ReproduceError::NoMetric {
        measure: id.to_string(),
        metric: measure.metric.clone(),
        known: all.iter().flat_map(of_output).collect::<Vec<_>>().join(", "),
    })
}

/// A metric by its name; the perplexity of any loss.
fn metric(metrics: &Metrics, name: &str) -> Option<f64> {
    let perplexity = || Some(metrics.get("loss").filter(|_| name == "perplexity")?.exp());
    metrics.get(name).copied().or_else(perplexity)
}
