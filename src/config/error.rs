//! Why settings cannot be used.

use super::{COST, SCHEDULE, VERSION};
use crate::model::ConfigError;
use crate::train::TrainConfigError;

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// Neither a shipped preset nor a file.
    #[error("{name:?} is neither a preset ({presets}) nor a TOML file: {problem}")]
    NoSuchPreset {
        /// The requested preset or file.
        name: String,
        /// The names of the presets.
        presets: String,
        /// Why the file cannot be read.
        problem: std::io::Error,
    },
    /// Not TOML, or a setting that is unknown or of the wrong type.
    #[error("{origin}: {problem}")]
    Unreadable {
        /// The file or preset, with the overrides.
        origin: String,
        /// The problem and its place.
        problem: String,
    },
    /// A value of the wrong type.
    #[error("{key}: expected {expected}; found {found} (from {origin})")]
    Type {
        /// The setting: `train.batch_size`.
        key: String,
        /// The expected type, with an example.
        expected: String,
        /// The value.
        found: String,
        /// The file or preset, or `--set`.
        origin: String,
    },
    /// A whole number that no setting has a use for.
    #[error("{key}: expected a whole number of at most {most}; found {found}")]
    TooLarge {
        /// The setting.
        key: String,
        /// The largest number.
        most: i64,
        /// The value.
        found: i64,
    },
    /// An override that is not `key=value`.
    #[error("--set {text:?}: {problem}")]
    Override {
        /// The override.
        text: String,
        /// The problem.
        problem: String,
    },
    /// A sweep that is not `key=value,value`, or has two runs of one name.
    #[error("--sweep {text:?}: {problem}")]
    Sweep {
        /// The values to sweep.
        text: String,
        /// The problem.
        problem: String,
    },
    /// A setting that cannot change when a run resumes.
    #[error(
        "{key}: expected {before}, the run's value; found {now} (by --set, or in run.toml). A resumed run may change {}, {}; for another setting, \
         train a new run --from this one",
        SCHEDULE.join(", "), COST.join(", ")
    )]
    Fixed {
        /// The setting.
        key: String,
        /// The run's value.
        before: String,
        /// The other value.
        now: String,
    },
    /// A setting of the model's computation that is not that of its weights.
    #[error(
        "{origin}: {key}: expected {before}, with which the weights were trained; found {now}: restore the setting, or use the \
         weights as they are with --no-verify"
    )]
    Edited {
        /// The file of settings.
        origin: String,
        /// The setting.
        key: String,
        /// The value of the training.
        before: String,
        /// The value in the file.
        now: String,
    },
    /// A run of another version.
    #[error(
        "{origin}: the run has version {found}; this build reads version {VERSION}: train again, or use the build that wrote it"
    )]
    Version {
        /// The file.
        origin: String,
        /// Its version.
        found: i64,
    },
    /// Not exactly one of `data` and `mix`.
    #[error("{0}: expected either [data], for one task, or [mix.NAME.data], for several")]
    Tasks(String),
    /// A weight that is not a positive number.
    #[error("mix.{task}.{setting}: expected a positive number; found {found}")]
    Weight {
        /// The task.
        task: String,
        /// `weight` or `loss_weight`.
        setting: &'static str,
        /// The value.
        found: f64,
    },
    /// Tasks that share each other's vocabularies in a cycle.
    #[error("share: the tasks {0} share vocabularies in a cycle; remove one `share`")]
    Share(String),
    /// Unusable settings of the model.
    #[error(transparent)]
    Model(#[from] ConfigError),
    /// Unusable settings of training.
    #[error(transparent)]
    Train(#[from] TrainConfigError),
}
