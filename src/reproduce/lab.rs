//! The runs of an experiment: trained, measured, and kept.

use super::clock::Clock;
use super::data::{Places, digest, digest_of};
use super::evaluation::{ByOutput, Trained};
use super::points::{MeasureId, MeasurePoint, RunPoint, overrides};
use super::report::{Measurements, Report};
use super::store::{self, Store};
use super::views::View;
use super::{Experiment, ReproduceError};
use crate::config::{RunConfig, SettingsError, preset};
use crate::registry::Modalities;
use crate::run::{CONFIG_FILE, Run, RunError};
use crate::train::{Alone, Observer, Trainer};
use candle_core::Device;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, atomic::AtomicBool};
use std::time::Instant;
use toml::Value;

/// What the program around a [`Lab`] does for it.
pub trait Host {
    /// Runs `smalti data make` with these arguments.
    ///
    /// # Errors
    /// The problem, in words.
    fn make(&mut self, arguments: &[String]) -> Result<(), String>;
    /// An observer of the training of a run.
    fn watch(&mut self, trainer: &Trainer) -> Box<dyn Observer>;
    /// Tells the user which run comes next.
    fn note(&mut self, text: &str);
}

/// Runs experiments, and keeps their runs and results in one folder.
pub struct Lab<'a> {
    /// The folder.
    pub out: PathBuf,
    /// The folder of the user's data.
    pub data: Option<PathBuf>,
    /// The modalities.
    pub modalities: &'a Modalities,
    /// The device.
    pub device: Device,
    /// Set to stop between two steps.
    pub stop: &'a AtomicBool,
    /// The program.
    pub host: &'a mut dyn Host,
}

/// A finished training, or the part of one that was done when it was stopped.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    experiment: String,
    run: String,
    seed: u64,
    version: String,
    finished: bool,
    seconds: f64,
    seconds_per_step: f64,
    /// The training loss of the first step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_loss: Option<f64>,
    steps: u64,
    parameters: usize,
    /// The mean load-balance loss of the last steps, of a model with experts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    load_balance: Option<f64>,
}

impl Record {
    /// A metric of the training itself; `None` for one of an evaluation.
    fn of_training(&self, metric: &str) -> Option<f64> {
        match metric {
            "seconds" => Some(self.seconds),
            "seconds_per_step" => Some(self.seconds_per_step),
            "parameters" => Some(self.parameters as f64),
            "first_loss" => self.first_loss,
            "load_balance" => self.load_balance,
            _ => None,
        }
    }
}

/// The settings of a run: as the experiment names them, which is what they are kept by, and with paths.
pub(super) struct Settings {
    key: String,
    config: RunConfig,
}

/// An experiment in a lab.
pub(super) struct Session<'a, 'b> {
    pub(super) lab: &'a mut Lab<'b>,
    store: Store,
    pub(super) experiment: &'a Experiment,
    pub(super) points: Vec<RunPoint>,
    places: Places,
    digests: BTreeMap<PathBuf, String>,
}

impl Lab<'_> {
    /// Runs an experiment, or what is left of it, and reports it.
    ///
    /// # Errors
    /// [`ReproduceError`]; [`ReproduceError::Stopped`] if `stop` was set.
    pub fn reproduce(&mut self, experiment: &Experiment, quick: bool) -> Result<Report, ReproduceError> {
        let store = Store(self.out.clone());
        let made = self.make(experiment, &store)?;
        let places = Places { users: self.data.clone(), made, runs: BTreeMap::new() };
        let malformed = |problem| ReproduceError::Malformed { origin: experiment.name.clone(), problem };
        let points = experiment.points().map_err(malformed)?;
        let mut session = Session { lab: self, store, experiment, points, places, digests: BTreeMap::new() };
        let mut measured = Measurements::default();
        measured.left_out = session.left_out()?;
        session.points.retain(|point| !measured.left_out.contains_key(&point.name.name));
        for seed in 0..experiment.seeds as u64 {
            for point in session.points.clone() {
                session.point(&point, seed, &mut measured)?;
            }
        }
        Ok(Report::of(experiment, quick, measured))
    }

    /// Generates the data that are not there yet; the folder of each.
    fn make(
        &mut self,
        experiment: &Experiment,
        store: &Store,
    ) -> Result<BTreeMap<String, PathBuf>, ReproduceError> {
        let mut made = BTreeMap::new();
        let places = Places { users: self.data.clone(), ..Places::default() };
        for (name, arguments) in &experiment.data.make {
            let resolved = arguments.iter().map(|argument| places.argument(argument));
            let resolved = resolved.collect::<Result<Vec<_>, _>>()?;
            let read = resolved.iter().filter_map(|(_, path)| path.as_deref());
            let read = read.map(digest_of).collect::<Result<Vec<_>, _>>()?;
            let key = store::key(&if read.is_empty() { json!(arguments) } else { json!([arguments, read]) });
            let folder = store.folder("data", &key);
            if store.read::<Vec<String>>("data", &key).is_none() || !folder.exists() {
                store::remove(&folder)?;
                let out = ["--out".to_string(), folder.to_string_lossy().into_owned()];
                let all: Vec<String> =
                    resolved.into_iter().map(|(argument, _)| argument).chain(out).collect();
                store::create(&self.out.join("data"))?;
                self.host.note(&format!("{}: making {name}", experiment.name));
                let command = || format!("data make {}", all.join(" "));
                let failed = |problem| ReproduceError::Make { command: command(), problem };
                self.host.make(&all).map_err(failed)?;
                store.write("data", &key, arguments)?;
            }
            made.insert(name.clone(), folder);
        }
        Ok(made)
    }
}

impl Session<'_, '_> {
    /// Trains a run and measures it; does nothing if there is nothing to measure.
    fn point(
        &mut self,
        point: &RunPoint,
        seed: u64,
        measured: &mut Measurements,
    ) -> Result<(), ReproduceError> {
        if point.measures.is_empty() {
            return Ok(());
        }
        let (folder, key, record) = self.train(point, seed)?;
        measured.seconds += record.seconds;
        let name = point.name.to_string();
        let run = Run::open_with(&folder, self.lab.modalities).map_err(|error| failed(&name, error))?;
        for measure in &point.measures {
            let id = MeasureId { run: point.name.clone(), measure: measure.name.clone() };
            let value = match measure.measure.metric.as_str() {
                _ if measure.measure.is_view() => {
                    let View { metrics, matrices } = self.view(&run, &name, &key, measure)?;
                    measured.add_view(&id, seed, matrices);
                    choose(&id, measure, &metrics)?
                }
                metric => match record.of_training(metric) {
                    Some(value) => value,
                    None => {
                        let judge = self.judge(measure, seed)?;
                        let all = self.evaluate((&run, &name, &key), measure, judge.as_ref())?;
                        choose(&id, measure, &all)?
                    }
                },
            };
            measured.add(&id, seed as usize, value);
        }
        for (label, baseline) in &self.experiment.baselines {
            let of = point.measures.iter().find(|measure| {
                MeasureId { run: point.name.clone(), measure: measure.name.clone() }.is(&baseline.of)
            });
            let (Some(measure), None, 0) = (of, baseline.value, seed) else { continue };
            let all = self.kept("baselines", &store::key(&json!(key)), |session| {
                session.trained(&run, &name).baseline()
            })?;
            let id = MeasureId { run: point.name.clone(), measure: measure.name.clone() };
            measured.baselines.insert(label.clone(), choose(&id, measure, &all)?);
        }
        Ok(())
    }

    /// The result of a key; computed and kept if there is none.
    fn kept<T: Serialize + DeserializeOwned>(
        &self,
        kind: &str,
        key: &str,
        compute: impl FnOnce(&Self) -> Result<T, ReproduceError>,
    ) -> Result<T, ReproduceError> {
        if let Some(known) = self.store.read(kind, key) {
            return Ok(known);
        }
        let computed = compute(self)?;
        self.store.write(kind, key, &computed)?;
        Ok(computed)
    }

    fn trained<'a>(&'a self, run: &'a Run, name: &'a str) -> Trained<'a> {
        Trained { run, name, device: &self.lab.device, scratch: &self.store.0 }
    }

    /// The run that judges a measure, and its key.
    fn judge(&mut self, point: &MeasurePoint, seed: u64) -> Result<Option<(Run, String)>, ReproduceError> {
        let Some(spec) = &point.measure.judge else { return Ok(None) };
        let Some(judge) = self.named(&spec.run) else { return Ok(None) };
        let (folder, key, _) = self.train(&judge, seed)?;
        let run = Run::open_with(&folder, self.lab.modalities).map_err(|error| failed(&spec.run, error))?;
        Ok(Some((run, key)))
    }

    /// All metrics of a measure's evaluation, of a run with its name and key.
    fn evaluate(
        &mut self,
        (run, name, key): (&Run, &str, &str),
        point: &MeasurePoint,
        judge: Option<&(Run, String)>,
    ) -> Result<ByOutput, ReproduceError> {
        let (settings, data) = self.evaluated_on(run, name, point)?;
        let measure = &point.measure;
        let task = measure.output.as_deref().unwrap_or_default();
        let rollout = measure.rollout.as_ref().map(|spec| format!("{spec:?}{task}"));
        let weights = format!("{:?}", measure.weights);
        let of = json!([
            key,
            overrides(&point.settings),
            data,
            weights,
            measure.samples,
            (measure.generate, measure.temperature, &measure.matches, &measure.output),
            judge.map(|(_, key)| key),
            rollout.or_else(|| measure.prediction.clone())
        ]);
        self.kept("evaluations", &store::key(&of), |session| {
            session.trained(run, name).measure(point, &settings, judge.map(|(run, _)| run))
        })
    }

    /// The measure of an alignment or of positions, with what is seen of it.
    fn view(
        &mut self,
        run: &Run,
        name: &str,
        key: &str,
        point: &MeasurePoint,
    ) -> Result<View, ReproduceError> {
        let (settings, data) = self.evaluated_on(run, name, point)?;
        let measure = &point.measure;
        let spec = format!("{:?} {:?} {:?}", measure.weights, measure.alignment, measure.positions);
        let of = json!([key, overrides(&point.settings), data, spec, measure.samples]);
        self.kept("views", &store::key(&of), |session| session.trained(run, name).view(point, &settings))
    }

    /// The settings of a measure with paths, and a digest of its data.
    fn evaluated_on(
        &mut self,
        run: &Run,
        name: &str,
        point: &MeasurePoint,
    ) -> Result<(Vec<String>, String), ReproduceError> {
        let settings = overrides(&self.places.resolve(&point.settings)?);
        let own =
            run.config().to_toml().and_then(|text| RunConfig::parse("the run's settings", &text, &settings));
        let config = own.map_err(|problem| wrong(&format!("{name}.{}", point.name), problem))?;
        let data = digest(&config, &mut self.digests)?;
        Ok((settings, data))
    }

    /// The settings of a run with a seed.
    pub(super) fn settings(&mut self, point: &RunPoint, seed: u64) -> Result<Settings, ReproduceError> {
        let name = point.name.to_string();
        let config = |settings: &[(String, Value)]| -> Result<RunConfig, ReproduceError> {
            let text = point.preset.as_deref().map_or(Some(""), preset);
            let Some(text) = text else {
                let problem = format!("runs.{name}.preset: expected text, image, audio, trajectory or mix");
                return Err(ReproduceError::Malformed { origin: self.experiment.name.clone(), problem });
            };
            let mut config = RunConfig::parse(&format!("run {name}"), text, &overrides(settings))
                .map_err(|problem| wrong(&name, problem))?;
            config.train.seed += seed;
            Ok(config)
        };
        let unresolved = config(&point.settings)?.to_toml().map_err(|problem| wrong(&name, problem))?;
        let mut needed = vec![];
        for name in point.depends_on() {
            let Some(other) = self.named(&name) else { continue };
            let key = self.settings(&other, seed)?.key;
            self.places.runs.insert(name, self.store.folder("runs", &key));
            needed.push(key);
        }
        let config = config(&self.places.resolve(&point.settings)?)?;
        let data = digest(&config, &mut self.digests)?;
        // The key of a run that needs one other or none.
        let needed = if let [] | [_] = &needed[..] { json!(needed.first()) } else { json!(needed) };
        Ok(Settings { key: store::key(&json!([unresolved, needed, data])), config })
    }

    /// The training of a run without sweep.
    pub(super) fn named(&self, name: &str) -> Option<RunPoint> {
        self.points.iter().find(|other| other.name.name == name).cloned()
    }

    /// The folder of a trained run, its key, and the record of its training.
    fn train(&mut self, point: &RunPoint, seed: u64) -> Result<(PathBuf, String, Record), ReproduceError> {
        let Settings { key, config } = self.settings(point, seed)?;
        let folder = self.store.folder("runs", &key);
        let known: Option<Record> =
            self.store.read("runs", &key).filter(|_| folder.join(CONFIG_FILE).exists());
        if let Some(known) = known.as_ref().filter(|known| known.finished) {
            return Ok((folder, key, known.clone()));
        }
        let mut from = None;
        for other in point.depends_on() {
            let Some(needed) = self.named(&other) else { continue };
            let (folder, ..) = self.train(&needed, seed)?;
            from = if point.from.as_ref() == Some(&other) { Some(folder) } else { from };
        }
        let name = point.name.to_string();
        let at = format!("{}: {name}, seed {} of {}", self.experiment.name, seed + 1, self.experiment.seeds);
        self.lab.host.note(&at);
        let mut trainer =
            self.trainer(&folder, config, from.as_deref()).map_err(|error| failed(&name, error))?;
        let mut clock = Clock::new(self.lab.host.watch(&trainer));
        let started = Instant::now();
        let outcome = trainer.run(Some(folder.as_path()), self.lab.stop, &mut clock)?;
        let record = Record {
            experiment: self.experiment.name.clone(),
            run: name,
            seed,
            version: env!("CARGO_PKG_VERSION").into(),
            finished: !outcome.stopped,
            seconds: known.as_ref().map_or(0.0, |known| known.seconds) + started.elapsed().as_secs_f64(),
            first_loss: clock.first_loss.or(known.and_then(|known| known.first_loss)),
            seconds_per_step: clock.seconds_per_step(),
            steps: outcome.step,
            parameters: trainer.model().params().count(),
            load_balance: clock.load_balance(),
        };
        self.store.write("runs", &key, &record)?;
        if outcome.stopped {
            return Err(ReproduceError::Stopped);
        }
        Ok((folder, key, record))
    }

    /// A trainer at the last checkpoint, or at the first step of a new run.
    fn trainer(&self, folder: &Path, config: RunConfig, from: Option<&Path>) -> Result<Trainer, RunError> {
        let (device, modalities) = (&self.lab.device, self.lab.modalities);
        if folder.join(CONFIG_FILE).exists() {
            let resumed =
                Run::open_with(folder, modalities).and_then(|run| run.resume(device, Arc::new(Alone)));
            // A run that was killed before its first checkpoint, or is damaged, begins anew.
            match resumed {
                Err(error) if is_locked(&error) => return Err(error),
                Err(_) => store::remove(folder)?,
                resumed => return resumed,
            }
        }
        Ok(match from {
            None => Run::create_with(folder, config, device, Arc::new(Alone), modalities)?.1,
            Some(from) => {
                let other = Run::open_with(from, modalities)?;
                Run::create_from(folder, config, device, Arc::new(Alone), &other)?.1
            }
        })
    }
}

/// Whether another process trains the run.
fn is_locked(error: &RunError) -> bool {
    matches!(error, RunError::Save(crate::train::SaveError::Locked { .. }))
}

fn failed(run: &str, problem: RunError) -> ReproduceError {
    ReproduceError::Run { run: run.into(), problem: Box::new(problem) }
}

fn wrong(run: &str, problem: SettingsError) -> ReproduceError {
    ReproduceError::Settings { run: run.into(), problem: Box::new(problem) }
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
    let of_output = |(output, metrics): (&String, &crate::train::Metrics)| {
        metrics.keys().map(|metric| format!("{metric} of {output:?}")).collect::<Vec<_>>()
    };
    Err(ReproduceError::NoMetric {
        measure: id.to_string(),
        metric: measure.metric.clone(),
        known: all.iter().flat_map(of_output).collect::<Vec<_>>().join(", "),
    })
}

/// A metric by its name; the perplexity of any loss.
fn metric(metrics: &crate::train::Metrics, name: &str) -> Option<f64> {
    let perplexity = || Some(metrics.get("loss").filter(|_| name == "perplexity")?.exp());
    metrics.get(name).copied().or_else(perplexity)
}
