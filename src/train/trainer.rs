//! A model in training.

mod run;
mod state;
mod step;

pub(crate) use state::weights_of;

use super::{Ahead, Alone, Metrics, Optimizer, Precision, Ranks, TrainConfig, TrainConfigError, TrainError};
use crate::data::{BadSamples, Dataset, Lane, Loader, Plan, Sampler, collate, first, shares};
use crate::model::Model;
use crate::task::Task;
use std::{collections::BTreeMap, sync::Arc};
use step::Begun;

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
    /// The outputs' mean losses, summed by their weights.
    pub loss: f64,
    /// The mean loss of each output, by [its name](crate::task::TaskSpec::output_name).
    pub losses: BTreeMap<String, f64>,
    /// The learning rate of this step.
    pub learning_rate: f64,
    /// The gradient's norm before clipping.
    pub grad_norm: f64,
    /// Tokens of all streams in this step, those of all ranks.
    pub tokens: usize,
    /// Tokens in a second, data to optimizer, of the steps since the last line of the record or the last evaluation.
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
    /// After each evaluation: the metrics of each output, by name.
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
    /// The metrics of the last evaluation, by the name of each output.
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
    /// Whether a step is asked for before the one before is looked at: a device apart computes meanwhile.
    looks_ahead: bool,
    /// The step that has yet to be looked at.
    begun: Option<Begun>,
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
                return Err(TrainError::NoSamples { task: part.task.spec().label() });
            }
        }
        if config.max_steps == 0 && parts.len() > 1 {
            let problem =
                "an epoch of a mix is not defined, as its sets differ in length; set train.max_steps";
            return Err(TrainError::Unused { setting: "epochs", problem });
        }
        compute_in(&mut model, config.precision)?;
        model.checkpoint_activations(config.checkpoint_activations);
        let mut heads = parts.iter().flat_map(|part| &part.task.spec().heads);
        let smooths = heads.any(|head| head.head.smooths_labels());
        if config.label_smoothing > 0.0 && !smooths {
            let problem = "the losses of CTC and of real numbers have no labels to smooth";
            return Err(TrainError::Unused { setting: "label_smoothing", problem });
        }
        let steps = match config.max_steps {
            0 => {
                let samples = parts.first().map_or(0, |part| part.train.len()) as f64;
                (config.epochs * samples
                    / (config.batch_size * config.gradient_accumulation_steps * ranks.size()) as f64)
                    .ceil() as u64
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
            looks_ahead: model.device().is_cuda(),
            model,
            optimizer,
            ahead,
            begun: None,
            steps,
            step: 0,
            best: f64::INFINITY,
            skipped: 0,
            bad: BadSamples::default(),
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
        for (lane, share) in lanes.iter_mut().zip(shares(self.config.batch_size, &weights)) {
            if share == 0 {
                let task = self.parts[lane.task].task.spec().label();
                return Err(TrainError::NoShare { task, batch: self.config.batch_size });
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
            accumulate: self.config.gradient_accumulation_steps,
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

#[cfg(test)]
mod tests;
