//! The course of a run's training, from its log.

use crate::report::curves::{Panel, Panels};
use crate::run::Run;
use crate::train::{SaveError, log};

/// The course of a training.
pub(super) struct History {
    /// The curves of losses and metrics, of the learning rate, the gradient norm and the speed.
    pub panels: Vec<Panel>,
    /// Samples that could not be used.
    pub not_used: usize,
}

impl History {
    /// Reads the log of a run.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn of(run: &Run) -> Result<Self, SaveError> {
        let (mut panels, mut not_used) = (Panels::with_training(), 0);
        for line in log::lines(run.folder())? {
            let line = line?;
            panels.add(&line);
            not_used += usize::from(line["not_used"].is_string());
        }
        Ok(Self { panels: panels.finish(), not_used })
    }
}
