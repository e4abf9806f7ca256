//! The course of a run's training, from its log.

use crate::report::curves::{self, Evaluation, Panel, Panels};
use crate::run::Run;
use crate::task::{Task, TaskSpec};
use crate::train::{SaveError, log};
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
        let (mut panels, mut best, mut step, mut not_used) = (Panels::with_training(), None, None, 0);
        for line in log::lines(run.folder())? {
            let line = line?;
            panels.add(&line);
            step = step.max(line["step"].as_u64());
            not_used += usize::from(line["not_used"].is_string());
            let found: Vec<Evaluation> = best.into_iter().chain(curves::evaluation(&line)).collect();
            best = curves::best(&found, &loss_weights);
        }
        Ok(Self { panels: panels.finish(), best, step, not_used })
    }
}
