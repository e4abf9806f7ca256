//! The training loop.

mod state;
mod step;

pub(crate) use state::weights_of;
pub use step::Begun;

use super::{
    Ahead, Alone, Metrics, MetricsLog, Optimizer, Precision, Ranks, SaveError, TrainConfig, TrainConfigError,
    TrainError,
    agree::{Agreed, agree, same_start},
    evaluate,
};
use crate::data::{BadSamples, Dataset, Lane, Loader, Plan, Sampler, collate, first, shares};
use crate::model::Model;
use crate::task::Task;
use serde_json::json;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

/// The best weights by validation loss, of a run folder.
pub const MODEL_FILE: &str = "model.safetensors";
/// Everything needed to go on: last weights, moments, average, step.
pub const STATE_FILE: &str = "state.safetensors";

/// One task with its data.
#[derive(Clone)]
pub struct Part {
    /// The task.
    pub task: Arc<dyn Task>,
    /// What it learns from.
    pub train: Arc<dyn Dataset>,
    /// What it is measured on.
    pub valid: Arc<dyn Dataset>,
    /// Its share of a batch's documents, relative to the other tasks'.
    pub weight: f64,
}

/// What one step did.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// Steps done, this one included.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
    /// The tasks' mean losses, summed by their loss weights.
    pub loss: f64,
    /// Each task's mean loss.
    pub losses: BTreeMap<String, f64>,
    /// The learning rate of this step.
    pub learning_rate: f64,
    /// The gradient's norm before clipping.
    pub grad_norm: f64,
    /// Tokens of all streams in this step, those of all ranks.
    pub tokens: usize,
    /// Tokens in a second of this step, data to optimizer.
    pub tokens_per_s: f64,
    /// Documents of all ranks left out so far because their labels cannot fit their tokens (CTC).
    pub skipped: u64,
    /// Samples drawn so far that could not be used; others took their places.
    pub bad: u64,
}

/// Who looks on while a model is trained.
pub trait Observer {
    /// After each step.
    fn step(&mut self, _report: &StepReport) {}
    /// After each evaluation: the metrics of each task.
    fn evaluated(&mut self, _step: u64, _metrics: &BTreeMap<String, Metrics>) {}
    /// Something worth a line.
    fn note(&mut self, _text: &str) {}
}

/// An observer who says nothing.
pub struct Silent;

impl Observer for Silent {}

/// How a training ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Steps done.
    pub step: u64,
    /// True where it was asked to stop before its last step.
    pub stopped: bool,
    /// The metrics of the last evaluation.
    pub metrics: BTreeMap<String, Metrics>,
    /// The samples that could not be used.
    pub bad: BadSamples,
}

/// A model in training.
pub struct Trainer {
    config: TrainConfig,
    parts: Vec<Part>,
    ranks: Arc<dyn Ranks>,
    model: Model,
    optimizer: Optimizer,
    ahead: Ahead,
    steps: u64,
    /// Steps that the weights have been moved by, or will be once the device has come so far.
    step: u64,
    best: f64,
    skipped: u64,
    /// The number of the next sample to be drawn, by rank.
    draws: Vec<u64>,
    bad: BadSamples,
}

impl Trainer {
    /// Training of `model`, whose tasks are those of `parts`, from the beginning.
    ///
    /// # Errors
    /// [`TrainError`] for settings that cannot work, and tasks without samples.
    pub fn new(config: &TrainConfig, model: Model, parts: Vec<Part>) -> Result<Self, TrainError> {
        Self::over(Arc::new(Alone), config, model, parts)
    }

    /// As [`new`](Self::new), as one of several ranks. Each takes micro-batches of its own from the same data, and all make
    /// the same steps: those of one process that sums up as many micro-batches as all ranks together. On GPUs the ranks
    /// should be those that [`ranks::on`](super::ranks::on) gives.
    ///
    /// # Errors
    /// As of `new`.
    pub fn over(
        ranks: Arc<dyn Ranks>,
        config: &TrainConfig,
        mut model: Model,
        parts: Vec<Part>,
    ) -> Result<Self, TrainError> {
        config.validate()?;
        for part in &parts {
            if part.train.is_empty() || part.valid.is_empty() {
                return Err(TrainError::NoSamples { task: part.task.spec().name.clone() });
            }
        }
        if config.steps == 0 && parts.len() > 1 {
            let problem = "an epoch of a mix is not defined, as its sets differ in length; set train.steps";
            return Err(TrainError::Unused { setting: "epochs", problem });
        }
        compute_in(&mut model, config.precision)?;
        model.recompute(config.recompute);
        let smooths = parts.iter().any(|part| part.task.spec().head.says.has_labels());
        if config.label_smoothing > 0.0 && !smooths {
            let problem = "the losses of CTC and of real numbers have no labels to smooth";
            return Err(TrainError::Unused { setting: "label_smoothing", problem });
        }
        let steps = match config.steps {
            0 => {
                let samples = parts.first().map_or(0, |part| part.train.len()) as f64;
                (config.epochs * samples / (config.batch * config.accumulate * ranks.size()) as f64).ceil()
                    as u64
            }
            steps => steps,
        };
        let optimizer = Optimizer::new(config, model.params())?;
        let ahead = Ahead::new(model.device())?;
        let config = config.clone();
        Ok(Self {
            draws: vec![0; ranks.size()],
            config,
            parts,
            ranks,
            model,
            optimizer,
            ahead,
            steps,
            step: 0,
            best: f64::INFINITY,
            skipped: 0,
            bad: BadSamples::default(),
        })
    }

    /// Trains to the last step, or until `stop` is set, on one rank at least. With a folder, rank 0 saves checkpoints and
    /// metrics there, at the end and when stopped as well. Rank 0 alone evaluates, and only its outcome has metrics.
    ///
    /// # Errors
    /// [`TrainError`]. Where a sample cannot be read, the state is saved first. A rank with an error makes no further step,
    /// so the others must be ended ([`Ranks::abort`]).
    pub fn run(
        &mut self,
        folder: Option<&Path>,
        stop: &AtomicBool,
        observer: &mut dyn Observer,
    ) -> Result<Outcome, TrainError> {
        same_start(self.ranks.as_ref(), &self.config, &self.model, &self.parts, self.step)?;
        let first = self.ranks.rank() == 0;
        let folder = folder.filter(|_| first);
        let mut log = folder.map(|folder| MetricsLog::open(folder, self.step)).transpose()?;
        let mut metrics = BTreeMap::new();
        for part in &self.parts {
            let skipped = [part.task.skipped(), part.train.skipped()].concat();
            if let [(file, why), rest @ ..] = &skipped[..] {
                let others =
                    if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
                let task = &part.task.spec().name;
                observer.note(&format!(
                    "{task}: not used: {file} ({why}){others}; `smalti data check` lists them"
                ));
            }
        }
        let mut loader = self.loader()?;
        let mut next = loader.next();
        let mut clock = Instant::now();
        while self.step < self.steps {
            let prepared = if stop.load(Ordering::Relaxed) { None } else { next.take() };
            let Agreed { micro, draws, bad } = match agree(self.ranks.as_ref(), prepared) {
                Ok(Some(agreed)) => agreed,
                Ok(None) => break,
                Err(error) => {
                    folder.map_or(Ok(()), |folder| self.save(folder))?;
                    self.ranks.wait(); // so that no rank ends the job before the state is saved
                    return Err(error);
                }
            };
            let begun = self.begin(&micro, observer)?;
            drop(micro);
            self.draws = draws;
            self.note_bad(bad, log.as_mut(), observer)?;
            next = loader.next();
            if let Some(Ok(next)) = &next {
                self.send(&next.micro)?;
            }
            self.report(begun, &mut clock, log.as_mut(), observer)?;
            let (evaluates, saves) =
                (self.is_due(self.config.eval_every), self.is_due(self.config.checkpoint_every));
            if evaluates && first {
                let mut bad = Vec::new();
                metrics = match self.evaluate(folder, &mut bad) {
                    Ok(metrics) => metrics,
                    Err(error) => {
                        folder.map_or(Ok(()), |folder| self.save(folder))?;
                        return Err(error);
                    }
                };
                self.note_bad(bad, log.as_mut(), observer)?;
                observer.evaluated(self.step, &metrics);
                if let Some(log) = &mut log {
                    log.write(&json!({ "step": self.step, "eval": metrics }))?;
                }
            }
            if let Some(folder) = folder.filter(|_| saves) {
                self.save(folder)?;
            }
            if evaluates || saves {
                clock = Instant::now();
            }
        }
        let stopped = self.step < self.steps;
        if let Some(folder) = folder.filter(|_| stopped) {
            self.save(folder)?;
        }
        Ok(Outcome { step: self.step, stopped, metrics, bad: self.bad.clone() })
    }

    /// Whether something that is done every so many steps is due now; all of it is at the end.
    fn is_due(&self, every: u64) -> bool {
        self.step == self.steps || every > 0 && self.step.is_multiple_of(every)
    }

    /// Waits for a step and tells of it; `clock` has run since the last was told of.
    fn report(
        &self,
        begun: Begun,
        clock: &mut Instant,
        log: Option<&mut MetricsLog>,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        let mut report = self.finish(begun)?;
        report.tokens_per_s = report.tokens as f64 / clock.elapsed().as_secs_f64();
        *clock = Instant::now();
        observer.step(&report);
        let every = self.config.log_every;
        let due = report.step == self.steps || every > 0 && report.step.is_multiple_of(every);
        if let Some(log) = log.filter(|_| due || report.step == 1) {
            log.write(&line(&report))?;
        }
        Ok(())
    }

    /// Counts samples that could not be used; each problem is named once, to the observer and in the record.
    fn note_bad(
        &mut self,
        bad: Vec<String>,
        mut log: Option<&mut MetricsLog>,
        observer: &mut dyn Observer,
    ) -> Result<(), SaveError> {
        for problem in bad {
            if self.bad.count(&problem) {
                observer.note(&format!("not used: {problem}"));
                if let Some(log) = &mut log {
                    log.write(&json!({ "step": self.step, "not_used": problem }))?;
                }
            }
        }
        Ok(())
    }

    /// The batches of the steps to come, prepared on threads of their own.
    ///
    /// # Errors
    /// [`TrainError::NoShare`] where a task gets no sample of a batch.
    pub fn loader(&self) -> Result<Loader, TrainError> {
        let (mut lanes, mut weights) = (Vec::new(), Vec::new());
        for (task, part) in self.parts.iter().enumerate() {
            let (sources, mut first) = (part.train.lanes(), 0);
            let total: f64 = sources.iter().map(|(_, weight)| weight).sum();
            for (samples, weight) in sources {
                lanes.push(Lane { task, first, samples, share: 0 });
                weights.push(part.weight * weight / total);
                first += samples;
            }
        }
        for (lane, share) in lanes.iter_mut().zip(shares(self.config.batch, &weights)) {
            if share == 0 {
                let task = self.parts[lane.task].task.spec().name.clone();
                return Err(TrainError::NoShare { task, batch: self.config.batch });
            }
            lane.share = share;
        }
        let datasets = self.parts.iter().map(|part| part.train.clone()).collect();
        let sampler = Sampler::new(self.config.seed, lanes, self.config.shuffle)
            .of_rank(self.ranks.rank(), self.ranks.size());
        let layouts = self.model.layouts().to_vec();
        let plan = Plan {
            steps: self.step..self.steps,
            draw: self.draws[self.ranks.rank()],
            accumulate: self.config.accumulate,
            tokens: Some(self.config.batch_tokens).filter(|tokens| *tokens > 0),
            workers: self.config.workers,
        };
        Ok(Loader::new(layouts, datasets, sampler, plan))
    }

    /// Draws one sample of each data set, so that settings which fit none of them are refused at once.
    ///
    /// # Errors
    /// What the sample, or collating it, refuses.
    pub fn try_samples(&self) -> Result<(), TrainError> {
        for (task, part) in self.parts.iter().enumerate() {
            for dataset in [&part.train, &part.valid] {
                collate(self.model.layouts(), &[(task, first(dataset.as_ref())?)])?;
            }
        }
        Ok(())
    }

    /// The model, as it is now.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The model, when training is done.
    pub fn into_model(self) -> Model {
        self.model
    }

    /// Steps begun and steps in all.
    pub fn progress(&self) -> (u64, u64) {
        (self.step, self.steps)
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
                let (limit, batch) = (config.eval_samples, config.batch.max(32));
                let metrics = evaluate(model, number, task, part.valid.as_ref(), limit, batch, bad)?;
                total += task.spec().loss_weight * metrics["loss"];
                all.insert(task.spec().name.clone(), metrics);
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

/// Has a model compute in a precision that its device has.
fn compute_in(model: &mut Model, precision: Precision) -> Result<(), TrainError> {
    if precision != Precision::F32 && !model.device().is_cuda() {
        let problem = format!("{} is for GPUs; this run computes on a processor, in f32", precision.name());
        return Err(TrainConfigError { setting: "precision", problem }.into());
    }
    #[cfg(feature = "cuda")]
    candle_core::cuda_backend::set_gemm_reduced_precision_f32(precision != Precision::F32);
    model.compute_in(precision.dtype());
    Ok(())
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

#[cfg(test)]
mod tests;
