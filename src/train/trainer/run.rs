//! All steps, what is done between them, and the record of it.

use super::{Observer, Outcome, Part, StepReport, Trainer};
use crate::data::BadSamples;
use crate::train::agree::{Agreed, agree, same_start};
use crate::train::{Metrics, MetricsLog, SaveError, TrainError, evaluate};
use serde_json::json;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

impl Trainer {
    /// Trains to the last step, or until `stop` is set, on one rank at least. With a folder, rank 0 saves checkpoints and
    /// metrics there, at the end and when stopped as well. Rank 0 alone evaluates, and only its outcome has metrics.
    ///
    /// # Errors
    /// [`TrainError`]. Where a sample cannot be read, the state is saved first. A rank with an error makes no further step,
    /// so the others must be ended ([`Ranks::abort`](crate::train::Ranks::abort)).
    pub fn run(
        &mut self,
        folder: Option<&Path>,
        stop: &AtomicBool,
        observer: &mut dyn Observer,
    ) -> Result<Outcome, TrainError> {
        same_start(self.ranks.as_ref(), &self.config, &self.model, &self.parts, self.step)?;
        let first = self.ranks.rank() == 0;
        let folder = folder.filter(|_| first);
        let mut metrics = BTreeMap::new();
        let mut record = Record::open(folder, self.step, self.config.log_every, observer)?;
        record.name_skipped(&self.parts);
        let mut loader = self.loader()?;
        let mut next = loader.next();
        record.restart();
        while self.step < self.steps {
            let prepared = if stop.load(Ordering::Relaxed) { None } else { next.take() };
            let Agreed { micro, draws, bad } = match agree(self.ranks.as_ref(), prepared) {
                Ok(Some(agreed)) => agreed,
                Ok(None) => break,
                Err(error) => {
                    self.keep(folder, &mut record)?;
                    self.ranks.wait(); // so that no rank ends the job before the state is saved
                    return Err(error);
                }
            };
            record.count(bad, &mut self.bad, self.step + 1)?;
            let report = self.advance(&micro, record.observer);
            let report = report.map_err(|error| self.tell_before(error, &mut record))?;
            drop(micro);
            record.tell(report)?;
            self.draws = draws;
            next = loader.next();
            if let Some(Ok(next)) = &next {
                self.send(&next.micro).map_err(|error| self.tell_before(error, &mut record))?;
            }
            if let Some(evaluated) = self.between(folder, &mut record)? {
                metrics = evaluated;
            }
        }
        let stopped = self.step < self.steps;
        if stopped {
            self.keep(folder, &mut record)?;
        }
        Ok(Outcome { step: self.step, stopped, metrics, bad: self.bad.clone() })
    }

    /// What is due after a step: evaluates, on rank 0, and saves.
    fn between(
        &mut self,
        folder: Option<&Path>,
        record: &mut Record,
    ) -> Result<Option<BTreeMap<String, Metrics>>, TrainError> {
        let due = |every: u64| self.step == self.steps || every > 0 && self.step.is_multiple_of(every);
        let (evaluates, saves) = (due(self.config.eval_every), due(self.config.checkpoint_every));
        if !evaluates && !saves {
            return Ok(None);
        }
        record.tell(self.settle()?)?;
        let mut evaluated = None;
        if evaluates && self.ranks.rank() == 0 {
            let mut bad = Vec::new();
            let metrics = match self.evaluate(folder, &mut bad) {
                Ok(metrics) => metrics,
                Err(error) => {
                    self.keep(folder, record)?;
                    return Err(error);
                }
            };
            record.count(bad, &mut self.bad, self.step)?;
            record.evaluated(self.step, &metrics)?;
            evaluated = Some(metrics);
        }
        if saves {
            self.keep(folder, record)?;
        }
        record.restart();
        Ok(evaluated)
    }

    /// After an error: tells of the step before, which the other ranks, where there are, would have to be waited for. It
    /// is the error itself where that step had failed already.
    fn tell_before(&mut self, error: TrainError, record: &mut Record) -> TrainError {
        if self.ranks.size() > 1 {
            return error;
        }
        match self.settle().and_then(|report| Ok(record.tell(report)?)) {
            Ok(()) => error,
            Err(before) => before,
        }
    }

    /// Saves the state in a folder, where there is one, once every step has been looked at.
    fn keep(&mut self, folder: Option<&Path>, record: &mut Record) -> Result<(), TrainError> {
        record.tell(self.settle()?)?;
        folder.map_or(Ok(()), |folder| Ok(self.save(folder)?))
    }

    /// Evaluates every task, with averaged weights where there are; keeps the model where it is the best so far.
    /// What is wrong with samples that are left out is added to `bad`.
    fn evaluate(
        &mut self,
        folder: Option<&Path>,
        bad: &mut Vec<String>,
    ) -> Result<BTreeMap<String, Metrics>, TrainError> {
        let (model, config) = (&self.model, &self.config);
        let best = self.best;
        let (metrics, total) = self.optimizer.with_average(model.params(), || {
            let mut all = BTreeMap::new();
            let mut total = 0.0;
            for (number, part) in self.parts.iter().enumerate() {
                let task = part.task.as_ref();
                let (limit, batch) = (config.eval_samples, config.batch_size.max(32));
                let scores = evaluate(model, number, task, part.valid.as_ref(), limit, batch, bad)?;
                total += scores.loss();
                all.extend(scores.metrics());
            }
            if let Some(folder) = folder.filter(|_| total < best || !best.is_finite()) {
                self.save_model(folder)?;
            }
            Ok::<_, TrainError>((all, total))
        })?;
        self.best = best.min(total);
        Ok(metrics)
    }
}

/// What is told of a run while it goes on: to who looks on, and to the log.
struct Record<'a> {
    log: Option<MetricsLog>,
    /// Steps between those in the log.
    every: u64,
    observer: &'a mut dyn Observer,
    /// Runs since the last line of a step, or since something else than steps took its time.
    clock: Instant,
    /// Of the steps told of since then.
    tokens: usize,
}

impl<'a> Record<'a> {
    fn open(
        folder: Option<&Path>,
        step: u64,
        every: u64,
        observer: &'a mut dyn Observer,
    ) -> Result<Self, SaveError> {
        let log = folder.map(|folder| MetricsLog::open(folder, step)).transpose()?;
        Ok(Self { log, every, observer, clock: Instant::now(), tokens: 0 })
    }

    /// Names what the tasks have left out before the first step.
    fn name_skipped(&mut self, parts: &[Part]) {
        for part in parts {
            if let [(file, why), rest @ ..] = part.train.skipped() {
                let others =
                    if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
                let task = part.task.spec().label();
                self.observer.note(&format!(
                    "{task}: not used: {file} ({why}){others}; `smalti data check` lists them"
                ));
            }
        }
    }

    /// Counts samples that could not be used; each problem is named once.
    fn count(&mut self, bad: Vec<String>, counted: &mut BadSamples, step: u64) -> Result<(), SaveError> {
        for problem in bad {
            if counted.count(&problem) {
                self.observer.note(&format!("not used: {problem}"));
                self.write(json!({ "step": step, "not_used": problem }))?;
            }
        }
        Ok(())
    }

    /// Tells of a step, where there is one to tell of.
    fn tell(&mut self, report: Option<StepReport>) -> Result<(), SaveError> {
        let Some(mut report) = report else { return Ok(()) };
        // Over several steps: how long before it is looked at a step has ended depends on what is asked for meanwhile.
        self.tokens += report.tokens;
        report.tokens_per_s = self.tokens as f64 / self.clock.elapsed().as_secs_f64();
        self.observer.step(&report);
        let last = report.step == report.steps;
        if last || report.step == 1 || self.every > 0 && report.step.is_multiple_of(self.every) {
            self.write(line(&report))?;
            self.restart();
        }
        Ok(())
    }

    fn restart(&mut self) {
        (self.clock, self.tokens) = (Instant::now(), 0);
    }

    fn evaluated(&mut self, step: u64, metrics: &BTreeMap<String, Metrics>) -> Result<(), SaveError> {
        self.observer.evaluated(step, metrics);
        self.write(json!({ "step": step, "eval": metrics }))
    }

    fn write(&mut self, line: serde_json::Value) -> Result<(), SaveError> {
        self.log.as_mut().map_or(Ok(()), |log| log.write(&line))
    }
}

fn line(report: &StepReport) -> serde_json::Value {
    json!({
        "step": report.step,
        "loss": report.loss,
        "losses": report.losses,
        "learning_rate": report.learning_rate,
        "grad_norm": report.grad_norm,
        "tokens_per_s": report.tokens_per_s,
        "skipped": report.skipped,
        "bad": report.bad,
    })
}
