//! Speed of inference: text token by token, images in batches, one action at a time.

use super::loads::{IMAGE_TINY, TEXT_CHAR, TRAJECTORY};
use super::{BenchError, Load, median};
use crate::data::{Dataset, Sample, Stream, Target, collate};
use crate::model::Model;
use crate::ops::QuantizedType;
use candle_core::Device;
use serde::Serialize;
use smalti_contract::{Content, Group, Tokens};
use std::time::Instant;

/// The speed of one kind of prediction.
#[derive(Clone, Debug, Serialize)]
pub struct Inference {
    /// The kind of prediction, and the load.
    pub what: String,
    /// Parameters of the model.
    pub parameters: usize,
    /// The unit of the count: tokens, images or actions.
    pub unit: &'static str,
    /// Units in a second, at the median.
    pub per_s: f64,
    /// The fewest MiB of parameters and of cached keys and values that a unit reads.
    pub mib_read: f64,
    /// The rate of those reads as a share of the memory's. Near or above 1, memory, or the cache that holds a part of the
    /// model, bounds the speed.
    pub share_of_bandwidth: Option<f64>,
}

/// Measure inference: generation with a key-value cache at text-char's size, batch 1, on the CPU also with weights of 8 and of 4
/// bits, and of 8 texts at once; classification at image-tiny's, in its batches; the next action at trajectory's, batch 1. `bandwidth` is [`read_rate`](super::read_rate) if the device is
/// the CPU.
///
/// # Errors
/// If an operation fails.
pub fn inference(bandwidth: Option<f64>, device: &Device) -> Result<Vec<Inference>, BenchError> {
    let types = match device.is_cpu() {
        true => &[None, Some(QuantizedType::Int8), Some(QuantizedType::Int4)][..],
        false => &[None],
    };
    let generated = types.iter().map(|dtype| generate(&TEXT_CHAR, *dtype, 1, bandwidth, device));
    let mut measured = generated.collect::<Result<Vec<_>, _>>()?;
    measured.push(generate(&TEXT_CHAR, None, 8, bandwidth, device)?);
    measured.push(predict(&IMAGE_TINY, IMAGE_TINY.batch, "images", 10, bandwidth, device)?);
    measured.push(predict(&TRAJECTORY, 1, "actions", 300, bandwidth, device)?);
    Ok(measured)
}

const MIB: f64 = (1 << 20) as f64;

/// Tokens of one text; text-char's context has 256.
const TOKENS: usize = 200;

fn generate(
    load: &Load,
    dtype: Option<QuantizedType>,
    texts: usize,
    bandwidth: Option<f64>,
    device: &Device,
) -> Result<Inference, BenchError> {
    let (model, _) = load.model_in(device, dtype)?;
    let mut seconds = Vec::new();
    for _ in 0..6 {
        let started = Instant::now();
        generate_texts(&model, texts)?;
        seconds.push(started.elapsed().as_secs_f64() / (texts * TOKENS) as f64);
    }
    seconds.remove(0); // the first run fills caches
    let config = model.config();
    let cached = 2 * config.d_model * config.n_layers * TOKENS / 2;
    let what = match (dtype, texts) {
        (None, 1) => format!("generate {}", load.name),
        (None, texts) => format!("generate {} {texts} texts", load.name),
        (Some(dtype), _) => format!("generate {} {dtype}", load.name),
    };
    let read = model.params().bytes() as f64 / texts as f64 + 4.0 * cached as f64;
    Ok(inference_of(what, &model, "tokens", median(seconds), read, bandwidth))
}

/// Generates texts greedily, as `smalti generate` with temperature 0.
fn generate_texts(model: &Model, texts: usize) -> Result<(), BenchError> {
    let mut cache = model.cache();
    let mut ids: Vec<u32> = (0..texts as u32).collect();
    for place in 0..TOKENS as u32 {
        let sample = |id: &u32| {
            let group = Group {
                content: Content::Ids(vec![*id]),
                positions: vec![place],
                order: vec![place],
                time: vec![place],
            };
            let inputs = vec![(Stream::Main, Tokens::new(vec![group]))];
            (0, Sample { inputs, outputs: vec![Target::Unknown.into()], id: 0 })
        };
        let samples: Vec<(usize, Sample)> = ids.iter().map(sample).collect();
        let logits = model.step(&collate(model.layouts(), &samples)?, &mut cache)?.remove(0);
        ids = logits.argmax(1)?.to_vec1()?;
    }
    Ok(())
}

/// Measures all outputs of a batch of whole samples, collation included.
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
    let read = model.params().bytes() as f64 / batch as f64;
    Ok(inference_of(format!("predict {}", load.name), &model, unit, median(seconds), read, bandwidth))
}

fn inference_of(
    what: String,
    model: &Model,
    unit: &'static str,
    seconds: f64,
    read: f64,
    bandwidth: Option<f64>,
) -> Inference {
    Inference {
        what,
        parameters: model.params().count(),
        unit,
        per_s: 1.0 / seconds,
        mib_read: read / MIB,
        share_of_bandwidth: bandwidth.map(|bandwidth| read / seconds / bandwidth),
    }
}
