//! One step: micro-batches, gradients, the optimizer; and what became of it.

use super::{Observer, StepReport, Trainer};
use crate::data::{Batch, Targets};
use crate::ops::{Gradients, Readback, backward};
use crate::random::mix;
use crate::train::{TrainConfig, TrainError, audit, ranks::sum_gradients};
use std::collections::BTreeMap;

/// A step that the device has been asked for.
pub(super) struct Begun {
    /// Its number, from 1.
    step: u64,
    /// Number (among all heads of all tasks) and weight of each head of each micro-batch.
    heads: Vec<(usize, f64)>,
    /// The loss of each of these heads, and the gradient's norm.
    numbers: Readback,
    learning_rate: f64,
    /// Of all ranks.
    tokens: usize,
    skipped: u64,
    bad: u64,
}

impl Trainer {
    /// One optimizer step on these micro-batches. A processor takes it and its report is given; its `tokens_per_s` is left
    /// at 0. A GPU is asked for it, and then what became of the step before is waited for: that step's report is given,
    /// where there is one, and the GPU has work meanwhile.
    ///
    /// # Errors
    /// [`TrainError::Gradient`] where the audit of the first step fails, [`TrainError::Memory`] with what to try, and
    /// [`TrainError::Diverged`] of the step that would be reported.
    pub fn advance(
        &mut self,
        micro: &[Batch],
        observer: &mut dyn Observer,
    ) -> Result<Option<StepReport>, TrainError> {
        let begun = self.begin(micro, observer);
        let begun = begun.map_err(|error| self.explain(error, micro.iter().map(Batch::n_tokens).max()))?;
        let ended = match self.looks_ahead {
            true => self.begun.replace(begun),
            false => Some(begun),
        };
        let report = ended.map(|begun| self.finish(begun)).transpose();
        if report.is_err() {
            self.begun = None; // nobody wants to know what follows from a step that failed
        }
        report
    }

    /// Waits for the step that was asked for last. Gives the report of the last step, where that is not yet given.
    ///
    /// # Errors
    /// [`TrainError::Diverged`], and where the device has failed.
    pub fn settle(&mut self) -> Result<Option<StepReport>, TrainError> {
        self.begun.take().map(|begun| self.finish(begun)).transpose()
    }

    /// Has the features of the next batch travel while the last one is computed.
    ///
    /// # Errors
    /// Where memory is short.
    pub fn send(&mut self, micro: &[Batch]) -> Result<(), TrainError> {
        let tokens = micro.iter().map(Batch::n_tokens).max();
        self.ahead.send(micro).map_err(|error| self.explain(error.into(), tokens))
    }

    /// An error, with what to try where memory was short.
    pub(super) fn explain(&self, error: TrainError, tokens: Option<usize>) -> TrainError {
        match error {
            TrainError::Tensor(error) if error.to_string().contains(OUT_OF_MEMORY) => {
                let tries = less_memory(&self.config);
                TrainError::Memory { tokens: tokens.unwrap_or_default(), tries }
            }
            other => other,
        }
    }

    /// Asks the device for a step, and waits for nothing but the first step's gradients and other ranks.
    fn begin(&mut self, micro: &[Batch], observer: &mut dyn Observer) -> Result<Begun, TrainError> {
        let ranks = self.ranks.clone();
        // A loss is divided by its weights over all micro-batches and ranks, so they must be known before the first.
        let numbers = self.numbers();
        let mut weights = vec![0.0; numbers.len()];
        let (mut skipped, tokens) = (0, micro.iter().map(Batch::n_tokens).sum::<usize>());
        for head in micro.iter().flat_map(|batch| &batch.heads) {
            weights[numbers[&(head.task, head.head)]] += head.targets.weight();
            if let Targets::Labels { weights, .. } = &head.targets {
                skipped += weights.iter().filter(|&&w| w == 0.0).count();
            }
        }
        weights.extend([skipped as f64, tokens as f64]);
        ranks.sum_f64(&mut weights);
        let n = numbers.len();
        let (skipped, tokens) = (weights[n] as u64, weights[n + 1] as usize);
        self.skipped += skipped;
        let mut grads = Gradients::default();
        let (mut heads, mut scalars) = (Vec::new(), Vec::new());
        for (i, batch) in micro.iter().enumerate() {
            // As if one process went through the micro-batches of all ranks in turn.
            let number = i * ranks.size() + ranks.rank();
            let seed = mix(mix(self.config.seed, self.step), number as u64);
            let mut roots = Vec::new();
            for head in self.model.loss(batch, Some(seed), self.config.label_smoothing)? {
                let number = numbers[&(head.task, head.head)];
                let weight = weights[number].max(f64::MIN_POSITIVE);
                heads.push((number, weight));
                scalars.push(head.sum.tensor().clone());
                let task = &self.model.tasks()[head.task];
                roots.push((head.sum, task.loss_weight * task.heads[head.head].weight / weight));
            }
            grads.add(backward(roots)?)?;
        }
        sum_gradients(ranks.as_ref(), self.model.params(), &mut grads)?;
        if self.step == 0 {
            self.audit(micro, &grads, observer)?;
        }
        let learning_rate = self.config.learning_rate_at(self.step, self.steps);
        scalars.push(self.optimizer.step(self.model.params(), &grads, self.step, learning_rate)?);
        self.step += 1;
        let (step, numbers, bad) = (self.step, Readback::of(&scalars)?, self.bad.total());
        Ok(Begun { step, heads, numbers, learning_rate, tokens, skipped: self.skipped, bad })
    }

    /// Waits for a step, and reads what became of it.
    fn finish(&self, begun: Begun) -> Result<StepReport, TrainError> {
        let Begun { step, heads, numbers, learning_rate, tokens, skipped, bad } = begun;
        let mut numbers = numbers.values()?;
        let grad_norm = numbers.pop().unwrap_or(f64::NAN);
        let outputs: Vec<(String, f64)> =
            self.model.tasks().iter().flat_map(|task| task.loss_weights()).collect();
        let mut sums = vec![0.0; 2 * outputs.len()];
        for ((number, weight), sum) in heads.into_iter().zip(numbers) {
            sums[number] += sum / weight;
            sums[outputs.len() + number] = 1.0;
        }
        self.ranks.sum_f64(&mut sums);
        let (losses, present) = sums.split_at(outputs.len());
        // Only of heads that have an output in a micro-batch.
        let losses: Vec<(&(String, f64), f64)> =
            (0..outputs.len()).filter(|&i| present[i] > 0.0).map(|i| (&outputs[i], losses[i])).collect();
        let loss = losses.iter().map(|((_, weight), loss)| weight * loss).sum();
        if !f64::is_finite(loss) || !grad_norm.is_finite() {
            return Err(TrainError::Diverged { step, loss, grad_norm });
        }
        Ok(StepReport {
            step,
            steps: self.steps,
            loss,
            losses: losses.into_iter().map(|((name, _), loss)| (name.clone(), loss)).collect(),
            learning_rate,
            grad_norm,
            tokens,
            tokens_per_s: 0.0,
            skipped,
            bad,
        })
    }

    /// The number of each head among all heads of all tasks, by task and head.
    fn numbers(&self) -> BTreeMap<(usize, usize), usize> {
        let tasks = self.model.tasks().iter().enumerate();
        tasks.flat_map(|(t, task)| (0..task.heads.len()).map(move |h| (t, h))).zip(0..).collect()
    }

    fn audit(
        &self,
        micro: &[Batch],
        grads: &Gradients,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        let unused: Vec<_> = micro.iter().map(|batch| self.model.unused_parameters(batch)).collect();
        let found = audit(self.model.params(), grads, |name| {
            !self.model.params().is_frozen(name) && unused.iter().any(|unused| !unused.contains(name))
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

/// What to try where memory is short.
fn less_memory(config: &TrainConfig) -> Vec<String> {
    let TrainConfig {
        batch_size: batch,
        batch_tokens,
        gradient_accumulation_steps: accumulate,
        checkpoint_activations,
        ..
    } = *config;
    let checkpointed = "try --set train.checkpoint_activations=true, which is the same step in more time, also with --resume";
    let smaller = match (batch_tokens, batch) {
        (0, 1) => None,
        (0, odd) if odd % 2 == 1 => Some(("batch_size=1".into(), odd * accumulate)),
        (0, even) => Some((format!("batch_size={}", even / 2), 2 * accumulate)),
        (budget, _) => Some((format!("batch_tokens={}", budget / 2), 2 * accumulate)),
    };
    let smaller = smaller.map(|(smaller, accumulate)| {
        format!(
            "in a new run, --set train.{smaller} --set train.gradient_accumulation_steps={accumulate} is a step on as much in \
             smaller parts"
        )
    });
    let checkpointed = (!checkpoint_activations).then(|| checkpointed.to_string());
    let tries: Vec<String> = checkpointed.into_iter().chain(smaller).collect();
    if tries.is_empty() { vec!["a smaller model or shorter inputs take less".into()] } else { tries }
}

/// How the driver says that a GPU's memory is full.
pub(super) const OUT_OF_MEMORY: &str = "OUT_OF_MEMORY";
