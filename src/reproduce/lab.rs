//! A lab, which runs experiments, and an experiment in it.

use super::data::{Places, digest_of};
use super::points::RunPoint;
use super::report::{Measurements, Report};
use super::store::{self, Store};
use super::{Experiment, ReproduceError};
use crate::config::SettingsError;
use crate::registry::Modalities;
use crate::run::RunError;
use crate::train::{Observer, Trainer};
use candle_core::Device;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

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

/// One experiment in a lab: its runs are trained in `training.rs`, and measured in `measuring.rs`.
pub(super) struct Session<'a, 'b> {
    pub(super) lab: &'a mut Lab<'b>,
    pub(super) store: Store,
    pub(super) experiment: &'a Experiment,
    pub(super) points: Vec<RunPoint>,
    pub(super) places: Places,
    /// Seconds of each training, by its key.
    pub(super) seconds: BTreeMap<String, f64>,
    /// The digests of data that were read, by path.
    pub(super) digests: BTreeMap<PathBuf, String>,
}

impl Lab<'_> {
    /// Runs an experiment, or continues it, and reports it.
    ///
    /// # Errors
    /// [`ReproduceError`]; [`ReproduceError::Stopped`] if `stop` was set.
    pub fn reproduce(&mut self, experiment: &Experiment, quick: bool) -> Result<Report, ReproduceError> {
        let store = Store(self.out.clone());
        let made = self.make(experiment, &store)?;
        let places = Places { users: self.data.clone(), made, runs: BTreeMap::new() };
        let malformed = |problem| ReproduceError::Malformed { origin: experiment.name.clone(), problem };
        let points = experiment.points().map_err(malformed)?;
        let (seconds, digests) = (BTreeMap::new(), BTreeMap::new());
        let mut session = Session { lab: self, store, experiment, points, places, seconds, digests };
        let mut measured = Measurements::default();
        measured.left_out = session.left_out()?;
        session.points.retain(|point| !measured.left_out.contains_key(&point.name.name));
        for seed in 0..experiment.seeds as u64 {
            for point in session.points.clone() {
                session.measure(&point, seed, &mut measured)?;
            }
        }
        measured.seconds = session.seconds.values().sum();
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
    /// The training of a run without sweep.
    pub(super) fn named(&self, name: &str) -> Option<RunPoint> {
        self.points.iter().find(|other| other.name.name == name).cloned()
    }

    /// The result that is kept under a key; if there is none, it is computed and kept.
    pub(super) fn kept<T: Serialize + DeserializeOwned>(
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
}

pub(super) fn failed(run: &str, problem: RunError) -> ReproduceError {
    ReproduceError::Run { run: run.into(), problem: Box::new(problem) }
}

pub(super) fn wrong(run: &str, problem: SettingsError) -> ReproduceError {
    ReproduceError::Settings { run: run.into(), problem: Box::new(problem) }
}
