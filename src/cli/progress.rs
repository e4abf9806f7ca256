//! Progress of training: on a terminal a bar with the curve of the loss, plain lines elsewhere.

use crate::report::sparkline::Sparkline;
use crate::task::TaskSpec;
use crate::train::{Metrics, Observer, StepReport, Trainer, is_count};
use console::Term;
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Shows steps and evaluations on standard error.
pub struct Progress {
    bar: Option<ProgressBar>,
    last_line: Option<Instant>,
    loss_units: LossUnits,
    /// A smoothed rate, so that a slow step does not make the number jump.
    tokens_per_s: f64,
    /// The losses so far, below the bar.
    losses: Sparkline,
}

/// What the loss of each output is per, by the output's name.
pub type LossUnits = BTreeMap<String, &'static str>;

/// The units of the losses of tasks.
pub fn loss_units(tasks: &[TaskSpec]) -> LossUnits {
    let heads =
        tasks.iter().flat_map(|task| task.heads.iter().enumerate().map(move |(n, head)| (task, n, head)));
    heads.map(|(task, number, head)| (task.output_name(number), head.head.loss_unit())).collect()
}

/// The name of a metric, with the unit of the loss: `loss (per label)`.
pub fn metric_name(name: &str, loss_unit: Option<&&str>) -> String {
    match loss_unit {
        Some(unit) if name == "loss" && !unit.is_empty() => format!("{name} ({unit})"),
        _ => name.into(),
    }
}

/// Time between plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

impl Progress {
    /// The progress of a training.
    pub fn new(trainer: &Trainer) -> Self {
        let (done, steps) = trainer.progress();
        Self::of_steps(trainer, done, steps)
    }

    /// The progress of `steps` steps, of which `done` are done.
    pub fn of_steps(trainer: &Trainer, done: u64, steps: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(steps).with_position(done);
            let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {msg} {eta} left\n{prefix}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.reset_eta();
            bar
        });
        let loss_units = loss_units(trainer.model().tasks());
        Self { bar, last_line: None, loss_units, tokens_per_s: 0.0, losses: Sparkline::default() }
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
        let empty = match report.empty_steps {
            0 => String::new(),
            n => format!("  {n} empty steps"),
        };
        let corrupt = match report.corrupt {
            0 => String::new(),
            n => format!("  {n} corrupt samples replaced"),
        };
        let load = report.load_balance.map_or_else(String::new, |loss| format!("  load balance {loss:.3}"));
        let epoch = report.epoch.map_or_else(String::new, |epoch| format!("epoch {epoch:.2}  "));
        // The loss of several outputs is a weighted sum, without a unit.
        let unit = self.loss_units.values().next().filter(|_| self.loss_units.len() == 1);
        let loss = match report.losses.is_empty() {
            true => "no target counts".to_string(),
            false => format!("{} {:.4}", metric_name("loss", unit), report.loss),
        };
        let message =
            format!("{epoch}{loss}{load}  {:.0} tokens/s{skipped}{empty}{corrupt}", self.tokens_per_s);
        if let Some(bar) = &self.bar {
            self.losses.add(report.loss);
            let columns = usize::from(Term::stderr().size().1);
            bar.set_position(report.step);
            bar.set_message(message);
            bar.set_prefix(self.losses.line(columns.saturating_sub(1)));
        } else if report.step == report.steps || self.last_line.is_none_or(|at| at.elapsed() >= LINE_EVERY) {
            self.last_line = Some(Instant::now());
            let seconds = report.tokens as f64 / self.tokens_per_s * (report.steps - report.step) as f64;
            eprintln!("step {}/{}  {message}  {seconds:.0} s left", report.step, report.steps);
        }
    }

    fn evaluated(&mut self, step: u64, metrics: &BTreeMap<String, Metrics>) {
        for (task, metrics) in metrics {
            let name = |name| metric_name(name, self.loss_units.get(task));
            let measured = metrics.iter().filter(|(metric, _)| !is_count(metric));
            let numbers: Vec<String> =
                measured.map(|(metric, value)| format!("{} {value:.4}", name(metric))).collect();
            self.line(&format!("step {step}  {task}: {}", numbers.join("  ")));
        }
    }

    fn note(&mut self, text: &str) {
        self.line(&format!("note: {text}"));
    }
}
