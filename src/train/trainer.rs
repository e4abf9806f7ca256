//! A model in training.

mod load;
mod outcome;
mod range_test;
mod run;
mod state;
mod step;

pub use outcome::{End, Observer, Outcome, Silent};
pub use range_test::{RangePoint, RangeTest, RangeTestConfig};
pub(crate) use state::{PARAM, SAMPLE_COUNTS, SETTINGS};

use super::reference::{References, needs_reference};
use super::watch::Watch;
use super::{
    Alone, FurtherTraining, Optimizer, Precision, Prefetcher, Ranks, TrainConfig, TrainConfigError,
    TrainError, Writer,
};
use crate::data::{CorruptSamples, Dataset, Lane, Loader, Plan, Sampler, collate, first, shares};
use crate::model::Model;
use crate::task::Task;
use std::{collections::BTreeMap, sync::Arc};
use step::LaunchedStep;

/// The file of the best weights by validation loss.
pub const MODEL_FILE: &str = "model.safetensors";
/// The file from which training resumes: last weights, moments, weight average, step.
pub const STATE_FILE: &str = "state.safetensors";

/// One task with its data, for training.
#[derive(Clone)]
pub struct TrainTask {
    /// The task.
    pub task: Arc<dyn Task>,
    /// The training split.
    pub train: Arc<dyn Dataset>,
    /// The validation split.
    pub validation: Arc<dyn Dataset>,
    /// Its share of a batch's documents, relative to the other tasks'.
    pub weight: f64,
}

/// The report of one step.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// Steps done, this one included.
    pub step: u64,
    /// Steps of the whole training.
    pub steps: u64,
    /// Passes over the training data, this step included; `None` for several tasks, whose data sets differ in length.
    pub epoch: Option<f64>,
    /// The weighted sum of the outputs' mean losses and of the load-balance losses of experts; not a number in a step in which no target counts.
    pub loss: f64,
    /// The mean loss of each output with a target that counts, by [its name](crate::task::TaskSpec::output_name).
    pub losses: BTreeMap<String, f64>,
    /// The mean load-balance loss of the blocks with experts, 1 for an even load; `None` without experts.
    pub load_balance: Option<f64>,
    /// The share of each expert in the choices of the tokens, by block (`stack.blocks.1.mlp`).
    pub load: BTreeMap<String, Vec<f64>>,
    /// The learning rate of this step.
    pub learning_rate: f64,
    /// The gradient norm before clipping; not a number in a step in which no target counts.
    pub grad_norm: f64,
    /// Tokens of all streams and all ranks in this step.
    pub tokens: usize,
    /// Tokens per second, data loading included, since the last logged step or evaluation.
    pub tokens_per_s: f64,
    /// Documents of all ranks left out so far because they have too few tokens for their labels (CTC).
    pub skipped: u64,
    /// Steps so far in which no target counted, so that no weight changed.
    pub empty_steps: u64,
    /// Corrupt samples drawn so far; others took their places.
    pub corrupt: u64,
    /// A warning, given once: the loss has risen far above its lowest mean.
    pub warning: Option<String>,
}

impl StepReport {
    /// Whether the step is logged: the first, the last and every `every`-th, unless that is 0.
    pub fn is_logged(&self, every: u64) -> bool {
        self.step == 1 || self.step == self.steps || every > 0 && self.step.is_multiple_of(every)
    }
}

/// A model in training.
pub struct Trainer {
    config: TrainConfig,
    tasks: Vec<TrainTask>,
    ranks: Arc<dyn Ranks>,
    model: Model,
    optimizer: Optimizer,
    prefetcher: Prefetcher,
    /// Launch the next step before synchronizing with this one, so that a GPU does not wait for the CPU.
    async_launch: bool,
    /// The step that is launched and not yet synchronized with.
    launched: Option<LaunchedStep>,
    steps: u64,
    /// Steps launched so far.
    step: u64,
    /// The lowest validation loss so far, on rank 0.
    best: f64,
    /// Evaluations since then; the same on every rank if `train.patience` is set.
    evaluations_since_best: u64,
    /// The start of further training with another schedule.
    further: Option<FurtherTraining>,
    skipped: u64,
    /// The number of the next sample to be drawn, by rank.
    draws: Vec<u64>,
    corrupt: CorruptSamples,
    watch: Watch,
    /// Whether the gradients of a first step have passed the audit.
    audited: bool,
    /// The settings that a resumed run must have, as text.
    settings: String,
    /// Those of what the model computes, which its model keeps.
    computation: String,
    /// The right to write the run's folder, until the end of training.
    writer: Option<Writer>,
}

impl Trainer {
    /// A trainer of `model` on its tasks, before the first step.
    ///
    /// # Errors
    /// [`TrainError`] if settings cannot work together or a task has no samples.
    pub fn new(config: &TrainConfig, model: Model, tasks: Vec<TrainTask>) -> Result<Self, TrainError> {
        Self::over(Arc::new(Alone), config, model, tasks)
    }

    /// As [`new`](Self::new), as one of several ranks. Each rank draws its own micro-batches from the same data, and a step is
    /// that of one process that accumulates the micro-batches of all ranks. On GPUs, pass the ranks that
    /// [`ranks::on_device`](super::ranks::on_device) returns.
    ///
    /// # Errors
    /// As for `new`.
    pub fn over(
        ranks: Arc<dyn Ranks>,
        config: &TrainConfig,
        mut model: Model,
        tasks: Vec<TrainTask>,
    ) -> Result<Self, TrainError> {
        config.validate()?;
        for task in &tasks {
            if task.train.is_empty() || task.validation.is_empty() {
                return Err(TrainError::NoSamples { task: task.task.spec().label() });
            }
        }
        if config.max_steps == 0 && tasks.len() > 1 {
            let problem = "a mix has no epochs, because its data sets differ in length; set train.max_steps";
            return Err(TrainError::Unused { setting: "epochs", problem });
        }
        compute_in(&mut model, config.precision)?;
        model.checkpoint_activations(config.checkpoint_activations);
        let mut heads = tasks.iter().flat_map(|task| &task.task.spec().heads);
        let smooths = heads.any(|head| head.head.smooths_labels());
        if config.label_smoothing > 0.0 && !smooths {
            let problem = "CTC and regression losses have no labels to smooth; set it to 0";
            return Err(TrainError::Unused { setting: "label_smoothing", problem });
        }
        let steps = match config.max_steps {
            0 => {
                let samples = tasks.first().map_or(0, |task| task.train.len()) as f64;
                (config.epochs * samples
                    / (config.batch_size * config.gradient_accumulation_steps * ranks.world_size()) as f64)
                    .ceil() as u64
            }
            steps => steps,
        };
        let optimizer = Optimizer::new(config, model.params())?;
        let prefetcher = Prefetcher::new(model.device())?;
        let config = config.clone();
        Ok(Self {
            draws: vec![0; ranks.world_size()],
            config,
            tasks,
            ranks,
            async_launch: model.device().is_cuda(),
            model,
            optimizer,
            prefetcher,
            launched: None,
            steps,
            step: 0,
            best: f64::INFINITY,
            evaluations_since_best: 0,
            further: None,
            skipped: 0,
            corrupt: CorruptSamples::default(),
            watch: Watch::default(),
            audited: false,
            settings: String::new(),
            computation: String::new(),
            writer: None,
        })
    }

    /// The trainer with the settings that a resumed run must have, and those of the model's computation, as texts, which its
    /// state and its model keep.
    pub(crate) fn with_settings(self, settings: String, computation: String) -> Self {
        Self { settings, computation, ..self }
    }

    /// Computes the log-probabilities of preference pairs under the model as it is, which becomes the reference model; `None`
    /// without such pairs. Training and evaluation of pairs need it.
    ///
    /// # Errors
    /// As for [`References::of`].
    pub fn freeze_reference(&mut self) -> Result<Option<Arc<References>>, TrainError> {
        if !self.tasks.iter().any(needs_reference) {
            return Ok(None);
        }
        let references = Arc::new(References::of(&self.model, &self.tasks)?);
        for task in self.tasks.iter_mut().filter(|task| needs_reference(task)) {
            let name = task.task.spec().name.clone();
            task.train = references.attach(task.train.clone(), &name);
            task.validation = references.attach(task.validation.clone(), &name);
        }
        Ok(Some(references))
    }

    /// Holds the right to write a run's folder until the end of [`run`](Self::run).
    pub(crate) fn hold(&mut self, writer: Writer) {
        self.writer = Some(writer);
    }

    /// The batches of the remaining steps, prepared on separate threads.
    ///
    /// # Errors
    /// [`TrainError::NoShare`] if a task gets no sample of a batch.
    pub fn loader(&self) -> Result<Loader, TrainError> {
        let lanes = lanes(&self.tasks, self.config.batch_size)?;
        let datasets = self.tasks.iter().map(|task| task.train.clone()).collect();
        let sampler = Sampler::new(self.config.seed, lanes, self.config.shuffle)
            .of_rank(self.ranks.rank(), self.ranks.world_size());
        let layouts = self.model.layouts().to_vec();
        let plan = Plan {
            steps: self.step..self.steps,
            draw: self.draws[self.ranks.rank()],
            accumulate: self.config.gradient_accumulation_steps,
            tokens: Some(self.config.batch_tokens).filter(|tokens| *tokens > 0),
            workers: self.config.workers,
        };
        Ok(Loader::new(layouts, datasets, sampler, plan))
    }

    /// Reads and collates one sample of each data set, so that unsuitable settings fail before training.
    ///
    /// # Errors
    /// If no task has an output with targets, a sample cannot be read or collated, or a task gets no sample of a batch.
    pub fn try_samples(&self) -> Result<(), TrainError> {
        let mut heads = self.tasks.iter().flat_map(|task| &task.task.spec().heads);
        if heads.all(|head| head.head.is_representation()) {
            return Err(TrainError::NothingToLearn);
        }
        lanes(&self.tasks, self.config.batch_size)?;
        for (number, task) in self.tasks.iter().enumerate() {
            for dataset in [&task.train, &task.validation] {
                collate(self.model.layouts(), &[(number, first(dataset.as_ref())?)])?;
            }
        }
        Ok(())
    }

    /// The model in its current state.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The trained model.
    pub fn into_model(self) -> Model {
        self.model
    }

    /// The steps launched so far, and those of the whole training.
    pub fn progress(&self) -> (u64, u64) {
        (self.step, self.steps)
    }

    /// The settings.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// The learning rate of the next step.
    pub fn learning_rate(&self) -> f64 {
        self.config.learning_rate_at(self.step, self.steps, self.further)
    }

    /// The start of further training, if the run resumed with another schedule and `train.resume_schedule` is not `cosine`.
    pub fn further_training(&self) -> Option<FurtherTraining> {
        self.further
    }

    /// Why no step is left to train, if none is.
    pub fn end(&self) -> Option<End> {
        let TrainConfig { patience, .. } = self.config;
        match self.step >= self.steps {
            true => Some(End::Finished),
            false => (patience > 0 && self.evaluations_since_best >= patience).then_some(End::Patience),
        }
    }

    /// Passes over the training data that the draws so far are; `None` for several tasks.
    fn epoch(&self) -> Option<f64> {
        match &self.tasks[..] {
            [task] => Some(self.draws.iter().sum::<u64>() as f64 / task.train.len() as f64),
            _ => None,
        }
    }
}

/// The samples that each task and source has in a batch of `batch_size` documents.
///
/// # Errors
/// [`TrainError::NoShare`] if a task or source has none.
pub fn lanes(tasks: &[TrainTask], batch_size: usize) -> Result<Vec<Lane>, TrainError> {
    let (mut lanes, mut weights) = (Vec::new(), Vec::new());
    for (number, task) in tasks.iter().enumerate() {
        let (sources, mut first) = (task.train.lanes(), 0);
        let total: f64 = sources.iter().map(|(_, weight)| weight).sum();
        for (samples, weight) in sources {
            lanes.push(Lane { task: number, first, samples, share: 0 });
            weights.push(task.weight * weight / total);
            first += samples;
        }
    }
    for (lane, share) in lanes.iter_mut().zip(shares(batch_size, &weights)) {
        if share == 0 {
            let task = tasks[lane.task].task.spec().label();
            return Err(TrainError::NoShare { task, batch: batch_size });
        }
        lane.share = share;
    }
    Ok(lanes)
}

/// Sets the precision of a model's activations.
///
/// # Errors
/// If its device does not support the precision.
fn compute_in(model: &mut Model, precision: Precision) -> Result<(), TrainError> {
    if precision == Precision::Tf32 && !model.device().is_cuda() {
        let problem = "expected f32 or bf16 on a CPU; found tf32, which needs a GPU".into();
        return Err(TrainConfigError { setting: "precision", problem }.into());
    }
    #[cfg(feature = "cuda")]
    candle_core::cuda_backend::set_gemm_reduced_precision_f32(precision != Precision::F32);
    model.compute_in(precision.dtype());
    Ok(())
}

#[cfg(test)]
mod tests;
