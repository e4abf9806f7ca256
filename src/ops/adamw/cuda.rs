//! The GPU's kernels: all parameters in one launch, after the norm of the gradients, which stays on the GPU.

use super::{AdamwParameter, Factors, OptimizerStep};
use crate::cuda::{Launch, Source, address, empty, upload};
use candle_core::{DType, Result, Tensor};

pub(in crate::ops) const SOURCE: Source = Source { name: "adamw.cu", text: include_str!("adamw.cu") };

/// Elements that a block takes, as in `adamw.cu`.
const CHUNK: usize = 65536;

/// Updates all parameters, unless the norm of the gradients is not finite; returns the norm.
pub(super) fn step(step: &OptimizerStep, all: &[AdamwParameter]) -> Result<Tensor> {
    let like = all[0].parameter;
    let (mut words, mut chunks) = (Vec::new(), Vec::new());
    for (i, one) in all.iter().enumerate() {
        let n = one.parameter.elem_count();
        let tensors = [one.parameter.as_tensor(), one.mean, one.square];
        for tensor in tensors {
            words.push(address(tensor)?);
        }
        words.push(one.average.map_or(Ok(0), |average| address(average))?);
        words.extend([address(one.gradient)?, n as u64, u64::from(one.decays)]);
        chunks.extend((0..n.div_ceil(CHUNK)).flat_map(|chunk| [i as u32, chunk as u32]));
    }
    let words: Vec<i64> = words.into_iter().map(u64::cast_signed).collect();
    let (n, tables) = (chunks.len() / 2, (upload(like, &words)?, upload(like, &chunks)?));
    let (sums, norm) = (empty(like, n.max(1), DType::F32)?, empty(like, (), DType::F32)?);
    let launch = Launch::of(like, &SOURCE, "squares", &[])?.blocks(n, 512);
    launch.tensor(&sums)?.tensor(&tables.0)?.tensor(&tables.1)?.run()?;
    let launch = Launch::of(like, &SOURCE, "length", &[])?.blocks(1, 1024);
    launch.tensor(&norm)?.tensor(&sums)?.int(n)?.run()?;
    let launch = Launch::of(like, &SOURCE, "adamw", &[])?.blocks(n, 512);
    let launch = launch.tensor(&tables.0)?.tensor(&tables.1)?.tensor(&norm)?;
    launch.tensor(&upload(like, &factors(step))?)?.run()?;
    Ok(norm)
}

/// `Factors` of `adamw.cu`, in order.
fn factors(step: &OptimizerStep) -> [f32; 10] {
    let Factors { beta1, beta2, rest1, rest2, decay_factor, rate, by_root_correction, eps, .. } =
        Factors::new(&step.of_one(1.0, true));
    let (clip, average_decay) = (step.clip as f32, step.average_decay as f32);
    [beta1, beta2, rest1, rest2, decay_factor, rate, by_root_correction, eps, clip, average_decay]
}
