//! Several observers of one training.

use super::{Metrics, Observer, StepReport};
use crate::model::Params;
use crate::ops::Gradients;
use std::collections::BTreeMap;

/// Observers that all get every event.
pub struct Observers<'a>(pub Vec<&'a mut dyn Observer>);

impl Observer for Observers<'_> {
    fn step(&mut self, report: &StepReport) {
        self.0.iter_mut().for_each(|observer| observer.step(report));
    }

    fn evaluated(&mut self, step: u64, metrics: &BTreeMap<String, Metrics>) {
        self.0.iter_mut().for_each(|observer| observer.evaluated(step, metrics));
    }

    fn gradients(&mut self, step: u64, params: &Params, gradients: &Gradients) -> candle_core::Result<()> {
        self.0.iter_mut().try_for_each(|observer| observer.gradients(step, params, gradients))
    }

    fn note(&mut self, text: &str) {
        self.0.iter_mut().for_each(|observer| observer.note(text));
    }
}
