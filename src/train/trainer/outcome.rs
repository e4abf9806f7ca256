//! What a training reports: its steps and evaluations to an observer, and its outcome.

use super::StepReport;
use crate::data::CorruptSamples;
use crate::model::Params;
use crate::ops::Gradients;
use crate::train::Metrics;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Why a training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// It made all its steps.
    Finished,
    /// `train.patience` evaluations, one after another, had no lower validation loss.
    Patience,
    /// A stop signal ended it before its last step.
    Stopped,
}

/// A receiver of the events of training.
pub trait Observer {
    /// Called after each step.
    fn step(&mut self, _report: &StepReport) {}
    /// Called after each evaluation, with the metrics of each output, by name.
    fn evaluated(&mut self, _step: u64, _metrics: &BTreeMap<String, Metrics>) {}
    /// Called in the last step before each evaluation, with the parameters before they change, and with their gradients, which
    /// are summed over all ranks and not clipped. A step in which no target counts has none.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    fn gradients(&mut self, _step: u64, _params: &Params, _gradients: &Gradients) -> candle_core::Result<()> {
        Ok(())
    }
    /// Called with a message for the user.
    fn note(&mut self, _text: &str) {}
}

/// An observer that ignores all events.
pub struct Silent;

impl Observer for Silent {}

/// The result of training.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Steps done.
    pub step: u64,
    /// Why it ended.
    pub end: End,
    /// The metrics of the last evaluation, by the name of each output.
    pub metrics: BTreeMap<String, Metrics>,
    /// The corrupt samples.
    pub corrupt: CorruptSamples,
    /// What the result needs to be read with: a loss that rose while it was finite, steps in which no target counted.
    pub warnings: Vec<String>,
}
