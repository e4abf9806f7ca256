//! Predictions: text token by token, images in batches, one action at a time.

use super::loads::{IMAGE_TINY, TEXT_CHAR, TRAJECTORY};
use super::{BenchError, Load, median};
use crate::data::{Dataset, Sample, Stream, Target, collate};
use crate::model::Model;
use candle_core::Device;
use serde::Serialize;
use smalti_contract::{Content, Group, Tokens};
use std::time::Instant;

/// What one kind of prediction took.
#[derive(Clone, Debug, Serialize)]
pub struct Inference {
    /// What is predicted, of which load's size.
    pub what: String,
    /// Parameters of the model.
    pub parameters: usize,
    /// What is counted: tokens, images, actions.
    pub unit: &'static str,
    /// How many of them in a second, at the median.
    pub per_s: f64,
    /// Bytes of parameters, and of kept keys and values, that one of them reads at least, in MiB; all are `f32`.
    pub mib_read: f64,
    /// The rate at which those are read over that of memory: near or above 1, nothing but memory, or the cache that
    /// holds a part of the model, bounds the speed.
    pub share_of_bandwidth: Option<f64>,
}

/// Generation with kept keys and values at text-char's size, batch 1; classification at image-tiny's, in its batches;
/// the next action at trajectory's, batch 1. `bandwidth` is [`read_rate`](super::read_rate), where the
/// device is the CPU.
///
/// # Errors
/// Where the device refuses.
pub fn inference(bandwidth: Option<f64>, device: &Device) -> Result<Vec<Inference>, BenchError> {
    Ok(vec![
        generate(&TEXT_CHAR, bandwidth, device)?,
        predict(&IMAGE_TINY, IMAGE_TINY.batch, "images", 10, bandwidth, device)?,
        predict(&TRAJECTORY, 1, "actions", 300, bandwidth, device)?,
    ])
}

const MIB: f64 = (1 << 20) as f64;

/// Tokens that one text has, of the 256 that text-char's context holds.
const TOKENS: usize = 200;

fn generate(load: &Load, bandwidth: Option<f64>, device: &Device) -> Result<Inference, BenchError> {
    let (model, _) = load.model(device)?;
    let mut seconds = Vec::new();
    for _ in 0..6 {
        let started = Instant::now();
        write_text(&model)?;
        seconds.push(started.elapsed().as_secs_f64() / TOKENS as f64);
    }
    seconds.remove(0); // fills caches
    let config = model.config();
    let kept = 2 * config.d_model * config.n_layers * TOKENS / 2;
    Ok(inference_of("generate", load, &model, "tokens", median(seconds), (1, kept), bandwidth))
}

/// The likeliest token, again and again, as `generate` writes it.
fn write_text(model: &Model) -> Result<(), BenchError> {
    let mut cache = model.cache();
    let mut id = 0;
    for place in 0..TOKENS as u32 {
        let group = Group {
            content: Content::Ids(vec![id]),
            positions: vec![place],
            order: vec![place],
            time: vec![place],
        };
        let inputs = vec![(Stream::Main, Tokens::new(vec![group]))];
        let sample = Sample { inputs, outputs: vec![Target::Unknown.into()], id: 0 };
        let logits = model.step(&collate(model.layouts(), &[(0, sample)])?, &mut cache)?.remove(0);
        id = logits.get(0)?.argmax(0)?.to_scalar()?;
    }
    Ok(())
}

/// All outputs of a batch of whole samples, the samples' collation included.
fn predict(
    load: &Load,
    batch: usize,
    unit: &'static str,
    repeats: usize,
    bandwidth: Option<f64>,
    device: &Device,
) -> Result<Inference, BenchError> {
    let (model, _) = load.model(device)?;
    let samples =
        (0..batch).map(|i| Ok((0, load.sample(i, None)?))).collect::<Result<Vec<_>, BenchError>>()?;
    let mut seconds = Vec::new();
    for _ in 0..repeats + 1 {
        let started = Instant::now();
        model.outputs(&collate(model.layouts(), &samples)?)?;
        seconds.push(started.elapsed().as_secs_f64() / batch as f64);
    }
    seconds.remove(0);
    Ok(inference_of("predict", load, &model, unit, median(seconds), (batch, 0), bandwidth))
}

fn inference_of(
    what: &str,
    load: &Load,
    model: &Model,
    unit: &'static str,
    seconds: f64,
    (batch, kept): (usize, usize),
    bandwidth: Option<f64>,
) -> Inference {
    let parameters = model.params().count();
    let read = 4.0 * (parameters as f64 / batch as f64 + kept as f64);
    Inference {
        what: format!("{what} {}", load.name),
        parameters,
        unit,
        per_s: 1.0 / seconds,
        mib_read: read / MIB,
        share_of_bandwidth: bandwidth.map(|bandwidth| read / seconds / bandwidth),
    }
}
