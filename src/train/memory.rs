//! The memory that training needs, estimated before any of it is allocated.
//!
//! The estimate leaves out what is small or freed early, so that nothing is refused that works: the measured peak of the
//! presets `text`, `image` and `audio` at several sizes is 1.1 to 1.9 times the estimate, and about 70 MiB for the program.

use super::{TrainConfig, TrainError, TrainTask};
use crate::data::{Batch, collate, shares};
use crate::model::{ModelConfig, Outline};
use crate::pattern::matches;
use candle_core::Device;
use smalti_contract::memory::{self, VARIABLE};

/// Bytes of a parameter, an activation, a gradient or a moment.
const FLOAT: u128 = 4;

/// Samples of a task whose mean length is that of its documents.
const MEASURED: usize = 8;

/// The numbers that training keeps in memory.
struct Estimate {
    /// Weights, gradients, moments and the average of weights.
    state: u128,
    /// What the forward pass of the largest micro-batch keeps for the backward pass.
    activations: u128,
    /// Documents of this micro-batch.
    documents: u128,
    /// Its tokens.
    tokens: u128,
}

/// Checks that a model, its optimizer and a step fit into the memory at hand. Nothing is checked for a GPU.
///
/// # Errors
/// [`TrainError::Memory`], with the numbers and settings that need less.
pub(crate) fn check(
    config: &TrainConfig,
    (model, outline): (&ModelConfig, &Outline),
    tasks: &[TrainTask],
    device: &Device,
) -> Result<(), TrainError> {
    if !device.is_cpu() {
        return Ok(());
    }
    let at_hand = u128::from(memory::at_hand());
    let parameters = outline.count(|_| true);
    let trained = outline.count(|name| !config.freeze.iter().any(|pattern| matches(pattern, name)));
    let averaged = if config.ema_decay > 0.0 { parameters } else { 0 };
    // A gradient and two moments of each trained parameter.
    let state = parameters + averaged + 3 * trained;
    if state * FLOAT > at_hand {
        let largest = outline.largest().map(|(name, shape)| format!(" (the largest, {name}, is {shape:?})"));
        let hint = format!(
            "lower model.d_model, model.n_layers, the context or the vocabulary{}",
            largest.unwrap_or_default()
        );
        return Err(refuse(state, format!("{parameters} parameters with gradients and moments"), hint));
    }
    let estimate = step(config, (model, outline), tasks, state, config.checkpoint_activations);
    if estimate.bytes() <= at_hand {
        return Ok(());
    }
    let Estimate { activations, documents, tokens, .. } = estimate;
    let (of_state, of_step) = (size(state * FLOAT), size(activations * FLOAT));
    let what = format!(
        "{of_state} for {parameters} parameters with gradients and moments, {of_step} for a micro-batch of {documents} \
         documents of {} tokens",
        tokens / documents.max(1)
    );
    let checkpointed = step(config, (model, outline), tasks, state, true);
    let fits = !config.checkpoint_activations && checkpointed.bytes() <= at_hand;
    let checkpoint = fits.then(|| "set train.checkpoint_activations=true".to_string());
    let share = |whole: usize| (at_hand - state * FLOAT) * whole as u128 / (activations * FLOAT).max(1);
    let (setting, most) = match config.batch_tokens {
        0 => ("batch_size", share(config.batch_size)),
        tokens => ("batch_tokens", share(tokens)),
    };
    let smaller = (most > 0 && documents > 1).then(|| format!("lower train.{setting} to {most}"));
    let mut hints: Vec<String> = checkpoint.into_iter().chain(smaller).collect();
    if hints.is_empty() {
        hints.push("lower model.d_model, model.n_layers or the context, or raise patch_size".into());
    }
    Err(refuse(state + activations, what, hints.join(" or ")))
}

/// Checks that the weights of a model fit into the memory at hand. Nothing is checked for a GPU.
///
/// # Errors
/// [`TrainError::Memory`].
pub(crate) fn check_weights(outline: &Outline, device: &Device) -> Result<(), TrainError> {
    let parameters = outline.count(|_| true);
    if !device.is_cpu() || parameters * FLOAT <= u128::from(memory::at_hand()) {
        return Ok(());
    }
    Err(refuse(parameters, format!("{parameters} parameters"), "use a machine with more memory".into()))
}

fn refuse(numbers: u128, what: String, hint: String) -> TrainError {
    let (needed, at_hand) = (size(numbers * FLOAT), size(memory::at_hand().into()));
    TrainError::Memory {
        needed,
        what,
        at_hand,
        hint: format!("{hint} ({VARIABLE}, in MiB, states another amount)"),
    }
}

/// A number of bytes for people.
fn size(bytes: u128) -> String {
    match bytes >> 30 {
        0 => format!("{} MiB", bytes.div_ceil(1 << 20)),
        _ => format!("{:.1} GiB", bytes as f64 / (1_u64 << 30) as f64),
    }
}

impl Estimate {
    fn bytes(&self) -> u128 {
        (self.state + self.activations) * FLOAT
    }
}

/// Estimates a step from the mean length of some samples of each task.
fn step(
    config: &TrainConfig,
    (model, outline): (&ModelConfig, &Outline),
    tasks: &[TrainTask],
    state: u128,
    checkpointed: bool,
) -> Estimate {
    let weights: Vec<f64> = tasks.iter().map(|task| task.weight).collect();
    let mut estimate = Estimate { state, activations: 0, documents: 0, tokens: 0 };
    for (number, n) in shares(config.batch_size, &weights).into_iter().enumerate() {
        let batches = measured(outline, tasks, number);
        let (n, measured) = (n as u128, batches.len().max(1) as u128);
        let numbers = |batch: &Batch| activations(config, model, tasks, batch, checkpointed);
        estimate.activations += n * batches.iter().map(numbers).sum::<u128>() / measured;
        estimate.tokens += n * batches.iter().map(|batch| batch.n_tokens() as u128).sum::<u128>() / measured;
        estimate.documents += n;
    }
    // As many documents as fit, and one that does not.
    if config.batch_tokens > 0 && estimate.tokens > 0 {
        let Estimate { activations, documents, tokens, .. } = estimate;
        let budget = (config.batch_tokens as u128).max(tokens / documents.max(1));
        estimate.activations = activations * budget / tokens;
        estimate.documents = (documents * budget / tokens).max(1);
        estimate.tokens = budget;
    }
    estimate
}

/// Some samples of a task, spread evenly, each collated. Those that cannot be read are left out: training reports them.
fn measured(outline: &Outline, tasks: &[TrainTask], number: usize) -> Vec<Batch> {
    let dataset = &tasks[number].train;
    let n = dataset.len().min(MEASURED);
    let places = (0..n).map(|place| place * (dataset.len() / n));
    let samples = places.filter_map(|place| dataset.sample(place, None).ok());
    samples.filter_map(|sample| collate(outline.layouts(), &[(number, sample)]).ok()).collect()
}

/// The numbers that the forward pass of a batch keeps for the backward pass.
fn activations(
    config: &TrainConfig,
    model: &ModelConfig,
    tasks: &[TrainTask],
    batch: &Batch,
    checkpointed: bool,
) -> u128 {
    let heads = model.heads(0);
    let (d_model, d_head) = (model.d_model as u128, model.d_head() as u128);
    let d_attention = (heads.n_heads + heads.n_kv_heads) as u128 * d_head;
    let maps = if model.mlp.gated { 3 } else { 1 };
    // Both norms and both sums; queries, keys, values and heads; the MLP's hidden layer.
    let of_block = 4 * d_model + 2 * d_attention + maps * model.d_ff() as u128;
    let of_cross = if batch.encoder.is_some() { 2 * d_model } else { 0 };
    let tokens = batch.main.meta.len() as u128;
    let encoder = batch.encoder.as_ref().map_or(0, |encoder| encoder.meta.len()) as u128;
    let (n_layers, n_encoder) = (model.n_layers as u128, model.n_encoder_layers as u128);
    let blocks = match (checkpointed, config.freeze.is_empty()) {
        // The last block computes only the rows that heads read.
        (false, true) => {
            let read = batch.read_rows().rows().len() as u128;
            (tokens * (n_layers - 1) + read) * (of_block + of_cross) + encoder * n_encoder * of_block
        }
        (true, true) => (tokens * n_layers + encoder * n_encoder) * d_model + tokens.max(encoder) * of_block,
        // Blocks below the first trained parameter keep nothing.
        (_, false) => 0,
    };
    // The output and its gradient.
    let outputs = batch.heads.iter().map(|read| {
        let width = tasks[read.task].task.spec().heads[read.head].head.width();
        2 * read.rows.len() as u128 * width as u128
    });
    blocks + outputs.sum::<u128>()
}
