//! A new run before its folder is written.

use super::start::{self, Start};
use super::{Run, RunError, open_tasks, train_task, trainer};
use crate::config::RunConfig;
use crate::model::{ModelError, Params};
use crate::registry::Modalities;
use crate::sample::Start as TaskStart;
use crate::task::SavedTask;
use crate::train::reference::needs_reference;
use crate::train::{Ranks, References, TrainTask, Trainer};
use candle_core::Device;
use std::{collections::BTreeMap, path::Path, sync::Arc};

/// A new run whose folder is not written yet.
pub(super) struct Unwritten {
    pub config: RunConfig,
    pub saved: BTreeMap<String, SavedTask>,
    pub trainer: Trainer,
    pub start: Option<Start>,
    pub references: Option<Arc<References>>,
}

impl Unwritten {
    /// Opens the data, fits the tokenizers, builds the model and tries a sample of each data set. `folder` is for errors.
    pub fn new(
        folder: &Path,
        mut config: RunConfig,
        device: &Device,
        ranks: Arc<dyn Ranks>,
        modalities: &Modalities,
        other: Option<&Run>,
    ) -> Result<Self, RunError> {
        modalities.check()?;
        // The tokenizers of a run of one task apply to every task of a mix.
        let before = |name: &str| other.and_then(|other| other.saved.get(name).or(other.saved.get("")));
        let start = |name: &str| Ok(before(name).map_or(TaskStart::New, TaskStart::From));
        let tasks = open_tasks(&config, modalities, start)?;
        let saved = tasks.iter().map(|(entry, opened)| (entry.name.clone(), opened.task.saved().clone()));
        let saved = saved.collect();
        let tasks: Vec<TrainTask> = tasks.into_iter().map(train_task).collect();
        if let (None, Some(task)) = (other, tasks.iter().find(|task| needs_reference(task))) {
            return Err(RunError::NoReference(task.task.spec().label()));
        }
        let is_untied = other.is_some_and(|other| start::untie(&mut config, &tasks, &other.config));
        let (params, before) = match other {
            None => (Params::new(config.train.seed, device), None),
            Some(other) => {
                let (params, before) = start::params(&config, &tasks, device, other)?;
                (params, Some((before, other)))
            }
        };
        let mut trainer = trainer(&config, tasks, params, ranks)?;
        let start = match before {
            None => None,
            Some((before, other)) => {
                let mut start = start::start(trainer.model(), &before).map_err(ModelError::from)?;
                if start.loaded.is_empty() {
                    return Err(RunError::NoFittingWeights { from: other.folder.clone(), to: folder.into() });
                }
                start.skipped.extend(is_untied.then(|| start::UNTIED.into()));
                Some(start)
            }
        };
        let references = trainer.freeze_reference()?;
        trainer.try_samples()?;
        Ok(Self { config, saved, trainer, start, references })
    }
}
