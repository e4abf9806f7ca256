//! Why an experiment cannot be reproduced.

use crate::config::SettingsError;
use crate::inference::{PredictError, RolloutError};
use crate::report::DrawError;
use crate::run::RunError;
use crate::train::{SaveError, TrainError};

/// Why an experiment cannot be reproduced.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReproduceError {
    /// No experiment has this name, and no file.
    #[error("expected all, an experiment ({known}) or a TOML file; found {name:?}: {problem}")]
    Unknown {
        /// The name.
        name: String,
        /// The experiments that ship.
        known: String,
        /// Why there is no such file.
        problem: std::io::Error,
    },
    /// The file of an experiment is malformed.
    #[error("experiment {origin}: {problem}")]
    Malformed {
        /// The experiment or its file.
        origin: String,
        /// The place, what was expected and what was found.
        problem: String,
    },
    /// Data are not there.
    #[error("{place} is not there: {advice}")]
    NoData {
        /// The place as the experiment names it, with its alternatives.
        place: String,
        /// What to do.
        advice: String,
    },
    /// Data could not be generated.
    #[error("`smalti {command}` failed: {problem}")]
    Make {
        /// The arguments.
        command: String,
        /// The problem.
        problem: String,
    },
    /// A run has no metric of this name.
    #[error("measure {measure}: metric: expected one of the metrics {known}; found {metric:?}")]
    NoMetric {
        /// The measure.
        measure: String,
        /// The metric.
        metric: String,
        /// The metrics that there are.
        known: String,
    },
    /// A training does not have a metric of trainings.
    #[error("measure {measure}: the training has no such number: {why}")]
    NotRecorded {
        /// The measure.
        measure: String,
        /// The reason.
        why: &'static str,
    },
    /// A run writes no texts.
    #[error("run {run}: texts: expected {expected}")]
    NoText {
        /// The run.
        run: String,
        /// The output that it needs.
        expected: &'static str,
    },
    /// The settings of a measure need weights that the run has not learned.
    #[error(
        "measure {measure}: its settings need parameters that the run has not learned: {names}; measure a run with these settings"
    )]
    NewParameters {
        /// The measure.
        measure: String,
        /// The parameters.
        names: String,
    },
    /// An alignment or positions cannot be measured.
    #[error("measure {measure}: {problem}")]
    View {
        /// The measure.
        measure: String,
        /// The problem.
        problem: PredictError,
    },
    /// The settings of a run are unusable.
    #[error("run {run}: {problem}")]
    Settings {
        /// The run.
        run: String,
        /// The problem.
        problem: Box<SettingsError>,
    },
    /// A run cannot be created, trained or read.
    #[error("run {run}: {problem}")]
    Run {
        /// The run.
        run: String,
        /// The problem.
        problem: Box<RunError>,
    },
    /// An environment cannot be started.
    #[error("run {run}: {problem}; needs = [\"environment\"] leaves the run out where it is missing")]
    Environment {
        /// The run.
        run: String,
        /// The problem.
        problem: String,
    },
    /// Training or an evaluation failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A text cannot be generated.
    #[error(transparent)]
    Predict(#[from] PredictError),
    /// A rollout failed.
    #[error(transparent)]
    Rollout(#[from] RolloutError),
    /// A file cannot be read or written.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// The figure cannot be drawn.
    #[error(transparent)]
    Draw(#[from] DrawError),
    /// The experiment was stopped; finished runs and checkpoints are kept.
    #[error("stopped; the same command continues")]
    Stopped,
}
