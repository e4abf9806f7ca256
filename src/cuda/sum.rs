//! Sums over rows and of vectors; type conversion.

use super::compile::{Source, element, number, vector};
use super::launch::{Launch, empty, whole};
use candle_core::{DType, Result, Tensor};

pub(crate) const SOURCE: Source = Source { name: "sum.cu", text: include_str!("sum.cu") };

/// The sum of the rows of `x` `[n, width]`, in `f32`: reads n·width elements once, in two launches.
pub(crate) fn column_sums(x: &Tensor) -> Result<Tensor> {
    let (n, width) = x.dims2()?;
    let (vector, v) = vector(x.dtype(), width);
    let stripes = Stripes::of(n, width, v);
    let partial = empty(x, (stripes.blocks, width), DType::F32)?;
    let launch = stripes.launch(Launch::of(x, &SOURCE, "column_sums", &[element(x.dtype()), vector])?)?;
    let launch = launch.tensor(&partial)?.tensor(x)?.int(n)?.int(width)?;
    launch.int(stripes.across)?.int(stripes.step)?.run()?;
    match stripes.blocks {
        1 => partial.reshape(width),
        _ => column_sums(&partial),
    }
}

/// The sum of all elements of `x` `[n]` in `f32`, a scalar.
pub(crate) fn total(x: &Tensor) -> Result<Tensor> {
    let sum = empty(x, (), DType::F32)?;
    let constants = [element(DType::F32), number("V", 1)];
    let launch = Launch::of(x, &SOURCE, "total", &constants)?.blocks(1, 1024);
    launch.tensor(&sum)?.tensor(x)?.int(x.elem_count())?.run()?;
    Ok(sum)
}

/// The part of a matrix for each block of a kernel that sums over rows, as `Stripe` in `prelude.cuh`.
pub(crate) struct Stripes {
    parts: usize,
    /// Blocks along the rows, each of which writes a row of sums.
    pub(crate) blocks: usize,
    /// Threads of a block in a row.
    pub(crate) across: usize,
    /// Rows that a block takes.
    pub(crate) step: usize,
    threads: usize,
    shared: usize,
}

impl Stripes {
    /// Stripes of a matrix `[n, width]` for threads that take `v` columns.
    pub(crate) fn of(n: usize, width: usize, v: usize) -> Self {
        /// Threads of a block; a warp reads 512 bytes of a row.
        const THREADS: usize = 256;
        const WARP: usize = 32;
        /// Blocks that keep a GPU busy, and rows that one sums up quickly.
        const BLOCKS: usize = 528;
        const ROWS: usize = 64;
        let vectors = (width / v).max(1);
        let parts = vectors.div_ceil(WARP);
        let across = vectors.div_ceil(parts);
        let blocks = if n <= BLOCKS { 1 } else { n.div_ceil(ROWS).clamp(1, (BLOCKS / parts).max(1)) };
        let threads = THREADS / across * across;
        Self {
            parts,
            blocks,
            across,
            step: n.div_ceil(blocks),
            threads,
            shared: threads * v * size_of::<f32>(),
        }
    }

    /// Sets the blocks and threads of the kernel, and shared memory for its sums.
    pub(crate) fn launch(&self, launch: Launch) -> Result<Launch> {
        launch.grid((self.parts, self.blocks, 1), self.threads).shared(self.shared)
    }
}

/// `x` in `f32` or `bf16`; candle's own conversion takes two to five times as long.
pub(crate) fn convert(x: &Tensor, dtype: DType) -> Result<Tensor> {
    const V: usize = 8;
    let kernel = match (x.dtype(), dtype) {
        (DType::BF16, DType::F32) => "to_float",
        (DType::F32, DType::BF16) => "to_bf16",
        _ => return x.to_dtype(dtype)?.contiguous(),
    };
    let x = whole(x)?;
    let (y, n) = (empty(&x, x.shape(), dtype)?, x.elem_count());
    let constants = [element(dtype), number("V", V)];
    let launch = Launch::of(&x, &SOURCE, kernel, &constants)?.each(n.div_ceil(V));
    launch.tensor(&y)?.tensor(&x)?.word(n as u64).run().map(|()| y)
}
