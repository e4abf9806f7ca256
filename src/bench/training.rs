//! Speed of training steps, from data to optimizer, with the trainer of `smalti train`.

use super::machine::{peak_memory, product_kernel};
use super::{BenchError, Load, median};
use crate::data::{Batch, Dataset};
use crate::model::Model;
use crate::train::{Silent, TrainConfig, TrainError, TrainTask, Trainer};
use candle_core::Device;
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Instant};

/// The speed of training on a load.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// The load's name.
    pub load: String,
    /// Parameters of the model.
    pub parameters: usize,
    /// Tokens in a step.
    pub tokens: usize,
    /// Median time of a step, from data to optimizer, in milliseconds.
    pub step_ms: f64,
    /// Tokens in a second at the median step.
    pub tokens_per_s: f64,
    /// GFLOP/s of the transformer's linear maps and of attention to allowed pairs, forward and backward. Recomputed values
    /// count once.
    pub gflop_per_s: f64,
    /// GFLOP/s of a large matrix product, if measured.
    pub product_gflop_per_s: Option<f64>,
    /// What computes the matrix products of linear maps.
    pub product_kernel: String,
    /// `gflop_per_s` over `product_gflop_per_s`.
    pub share_of_peak: Option<f64>,
    /// Peak memory of the process, in MiB, if known (Linux); earlier work of the process counts.
    pub peak_memory_mib: Option<f64>,
}

/// Prepared batches that a GPU uses in turn.
const READY: usize = 4;

/// Steps before the measurement, to fill caches and start threads.
const WARM_UP: u64 = 3;

impl Load {
    /// Train for `train.max_steps` steps on batches of the load's size; the result has the median time. `peak` is the FLOP/s
    /// of a large matrix product, if known. On a GPU, batches are prepared before, because a CPU draws random numbers more
    /// slowly than the GPU trains.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn measure(
        &self,
        train: &TrainConfig,
        peak: Option<f64>,
        device: &Device,
    ) -> Result<Measured, BenchError> {
        let (model, task) = self.model(device)?;
        let parameters = model.params().count();
        let data: Arc<dyn Dataset> = Arc::new(*self);
        // On a GPU, the last step is synchronised without a next one running, so it is not measured.
        let (steps, batch) = (train.max_steps + WARM_UP + u64::from(!device.is_cpu()), self.batch);
        let train = TrainConfig { max_steps: steps, batch_size: batch, ..train.clone() };
        let task = TrainTask { task, train: data.clone(), validation: data, weight: 1.0 };
        let mut trainer = Trainer::new(&train, model, vec![task])?;
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
            if let Some(report) = trainer.train_step(&batch.micro, &mut Silent)? {
                ends.push(Instant::now());
                tokens = report.tokens;
            }
            match of(step + 1) {
                Some(next) => trainer.prefetch(&next.micro)?,
                None => drawn = loader.next().transpose().map_err(TrainError::from)?,
            }
        }
        trainer.synchronize()?;
        let times = ends.windows(2).skip(WARM_UP as usize - 1).map(|ends| (ends[1] - ends[0]).as_secs_f64());
        let median = median(times.collect());
        Ok(Measured {
            load: self.name.into(),
            parameters,
            tokens,
            step_ms: 1e3 * median,
            tokens_per_s: tokens as f64 / median,
            gflop_per_s: flop / median / 1e9,
            product_kernel: product_kernel(train.precision, device).into(),
            product_gflop_per_s: peak.map(|peak| peak / 1e9),
            share_of_peak: peak.map(|peak| flop / median / peak),
            peak_memory_mib: peak_memory().map(|bytes| bytes / 1048576.0),
        })
    }
}

/// FLOP of a training step: each weight of the transformer needs three products of 2 FLOP for each token, and each pair of
/// a query and an allowed key 6 products of 2·d_model in each layer. In the last layer, tokens that no head reads need
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
    let allowed_keys = |&q: &u32| {
        let q = q as usize;
        let document = meta.documents[meta.document[q] as usize].clone();
        document.filter(|&k| model.rules(0).allows(meta, q, meta, k)).count()
    };
    let all: usize = (0..meta.len() as u32).map(|q| allowed_keys(&q)).sum();
    let pairs = (model.config().n_layers - 1) * all + read.iter().map(allowed_keys).sum::<usize>();
    (6 * products.sum::<usize>() + 12 * pairs * model.config().d_model) as f64
}
