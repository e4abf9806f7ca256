//! Progress of training: a bar on a terminal, plain lines elsewhere.

use crate::train::{Metrics, Observer, StepReport};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Shows steps and evaluations on standard error.
pub struct Progress {
    bar: Option<ProgressBar>,
    last_line: Option<Instant>,
    /// A smoothed rate, so that a slow step does not make the number jump.
    tokens_per_s: f64,
}

/// Time between plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

impl Progress {
    /// Progress that begins at step `done` of `steps`.
    pub fn new(done: u64, steps: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(steps).with_position(done);
            let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {msg} {eta} left");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.reset_eta();
            bar
        });
        Self { bar, last_line: None, tokens_per_s: 0.0 }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Observer for Progress {
    fn step(&mut self, report: &StepReport) {
        let rate = report.tokens_per_s;
        self.tokens_per_s =
            if self.tokens_per_s == 0.0 { rate } else { 0.9 * self.tokens_per_s + 0.1 * rate };
        let skipped = match report.skipped {
            0 => String::new(),
            n => format!("  {n} skipped (text too long for its slices)"),
        };
        let corrupt = match report.corrupt {
            0 => String::new(),
            n => format!("  {n} corrupt samples replaced"),
        };
        let message = format!("loss {:.4}  {:.0} tokens/s{skipped}{corrupt}", report.loss, self.tokens_per_s);
        if let Some(bar) = &self.bar {
            bar.set_position(report.step);
            bar.set_message(message);
        } else if report.step == report.steps || self.last_line.is_none_or(|at| at.elapsed() >= LINE_EVERY) {
            self.last_line = Some(Instant::now());
            let seconds = report.tokens as f64 / self.tokens_per_s * (report.steps - report.step) as f64;
            eprintln!("step {}/{}  {message}  {seconds:.0} s left", report.step, report.steps);
        }
    }

    fn evaluated(&mut self, step: u64, metrics: &BTreeMap<String, Metrics>) {
        for (task, metrics) in metrics {
            let numbers: Vec<String> =
                metrics.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
            self.line(&format!("step {step}  {task}: {}", numbers.join("  ")));
        }
    }

    fn note(&mut self, text: &str) {
        self.line(&format!("note: {text}"));
    }
}
