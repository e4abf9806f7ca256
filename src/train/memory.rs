//! The memory that training needs, estimated before any of it is allocated.
//!
//! The estimate leaves out what is small or freed early, so that nothing is refused that works: the measured peak of the
//! presets `text`, `image` and `audio` at several sizes is 1.1 to 2.4 times the estimate, and about 70 MiB for the program.

use super::{TrainConfig, TrainError, TrainTask};
use crate::data::{Batch, collate, shares};
use crate::model::{ModelConfig, Outline, Sublayers};
use crate::ops::QuantizedType;
use crate::pattern::matches;
use candle_core::Device;
use smalti_contract::memory::{self, VARIABLE};

/// Bytes of a parameter, its gradient or a moment.
const FLOAT: u128 = 4;

/// Samples of a task whose mean length is that of its documents.
const MEASURED: usize = 8;
/// How much longer than a task's first sample its documents may be on average without being measured.
const SPREAD: u128 = 16;

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
    let state = FLOAT * (parameters + averaged + 3 * trained);
    let of_state = format!("{parameters} parameters with gradients and moments");
    if state > at_hand {
        let largest = outline.largest().map(|(name, shape)| format!(" (the largest, {name}, is {shape:?})"));
        let hint = format!(
            "lower model.d_model, model.n_layers, the context or the vocabulary{}",
            largest.unwrap_or_default()
        );
        return Err(refuse(state, of_state, hint));
    }
    let left = at_hand - state;
    let of = |samples| Step { config, model, tasks, batches: measured(outline, tasks, samples) };
    // One sample tells that a small step fits; the others are not so much longer on average.
    if of(1).micro_batch(config.checkpoint_activations).bytes * SPREAD <= left {
        return Ok(());
    }
    let step = of(MEASURED);
    let micro = step.micro_batch(config.checkpoint_activations);
    if micro.bytes <= left {
        return Ok(());
    }
    let (size_of_state, of_step) = (size(state), size(micro.bytes));
    let (documents, length) = (micro.documents, micro.tokens / micro.documents.max(1));
    let what = format!(
        "{size_of_state} for {of_state}, {of_step} for a micro-batch of {documents} documents of {length} tokens"
    );
    Err(refuse(state + micro.bytes, what, step.hint(&micro, left)))
}

/// Checks that the weights of a model fit into the memory at hand. Nothing is checked for a GPU.
///
/// # Errors
/// [`TrainError::Memory`].
pub(crate) fn check_weights(
    outline: &Outline,
    device: &Device,
    quantized: Option<QuantizedType>,
) -> Result<(), TrainError> {
    let parameters = outline.count(|_| true);
    let bits = match quantized {
        None => 32,
        Some(QuantizedType::Int8) => 8,
        Some(QuantizedType::Int4) => 5,
    };
    let bytes = parameters * bits / 8;
    if !device.is_cpu() || bytes <= u128::from(memory::at_hand()) {
        return Ok(());
    }
    let hint = "use a machine with more memory".into();
    Err(refuse(bytes, format!("{parameters} parameters"), hint))
}

fn refuse(bytes: u128, what: String, hint: String) -> TrainError {
    let hint = format!("{hint} ({VARIABLE}, in MiB, states another amount)");
    let (needed, at_hand) = (size(bytes), size(memory::at_hand().into()));
    TrainError::Memory(format!(
        "training needs about {needed} of memory ({what}); {at_hand} are at hand: {hint}"
    ))
}

/// A number of bytes for people.
fn size(bytes: u128) -> String {
    match bytes >> 30 {
        0 => format!("{} MiB", bytes.div_ceil(1 << 20)),
        _ => format!("{:.1} GiB", bytes as f64 / (1_u64 << 30) as f64),
    }
}

/// Some samples of each task, spread evenly, each collated. Those that cannot be read are left out: training reports them.
fn measured(outline: &Outline, tasks: &[TrainTask], samples: usize) -> Vec<Vec<Batch>> {
    let of_task = |(number, task): (usize, &TrainTask)| {
        let n = task.train.len().min(samples);
        let places = (0..n).map(|place| place * (task.train.len() / n));
        let samples = places.filter_map(|place| task.train.sample(place, None).ok());
        samples.filter_map(|sample| collate(outline.layouts(), &[(number, sample)]).ok()).collect()
    };
    tasks.iter().enumerate().map(of_task).collect()
}

/// A step, and samples of each task whose mean is that of its documents.
struct Step<'a> {
    config: &'a TrainConfig,
    model: &'a ModelConfig,
    tasks: &'a [TrainTask],
    batches: Vec<Vec<Batch>>,
}

/// The estimate of a micro-batch.
struct MicroBatch {
    /// What its forward pass keeps for the backward pass.
    bytes: u128,
    documents: u128,
    tokens: u128,
}

impl Step<'_> {
    /// A micro-batch, with activation checkpointing or without.
    fn micro_batch(&self, checkpointed: bool) -> MicroBatch {
        let weights: Vec<f64> = self.tasks.iter().map(|task| task.weight).collect();
        let number = self.config.precision.dtype().size_in_bytes() as u128;
        let mut micro = MicroBatch { bytes: 0, documents: 0, tokens: 0 };
        for (batches, n) in self.batches.iter().zip(shares(self.config.batch_size, &weights)) {
            let (n, measured) = (n as u128, batches.len().max(1) as u128);
            let bytes = batches.iter().map(|batch| number * self.activations(batch, checkpointed));
            let tokens = batches.iter().map(|batch| batch.n_tokens() as u128);
            micro.bytes += n * bytes.sum::<u128>() / measured;
            micro.tokens += n * tokens.sum::<u128>() / measured;
            micro.documents += n;
        }
        let MicroBatch { bytes, documents, tokens } = micro;
        match self.config.batch_tokens as u128 {
            budget if budget > 0 && tokens > 0 => {
                // As many documents as fit, and at least one.
                let budget = budget.max(tokens / documents.max(1));
                let documents = (documents * budget / tokens).max(1);
                MicroBatch { bytes: bytes * budget / tokens, documents, tokens: budget }
            }
            _ => micro,
        }
    }

    /// The numbers that the forward pass of a batch keeps for the backward pass.
    fn activations(&self, batch: &Batch, checkpointed: bool) -> u128 {
        let model = self.model;
        let heads = model.heads(0);
        let (d_model, d_head) = (model.d_model as u128, model.d_head() as u128);
        let d_attention = (heads.n_heads + heads.n_kv_heads) as u128 * d_head;
        let maps = if model.mlp.gated { 3 } else { 1 };
        let mlps = model.mlp.experts_per_token as u128;
        // The rows of experts: gathered, their outputs, and these times their gates.
        let of_experts = if model.mlp.experts > 0 { 3 * mlps * d_model } else { 0 };
        // Both norms and both sums; queries, keys, values and heads; the MLP's hidden layer.
        let of_mlp = match model.sublayers {
            Sublayers::AttentionOnly => 0,
            _ => mlps * maps * model.d_ff() as u128 + of_experts,
        };
        let of_block = 4 * d_model + 2 * d_attention + of_mlp;
        let of_cross = if batch.encoder.is_some() { 2 * d_model } else { 0 };
        let tokens = batch.main.meta.len() as u128;
        let encoder = batch.encoder.as_ref().map_or(0, |encoder| encoder.meta.len()) as u128;
        let (n_layers, n_encoder) = (model.n_layers as u128, model.n_encoder_layers as u128);
        let blocks = match (checkpointed, self.config.freeze.is_empty()) {
            // The last block computes only the rows that heads read.
            (false, true) => {
                let read = batch.read_rows().rows().len() as u128;
                (tokens * (n_layers - 1) + read) * (of_block + of_cross) + encoder * n_encoder * of_block
            }
            (true, true) => {
                (tokens * n_layers + encoder * n_encoder) * d_model + tokens.max(encoder) * of_block
            }
            // Blocks below the first trained parameter keep nothing.
            (_, false) => 0,
        };
        // The output and its gradient.
        let outputs = batch.heads.iter().map(|read| {
            let width = self.tasks[read.task].task.spec().heads[read.head].head.width();
            2 * read.rows.len() as u128 * width as u128
        });
        blocks + outputs.sum::<u128>()
    }

    /// The settings with which a step would fit into `left` bytes.
    fn hint(&self, micro: &MicroBatch, left: u128) -> String {
        let config = self.config;
        let fits = !config.checkpoint_activations && self.micro_batch(true).bytes <= left;
        let checkpointed = fits.then(|| "set train.checkpoint_activations=true".to_string());
        let (setting, whole) = match config.batch_tokens {
            0 => ("batch_size", config.batch_size),
            tokens => ("batch_tokens", tokens),
        };
        let most = left * whole as u128 / micro.bytes.max(1);
        let smaller = (most > 0 && micro.documents > 1).then(|| format!("lower train.{setting} to {most}"));
        let hints: Vec<String> = checkpointed.into_iter().chain(smaller).collect();
        match hints.is_empty() {
            true => "lower model.d_model, model.n_layers or the context, or raise patch_size".into(),
            false => hints.join(" or "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit() {
        assert_eq!([1, 64 << 20, 3 << 29].map(size), ["1 MiB", "64 MiB", "1.5 GiB"]);
    }
}
