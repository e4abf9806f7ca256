//! The errors of run folders.

use crate::config::SettingsError;
use crate::model::ModelError;
use crate::registry::RegistrationError;
use crate::sample::OpenError;
use crate::train::{MODEL_FILE, STATE_FILE, SaveError, TrainError};
use std::path::PathBuf;

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
