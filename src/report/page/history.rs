//! The course of a run's training, from its log.

use crate::report::curves::{Panel, Panels};
use crate::report::summary::Summary;
use crate::run::Run;
use crate::train::SaveError;
use std::collections::BTreeMap;

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
        let mut panels = Panels::with_training();
        let Summary { not_used, .. } =
            Summary::read(run.folder(), &BTreeMap::new(), |line| panels.add(line))?;
        Ok(Self { panels: panels.finish(), not_used: not_used.len() })
    }
}
