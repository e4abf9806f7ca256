//! The training loop.

use super::{
    Ahead, Alone, Metrics, MetricsLog, Optimizer, Precision, Ranks, SaveError, TrainConfig, TrainConfigError,
    TrainError,
    agree::{Agreed, agree, same_start},
    audit, checkpoint, evaluate,
    ranks::sum_gradients,
};
use crate::data::{BadSamples, Batch, Dataset, Lane, Loader, Plan, Sampler, Targets, collate, first, shares};
use crate::model::Model;
use crate::ops::{Gradients, Norm, backward};
use crate::random::mix;
use crate::task::Task;
use candle_core::Tensor;
use serde_json::json;
use std::{
    collections::{BTreeMap, HashMap},
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

/// A step that the device has been asked for.
pub struct Begun {
    /// Its number, from 1.
    step: u64,
    /// Documents left out and samples that could not be used, of this and all steps before.
    skipped: u64,
    bad: u64,
    /// Task, weight and loss of each head of each micro-batch.
    sums: Vec<(usize, f64, Tensor)>,
    norm: Norm,
    learning_rate: f64,
    /// Of all ranks.
    tokens: usize,
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
        same_start(self.ranks.as_ref(), &self.model, &self.parts, self.step)?;
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
        let mut under_way = None;
        while self.step < self.steps {
            let prepared = if stop.load(Ordering::Relaxed) { None } else { next.take() };
            let Agreed { micro, draws, bad } = match agree(self.ranks.as_ref(), prepared) {
                Ok(Some(agreed)) => agreed,
                Ok(None) => break,
                Err(error) => {
                    self.report(under_way, &mut clock, log.as_mut(), observer)?;
                    folder.map_or(Ok(()), |folder| self.save(folder))?;
                    self.ranks.wait(); // so that no rank ends the job before the state is saved
                    return Err(error);
                }
            };
            let mut begun = self.begin(&micro, observer)?;
            drop(micro);
            self.draws = draws;
            self.note_bad(bad, log.as_mut(), observer)?;
            begun.bad = self.bad.total();
            next = loader.next();
            if let Some(Ok(next)) = &next {
                self.send(&next.micro)?;
            }
            // A GPU has this step to do while the one before is looked at: it never waits for us, nor we for it.
            self.report(under_way.replace(begun), &mut clock, log.as_mut(), observer)?;
            let (evaluates, saves) =
                (self.is_due(self.config.eval_every), self.is_due(self.config.checkpoint_every));
            if evaluates || saves || self.model.device().is_cpu() {
                self.report(under_way.take(), &mut clock, log.as_mut(), observer)?;
            }
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
        self.report(under_way, &mut clock, log.as_mut(), observer)?;
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

    /// Waits for a step, if there is one, and tells of it; `clock` has run since the last was told of.
    fn report(
        &self,
        begun: Option<Begun>,
        clock: &mut Instant,
        log: Option<&mut MetricsLog>,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        let Some(begun) = begun else { return Ok(()) };
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

    /// One optimizer step on these micro-batches. The report's `tokens_per_s` is left at 0.
    ///
    /// # Errors
    /// [`TrainError::Gradient`] where the audit of the first step fails, [`TrainError::Diverged`],
    /// [`TrainError::Memory`] with what to try.
    pub fn train_on(
        &mut self,
        micro: &[Batch],
        observer: &mut dyn Observer,
    ) -> Result<StepReport, TrainError> {
        let begun = self.begin(micro, observer)?;
        self.finish(begun)
    }

    /// The first part of a step: asks the device for all of it, and waits for nothing. The next may begin before this
    /// one is finished.
    ///
    /// # Errors
    /// As of [`train_on`](Self::train_on).
    pub fn begin(&mut self, micro: &[Batch], observer: &mut dyn Observer) -> Result<Begun, TrainError> {
        let begun = self.begin_on(micro, observer);
        begun.map_err(|error| self.explain(error, micro.iter().map(Batch::n_tokens).max()))
    }

    /// Between a step's two parts: has the features of the next batch travel while this one is computed.
    ///
    /// # Errors
    /// Where memory is short.
    pub fn send(&mut self, micro: &[Batch]) -> Result<(), TrainError> {
        let tokens = micro.iter().map(Batch::n_tokens).max();
        self.ahead.send(micro).map_err(|error| self.explain(error.into(), tokens))
    }

    /// The second part: waits for the device, and reads what it says.
    ///
    /// # Errors
    /// As of [`train_on`](Self::train_on).
    pub fn finish(&self, begun: Begun) -> Result<StepReport, TrainError> {
        let tokens = begun.tokens;
        self.finish_on(begun).map_err(|error| self.explain(error, Some(tokens)))
    }

    /// An error, with what to try where memory was short.
    fn explain(&self, error: TrainError, tokens: Option<usize>) -> TrainError {
        match error {
            TrainError::Tensor(error) if error.to_string().contains(OUT_OF_MEMORY) => {
                let TrainConfig { batch, batch_tokens, accumulate, recompute, .. } = self.config;
                let tokens = tokens.unwrap_or_default();
                let smaller = match batch_tokens {
                    0 => format!("batch={}", (batch / 2).max(1)),
                    budget => format!("batch_tokens={}", budget / 2),
                };
                TrainError::Memory { tokens, recompute: !recompute, smaller, accumulate: 2 * accumulate }
            }
            other => other,
        }
    }

    fn begin_on(&mut self, micro: &[Batch], observer: &mut dyn Observer) -> Result<Begun, TrainError> {
        let ranks = self.ranks.clone();
        // A loss is divided by its weights over all micro-batches and ranks, so they must be known before the first.
        let tasks = self.model.tasks().len();
        let mut weights = vec![0.0; tasks];
        let (mut skipped, tokens) = (0, micro.iter().map(Batch::n_tokens).sum::<usize>());
        for head in micro.iter().flat_map(|batch| &batch.heads) {
            weights[head.task] += head.targets.weight();
            if let Targets::Labels { weights, .. } = &head.targets {
                skipped += weights.iter().filter(|&&w| w == 0.0).count();
            }
        }
        weights.extend([skipped as f64, tokens as f64]);
        ranks.sum_f64(&mut weights);
        let (skipped, tokens) = (weights[tasks] as u64, weights[tasks + 1] as usize);
        self.skipped += skipped;
        let mut grads = Gradients::default();
        let mut sums = Vec::new();
        for (i, batch) in micro.iter().enumerate() {
            // As if one process went through the micro-batches of all ranks in turn.
            let number = i * ranks.size() + ranks.rank();
            let seed = mix(mix(self.config.seed, self.step), number as u64);
            let mut roots = Vec::new();
            for head in self.model.loss(batch, Some(seed), self.config.label_smoothing)? {
                let weight = weights[head.task].max(f64::MIN_POSITIVE);
                sums.push((head.task, weight, head.sum.tensor().clone()));
                roots.push((head.sum, self.model.tasks()[head.task].loss_weight / weight));
            }
            grads.add(backward(roots)?)?;
        }
        sum_gradients(ranks.as_ref(), self.model.params(), &mut grads)?;
        if self.step == 0 {
            self.audit(micro, &grads, observer)?;
        }
        let learning_rate = self.config.learning_rate_at(self.step, self.steps);
        let norm = self.optimizer.step(self.model.params(), &grads, self.step, learning_rate)?;
        self.step += 1;
        let (step, skipped, bad) = (self.step, self.skipped, self.bad.total());
        Ok(Begun { step, skipped, bad, sums, norm, learning_rate, tokens })
    }

    fn finish_on(&self, begun: Begun) -> Result<StepReport, TrainError> {
        let Begun { step, skipped, bad, sums, norm, learning_rate, tokens } = begun;
        let tasks = self.model.tasks().len();
        let mut sums_by_task = vec![0.0; 2 * tasks];
        for (task, weight, sum) in sums {
            sums_by_task[task] += f64::from(sum.to_scalar::<f32>()?) / weight;
            sums_by_task[tasks + task] = 1.0;
        }
        self.ranks.sum_f64(&mut sums_by_task);
        let (losses, seen) = sums_by_task.split_at(tasks);
        // Only of tasks that a micro-batch has held.
        let losses: BTreeMap<usize, f64> =
            (0..tasks).filter(|&t| seen[t] > 0.0).map(|t| (t, losses[t])).collect();
        let loss = losses.iter().map(|(task, loss)| self.model.tasks()[*task].loss_weight * loss).sum();
        let grad_norm = norm.value()?;
        if !f64::is_finite(loss) || !grad_norm.is_finite() {
            return Err(TrainError::Diverged { step, loss, grad_norm });
        }
        Ok(StepReport {
            step,
            steps: self.steps,
            loss,
            losses: losses.iter().map(|(t, loss)| (self.model.tasks()[*t].name.clone(), *loss)).collect(),
            learning_rate,
            grad_norm,
            tokens,
            tokens_per_s: 0.0,
            skipped,
            bad,
        })
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

    /// Goes on from the state that a run folder keeps.
    ///
    /// # Errors
    /// [`SaveError`], or [`TrainError::State`] where the state is of another run.
    pub fn resume(&mut self, folder: &Path) -> Result<(), TrainError> {
        let (tensors, texts) = checkpoint::load(&folder.join(STATE_FILE), self.model.device())?;
        let number = |name: &str| {
            let text = texts.get(name).ok_or_else(|| TrainError::State(format!("it has no {name}")))?;
            text.parse::<u64>().map_err(|_| TrainError::State(format!("its {name} is {text:?}")))
        };
        let step = number("step")?;
        if step > self.steps {
            return Err(TrainError::State(format!("it is of step {step}; the run ends at {}", self.steps)));
        }
        let misfit = |e| checkpoint::misfit(&folder.join(STATE_FILE), e);
        self.model.params().load(&weights_of(&tensors)).map_err(misfit)?;
        self.optimizer.load(&tensors)?;
        self.best = f64::from_bits(number("best")?);
        self.skipped = number("skipped")?;
        self.draws = self.saved_draws(&texts)?;
        let bad = texts.get("bad").map(|text| serde_json::from_str(text));
        self.bad = match bad {
            Some(Ok(bad)) => bad,
            _ => return Err(TrainError::State("it has no record of bad samples".into())),
        };
        self.step = step;
        Ok(())
    }

    /// Where each rank goes on.
    fn saved_draws(&self, texts: &BTreeMap<String, String>) -> Result<Vec<u64>, TrainError> {
        let text = texts.get("draw").ok_or_else(|| TrainError::State("it has no draw".into()))?;
        let draws = text.split(',').map(|draw| draw.parse()).collect::<Result<Vec<u64>, _>>();
        let draws = draws.map_err(|_| TrainError::State(format!("its draw is {text:?}")))?;
        match (draws.len(), self.ranks.size()) {
            (found, expected) if found != expected => {
                Err(TrainError::State(format!("it is of {found} ranks; this training has {expected}")))
            }
            _ => Ok(draws),
        }
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

    /// Saves everything that [`resume`](Self::resume) needs as one file, and a model where there is none yet.
    fn save(&self, folder: &Path) -> Result<(), SaveError> {
        let mut tensors = self.optimizer.tensors();
        let params = self.model.params().tensors();
        tensors.extend(params.iter().map(|(name, tensor)| (format!("{PARAM}{name}"), tensor.clone())));
        let numbers = [("step", self.step), ("best", self.best.to_bits()), ("skipped", self.skipped)];
        let mut texts = BTreeMap::from(numbers.map(|(name, number)| (name.to_string(), number.to_string())));
        let draws: Vec<String> = self.draws.iter().map(u64::to_string).collect();
        texts.insert("draw".into(), draws.join(","));
        texts.insert("bad".into(), json!(self.bad).to_string());
        checkpoint::save(&folder.join(STATE_FILE), &tensors, &texts)?;
        if !folder.join(MODEL_FILE).exists() {
            self.optimizer.with_average(self.model.params(), || self.save_model(folder))?;
        }
        Ok(())
    }

    /// Saves the weights that are in place as the run's model.
    fn save_model(&self, folder: &Path) -> Result<(), SaveError> {
        let texts = BTreeMap::from([("step".to_string(), self.step.to_string())]);
        checkpoint::save(&folder.join(MODEL_FILE), &self.model.params().tensors(), &texts)
    }

    fn audit(
        &self,
        micro: &[Batch],
        grads: &Gradients,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        let uses: Vec<_> = micro.iter().map(|batch| self.model.uses(batch)).collect();
        let found = audit(self.model.params(), grads, |name| {
            !self.model.params().is_frozen(name) && uses.iter().any(|uses| uses(name))
        })?;
        if !found.unreached.is_empty() {
            let problem = "no gradient has reached these parameters";
            return Err(TrainError::Gradient { problem, names: found.unreached });
        }
        if !found.not_finite.is_empty() {
            let problem = "the gradients of these parameters are not finite";
            return Err(TrainError::Gradient { problem, names: found.not_finite });
        }
        if !found.zero.is_empty() {
            observer.note(&format!("the first gradient of {} is all zero", found.zero.join(", ")));
        }
        Ok(())
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

/// How the driver says that a GPU's memory is full.
const OUT_OF_MEMORY: &str = "OUT_OF_MEMORY";

const PARAM: &str = "param.";

/// The weights among the tensors of a saved state, by their parameters' names.
pub(crate) fn weights_of(state: &HashMap<String, Tensor>) -> HashMap<String, Tensor> {
    let named = state.iter().filter_map(|(name, t)| Some((name.strip_prefix(PARAM)?.to_string(), t.clone())));
    named.collect()
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
