//! AdamW over all parameters in one launch, and the gradients' norm before it, which never leaves the GPU.

use super::compile::Source;
use super::launch::{Launch, address, empty};
use super::transfer::upload;
use crate::ops::adamw::Moved;
use candle_core::{DType, Result, Tensor};

pub(super) const SOURCE: Source = Source { name: "optimizer.cu", text: include_str!("optimizer.cu") };

/// Elements that a block takes, as in `optimizer.cu`.
const CHUNK: usize = 65536;

/// Moves all parameters along their gradients; where the gradients' norm is not finite, none. Gives the norm.
/// `factors` are those of `optimizer.cu`, in its order.
pub(crate) fn step(all: &[Moved], factors: [f32; 10]) -> Result<Tensor> {
    let like = all[0].parameter;
    let (mut words, mut chunks) = (Vec::new(), Vec::new());
    for (i, moved) in all.iter().enumerate() {
        let n = moved.parameter.elem_count();
        let tensors = [moved.parameter.as_tensor(), moved.mean, moved.square];
        for tensor in tensors {
            words.push(address(tensor)?);
        }
        words.push(moved.average.map_or(Ok(0), |average| address(average))?);
        words.extend([address(moved.gradient)?, n as u64, u64::from(moved.decays)]);
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
    launch.tensor(&upload(like, &factors)?)?.run()?;
    Ok(norm)
}
