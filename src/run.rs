//! A run folder: settings, fitted tokenizers, weights, the state from which training resumes, and metrics.

mod folder;
mod start;
mod unwritten;

pub use crate::train::checksums::{CONFIG_FILE, PUBLISHED_FOLDER};
pub use start::Start;

use crate::config::{RunConfig, SettingsError, TaskEntry};
use crate::model::Params;
use crate::model::{Model, ModelError};
use crate::ops::QuantizedType;
use crate::registry::{Modalities, RegistrationError};
use crate::sample::{Composition, OpenError, Opened, Start as TaskStart};
use crate::task::{SavedTask, Task, TaskSpec};
use crate::train::synchronize::check_same_settings;
use crate::train::{
    Alone, Checks, MODEL_FILE, Outcome, PARAM, Ranks, SETTINGS, STATE_FILE, SaveError, Silent, TensorFile,
    TrainError, TrainTask, Trainer, Writer, checkpoint, memory,
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

/// Which of a run's weights to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// The best weights by validation loss, averaged if `train.ema_decay` is set.
    Best,
    /// The weights of the last checkpoint.
    Last,
}

/// One task of a run, for prediction.
#[derive(Clone)]
pub struct NamedTask {
    /// The task's name.
    pub name: String,
    /// The task.
    pub task: Arc<Composition>,
}

impl NamedTask {
    /// The task of this name and its number; without a name, the only task. `None` without such a task, or if several fit.
    pub fn choose<'a>(tasks: &'a [Self], name: Option<&str>) -> Option<(usize, &'a Composition)> {
        let mut found =
            tasks.iter().enumerate().filter(|(_, named)| name.is_none_or(|name| name == named.name));
        let (number, named) = found.next().filter(|_| found.next().is_none())?;
        Some((number, &named.task))
    }
}

/// Why a run cannot be created, opened or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The folder contains a run already.
    #[error("{} holds a run already; resume it with --resume, or choose another --out", .0.display())]
    Exists(PathBuf),
    /// The folder does not exist or is no run.
    #[error("{} is no run folder: {problem}", folder.display())]
    NoRun {
        /// The folder.
        folder: PathBuf,
        /// The problem, such as a missing file.
        problem: String,
    },
    /// The run has no weights yet.
    #[error(
        "{} has no weights yet: {file} is written at the first evaluation or checkpoint; `smalti show {} --curves` draws the \
         run so far",
        folder.display(), folder.display()
    )]
    NoWeights {
        /// The run's folder.
        folder: PathBuf,
        /// The missing file.
        file: &'static str,
    },
    /// An import has no training to resume; it would start anew, from random weights.
    #[error(
        "{} holds published weights and no training to resume; train a new run: --from {} --out RUN",
        .0.display(), .0.display()
    )]
    NoTraining(PathBuf),
    /// A tokenizer of the run belongs to a modality that this program does not have.
    #[error("{}: {problem}; open the run with the program that created it", file.display())]
    Modality {
        /// The file of saved tokenizers.
        file: PathBuf,
        /// The task, the unknown modality, and the known ones.
        problem: String,
    },
    /// A registration of the program failed.
    #[error(transparent)]
    Registration(#[from] RegistrationError),
    /// The state of a run with a model is missing.
    #[error(
        "{} is missing, from which the run resumes: its weights are {}; restore the file, or train a new run with \
         --from {} --out RUN",
        .0.join(STATE_FILE).display(), .0.join(MODEL_FILE).display(), .0.display()
    )]
    NoState(PathBuf),
    /// The model of a run that resumes is damaged.
    #[error(
        "{0}; without a copy, remove it: --resume then writes the weights of the last checkpoint in its place"
    )]
    DamagedModel(SaveError),
    /// A run that started from another has no state.
    #[error(
        "{} has no checkpoint, and the weights that it started from are those of another run: train it anew, with --from RUN \
         and another --out, or remove this folder",
        .0.display()
    )]
    NotSaved(PathBuf),
    /// Preference pairs without a model to start from, which is their reference.
    #[error(
        "task {0}: expected a run to start from, which is the reference model of its preference pairs; add --from RUN"
    )]
    NoReference(String),
    /// No weight of the run to start from fits.
    #[error(
        "cannot start {} from {}: none of its weights fits; expected a model of the same d_model",
        to.display(), from.display()
    )]
    NoFittingWeights {
        /// The run to start from.
        from: PathBuf,
        /// The new run.
        to: PathBuf,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// The settings are unusable.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A task cannot be opened.
    #[error(transparent)]
    Task(#[from] OpenError),
    /// The model cannot be built.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Training failed.
    #[error(transparent)]
    Train(#[from] TrainError),
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
    /// [`RunError::Exists`] if the folder has a run, [`SaveError::NotEmpty`] if it has other files, [`SaveError::Locked`] if another process writes it; otherwise if the data,
    /// tasks or model fail, before anything is written.
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
    /// [`RunError::NoRun`] with the missing file; [`SettingsError::Version`] for a run of another version;
    /// [`RunError::Modality`] for a run of a modality that is not built in.
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
    /// [`SettingsError::Fixed`] if another setting changes.
    pub fn resumed_with(mut self, overrides: &[String]) -> Result<Self, RunError> {
        self.config = self.config.resumed_with(overrides)?;
        Ok(self)
    }

    /// A trainer that resumes from the last checkpoint, or from the beginning if there was none yet. It locks the folder until
    /// its training ends. A model that is missing is written anew, with the weights of the checkpoint. The folder gets the settings of
    /// [`resumed_with`](Self::resumed_with), if there are any and a step is left to train; without them training continues
    /// bit-exactly.
    ///
    /// The learning rate of each further step is that of the current settings
    /// ([`learning_rate_at`](crate::train::TrainConfig::learning_rate_at)): with more steps, it is that of the longer cosine,
    /// or as `train.resume_schedule` chooses.
    ///
    /// # Errors
    /// [`RunError::NoTraining`] for an import, [`RunError::NoState`] or [`RunError::NotSaved`] if the state is missing,
    /// [`RunError::DamagedModel`], [`SaveError::Locked`] if another process writes the run, [`SettingsError::Fixed`] if `run.toml` has other values of
    /// settings that cannot change; if the data, tasks or model fail, the saved state does not match, or the settings have
    /// fewer steps than the run has made.
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

    /// The model with its weights, and its tasks without data. On a CPU the model computes in the run's `train.precision`, on a
    /// GPU in `f32`.
    ///
    /// # Errors
    /// [`RunError::NoWeights`] before the first checkpoint; [`SettingsError::Edited`] if `run.toml` has other settings of the
    /// model's computation than the weights were trained with; if the weights do not fit.
    pub fn load(&self, weights: Weights, device: &Device) -> Result<(Model, Vec<NamedTask>), RunError> {
        self.load_in(weights, device, None)
    }

    /// As [`load`](Self::load), with the weights of linear maps [rounded](Params::quantized) to a type, for inference on the CPU.
    /// The weights in f32 are in memory one at a time.
    ///
    /// # Errors
    /// As for `load`, and if the device is not the CPU.
    pub fn load_in(
        &self,
        weights: Weights,
        device: &Device,
        quantized: Option<QuantizedType>,
    ) -> Result<(Model, Vec<NamedTask>), RunError> {
        let (file, prefix) = match weights {
            Weights::Best => (MODEL_FILE, ""),
            Weights::Last => (STATE_FILE, PARAM),
        };
        let path = self.folder.join(file);
        if !path.exists() {
            return Err(RunError::NoWeights { folder: self.folder.clone(), file });
        }
        let saved = TensorFile::open_in(&self.folder, file, self.checks)?.below(prefix);
        let tasks = self.tasks()?;
        let specs: Vec<TaskSpec> = tasks.iter().map(|named| named.task.spec().clone()).collect();
        // A size in the settings or the tokenizers is held against the header of the weights before it is allocated.
        let outline = Model::outline(&self.config.model, &specs)?;
        outline.check(&saved).map_err(|e| checkpoint::misfit(&path, e))?;
        if let Some(settings) = saved.texts().get(SETTINGS).filter(|_| self.checks.checksums) {
            let origin = self.folder.join(CONFIG_FILE).display().to_string();
            self.config.check_computation(&origin, settings)?;
        }
        memory::check_weights(&outline, device, quantized)?;
        let params = Params::blank(device);
        let params = match quantized {
            Some(dtype) => params.quantized(dtype).map_err(ModelError::from)?,
            None => params,
        };
        let mut model = Model::with_params(&self.config.model, &specs, params)?;
        model.params().load(&saved).map_err(|e| checkpoint::misfit(&path, e))?;
        // Predictions are those that training evaluated; products of rounded weights have inputs in f32.
        if device.is_cpu() && quantized.is_none() {
            model.compute_in(self.config.train.precision.dtype());
        }
        Ok((model, tasks))
    }

    /// Its tasks, without data.
    ///
    /// # Errors
    /// If a saved tokenizer or head cannot be restored.
    pub fn tasks(&self) -> Result<Vec<NamedTask>, RunError> {
        let restore = |entry: TaskEntry| {
            let task = entry.restore(&self.modalities, self.saved(&entry.name)?)?;
            Ok(NamedTask { name: entry.name, task: Arc::new(task) })
        };
        self.config.tasks().into_iter().map(restore).collect()
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
