//! The course of a run's training, from its log.

use crate::report::curves::{Evaluation, Panel, Panels};
use crate::report::summary::Summary;
use crate::run::Run;
use crate::task::{Task, TaskSpec};
use crate::train::SaveError;
use std::collections::BTreeMap;

/// The course of a training.
pub(super) struct History {
    /// The curves of losses and metrics, of the learning rate, the gradient norm and the speed.
    pub panels: Vec<Panel>,
    /// The evaluation with the least validation loss.
    pub best: Option<Evaluation>,
    /// The last step.
    pub step: Option<u64>,
    /// Samples that could not be used.
    pub not_used: usize,
}

impl History {
    /// Reads the log of a run.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn of(run: &Run) -> Result<Self, SaveError> {
        // Without its tasks, every loss has the weight 1.
        let tasks = run.tasks().unwrap_or_default();
        let specs = tasks.iter().map(|named| named.task.spec());
        let loss_weights: BTreeMap<String, f64> = specs.flat_map(TaskSpec::loss_weights).collect();
        let mut panels = Panels::with_training();
        let Summary { best, step, not_used, .. } =
            Summary::read(run.folder(), &loss_weights, |line| panels.add(line))?;
        Ok(Self { panels: panels.finish(), best, step, not_used: not_used.len() })
    }
}
