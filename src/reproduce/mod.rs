//! Experiments of `smalti reproduce`: a claim about transformers, trained, measured, and held against published numbers.
//!
//! - An [`Experiment`] is a TOML file and no code: `presets/reproduce/NAME.toml` in the binary, or a file of the user's own.
//! - `title`, `text`, `papers` and `[reference]` say what it shows, to whom it is due, and what was published.
//! - `[data.make]` names data that `smalti data make` generates once. A source is `{NAME}/…` in such data, or `{data}/…` in the
//!   folder of `--data`; alternatives are separated by `|`, and the first that exists is read. A setting `{runs.NAME}` is the
//!   folder of another run, which is trained first.
//! - `[runs.NAME]` is a training: a `preset`, `settings` over it, and those of another run with `like`; `from` starts from the
//!   weights of another run; `sweep` makes a run for each value of a setting. A run is left out where something that it
//!   `needs` is missing (a GPU, an environment); its measures are then reported as not measured.
//! - `[runs.NAME.measures.NAME]` is a number of the run: a metric of an evaluation, also with other settings than in training (a
//!   longer context), of a field with the predictions of another method, of generated texts, of a rollout, or of the training
//!   itself (`seconds`, `load_balance`). Another run may judge generated values: a classifier names what an image shows.
//! - `texts` of a run are prompts that it continues, or texts whose gaps it fills; the page shows what it writes.
//! - A measure is named `RUN.MEASURE`, with swept values after the name that sweeps: `pre(8).loss`, `rotary.loss(320)`.
//! - `[[bounds]]` is a claim about one measure, or about a `ratio`, `difference`, `order` or log-log `slope` of several.
//! - `[baselines.NAME]` and `[figure]` compare; `[quick]` shrinks everything for a check in seconds, which claims nothing.
//! - A [`Lab`] runs an experiment for several seeds. It keeps each run and each evaluation under a hash of its settings, data,
//!   seed and version, so that an interrupted experiment continues, and experiments share what they have in common.
//! - A [`Report`] has the mean and deviation of each measure, and whether each bound holds; a bound that is missed is reported
//!   as missed. It is drawn by [`Report::figures`], and [`page`] writes tables and pages of several reports.

mod bounds;
mod check;
mod clock;
mod data;
mod draw;
mod error;
mod evaluation;
mod experiment;
mod forms;
mod judge;
mod lab;
mod measuring;
mod needs;
pub mod page;
mod points;
mod report;
mod store;
#[cfg(test)]
mod tests;
mod texts;
mod training;
mod views;

pub use bounds::{Bound, Judged};
pub use error::ReproduceError;
pub use experiment::{
    AlignmentSpec, BaselineSpec, Data, Experiment, JudgeSpec, Measure, Need, Quick, Reference, RolloutSpec,
    RunSpec, WhichWeights,
};
pub use forms::{FigureKind, FigureSpec, Sweep};
pub use lab::{Host, Lab};
pub use report::{BaselineValue, Report, Stat};
pub use texts::{TextSpec, WrittenText};

/// The text of an experiment that ships.
macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        /// The experiments that ship, by name, each with its TOML text.
        pub const EXPERIMENTS: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../presets/reproduce/", $name, ".toml")))),*];
    };
}

shipped![
    "shakespeare",
    "in-context",
    "one-step",
    "addition",
    "alignment",
    "translation",
    "masked-positions",
    "spans",
    "vit",
    "spoken",
    "sensors",
    "decision",
    "generalist",
    "captions-to-images",
    "memory",
    "sparse",
    "lengths",
    "norms",
    "experts",
    "preferences",
    "diffusion",
    "state-space",
    "protein"
];
