//! Sums: of two tensors, and over all rows.

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

/// The sum of the rows of `x` `[n, width]`, in `f32`: n·width elements are read once, in two launches.
pub(super) fn column_sums(x: &Tensor) -> Result<Tensor> {
    /// Threads of a block: of each row a warp reads 512 bytes.
    const THREADS: usize = 256;
    const WARP: usize = 32;
    /// Blocks that keep the GPU busy, and rows that one block sums up quickly.
    const BLOCKS: usize = 528;
    const ROWS: usize = 64;
    let (n, width) = x.dims2()?;
    let (vector, v) = vector(x.dtype(), width);
    let vectors = (width / v).max(1);
    let parts = vectors.div_ceil(WARP);
    let across = vectors.div_ceil(parts);
    let down = THREADS / across;
    let blocks = if n <= BLOCKS { 1 } else { n.div_ceil(ROWS).clamp(1, (BLOCKS / parts).max(1)) };
    let partial = empty(x, (blocks, width), DType::F32)?;
    let launch = Launch::of(x, &SOURCE, "column_sums", &[element(x.dtype()), vector])?;
    let launch = launch.grid((parts, blocks, 1), down * across).shared(down * across * v * size_of::<f32>())?;
    let launch = launch.tensor(&partial)?.tensor(x)?.int(n)?.int(width)?.int(across)?;
    launch.int(n.div_ceil(blocks))?.run()?;
    match blocks {
        1 => partial.reshape(width),
        _ => column_sums(&partial),
    }
}
