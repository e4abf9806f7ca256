//! The time of the steps of a training.

use crate::train::{Metrics, Observer, StepReport};
use std::collections::BTreeMap;
use std::time::Instant;

/// Measures the time of each step.
pub(super) struct Clock {
    last: Instant,
    seconds: Vec<f64>,
}

impl Clock {
    pub fn start() -> Self {
        Self { last: Instant::now(), seconds: vec![] }
    }

    /// The median time of a step, without the first, which audits gradients; other programs disturb a mean. `None` without a
    /// step.
    pub fn seconds_per_step(&self) -> Option<f64> {
        let rest = self.seconds.get(1..).filter(|rest| !rest.is_empty());
        let mut steps = rest.unwrap_or(&self.seconds).to_vec();
        steps.sort_by(f64::total_cmp);
        steps.get(steps.len() / 2).copied()
    }
}

impl Observer for Clock {
    fn step(&mut self, _: &StepReport) {
        self.seconds.push(self.last.elapsed().as_secs_f64());
        self.last = Instant::now();
    }

    fn evaluated(&mut self, _: u64, _: &BTreeMap<String, Metrics>) {
        self.last = Instant::now();
    }
}
