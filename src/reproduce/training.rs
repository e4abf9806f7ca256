//! The runs of an experiment, each trained once and kept.

use super::ReproduceError;
use super::clock::Clock;
use super::data::digest;
use super::lab::{Session, failed, wrong};
use super::points::{RunPoint, overrides};
use super::store;
use crate::config::{RunConfig, preset};
use crate::heap;
use crate::run::{CONFIG_FILE, Run, RunError};
use crate::train::{Alone, End, Observers, SaveError, Trainer, log};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use toml::Value;

/// A finished training, or the part of one that was done when it was stopped.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    experiment: String,
    run: String,
    seed: u64,
    version: String,
    finished: bool,
    pub seconds: f64,
    seconds_per_step: f64,
    /// The training loss of the first step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_loss: Option<f64>,
    steps: u64,
    parameters: usize,
    /// The most memory that the training had at one time, in MiB, if the program counts it; of the last part of a resumed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    peak_memory: Option<f64>,
    /// The mean load-balance loss of the last steps, of a model with experts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    load_balance: Option<f64>,
}

impl Record {
    /// A metric of the training itself, or the reason why this training has none; `None` for a metric of an evaluation.
    pub fn metric(&self, metric: &str) -> Option<Result<f64, &'static str>> {
        let uncounted = "it was trained by a program whose allocator does not count memory (heap::Counting)";
        Some(match metric {
            "seconds" => Ok(self.seconds),
            "seconds_per_step" => Ok(self.seconds_per_step),
            "parameters" => Ok(self.parameters as f64),
            "first_loss" => self.first_loss.ok_or("the log does not have its first step"),
            "peak_memory" => self.peak_memory.ok_or(uncounted),
            "load_balance" => self.load_balance.ok_or("the model has no experts"),
            _ => return None,
        })
    }
}

/// A run that is trained and kept: its folder, its key, and the record of its training.
pub(super) struct KeptRun {
    pub folder: PathBuf,
    pub key: String,
    pub record: Record,
}

/// The settings of a run with paths, and the key that it is kept under, which follows from its settings without paths.
pub(super) struct Settings {
    key: String,
    config: RunConfig,
}

impl Session<'_, '_> {
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
        // None is null and one is a text, as in the keys of runs that are kept already.
        let needed = if let [] | [_] = &needed[..] { json!(needed.first()) } else { json!(needed) };
        Ok(Settings { key: store::key(&json!([unresolved, needed, data])), config })
    }

    /// Trains a run and those that it depends on, unless they are kept.
    pub(super) fn train(&mut self, point: &RunPoint, seed: u64) -> Result<KeptRun, ReproduceError> {
        let Settings { key, config } = self.settings(point, seed)?;
        let folder = self.store.folder("runs", &key);
        let known: Option<Record> =
            self.store.read("runs", &key).filter(|_| folder.join(CONFIG_FILE).exists());
        if let Some(known) = known.as_ref().filter(|known| known.finished) {
            self.seconds.insert(key.clone(), known.seconds);
            return Ok(KeptRun { folder, key, record: known.clone() });
        }
        let mut from = None;
        for other in point.depends_on() {
            let Some(needed) = self.named(&other) else { continue };
            let KeptRun { folder, .. } = self.train(&needed, seed)?;
            from = if point.from.as_ref() == Some(&other) { Some(folder) } else { from };
        }
        let name = point.name.to_string();
        let at = format!("{}: {name}, seed {} of {}", self.experiment.name, seed + 1, self.experiment.seeds);
        self.lab.host.note(&at);
        heap::restart_peak();
        let mut trainer =
            self.trainer(&folder, config, from.as_deref()).map_err(|error| failed(&name, error))?;
        let (mut clock, mut host) = (Clock::start(), self.lab.host.watch(&trainer));
        let mut observers = Observers(vec![&mut clock, &mut *host]);
        let outcome = trainer.run(Some(folder.as_path()), self.lab.stop, &mut observers)?;
        let Logged { seconds, first_loss, load_balance } = Logged::read(&folder, outcome.step)?;
        let record = Record {
            experiment: self.experiment.name.clone(),
            run: name,
            seed,
            version: env!("CARGO_PKG_VERSION").into(),
            finished: outcome.end != End::Stopped,
            seconds,
            first_loss,
            seconds_per_step: clock.seconds_per_step().unwrap_or(seconds / outcome.step.max(1) as f64),
            steps: outcome.step,
            parameters: trainer.model().params().count(),
            peak_memory: heap::peak().map(|bytes| bytes as f64 / f64::from(1 << 20)),
            load_balance,
        };
        self.store.write("runs", &key, &record)?;
        self.seconds.insert(key.clone(), record.seconds);
        if outcome.end == End::Stopped {
            return Err(ReproduceError::Stopped);
        }
        Ok(KeptRun { folder, key, record })
    }

    /// The trainer of a run, at its last checkpoint or before its first step.
    fn trainer(&self, folder: &Path, config: RunConfig, from: Option<&Path>) -> Result<Trainer, RunError> {
        let (device, modalities) = (&self.lab.device, self.lab.modalities);
        if folder.join(CONFIG_FILE).exists() {
            let resumed =
                Run::open_with(folder, modalities).and_then(|run| run.resume(device, Arc::new(Alone)));
            match resumed {
                Err(error) if must_restart(&error) => store::remove(folder)?,
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

/// The number of last steps over which the load-balance loss is averaged.
const LOAD_STEPS: u64 = 100;

/// What the log of a run has of its training, also of parts that were killed.
struct Logged {
    seconds: f64,
    first_loss: Option<f64>,
    load_balance: Option<f64>,
}

impl Logged {
    /// Reads the log of a training of `steps` steps so far.
    fn read(folder: &Path, steps: u64) -> Result<Self, SaveError> {
        let mut logged = Self { seconds: 0.0, first_loss: None, load_balance: None };
        let mut loads = vec![];
        for line in log::lines(folder)? {
            let line = line?;
            let step = line["step"].as_u64().unwrap_or_default();
            logged.seconds = line[log::SECONDS].as_f64().unwrap_or(logged.seconds);
            logged.first_loss = logged.first_loss.or(line["loss"].as_f64().filter(|_| step == 1));
            loads.extend(line["load_balance"].as_f64().filter(|_| step + LOAD_STEPS > steps));
        }
        logged.load_balance = (!loads.is_empty()).then(|| loads.iter().sum::<f64>() / loads.len() as f64);
        Ok(logged)
    }
}

/// Whether a run can only be trained anew: it was killed before its first checkpoint, or a file of it is damaged.
fn must_restart(error: &RunError) -> bool {
    matches!(
        error,
        RunError::NoRun { .. }
            | RunError::NoState(_)
            | RunError::NotSaved(_)
            | RunError::DamagedModel(_)
            | RunError::Save(SaveError::Format { .. } | SaveError::Checksum { .. })
    )
}
