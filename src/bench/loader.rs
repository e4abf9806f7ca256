//! Speed of the data loader, from images on disk to batches, relative to the speed of training.

use super::loads::IMAGE_TINY;
use super::{BenchError, median, standard_images};
use crate::data::{Dataset, Lane, Loader, Plan, Sampler};
use crate::model::Model;
use crate::registry::Modalities;
use crate::sample::{Composition, Opened, Start};
use crate::task::Task;
use crate::train::{TrainConfig, TrainError};
use candle_core::Device;
use serde::Serialize;
use std::sync::Arc;
use std::time::Instant;

/// The speed of a loader.
#[derive(Clone, Debug, Serialize)]
pub struct Loading {
    /// Size of the shuffle buffer, in samples; 0 for the whole epoch.
    pub shuffle: usize,
    /// Threads that read and tokenize.
    pub workers: usize,
    /// Samples in a second, the median of several measurements of a second each.
    pub samples_per_s: f64,
    /// The same, relative to the samples in a second that training consumes.
    pub times_training: f64,
    /// Time to the first batch of the first step, in milliseconds.
    pub first_ms: f64,
    /// Time to the first batch of a step in the middle of the thousandth epoch, in milliseconds.
    pub resumed_ms: f64,
}

/// Number of shards.
const SHARDS: usize = 8;
/// Images in a shard.
const EACH: usize = 2_500;
/// Measurements, of a second each.
const MEASUREMENTS: usize = 5;

/// Measure the loader of training, from JPEGs of 32×32 pixels in shards on disk to batches of image-tiny's size. Also
/// returns the samples in a second that training of image-tiny consumes, from the median of `steps` steps.
///
/// # Errors
/// If files cannot be written, or an operation fails.
pub fn loading(steps: u64, device: &Device) -> Result<(f64, Vec<Loading>), BenchError> {
    let config = TrainConfig { max_steps: steps, ..TrainConfig::default() };
    let consumed = 1e3 * IMAGE_TINY.batch as f64 / IMAGE_TINY.measure(&config, None, device)?.step_ms;
    let folder = tempfile::tempdir()?;
    let settings = standard_images(folder.path(), SHARDS, EACH)?;
    let Opened { task, train, .. } =
        Composition::open(("", 1.0), &settings, &Modalities::builtin(), Start::New)?;
    let model = Model::new(&Default::default(), &[task.spec().clone()], 0, device)?;
    let start = |shuffle, workers, step: u64| {
        let lane = Lane { task: 0, first: 0, samples: train.len(), share: IMAGE_TINY.batch };
        let draw = step * IMAGE_TINY.batch as u64;
        let plan = Plan { steps: step..u64::MAX, draw, accumulate: 1, tokens: None, workers };
        let datasets: Vec<Arc<dyn Dataset>> = vec![train.clone()];
        Loader::new(model.layouts().to_vec(), datasets, Sampler::new(0, vec![lane], shuffle), plan)
    };
    let first = |shuffle, workers, step| -> Result<f64, BenchError> {
        let started = Instant::now();
        start(shuffle, workers, step).next().transpose().map_err(TrainError::from)?;
        Ok(1e3 * started.elapsed().as_secs_f64())
    };
    let middle = (999.5 * train.len() as f64 / IMAGE_TINY.batch as f64) as u64;
    let mut all = Vec::new();
    for (shuffle, workers) in [(0, 1), (0, 2), (4_096, 2)] {
        let mut loader = start(shuffle, workers, 0);
        let mut rates = Vec::new();
        for _ in 0..=MEASUREMENTS {
            let (started, mut samples) = (Instant::now(), 0);
            while started.elapsed().as_secs_f64() < 1.0 {
                let Some(step) = loader.next() else { break };
                samples += step.map_err(TrainError::from)?.micro[0].n_documents();
            }
            rates.push(samples as f64 / started.elapsed().as_secs_f64());
        }
        rates.remove(0); // the first measurement fills caches
        let samples_per_s = median(rates);
        all.push(Loading {
            shuffle,
            workers,
            samples_per_s,
            times_training: samples_per_s / consumed,
            first_ms: first(shuffle, workers, 0)?,
            resumed_ms: first(shuffle, workers, middle)?,
        });
    }
    Ok((consumed, all))
}
