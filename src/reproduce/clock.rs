//! What a training measures of itself: the time of its steps, and the load of experts.

use crate::train::{Metrics, Observer, StepReport};
use std::collections::BTreeMap;
use std::time::Instant;

/// The number of last steps over which the load-balance loss is averaged.
const LOAD_STEPS: usize = 100;

/// An observer of a training that also measures it.
pub(super) struct Clock {
    observer: Box<dyn Observer>,
    last: Instant,
    seconds: Vec<f64>,
    /// The load-balance losses; none without experts.
    load_balance: Vec<f64>,
}

impl Clock {
    pub fn new(observer: Box<dyn Observer>) -> Self {
        Self { observer, last: Instant::now(), seconds: vec![], load_balance: vec![] }
    }

    /// The median time of a step, without the first, which audits gradients; other programs disturb a mean.
    pub fn seconds_per_step(&self) -> f64 {
        let rest = self.seconds.get(1..).filter(|rest| !rest.is_empty());
        let mut steps = rest.unwrap_or(&self.seconds).to_vec();
        steps.sort_by(f64::total_cmp);
        steps.get(steps.len() / 2).copied().unwrap_or(0.0)
    }

    /// The mean load-balance loss of the last steps; `None` without experts.
    pub fn load_balance(&self) -> Option<f64> {
        let last = &self.load_balance[self.load_balance.len().saturating_sub(LOAD_STEPS)..];
        (!last.is_empty()).then(|| last.iter().sum::<f64>() / last.len() as f64)
    }
}

impl Observer for Clock {
    fn step(&mut self, report: &StepReport) {
        self.seconds.push(self.last.elapsed().as_secs_f64());
        self.last = Instant::now();
        self.load_balance.extend(report.load_balance);
        self.observer.step(report);
    }

    fn evaluated(&mut self, step: u64, metrics: &BTreeMap<String, Metrics>) {
        self.observer.evaluated(step, metrics);
        self.last = Instant::now();
    }

    fn note(&mut self, text: &str) {
        self.observer.note(text);
    }
}
