//! The GPU's kernel: a thread for each element, which also reads the other element of its pair.

use super::Angles;
use crate::cuda::{Launch, Source, element, empty, upload, whole};
use crate::ops::autograd::{Gradient, Value, with_rule};
use candle_core::{Result, Tensor};
use std::sync::Arc;

pub(in crate::ops) const SOURCE: Source = Source { name: "rotary.cu", text: include_str!("rotary.cu") };

/// Rotates the first `columns` columns of `x` `[n, width]`, head by head.
pub(super) fn rotary(x: &Value, columns: usize, angles: &Arc<Angles>) -> Result<Value> {
    let ((cosines, sines), heads) = (angles.uploaded(x.tensor())?, (angles.half, angles.d_head));
    let y = rotate(x.tensor(), &cosines, &sines, 1.0, columns, heads)?;
    Ok(with_rule(y, &[x], move |dy| {
        Ok(vec![Some(Gradient::own(rotate(dy, &cosines, &sines, -1.0, columns, heads)?))])
    }))
}

impl Angles {
    /// Cosines and sines, `[n·half]`, on the GPU of `like`; they are copied once for all layers.
    fn uploaded(&self, like: &Tensor) -> Result<(Tensor, Tensor)> {
        let tensors = match self.on_device.get() {
            Some(tensors) => tensors.clone(),
            None => (upload(like, &self.cos)?, upload(like, &self.sin)?),
        };
        Ok(self.on_device.get_or_init(|| tensors).clone())
    }
}

fn rotate(
    x: &Tensor,
    cosines: &Tensor,
    sines: &Tensor,
    sign: f32,
    columns: usize,
    (half, d_head): (usize, usize),
) -> Result<Tensor> {
    let x = whole(x)?;
    let (n, width) = x.dims2()?;
    let y = empty(&x, (n, width), x.dtype())?;
    let launch = Launch::of(&x, &SOURCE, "rotate", &[element(x.dtype())])?;
    let launch = launch.grid((n, width.div_ceil(256), 1), 256).tensor(&y)?.tensor(&x)?.tensor(cosines)?;
    launch.tensor(sines)?.float(sign).int(width)?.int(columns)?.int(half)?.int(d_head)?.run()?;
    Ok(y)
}
