//! The GPU's kernel.

use crate::cuda::{Launch, Source, element, empty, vector, whole};
use candle_core::{Result, Tensor};

pub(in crate::ops) const SOURCE: Source = Source { name: "residual.cu", text: include_str!("residual.cu") };

/// a + b, of one shape and type.
pub(super) fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let y = empty(a, a.shape(), a.dtype())?;
    add_into(&y, a, b)?;
    Ok(y)
}

/// a ← a + b, of one shape and type.
pub(super) fn add_in_place(a: &Tensor, b: &Tensor) -> Result<()> {
    add_into(a, a, b)
}

fn add_into(y: &Tensor, a: &Tensor, b: &Tensor) -> Result<()> {
    let (a, b) = (whole(a)?, whole(b)?);
    let n = a.elem_count();
    let (width, v) = vector(a.dtype(), n);
    let vectors = n / v;
    let launch = Launch::of(y, &SOURCE, "add", &[element(a.dtype()), width])?.each(vectors);
    launch.tensor(y)?.tensor(&a)?.tensor(&b)?.int(vectors)?.run()
}
