//! Training steps, data to optimizer, through the trainer that `train` uses.

use super::{BenchError, Load, machine::peak_memory, median};
use crate::data::{Batch, Dataset};
use crate::model::Model;
use crate::train::{Part, Silent, TrainConfig, TrainError, Trainer};
use candle_core::Device;
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Instant};

/// What a load took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// The load's name.
    pub load: String,
    /// Parameters of the model.
    pub parameters: usize,
    /// Tokens in a step.
    pub tokens: usize,
    /// Median of the steps' times in milliseconds, data to optimizer.
    pub step_ms: f64,
    /// Tokens in a second at the median step.
    pub tokens_per_s: f64,
    /// Billions of operations of the mathematics in a second: the stack's maps and the pairs in sight, forward and
    /// backward. What is computed twice counts once.
    pub gflop_per_s: f64,
    /// Billions of operations in a second of a large matrix product, where it was measured.
    pub product_gflop_per_s: Option<f64>,
    /// The first over the second.
    pub share_of_peak: Option<f64>,
    /// The most memory that the process has held, in MiB; measured on Linux. What ran before in the same process
    /// counts.
    pub peak_memory_mib: Option<f64>,
}

/// Batches that a GPU takes in turn.
const READY: usize = 4;

/// Steps before the first that is measured: they fill caches and start threads.
const WARM_UP: u64 = 3;

impl Load {
    /// Trains for `train.max_steps` steps on batches of the load's own size and takes the median time; `peak` is the rate of a
    /// large matrix product, where it is known. On a GPU a step starts from a batch that is there: no processor draws random
    /// numbers as fast as it learns.
    ///
    /// # Errors
    /// Where the device refuses.
    pub fn measure(
        &self,
        train: &TrainConfig,
        peak: Option<f64>,
        device: &Device,
    ) -> Result<Measured, BenchError> {
        let (model, task) = self.model(device)?;
        let parameters = model.params().count();
        let data: Arc<dyn Dataset> = Arc::new(*self);
        // The last step of a GPU is looked at while nothing else is computed, and not measured.
        let (steps, batch) = (train.max_steps + WARM_UP + u64::from(!device.is_cpu()), self.batch);
        let train = TrainConfig { max_steps: steps, batch_size: batch, ..train.clone() };
        let part = Part { task, train: data.clone(), valid: data, weight: 1.0 };
        let mut trainer = Trainer::new(&train, model, vec![part])?;
        let mut loader = trainer.loader()?;
        let ready = match device.is_cpu() {
            true => vec![],
            false => loader.by_ref().take(READY).collect::<Result<Vec<_>, _>>().map_err(TrainError::from)?,
        };
        let mut flop = 0.0;
        let mut drawn = loader.next().transpose().map_err(TrainError::from)?;
        let mut ends = Vec::new();
        let mut tokens = 0;
        for step in 0..steps {
            let of = |step: u64| ready.get(step as usize % READY);
            let Some(batch) = of(step).or(drawn.as_ref()) else { break };
            if step == 0 {
                flop = batch.micro.iter().map(|batch| flop_of_step(trainer.model(), batch)).sum();
            }
            if let Some(report) = trainer.advance(&batch.micro, &mut Silent)? {
                ends.push(Instant::now());
                tokens = report.tokens;
            }
            match of(step + 1) {
                Some(next) => trainer.send(&next.micro)?,
                None => drawn = loader.next().transpose().map_err(TrainError::from)?,
            }
        }
        trainer.settle()?;
        let times = ends.windows(2).skip(WARM_UP as usize - 1).map(|ends| (ends[1] - ends[0]).as_secs_f64());
        let median = median(times.collect());
        Ok(Measured {
            load: self.name.into(),
            parameters,
            tokens,
            step_ms: 1e3 * median,
            tokens_per_s: tokens as f64 / median,
            gflop_per_s: flop / median / 1e9,
            product_gflop_per_s: peak.map(|peak| peak / 1e9),
            share_of_peak: peak.map(|peak| flop / median / peak),
            peak_memory_mib: peak_memory().map(|bytes| bytes / 1048576.0),
        })
    }
}

/// FLOP of a training step: each weight of the stack takes part in three products of 2 FLOP a token, and each pair
/// of a query and a key in sight in 6 of 2·d_model in each layer. In the last layer, tokens that no head reads have
/// keys and values alone.
fn flop_of_step(model: &Model, batch: &Batch) -> f64 {
    let meta = &batch.main.meta;
    let last = format!("stack.blocks.{}.", model.config().n_layers - 1);
    let read_rows = batch.read_rows();
    let read = read_rows.rows();
    let maps = model.params().iter().filter(|(name, var)| name.starts_with("stack.") && var.rank() == 2);
    let products = maps.map(|(name, var)| {
        let partly = name.starts_with(&last) && !name.contains("key_value");
        var.elem_count() * if partly { read.len() } else { meta.len() }
    });
    let seen = |&q: &u32| {
        let q = q as usize;
        let document = meta.documents[meta.document[q] as usize].clone();
        document.filter(|&k| model.rules(0).allows(meta, q, meta, k)).count()
    };
    let all: usize = (0..meta.len() as u32).map(|q| seen(&q)).sum();
    let pairs = (model.config().n_layers - 1) * all + read.iter().map(seen).sum::<usize>();
    (6 * products.sum::<usize>() + 12 * pairs * model.config().d_model) as f64
}
