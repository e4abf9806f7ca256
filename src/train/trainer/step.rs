//! One step: micro-batches, gradients, optimizer, report.

use super::load::StepLoad;
use super::{Observer, StepReport, Trainer};
use crate::data::{Batch, HeadBatch, Targets};
use crate::model::Routing;
use crate::ops::cpu::awake::Awake;
use crate::ops::{Gradients, Readback, backward};
use crate::random::mix;
use crate::train::{TrainConfig, TrainError, audit, ranks::all_reduce_gradients};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A step that is launched on the device, whose results are not yet read back.
pub(super) struct LaunchedStep {
    /// The number of the step, from 1.
    step: u64,
    /// For each head of each micro-batch, its number among all heads of all tasks and its weight.
    heads: Vec<(usize, f64)>,
    /// The load of experts, of this rank.
    load: StepLoad,
    /// The loss of each of these heads, the load-balance loss if there are experts, and the gradient norm; `None` for a step in
    /// which no target counts.
    numbers: Option<Readback>,
    epoch: Option<f64>,
    learning_rate: f64,
    /// Tokens of all ranks.
    tokens: usize,
    skipped: u64,
    corrupt: u64,
}

impl Trainer {
    /// One optimizer step on these micro-batches, and a report whose `tokens_per_s` is 0.
    ///
    /// On a CPU, the report is that of this step. On a GPU, this step is launched before synchronizing with the previous one,
    /// and the report is that of the previous step, if there is one.
    ///
    /// # Errors
    /// [`TrainError::Gradient`] if the audit of the first step fails, [`TrainError::OutOfMemory`] with hints,
    /// [`TrainError::Diverged`] of the reported step, and [`TrainError::Ranks`] if another rank has failed.
    pub fn train_step(
        &mut self,
        micro: &[Batch],
        observer: &mut dyn Observer,
    ) -> Result<Option<StepReport>, TrainError> {
        let awake = Awake::on(self.model.device());
        let launched = self.launch(micro, observer);
        drop(awake);
        let launched =
            launched.map_err(|error| self.explain(error, micro.iter().map(Batch::n_tokens).max()))?;
        let reported = match self.async_launch {
            true => self.launched.replace(launched),
            false => Some(launched),
        };
        let report = reported.map(|step| self.read_back(step)).transpose();
        if report.is_err() {
            self.launched = None; // this step starts from the weights of the step that failed
        }
        report
    }

    /// Waits for the last launched step; its report, if `train_step` has not returned it.
    ///
    /// # Errors
    /// [`TrainError::Diverged`], and if the device or another rank has failed.
    pub fn synchronize(&mut self) -> Result<Option<StepReport>, TrainError> {
        self.launched.take().map(|step| self.read_back(step)).transpose()
    }

    /// Starts to copy the features of the next step's micro-batches to the GPU.
    ///
    /// # Errors
    /// If memory is short.
    pub fn prefetch(&mut self, micro: &[Batch]) -> Result<(), TrainError> {
        let tokens = micro.iter().map(Batch::n_tokens).max();
        self.prefetcher.prefetch(micro).map_err(|error| self.explain(error.into(), tokens))
    }

    /// The error, with hints if the GPU is out of memory.
    pub(super) fn explain(&self, error: TrainError, tokens: Option<usize>) -> TrainError {
        match &error {
            TrainError::Tensor(_) | TrainError::Ranks(_) if error.to_string().contains(OUT_OF_MEMORY) => {
                let hints = memory_hints(&self.config);
                TrainError::OutOfMemory { tokens: tokens.unwrap_or_default(), hints }
            }
            _ => error,
        }
    }

    /// Launches a step without synchronizing with the device, except for the audit of the first step and for other ranks.
    fn launch(&mut self, micro: &[Batch], observer: &mut dyn Observer) -> Result<LaunchedStep, TrainError> {
        let ranks = self.ranks.clone();
        // A loss is divided by its weights over all micro-batches and ranks, so the sum of weights comes first.
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
        ranks.all_reduce_f64(&mut weights)?;
        let n = numbers.len();
        let (skipped, tokens) = (weights[n] as u64, weights[n + 1] as usize);
        self.skipped += skipped;
        weights.truncate(n);
        let tasks = self.model.tasks();
        let lacks_targets = |task: usize, head: usize| {
            tasks[task].heads[head].is_trained() && weights[numbers[&(task, head)]] == 0.0
        };
        let counted = with_targets(micro, |read| !lacks_targets(read.task, read.head));
        let micro = &*counted;
        let is_empty = numbers
            .keys()
            .all(|&(task, head)| lacks_targets(task, head) || !tasks[task].heads[head].is_trained());
        let mut grads = Gradients::default();
        let (mut heads, mut scalars, mut routings) = (Vec::new(), Vec::new(), Vec::new());
        for (i, batch) in micro.iter().enumerate() {
            // The dropout seeds of one process that accumulates the micro-batches of all ranks in turn.
            let number = i * ranks.world_size() + ranks.rank();
            let seed = mix(mix(self.config.seed, self.step), number as u64);
            let mut roots = Vec::new();
            let routing = self.model.routing(batch.n_tokens() as f64 / tokens.max(1) as f64);
            let smoothing = self.config.label_smoothing;
            for head in self.model.loss_with_routing(batch, Some(seed), smoothing, routing.as_ref())? {
                let number = numbers[&(head.task, head.head)];
                let weight = weights[number];
                heads.push((number, weight));
                scalars.push(head.sum.tensor().clone());
                let task = &self.model.tasks()[head.task];
                roots.push((head.sum, task.loss_weight * task.heads[head.head].weight / weight));
            }
            grads.add(backward(roots)?)?;
            routings.push(routing);
        }
        let load = StepLoad::new(&self.model, routings.iter().flatten())?;
        scalars.extend(load.loss().cloned());
        let (epoch, learning_rate) = (self.epoch(), self.learning_rate());
        let numbers = match is_empty {
            true => None,
            false => {
                all_reduce_gradients(ranks.as_ref(), self.model.params(), &mut grads)?;
                if !std::mem::replace(&mut self.audited, true) {
                    self.audit(micro, &routings, &grads, observer)?;
                }
                if self.is_due(self.step + 1, self.config.eval_every) {
                    observer.gradients(self.step + 1, self.model.params(), &grads)?;
                }
                scalars.push(self.optimizer.step(self.model.params(), &grads, self.step, learning_rate)?);
                Some(Readback::of(&scalars)?)
            }
        };
        self.step += 1;
        let (step, skipped, corrupt) = (self.step, self.skipped, self.corrupt.total());
        Ok(LaunchedStep { step, heads, load, numbers, epoch, learning_rate, tokens, skipped, corrupt })
    }

    /// Waits for a step, and reads its losses and gradient norm back from the device.
    fn read_back(&mut self, launched: LaunchedStep) -> Result<StepReport, TrainError> {
        let LaunchedStep { step, heads, load, numbers, epoch, learning_rate, tokens, skipped, corrupt } =
            launched;
        let is_empty = numbers.is_none();
        let mut numbers = numbers.map_or_else(|| Ok(vec![]), Readback::values)?;
        let grad_norm = numbers.pop().unwrap_or(f64::NAN);
        let load = load.reduce(&mut numbers, self.ranks.as_ref())?;
        let outputs: Vec<(String, f64)> =
            self.model.tasks().iter().flat_map(|task| task.loss_weights()).collect();
        let mut sums = vec![0.0; 2 * outputs.len()];
        for ((number, weight), sum) in heads.into_iter().zip(numbers) {
            sums[number] += sum / weight;
            sums[outputs.len() + number] = 1.0;
        }
        self.ranks.all_reduce_f64(&mut sums)?;
        let (losses, present) = sums.split_at(outputs.len());
        // Heads without an output in any micro-batch have no loss.
        let losses: Vec<(&(String, f64), f64)> =
            (0..outputs.len()).filter(|&i| present[i] > 0.0).map(|i| (&outputs[i], losses[i])).collect();
        let loss = losses.iter().map(|((_, weight), loss)| weight * loss).sum::<f64>() + load.weighted;
        if !is_empty && (!loss.is_finite() || !grad_norm.is_finite()) {
            return Err(TrainError::Diverged { step, loss, grad_norm });
        }
        self.watch.empty_steps += u64::from(is_empty);
        let warning = if is_empty { None } else { self.watch.add(step, loss) };
        Ok(StepReport {
            step,
            steps: self.steps,
            epoch,
            loss: if is_empty { f64::NAN } else { loss },
            losses: losses.into_iter().map(|((name, _), loss)| (name.clone(), loss)).collect(),
            load_balance: load.load_balance,
            load: load.shares,
            learning_rate,
            grad_norm,
            tokens,
            tokens_per_s: 0.0,
            skipped,
            empty_steps: self.watch.empty_steps,
            corrupt,
            warning,
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
        routings: &[Option<Arc<Routing>>],
        grads: &Gradients,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        let unused = micro.iter().zip(routings).map(|(batch, routing)| {
            let mut unused = self.model.unused_parameters(batch);
            unused.extend(routing.iter().flat_map(|routing| self.model.unreached_experts(routing)));
            unused
        });
        let unused: Vec<_> = unused.collect();
        let found = audit(self.model.params(), grads, |name| {
            !self.model.params().is_frozen(name) && unused.iter().any(|unused| !unused.contains(name))
        })?;
        if !found.unreached.is_empty() {
            let problem = "these parameters are unreached (without a gradient)";
            return Err(TrainError::Gradient { problem, names: found.unreached });
        }
        if !found.not_finite.is_empty() {
            let problem = "the gradients of these parameters are not finite";
            return Err(TrainError::Gradient { problem, names: found.not_finite });
        }
        if !found.zero.is_empty() {
            observer.note(&format!(
                "the first gradient of {} is all zero",
                smalti_contract::listed(found.zero, ", ")
            ));
        }
        Ok(())
    }
}

/// The micro-batches without the heads of which no target counts on any rank: their loss has no mean.
fn with_targets(micro: &[Batch], counts: impl Fn(&HeadBatch) -> bool) -> Cow<'_, [Batch]> {
    if micro.iter().flat_map(|batch| &batch.heads).all(&counts) {
        return micro.into();
    }
    let mut micro = micro.to_vec();
    micro.iter_mut().for_each(|batch| batch.heads.retain(&counts));
    micro.into()
}

/// Settings that need less memory.
fn memory_hints(config: &TrainConfig) -> Vec<String> {
    let TrainConfig {
        batch_size: batch,
        batch_tokens,
        gradient_accumulation_steps: accumulate,
        checkpoint_activations,
        ..
    } = *config;
    let checkpointed =
        "try --set train.checkpoint_activations=true, for the same step in more time, also with --resume";
    let smaller_batch = match (batch_tokens, batch) {
        (0, 1) => None,
        (0, odd) if odd % 2 == 1 => Some(("batch_size=1".into(), odd * accumulate)),
        (0, even) => Some((format!("batch_size={}", even / 2), 2 * accumulate)),
        (budget, _) => Some((format!("batch_tokens={}", budget / 2), 2 * accumulate)),
    };
    let smaller_batch = smaller_batch.map(|(smaller, accumulate)| {
        format!(
            "in a new run, --set train.{smaller} --set train.gradient_accumulation_steps={accumulate} takes the same step in \
             smaller micro-batches"
        )
    });
    let checkpointed = (!checkpoint_activations).then(|| checkpointed.to_string());
    let hints: Vec<String> = checkpointed.into_iter().chain(smaller_batch).collect();
    if hints.is_empty() { vec!["use a smaller model or shorter inputs".into()] } else { hints }
}

/// Part of the driver's error if the GPU is out of memory.
pub(super) const OUT_OF_MEMORY: &str = "OUT_OF_MEMORY";
