//! A run folder: settings, fitted tokenizers, weights, the state from which training resumes, and metrics.

mod error;
mod folder;
mod load;
mod start;
mod unwritten;

pub use crate::train::checksums::{CONFIG_FILE, PUBLISHED_FOLDER};
pub use error::RunError;
pub use load::{NamedTask, Weights};
pub use start::Start;

use crate::config::{RunConfig, TaskEntry};
use crate::model::{Model, Params};
use crate::registry::Modalities;
use crate::sample::{Opened, Start as TaskStart};
use crate::task::{SavedTask, Task, TaskSpec};
use crate::train::synchronize::check_same_settings;
use crate::train::{
    Alone, Checks, MODEL_FILE, Outcome, PARAM, Ranks, SETTINGS, STATE_FILE, Silent, TensorFile, TrainError,
    TrainTask, Trainer, Writer, checkpoint, memory,
};
use candle_core::Device;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};
use unwritten::Unwritten;

/// The file of each task's fitted tokenizers.
pub const TOKENIZERS_FILE: &str = "tokenizers.json";
/// The file of the log-probabilities of preference pairs under the run that a run started from.
pub const REFERENCE_FILE: &str = "reference.bin";
/// The file that lists which weights a run loaded from the run it started from.
pub const START_FILE: &str = "start.json";

/// An open run folder.
pub struct Run {
    folder: PathBuf,
    config: RunConfig,
    saved: BTreeMap<String, SavedTask>,
    modalities: Modalities,
    checks: Checks,
}

impl Run {
    /// Creates a run folder and trains to the last step, in one process and without a report of the steps. Returns the run,
    /// and the metrics of the last evaluation in its [`Outcome`]; [`create_with`](Self::create_with) returns a trainer for
    /// everything else.
    ///
    /// # Errors
    /// As for `create_with`, and [`RunError::Train`].
    pub fn train(
        folder: impl AsRef<Path>,
        config: RunConfig,
        device: &Device,
        modalities: &Modalities,
    ) -> Result<(Self, Outcome), RunError> {
        let folder = folder.as_ref();
        let (run, mut trainer) = Self::create_with(folder, config, device, Arc::new(Alone), modalities)?;
        let outcome = trainer.run(Some(folder), &AtomicBool::new(false), &mut Silent)?;
        Ok((run, outcome))
    }

    /// Creates a run folder: opens the data, fits the tokenizers, and writes settings and tokenizers (on rank 0). Returns the run
    /// with a trainer before its first step, which locks the folder until its training ends. A run in which no step was made
    /// is replaced.
    ///
    /// # Errors
    /// [`RunError::Exists`] if the folder has a run, [`SaveError::NotEmpty`](crate::train::SaveError::NotEmpty) if it has other
    /// files, [`SaveError::Locked`](crate::train::SaveError::Locked) if another process writes it; otherwise if the data, tasks
    /// or model fail, before anything is written.
    pub fn create(
        folder: &Path,
        config: RunConfig,
        device: &Device,
        ranks: Arc<dyn Ranks>,
    ) -> Result<(Self, Trainer), RunError> {
        Self::create_with(folder, config, device, ranks, &Modalities::builtin())
    }

    /// As [`create`](Self::create), with the modalities of a program.
    ///
    /// # Errors
    /// As for `create`, and [`RunError::Registration`] if the modalities do not pass their [`check`](Modalities::check).
    pub fn create_with(
        folder: &Path,
        config: RunConfig,
        device: &Device,
        ranks: Arc<dyn Ranks>,
        modalities: &Modalities,
    ) -> Result<(Self, Trainer), RunError> {
        let (run, trainer, _) = Self::new_run(folder, config, device, ranks, modalities, None)?;
        Ok((run, trainer))
    }

    /// As [`create`](Self::create), but the model starts from the weights of another run as far as they fit, and text and audio
    /// tasks of the same name keep its vocabulary. The modalities are those with which the other run was opened.
    ///
    /// # Errors
    /// As for `create`, and if the other run's weights cannot be read or none of them fits.
    pub fn create_from(
        folder: &Path,
        config: RunConfig,
        device: &Device,
        ranks: Arc<dyn Ranks>,
        other: &Run,
    ) -> Result<(Self, Trainer, Start), RunError> {
        let (run, trainer, start) =
            Self::new_run(folder, config, device, ranks, &other.modalities, Some(other))?;
        Ok((run, trainer, start.unwrap_or_default()))
    }

    /// A trainer before the first step of a run that is not written: to check settings against their data, or for a
    /// [range test](Trainer::range_test). It starts from the weights of `other`, if there is one, as
    /// [`create_from`](Self::create_from) does.
    ///
    /// # Errors
    /// As for `create_from`, apart from those of the folder.
    pub fn trainer(
        config: RunConfig,
        device: &Device,
        modalities: &Modalities,
        other: Option<&Run>,
    ) -> Result<Trainer, RunError> {
        Ok(Unwritten::new(Path::new(""), config, device, Arc::new(Alone), modalities, other)?.trainer)
    }

    fn new_run(
        folder: &Path,
        config: RunConfig,
        device: &Device,
        ranks: Arc<dyn Ranks>,
        modalities: &Modalities,
        other: Option<&Run>,
    ) -> Result<(Self, Trainer, Option<Start>), RunError> {
        let writes = ranks.rank() == 0;
        let mut writer = folder::lock_existing(folder, writes)?;
        folder::check_unused(folder)?;
        let new = Unwritten::new(folder, config, device, ranks.clone(), modalities, other)?;
        let Unwritten { config, saved, mut trainer, start, references } = new;
        // All ranks have checked that there is no run before rank 0 writes one.
        ranks.barrier().map_err(TrainError::from)?;
        let checks = Checks::default();
        let run = Self { folder: folder.into(), config, saved, modalities: modalities.clone(), checks };
        if writes {
            let writer = writer.take().map_or_else(|| Writer::lock(folder), Ok)?;
            folder::check_unused(folder)?;
            if let Err(error) = folder::write(&run, start.as_ref(), references.as_deref(), other) {
                writer.discard();
                return Err(error);
            }
            trainer.hold(writer);
        }
        Ok((run, trainer, start))
    }

    /// Opens a run folder.
    ///
    /// # Errors
    /// [`RunError::NoRun`] with the missing file; [`SettingsError::Version`](crate::config::SettingsError::Version) for a run of
    /// another version; [`RunError::Modality`] for a run of a modality that is not built in.
    pub fn open(folder: &Path) -> Result<Self, RunError> {
        Self::open_with(folder, &Modalities::builtin())
    }

    /// As [`open`](Self::open), with the modalities of a program.
    ///
    /// # Errors
    /// As for `open`, and [`RunError::Registration`] if the modalities do not pass their [`check`](Modalities::check).
    pub fn open_with(folder: &Path, modalities: &Modalities) -> Result<Self, RunError> {
        Self::open_checked(folder, modalities, Checks::default())
    }

    /// As [`open_with`](Self::open_with), with only these checks of its files, now and when its weights are read.
    ///
    /// # Errors
    /// As for `open_with`.
    pub fn open_checked(folder: &Path, modalities: &Modalities, checks: Checks) -> Result<Self, RunError> {
        modalities.check()?;
        let (config, saved) = folder::read(folder, checks)?;
        folder::check_modalities(folder, &config, &saved, modalities)?;
        Ok(Self { folder: folder.into(), config, saved, modalities: modalities.clone(), checks })
    }

    /// The run with other values of settings that may change when it resumes: its [schedule](crate::config::SCHEDULE), and
    /// the [cost](crate::config::COST) of a step. [`resume`](Self::resume) writes them to the folder.
    ///
    /// # Errors
    /// [`SettingsError::Fixed`](crate::config::SettingsError::Fixed) if another setting changes.
    pub fn resumed_with(mut self, overrides: &[String]) -> Result<Self, RunError> {
        self.config = self.config.resumed_with(overrides)?;
        Ok(self)
    }

    /// A trainer that resumes from the last checkpoint, or from the beginning if there was none yet. It locks the folder until
    /// its training ends. A model that is missing is written anew, with the weights of the checkpoint. The folder gets the
    /// settings of [`resumed_with`](Self::resumed_with), if there are any and a step is left to train; without them training
    /// continues bit-exactly.
    ///
    /// The learning rate of each further step is that of the current settings
    /// ([`learning_rate_at`](crate::train::TrainConfig::learning_rate_at)): with more steps, it is that of the longer cosine,
    /// or as `train.resume_schedule` chooses.
    ///
    /// # Errors
    /// [`RunError::NoTraining`] for an import, [`RunError::NoState`] or [`RunError::NotSaved`] if the state is missing,
    /// [`RunError::DamagedModel`], [`SaveError::Locked`](crate::train::SaveError::Locked) if another process writes the run,
    /// [`SettingsError::Fixed`](crate::config::SettingsError::Fixed) if `run.toml` has other values of settings that cannot
    /// change; if the data, tasks or model fail, the saved state does not match, or the settings have fewer steps than the run
    /// has made.
    pub fn resume(&self, device: &Device, ranks: Arc<dyn Ranks>) -> Result<Trainer, RunError> {
        let has = |name: &str| self.folder.join(name).exists();
        if self.is_imported() && !has(START_FILE) && !has(STATE_FILE) {
            return Err(RunError::NoTraining(self.folder.clone()));
        }
        let writes = ranks.rank() == 0;
        let writer = if writes { Some(Writer::lock(&self.folder)?) } else { None };
        let is_saved = self.check_state()?;
        if writes {
            checkpoint::remove_unfinished(&self.folder)?;
        }
        let tasks: Vec<TrainTask> = self.splits(&self.config)?.into_iter().map(train_task).collect();
        if is_saved {
            let state = self.folder.join(STATE_FILE);
            let specs: Vec<_> = tasks.iter().map(|task| task.task.spec().clone()).collect();
            let saved = TensorFile::open(&state)?.below(PARAM);
            let outline = Model::outline(&self.config.model, &specs)?;
            outline.check(&saved).map_err(|e| checkpoint::misfit(&state, e))?;
        }
        let params = match is_saved {
            true => Params::blank(device),
            false => Params::new(self.config.train.seed, device),
        };
        let mut trainer = trainer(&self.config, tasks, params, ranks)?;
        if is_saved {
            trainer.resume_checked(&self.folder, self.checks)?;
            if writes {
                self.check_model()?;
                trainer.save_missing_model(&self.folder)?;
            }
        }
        if writes {
            let before = folder::read(&self.folder, self.checks)?.0;
            let with_card = RunConfig { card: self.config.card.clone(), ..before.clone() };
            // Without a further step, the settings remain those of the weights, but for the card.
            let settings = if trainer.end().is_none() { &self.config } else { &with_card };
            if before != *settings {
                folder::write_settings(&self.folder, settings)?;
            }
        }
        if let Some(writer) = writer {
            trainer.hold(writer);
        }
        Ok(trainer)
    }

    /// Whether the run has a state, which must be of its settings.
    fn check_state(&self) -> Result<bool, RunError> {
        let has = |name: &str| self.folder.join(name).exists();
        if has(STATE_FILE) {
            let state = TensorFile::open_in(&self.folder, STATE_FILE, self.checks)?;
            state
                .texts()
                .get(SETTINGS)
                .filter(|saved| !saved.is_empty())
                .map_or(Ok(()), |saved| self.config.check_fixed(saved))?;
            return Ok(true);
        }
        match (has(MODEL_FILE), has(START_FILE)) {
            (true, _) => Err(RunError::NoState(self.folder.clone())),
            (_, true) => Err(RunError::NotSaved(self.folder.clone())),
            _ => Ok(false),
        }
    }

    /// Fails if the run has a damaged model.
    fn check_model(&self) -> Result<(), RunError> {
        match self.folder.join(MODEL_FILE).exists() {
            true => TensorFile::open_in(&self.folder, MODEL_FILE, self.checks)
                .map(drop)
                .map_err(RunError::DamagedModel),
            false => Ok(()),
        }
    }

    /// Opens each task with its data, with the settings of `config`, which may differ from the run's own.
    ///
    /// # Errors
    /// If the data or tasks fail.
    pub fn splits(&self, config: &RunConfig) -> Result<Vec<(TaskEntry, Opened)>, RunError> {
        let mut tasks = open_tasks(config, &self.modalities, |name| Ok(TaskStart::Run(self.saved(name)?)))?;
        let is_preference =
            |opened: &Opened| opened.task.spec().heads.iter().any(|head| head.head.needs_reference());
        if tasks.iter().any(|(_, opened)| is_preference(opened)) {
            let references = Arc::new(folder::references(&self.folder, self.checks)?);
            for (entry, opened) in tasks.iter_mut().filter(|(_, opened)| is_preference(opened)) {
                opened.train = references.attach(opened.train.clone(), &entry.name);
                opened.validation = references.attach(opened.validation.clone(), &entry.name);
            }
        }
        Ok(tasks)
    }

    /// Whether its weights started from those of a published checkpoint.
    pub fn is_imported(&self) -> bool {
        self.folder.join(PUBLISHED_FOLDER).is_dir()
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The settings.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    fn saved(&self, name: &str) -> Result<&SavedTask, RunError> {
        self.saved.get(name).ok_or_else(|| RunError::NoRun {
            folder: self.folder.clone(),
            problem: format!("{TOKENIZERS_FILE} has nothing for the task {name}").trim_end().into(),
        })
    }
}

/// Opens the tasks of `config` with their data. `start` gives the start of each task by its name. A task that shares a
/// vocabulary is opened after the task that has it.
///
/// # Errors
/// If the data or tasks fail.
pub fn open_tasks<'a>(
    config: &RunConfig,
    modalities: &Modalities,
    start: impl Fn(&str) -> Result<TaskStart<'a>, RunError>,
) -> Result<Vec<(TaskEntry, Opened)>, RunError> {
    let entries = config.tasks();
    let (mut tasks, mut saved) = (Vec::with_capacity(entries.len()), BTreeMap::new());
    for place in config.opening_order()? {
        let entry = entries[place].clone();
        let opened = entry.open_beside(modalities, start(&entry.name)?, &saved)?;
        saved.insert(entry.name.clone(), opened.task.saved().clone());
        tasks.push((place, (entry, opened)));
    }
    tasks.sort_by_key(|(place, _)| *place);
    Ok(tasks.into_iter().map(|(_, task)| task).collect())
}

fn train_task((entry, opened): (TaskEntry, Opened)) -> TrainTask {
    let Opened { task, train, validation, .. } = opened;
    TrainTask { task, train, validation, weight: entry.weight }
}

fn specs(tasks: &[TrainTask]) -> Vec<TaskSpec> {
    tasks.iter().map(|task| task.task.spec().clone()).collect()
}

fn trainer(
    config: &RunConfig,
    tasks: Vec<TrainTask>,
    params: Params,
    ranks: Arc<dyn Ranks>,
) -> Result<Trainer, RunError> {
    check_same_settings(ranks.as_ref(), config)?;
    let specs = specs(&tasks);
    let outline = Model::outline(&config.model, &specs)?;
    memory::check(&config.train, (&config.model, &outline), &tasks, params.device())?;
    let model = Model::with_params(&config.model, &specs, params.freeze(&config.train.freeze))?;
    Ok(Trainer::over(ranks, &config.train, model, tasks)?
        .with_settings(config.fixed()?, config.computation()?))
}
