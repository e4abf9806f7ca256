//! A run is one folder: settings, tokenizers with their fitted state, weights, the state to go on from, metrics.

mod folder;
mod start;

pub use start::Start;

use crate::config::{RunConfig, SettingsError, TaskEntry};
use crate::model::Params;
use crate::model::{Model, ModelError};
use crate::registry::{Modalities, RegistrationError};
use crate::sample::{Composition, OpenError, Opened, Start as TaskStart};
use crate::task::{SavedTask, Task, TaskSpec};
use crate::train::{MODEL_FILE, Part, Ranks, STATE_FILE, SaveError, TrainError, Trainer, checkpoint};
use candle_core::Device;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Every setting, defaults written out.
pub const CONFIG_FILE: &str = "run.toml";
/// Each task's tokenizers with their fitted state.
pub const TOKENIZERS_FILE: &str = "tokenizers.json";

/// What an imported run keeps of the checkpoint that it came from, and hands on to runs that start from it.
pub const PUBLISHED_FOLDER: &str = "published";
/// What a run's model took over from another run's, where it started from one.
pub const START_FILE: &str = "start.json";

/// A run folder, opened.
pub struct Run {
    folder: PathBuf,
    config: RunConfig,
    saved: BTreeMap<String, SavedTask>,
    modalities: Modalities,
}

/// Which of a run's weights to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// The best by validation loss, averaged where `train.ema_decay` is set.
    Best,
    /// Those of the last checkpoint.
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

/// Why a run cannot be made, opened or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The folder has a run in it already.
    #[error("{} holds a run already; go on with --resume, or choose another --out", .0.display())]
    Exists(PathBuf),
    /// The folder is not there, or is no run.
    #[error("{} is no run folder: {problem}", folder.display())]
    NoRun {
        /// The folder.
        folder: PathBuf,
        /// What is missing.
        problem: String,
    },
    /// A tokenizer of the run is of a modality that this program does not have.
    #[error("{}: {problem}; open the run with the program that made it", file.display())]
    Modality {
        /// The file of saved tokenizers.
        file: PathBuf,
        /// The task, the modality, and the names that there are.
        problem: String,
    },
    /// The program's modalities.
    #[error(transparent)]
    Registration(#[from] RegistrationError),
    /// A run to start from has no weight that fits.
    #[error("{} starts from {}, and none of its weights fits; expected a model of the same width", to.display(), from.display())]
    NothingFits {
        /// The run to start from.
        from: PathBuf,
        /// The new run.
        to: PathBuf,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// The settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A task.
    #[error(transparent)]
    Task(#[from] OpenError),
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Training.
    #[error(transparent)]
    Train(#[from] TrainError),
}

impl Run {
    /// Makes a run folder: opens the data, fits the tokenizers, writes settings and tokenizers (rank 0 does); and gives
    /// a trainer at its first step.
    ///
    /// # Errors
    /// [`RunError::Exists`] where the folder has a run; what the data, tasks and model refuse. Nothing is
    /// written before all of them are there.
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
    /// As of `create`, and [`RunError::Registration`] if the modalities do not pass their [`check`](Modalities::check).
    pub fn create_with(
        folder: &Path,
        config: RunConfig,
        device: &Device,
        ranks: Arc<dyn Ranks>,
        modalities: &Modalities,
    ) -> Result<(Self, Trainer), RunError> {
        let (run, trainer, _) = Self::begin(folder, config, device, ranks, modalities, None)?;
        Ok((run, trainer))
    }

    /// As [`create`](Self::create), but the model starts from the weights of another run, as far as they fit; and tasks of
    /// text and of audio that have the other run's names keep its vocabulary. The modalities are those that the other run
    /// was opened with.
    ///
    /// # Errors
    /// As of `create`, and where the other run's weights cannot be read or none of them fits.
    pub fn create_from(
        folder: &Path,
        config: RunConfig,
        device: &Device,
        ranks: Arc<dyn Ranks>,
        other: &Run,
    ) -> Result<(Self, Trainer, Start), RunError> {
        let (run, trainer, start) =
            Self::begin(folder, config, device, ranks, &other.modalities, Some(other))?;
        Ok((run, trainer, start.unwrap_or_default()))
    }

    fn begin(
        folder: &Path,
        config: RunConfig,
        device: &Device,
        ranks: Arc<dyn Ranks>,
        modalities: &Modalities,
        other: Option<&Run>,
    ) -> Result<(Self, Trainer, Option<Start>), RunError> {
        modalities.check()?;
        if folder.join(CONFIG_FILE).exists() {
            return Err(RunError::Exists(folder.into()));
        }
        // A run of one task hands its parts on to those of the same names in a mix.
        let before = |name: &str| other.and_then(|other| other.saved.get(name).or(other.saved.get("")));
        let start = |name: &str| Ok(before(name).map_or(TaskStart::New, TaskStart::From));
        let tasks = open_tasks(&config, modalities, start)?;
        let saved = tasks.iter().map(|(entry, opened)| (entry.name.clone(), opened.task.saved().clone()));
        let saved = saved.collect();
        let parts = tasks.into_iter().map(part).collect();
        let trainer = trainer(&config, parts, device, ranks.clone())?;
        let start = match other {
            None => None,
            Some(other) => {
                let (before, _) = other.load(Weights::Best, device)?;
                let start = start::start(trainer.model(), &before).map_err(ModelError::from)?;
                if start.loaded.is_empty() {
                    return Err(RunError::NothingFits { from: other.folder.clone(), to: folder.into() });
                }
                Some(start)
            }
        };
        trainer.try_samples()?;
        // Nobody takes what rank 0 is about to write for a run that was there before.
        ranks.wait();
        let run = Self { folder: folder.into(), config, saved, modalities: modalities.clone() };
        if ranks.rank() == 0 {
            folder::write(&run, start.as_ref(), other)?;
        }
        Ok((run, trainer, start))
    }

    /// Opens a run folder.
    ///
    /// # Errors
    /// [`RunError::NoRun`], which says what is missing; [`SettingsError::Version`] for another version's run;
    /// [`RunError::Modality`] for a run of a modality that is not built in.
    pub fn open(folder: &Path) -> Result<Self, RunError> {
        Self::open_with(folder, &Modalities::builtin())
    }

    /// As [`open`](Self::open), with the modalities of a program.
    ///
    /// # Errors
    /// As of `open`, and [`RunError::Registration`] if the modalities do not pass their [`check`](Modalities::check).
    pub fn open_with(folder: &Path, modalities: &Modalities) -> Result<Self, RunError> {
        modalities.check()?;
        let (config, saved) = folder::read(folder)?;
        folder::check_modalities(folder, &config, &saved, modalities)?;
        Ok(Self { folder: folder.into(), config, saved, modalities: modalities.clone() })
    }

    /// The run, to go on with others of [`SET_ON_RESUME`](crate::config::SET_ON_RESUME) for this time; the folder keeps its
    /// own.
    ///
    /// # Errors
    /// [`SettingsError::Override`] for any other setting.
    pub fn resumed_with(mut self, overrides: &[String]) -> Result<Self, RunError> {
        self.config = self.config.resumed_with(overrides)?;
        Ok(self)
    }

    /// A trainer that goes on from the last checkpoint, or from the beginning where none was reached.
    ///
    /// # Errors
    /// What the data, tasks and model refuse, or a state that does not fit.
    pub fn resume(&self, device: &Device, ranks: Arc<dyn Ranks>) -> Result<Trainer, RunError> {
        if ranks.rank() == 0 {
            checkpoint::remove_unfinished(&self.folder)?;
        }
        let parts = self.splits(&self.config)?.into_iter().map(part).collect();
        let mut trainer = trainer(&self.config, parts, device, ranks)?;
        if self.folder.join(STATE_FILE).exists() {
            trainer.resume(&self.folder)?;
        }
        Ok(trainer)
    }

    /// The model with its weights, and its tasks without their data.
    ///
    /// # Errors
    /// Where weights are missing or do not fit.
    pub fn load(&self, weights: Weights, device: &Device) -> Result<(Model, Vec<NamedTask>), RunError> {
        let mut tasks = Vec::new();
        for entry in self.config.tasks() {
            let task = entry.restore(&self.modalities, self.saved(&entry.name)?)?;
            tasks.push(NamedTask { name: entry.name, task: Arc::new(task) });
        }
        let specs: Vec<TaskSpec> = tasks.iter().map(|named| named.task.spec().clone()).collect();
        let model = Model::new(&self.config.model, &specs, self.config.train.seed, device)?;
        let file = match weights {
            Weights::Best => MODEL_FILE,
            Weights::Last => STATE_FILE,
        };
        let path = self.folder.join(file);
        if !path.exists() {
            let problem = format!("{file} is missing; the run has not reached its first checkpoint");
            return Err(RunError::NoRun { folder: self.folder.clone(), problem });
        }
        let (tensors, _) = checkpoint::load(&path, device)?;
        let tensors = match weights {
            Weights::Best => tensors,
            Weights::Last => crate::train::weights_of(&tensors),
        };
        model.params().load(&tensors).map_err(|e| checkpoint::misfit(&path, e))?;
        Ok((model, tasks))
    }

    /// The data of each task, with the settings of `config`, which may differ from the run's own.
    ///
    /// # Errors
    /// What the data and tasks refuse.
    pub fn splits(&self, config: &RunConfig) -> Result<Vec<(TaskEntry, Opened)>, RunError> {
        open_tasks(config, &self.modalities, |name| Ok(TaskStart::Run(self.saved(name)?)))
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

/// Opens the tasks of some settings with their data, each from what `start` gives for its name, after those whose vocabularies it
/// shares.
///
/// # Errors
/// What the data and tasks refuse.
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

/// A task's side of training.
fn part((entry, opened): (TaskEntry, Opened)) -> Part {
    let Opened { task, train, validation, .. } = opened;
    Part { task, train, valid: validation, weight: entry.weight }
}

fn trainer(
    config: &RunConfig,
    parts: Vec<Part>,
    device: &Device,
    ranks: Arc<dyn Ranks>,
) -> Result<Trainer, RunError> {
    let specs: Vec<_> = parts.iter().map(|part| part.task.spec().clone()).collect();
    let params = Params::new(config.train.seed, device).freeze(&config.train.freeze);
    let model = Model::with_params(&config.model, &specs, params)?;
    Ok(Trainer::over(ranks, &config.train, model, parts)?)
}
