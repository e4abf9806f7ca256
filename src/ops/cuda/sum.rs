//! Sums: of two tensors, of a bias and each row, and over all rows.

use super::compile::{Source, element, vector};
use super::launch::{Launch, empty, whole};
use candle_core::{DType, Result, Tensor};

pub(super) const SOURCE: Source = Source { name: "sum.cu", text: include_str!("sum.cu") };

/// a + b, of one shape and type.
pub(crate) fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let y = empty(a, a.shape(), a.dtype())?;
    add_into(&y, a, b)?;
    Ok(y)
}

/// a ← a + b.
pub(crate) fn add_in_place(a: &Tensor, b: &Tensor) -> Result<()> {
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

/// x ← x + `bias` for each row of `x` `[n, width]`, in place; the bias is in `f32`.
pub(super) fn add_bias(x: &Tensor, bias: &Tensor) -> Result<()> {
    let width = bias.elem_count();
    let (vector, v) = vector(x.dtype(), width);
    let vectors = x.elem_count() / v;
    let launch = Launch::of(x, &SOURCE, "add_bias", &[element(x.dtype()), vector])?.each(vectors);
    launch.tensor(x)?.tensor(bias)?.int(vectors)?.int(width)?.run()
}

/// The sum of the rows of `x` `[n, width]`, in `f32`.
pub(super) fn column_sums(x: &Tensor) -> Result<Tensor> {
    /// Rows that one thread adds up.
    const STEP: usize = 64;
    let (n, width) = x.dims2()?;
    let blocks = n.div_ceil(STEP).max(1);
    let (vector, v) = vector(x.dtype(), width);
    let partial = empty(x, (blocks, width), DType::F32)?;
    let launch = Launch::of(x, &SOURCE, "column_sums", &[element(x.dtype()), vector])?;
    let launch = launch.grid((width.div_ceil(256 * v), blocks, 1), 256);
    launch.tensor(&partial)?.tensor(x)?.int(n)?.int(width)?.int(STEP)?.run()?;
    match blocks {
        1 => partial.reshape(width),
        _ => column_sums(&partial),
    }
}
