//! The GPU's kernels: tiles of 64 queries and 64 keys of a document. Tiles without a pair that the mask allows are skipped.
//!
//! The GPU classifies the tiles once for each [`AttentionMask`], which stores the result. Heads of `bf16` whose size is a
//! multiple of 16 run on the matrix units; other heads, `f32`, and scores with biases run in plain arithmetic.

mod mask;
mod relative;

use super::{Heads, RelativeBias};
use crate::cuda::{Constant, Launch, Source, element, empty, number, whole};
use crate::ops::autograd::{Gradient, Value, with_rule};
use crate::rules::AttentionMask;
use candle_core::{DType, Result, Tensor};
use mask::GpuMask;
use relative::{Bias, Parts};
use std::sync::Arc;

pub(in crate::ops) const MATRIX: Source =
    Source { name: "attention.cu", text: concat!(include_str!("rules.cuh"), include_str!("attention.cu")) };
pub(in crate::ops) const PLAIN: Source = Source {
    name: "attention_plain.cu",
    text: concat!(include_str!("rules.cuh"), include_str!("attention_plain.cu")),
};

/// Queries or keys in a tile.
const TILE: usize = 64;

/// Tiles in shared memory of the kernels of the gradients.
const MOST_TILES: usize = 6;

/// The largest head size of the matrix units' kernels.
const LARGEST: usize = 128;

/// softmax(scale·q·kᵀ + bias)·v over the keys that each query attends to: `query` `[n, heads·d_head]`, `key_value`
/// `[m, 2·key_heads·d_head]`; equally many query heads share each key-value head.
pub(super) fn attention(
    query: &Value,
    key_value: &Value,
    bias: Option<RelativeBias>,
    heads: Heads,
    mask: &Arc<AttentionMask>,
) -> Result<Value> {
    let call = Call {
        query: whole(query.tensor())?,
        key_value: whole(key_value.tensor())?,
        bias: bias.map(Bias::new).transpose()?.flatten(),
        heads,
        mask: mask.prepared(|| GpuMask::new(mask, query.tensor()))?,
    };
    let (y, log_sums) = call.forward()?;
    let output = y.clone();
    let inputs: Vec<&Value> =
        [query, key_value].into_iter().chain(bias.and_then(|bias| bias.table)).collect();
    Ok(with_rule(y, &inputs, move |dy| {
        let (d_query, d_key_value, d_table) = call.backward(&output, &log_sums, &whole(dy)?)?;
        let gradients = [d_query, d_key_value].into_iter().chain(d_table);
        Ok(gradients.map(|gradient| Some(Gradient::own(gradient))).collect())
    }))
}

struct Call {
    query: Tensor,
    key_value: Tensor,
    bias: Option<Bias>,
    heads: Heads,
    mask: Arc<GpuMask>,
}

impl Call {
    fn d_head(&self) -> usize {
        self.query.dims()[1] / self.heads.n_heads
    }

    /// Whether the matrix units' kernels accept these heads: `bf16` of their sizes, without biases. Heads of 128 features
    /// need more than 99 KiB of shared memory for a block.
    fn fits(&self) -> bool {
        let d = self.d_head();
        let sizes = d.is_multiple_of(16) && d <= LARGEST && self.shared(MOST_TILES) <= self.mask.shared;
        self.bias.is_none() && self.query.dtype() == DType::BF16 && sizes
    }

    /// Bytes of shared memory for `tiles` tiles and the numbers of queries that the gradient of keys reads.
    fn shared(&self, tiles: usize) -> usize {
        let numbers = 4 * TILE * size_of::<f32>();
        tiles * TILE * (self.d_head() + 8) * DType::BF16.size_in_bytes() + numbers
    }

    fn constants(&self) -> [Constant; 2] {
        [element(self.query.dtype()), number("D", self.d_head())]
    }

    /// A kernel with a block for each of these tiles and heads; the matrix units' kernels have `tiles` in shared memory.
    fn launch(&self, kernel: &str, grid: (usize, usize), tiles: usize) -> Result<Launch> {
        let grid = (grid.0, grid.1, 1);
        if !self.fits() {
            return Ok(Launch::of(&self.query, &PLAIN, kernel, &self.constants())?.grid(grid, 256));
        }
        Launch::of(&self.query, &MATRIX, kernel, &self.constants())?
            .grid(grid, 128)
            .shared(self.shared(tiles))
    }

    /// Appends the arguments that all kernels share, and launches.
    fn finish(&self, launch: Launch) -> Result<()> {
        let (n, width) = self.query.dims2()?;
        let key_width = self.key_value.dim(1)? / 2;
        let launch = if self.fits() { launch } else { Bias::arguments(self.bias.as_ref(), launch)? };
        let launch = launch.tensor(&self.mask.addresses)?.int(n)?.int(width)?.int(key_width)?;
        launch.int(self.heads.group())?.float(self.heads.scale).run()
    }

    /// The result and the log-sum-exp of each head and row, `[heads, n]`.
    fn forward(&self) -> Result<(Tensor, Tensor)> {
        let (n, d) = self.query.dims2()?;
        let y = empty(&self.query, (n, d), self.query.dtype())?;
        let log_sums = empty(&self.query, (self.heads.n_heads, n), DType::F32)?;
        let launch = self.launch("forward", (self.mask.query_tiles, self.heads.n_heads), 5)?;
        self.finish(launch.tensor(&y)?.tensor(&log_sums)?.tensor(&self.query)?.tensor(&self.key_value)?)?;
        Ok((y, log_sums))
    }

    /// The gradients of queries, of keys and values, and of the table of biases, if any.
    fn backward(
        &self,
        y: &Tensor,
        log_sums: &Tensor,
        dy: &Tensor,
    ) -> Result<(Tensor, Tensor, Option<Tensor>)> {
        let n = self.query.dim(0)?;
        let products = empty(&self.query, (self.heads.n_heads, n), DType::F32)?;
        let d_query = empty(&self.query, self.query.shape(), self.query.dtype())?;
        let launch =
            self.launch("query_gradient", (self.mask.query_tiles, self.heads.n_heads), MOST_TILES)?;
        let parts = self.bias.as_ref().map(|bias| bias.parts(self.mask.query_tiles)).transpose()?;
        let launch = launch.tensor(&d_query)?.tensor(&products)?;
        let launch = if self.fits() { launch } else { Parts::arguments(parts.as_ref(), launch)? };
        let launch = launch.tensor(&self.query)?.tensor(&self.key_value)?;
        self.finish(launch.tensor(y)?.tensor(dy)?.tensor(log_sums)?)?;
        let d_key_value = empty(&self.query, self.key_value.shape(), self.query.dtype())?;
        let launch = self.launch("key_gradient", (self.mask.key_tiles, self.heads.n_kv_heads), MOST_TILES)?;
        let launch = launch.tensor(&d_key_value)?.tensor(&self.query)?.tensor(&self.key_value)?;
        self.finish(launch.tensor(dy)?.tensor(log_sums)?.tensor(&products)?)?;
        Ok((d_query, d_key_value, parts.map(Parts::sum).transpose()?))
    }
}
