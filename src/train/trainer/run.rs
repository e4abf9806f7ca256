//! The training loop: steps, evaluations, checkpoints and the log.

use super::{End, Observer, Outcome, STATE_FILE, StepReport, TrainTask, Trainer};
use crate::data::CorruptSamples;
use crate::train::log::END;
use crate::train::synchronize::{SynchronizedStep, check_same_start, synchronize};
use crate::train::{Metrics, MetricsLog, SaveError, TrainError, Writer, evaluate};
use serde_json::json;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

impl Trainer {
    /// Trains to the last step, until `train.patience` evaluations had no lower validation loss, or until `stop` is set on at
    /// least one rank.
    ///
    /// Rank 0 saves checkpoints and metrics in the folder, if there is one, also at the end and at a stop. Only rank 0
    /// evaluates, and only its outcome has metrics.
    ///
    /// The folder is locked until the end. If training fails before its first step, a folder that was made for it is removed.
    ///
    /// # Errors
    /// [`TrainError`]. If a sample cannot be read, the state is saved first. A rank that failed makes no further step, so the
    /// caller must tell the others ([`Ranks::abort`](crate::train::Ranks::abort)).
    pub fn run(
        &mut self,
        folder: Option<&Path>,
        stop: &AtomicBool,
        observer: &mut dyn Observer,
    ) -> Result<Outcome, TrainError> {
        let folder = folder.filter(|_| self.ranks.rank() == 0);
        let made = self.step;
        let outcome = self.lock(folder).and_then(|()| self.run_in(folder, stop, observer));
        let writer = self.writer.take();
        if let Some(writer) = writer.filter(|_| outcome.is_err() && made == 0 && self.step == 0) {
            writer.discard();
        }
        outcome
    }

    /// Locks the folder, unless that is done.
    fn lock(&mut self, folder: Option<&Path>) -> Result<(), TrainError> {
        if let Some(folder) = folder
            && self.writer.as_ref().is_none_or(|writer| writer.folder() != folder)
        {
            self.writer = Some(Writer::lock(folder)?);
        }
        Ok(())
    }

    /// Trains as [`run`](Self::run), in a locked folder.
    fn run_in(
        &mut self,
        folder: Option<&Path>,
        stop: &AtomicBool,
        observer: &mut dyn Observer,
    ) -> Result<Outcome, TrainError> {
        check_same_start(self.ranks.as_ref(), &self.config, &self.model, &self.tasks, self.step)?;
        let mut metrics = BTreeMap::new();
        let mut log = TrainLog::open(folder, self.step, self.config.log_every, observer)?;
        log.report_skipped(&self.tasks);
        self.writer.iter().filter_map(Writer::doubt).for_each(|doubt| log.observer.note(doubt));
        let mut loader = self.loader()?;
        let mut next = loader.next();
        log.restart_clock();
        while self.end().is_none() {
            let prepared = if stop.load(Ordering::Relaxed) { None } else { next.take() };
            let synchronized = synchronize(self.ranks.as_ref(), prepared);
            let SynchronizedStep { micro, draws, corrupt } = match synchronized {
                Ok(Some(step)) => step,
                Ok(None) => break,
                Err(error @ TrainError::Ranks(_)) => return Err(error),
                Err(error) => {
                    self.save_state(folder.filter(|_| self.step > 0), &mut log)?;
                    self.ranks.barrier()?; // no rank ends the job before the state is saved
                    return Err(error);
                }
            };
            log.count_corrupt(corrupt, &mut self.corrupt, self.step + 1)?;
            self.draws = draws;
            let report = self.train_step(&micro, log.observer);
            let report = report.map_err(|error| self.report_previous(error, &mut log))?;
            drop(micro);
            log.report(report)?;
            next = loader.next();
            if let Some(Ok(next)) = &next {
                self.prefetch(&next.micro).map_err(|error| self.report_previous(error, &mut log))?;
            }
            if let Some(evaluated) = self.evaluate_and_save(folder, &mut log)? {
                metrics = evaluated;
            }
        }
        let end = self.end().unwrap_or(End::Stopped);
        // A resumed run that had run out of patience before has its state, and no new one.
        if self.step < self.steps && (end == End::Stopped || !metrics.is_empty()) {
            self.save_state(folder, &mut log)?;
        }
        // A stopped run has not ended: it resumes as if it had not been stopped.
        if end != End::Stopped {
            log.write(json!({ "step": self.step, (END): end }))?;
        }
        let (step, corrupt, warnings) = (self.step, self.corrupt.clone(), self.warnings());
        Ok(Outcome { step, end, metrics, corrupt, warnings })
    }

    /// What the outcome warns of.
    fn warnings(&self) -> Vec<String> {
        let empty = (self.watch.empty_steps > 0).then(|| {
            format!(
                "no target counted in {} of {} steps, which changed no weight: outputs are missing, or texts are too long for \
                 their slices",
                self.watch.empty_steps, self.step
            )
        });
        self.watch.warning.iter().cloned().chain(empty).collect()
    }

    /// Whether what is done every `every` steps, and after the last one, is due after this step.
    pub(super) fn is_due(&self, step: u64, every: u64) -> bool {
        step == self.steps || every > 0 && step.is_multiple_of(every)
    }

    /// Evaluates, on rank 0, and saves, if either is due after a step.
    fn evaluate_and_save(
        &mut self,
        folder: Option<&Path>,
        log: &mut TrainLog,
    ) -> Result<Option<BTreeMap<String, Metrics>>, TrainError> {
        let evaluates = self.is_due(self.step, self.config.eval_every);
        let saves = self.is_due(self.step, self.config.checkpoint_every);
        if !evaluates && !saves {
            return Ok(None);
        }
        log.report(self.synchronize()?)?;
        // A folder has a model only if it has a state, so that a missing state is noticed.
        let saves = saves || folder.is_some_and(|folder| !folder.join(STATE_FILE).exists());
        let mut evaluated = None;
        if evaluates && self.ranks.rank() == 0 {
            let mut corrupt = Vec::new();
            let metrics = match self.evaluate(folder, &mut corrupt) {
                Ok(metrics) => metrics,
                Err(error) => {
                    self.save_state(folder, log)?;
                    return Err(error);
                }
            };
            log.count_corrupt(corrupt, &mut self.corrupt, self.step)?;
            log.evaluated(self.step, &metrics)?;
            evaluated = Some(metrics);
        }
        if evaluates {
            self.share_evaluation()?;
        }
        if saves {
            self.save_state(folder, log)?;
        }
        log.restart_clock();
        Ok(evaluated)
    }

    /// After an error, reports the previous step; returns the error of that step if it had failed already. With several
    /// ranks it does not, as the report would wait for ranks that may not come.
    fn report_previous(&mut self, error: TrainError, log: &mut TrainLog) -> TrainError {
        if self.ranks.world_size() > 1 {
            return error;
        }
        match self.synchronize().and_then(|report| Ok(log.report(report)?)) {
            Ok(()) => error,
            Err(previous) => previous,
        }
    }

    /// Synchronizes with the last step, and saves the state in the folder, if there is one.
    fn save_state(&mut self, folder: Option<&Path>, log: &mut TrainLog) -> Result<(), TrainError> {
        log.report(self.synchronize()?)?;
        folder.map_or(Ok(()), |folder| Ok(self.save(folder)?))
    }

    /// Evaluates every task, with averaged weights if there are any, and saves the model if it is the best so far; the first is
    /// saved with the first state. Adds the problems of corrupt samples to `corrupt`.
    fn evaluate(
        &mut self,
        folder: Option<&Path>,
        corrupt: &mut Vec<String>,
    ) -> Result<BTreeMap<String, Metrics>, TrainError> {
        let (model, config) = (&self.model, &self.config);
        let best = self.best;
        let (metrics, total) = self.optimizer.with_average(model.params(), || {
            let mut all = BTreeMap::new();
            let mut total = 0.0;
            for (number, task) in self.tasks.iter().enumerate() {
                let (limit, batch) = (config.eval_samples, config.batch_size.max(32));
                let scores = evaluate(
                    model,
                    number,
                    task.task.as_ref(),
                    task.validation.as_ref(),
                    limit,
                    batch,
                    corrupt,
                )?;
                total += scores.loss();
                all.extend(scores.metrics());
            }
            let is_best = total < best || !best.is_finite();
            if let Some(folder) = folder.filter(|folder| is_best && folder.join(STATE_FILE).exists()) {
                self.save_model(folder)?;
            }
            Ok::<_, TrainError>((all, total))
        })?;
        self.evaluations_since_best = if total < best { 0 } else { self.evaluations_since_best + 1 };
        self.best = best.min(total);
        Ok(metrics)
    }

    /// Tells the other ranks what rank 0 evaluated, so that all stop before the same step if `train.patience` is set.
    fn share_evaluation(&mut self) -> Result<(), TrainError> {
        if self.config.patience == 0 {
            return Ok(());
        }
        let is_first = self.ranks.rank() == 0;
        let mut count = [if is_first { self.evaluations_since_best as f64 } else { 0.0 }];
        self.ranks.all_reduce_f64(&mut count)?;
        self.evaluations_since_best = count[0] as u64;
        Ok(())
    }
}

/// The reports of a training, to its observer and its metrics file.
struct TrainLog<'a> {
    file: Option<MetricsLog>,
    /// Steps between lines of the file.
    every: u64,
    observer: &'a mut dyn Observer,
    /// The time of the last logged step, or of the last evaluation or checkpoint.
    clock: Instant,
    /// Tokens of the steps reported since then.
    tokens: usize,
}

impl<'a> TrainLog<'a> {
    fn open(
        folder: Option<&Path>,
        step: u64,
        every: u64,
        observer: &'a mut dyn Observer,
    ) -> Result<Self, SaveError> {
        let file = folder.map(|folder| MetricsLog::open(folder, step)).transpose()?;
        Ok(Self { file, every, observer, clock: Instant::now(), tokens: 0 })
    }

    /// Reports the files that the training splits do not use.
    fn report_skipped(&mut self, tasks: &[TrainTask]) {
        for task in tasks {
            if let [(file, why), rest @ ..] = task.train.skipped() {
                let others =
                    if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
                let task = task.task.spec().label();
                self.observer.note(&format!(
                    "{task}: not used: {file} ({why}){others}; `smalti data check` lists them"
                ));
            }
        }
    }

    /// Counts corrupt samples, and reports each problem once.
    fn count_corrupt(
        &mut self,
        corrupt: Vec<String>,
        counted: &mut CorruptSamples,
        step: u64,
    ) -> Result<(), SaveError> {
        for problem in corrupt {
            if counted.count(&problem) {
                self.observer.note(&format!("not used: {problem}"));
                self.write(json!({ "step": step, "not_used": problem }))?;
            }
        }
        Ok(())
    }

    /// Reports a step, if there is one to report.
    fn report(&mut self, report: Option<StepReport>) -> Result<(), SaveError> {
        let Some(mut report) = report else { return Ok(()) };
        // The rate is that of several steps, because the time between two synchronizations is not that of one step.
        self.tokens += report.tokens;
        report.tokens_per_s = self.tokens as f64 / self.clock.elapsed().as_secs_f64();
        if report.losses.is_empty() && report.empty_steps == 1 {
            self.observer.note(&format!(
                "step {}: no target of its batch counts, so no weight changes; such steps are counted as empty",
                report.step
            ));
        }
        if let Some(warning) = &report.warning {
            self.observer.note(&format!("warning: {warning}"));
            self.write(json!({ "step": report.step, "warning": warning }))?;
        }
        self.observer.step(&report);
        if report.is_logged(self.every) {
            self.write(line(&report))?;
            self.restart_clock();
        }
        Ok(())
    }

    fn restart_clock(&mut self) {
        (self.clock, self.tokens) = (Instant::now(), 0);
    }

    fn evaluated(&mut self, step: u64, metrics: &BTreeMap<String, Metrics>) -> Result<(), SaveError> {
        self.observer.evaluated(step, metrics);
        self.write(json!({ "step": step, "eval": metrics }))
    }

    fn write(&mut self, line: serde_json::Value) -> Result<(), SaveError> {
        self.file.as_mut().map_or(Ok(()), |file| file.write(line))
    }
}

fn line(report: &StepReport) -> serde_json::Value {
    let mut line = json!({
        "step": report.step,
        "epoch": report.epoch,
        "loss": report.loss,
        "losses": report.losses,
        "learning_rate": report.learning_rate,
        "grad_norm": report.grad_norm,
        "tokens_per_s": report.tokens_per_s,
        "skipped": report.skipped,
        "empty_steps": report.empty_steps,
        "corrupt_samples": report.corrupt,
    });
    if let Some(load_balance) = report.load_balance {
        line["load_balance"] = json!(load_balance);
        line["load"] = json!(report.load);
    }
    line
}
