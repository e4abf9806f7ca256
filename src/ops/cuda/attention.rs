//! Attention: tiles of 64 queries and 64 keys of a document. Tiles without a pair that the mask allows are skipped.
//!
//! The GPU classifies the tiles once for each [`AttentionMask`], which stores the result. Heads of `bf16` whose size is a
//! multiple of 16 run on the matrix units; other heads, `f32`, and scores with biases run in plain arithmetic.

use super::compile::{Constant, Source, element, number};
use super::launch::{Launch, address, empty, whole};
use super::relative::{Bias, Parts};
use super::transfer::upload;
use crate::ops::attention::{Heads, RelativeBias};
use crate::ops::autograd::{Gradient, Value, with_rule};
use crate::rules::{AttentionMask, AttentionRules, Condition, Rule, TokenMeta};
use candle_core::cuda_backend::{WrapErr, cudarc::driver::sys};
use candle_core::{DType, Result, Tensor};
use std::sync::Arc;

pub(super) const MATRIX: Source =
    Source { name: "attention.cu", text: concat!(include_str!("rules.cuh"), include_str!("attention.cu")) };
pub(super) const PLAIN: Source = Source {
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
pub(crate) fn attention(
    query: &Value,
    key_value: &Value,
    bias: Option<RelativeBias>,
    heads: Heads,
    mask: &Arc<AttentionMask>,
) -> Result<Value> {
    let call = Call {
        query: whole(query.tensor())?,
        key_value: whole(key_value.tensor())?,
        bias: bias.map(Bias::new).transpose()?,
        heads,
        mask: mask.prepared(|| GpuMask::new(mask, query.tensor()))?,
    };
    let (y, log_sums) = call.forward()?;
    let output = y.clone();
    let inputs: Vec<&Value> = [query, key_value].into_iter().chain(bias.map(|bias| bias.table)).collect();
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

/// An attention mask on the GPU.
struct GpuMask {
    /// The addresses of the parts, as `Mask` in `rules.cuh`.
    addresses: Tensor,
    /// Owns the memory at the addresses.
    _parts: Vec<Tensor>,
    query_tiles: usize,
    key_tiles: usize,
    /// Bytes of shared memory that a block may have.
    shared: usize,
}

impl GpuMask {
    fn new(mask: &AttentionMask, like: &Tensor) -> Result<Self> {
        let shared = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
        let shared = like.device().as_cuda_device()?.cuda_stream().context().attribute(shared).w()? as usize;
        let tiles = Tiles::new(mask);
        let words = |words: &[u32]| upload(like, if words.is_empty() { &[0; 4] } else { words });
        let meta = |meta: &TokenMeta| -> Result<_> { Ok((words(&tokens(meta))?, words(&meta.kind)?)) };
        let (queries, query_kinds) = meta(mask.queries())?;
        let (keys, key_kinds) = match std::ptr::eq(mask.queries(), mask.keys()) {
            true => (queries.clone(), query_kinds.clone()),
            false => meta(mask.keys())?,
        };
        let parts = vec![
            words(&tiles.documents)?,
            words(&tiles.query_tiles)?,
            words(&tiles.key_tiles)?,
            queries,
            keys,
            query_kinds,
            key_kinds,
            words(&windows(mask.rules()))?,
            empty(like, tiles.map.max(1), DType::U8)?,
        ];
        let mut addresses = parts.iter().map(address).collect::<Result<Vec<u64>>>()?;
        addresses.push(mask.rules().kinds().len() as u64);
        let addresses: Vec<i64> = addresses.into_iter().map(u64::cast_signed).collect();
        let gpu_mask = Self {
            addresses: upload(like, &addresses)?,
            _parts: parts,
            query_tiles: tiles.query_tiles.len() / 2,
            key_tiles: tiles.key_tiles.len() / 2,
            shared,
        };
        let constants = [element(DType::F32), number("D", 16)];
        let grid = (gpu_mask.query_tiles, tiles.widest, 1);
        let launch = Launch::of(like, &PLAIN, "classify", &constants)?.grid(grid, 256);
        launch.tensor(&gpu_mask.addresses)?.run()?;
        Ok(gpu_mask)
    }
}

/// Documents and their tiles, as in `rules.cuh`.
struct Tiles {
    /// Five numbers each: first query, queries, first key, keys, offset in the map.
    documents: Vec<u32>,
    /// Two numbers each: the document, the tile's number in the document.
    query_tiles: Vec<u32>,
    key_tiles: Vec<u32>,
    /// Pairs of tiles over all documents.
    map: usize,
    /// The most key tiles of a document.
    widest: usize,
}

impl Tiles {
    fn new(mask: &AttentionMask) -> Self {
        let mut tiles = Self { documents: vec![], query_tiles: vec![], key_tiles: vec![], map: 0, widest: 0 };
        for (document, (queries, keys)) in mask.documents().enumerate() {
            let (down, across) = (queries.len().div_ceil(TILE), keys.len().div_ceil(TILE));
            let numbers = [queries.start, queries.len(), keys.start, keys.len(), tiles.map];
            tiles.documents.extend(numbers.map(|n| n as u32));
            tiles.query_tiles.extend((0..down).flat_map(|tile| [document as u32, tile as u32]));
            tiles.key_tiles.extend((0..across).flat_map(|tile| [document as u32, tile as u32]));
            tiles.map += down * across;
            tiles.widest = tiles.widest.max(across);
        }
        tiles
    }
}

/// Order, time and two positions of each token.
fn tokens(meta: &TokenMeta) -> Vec<u32> {
    let token = |i: usize| {
        let [row, column] = meta.positions[i];
        [meta.order[i], meta.time[i], row, column]
    };
    (0..meta.len()).flat_map(token).collect()
}

/// A window for each pair of kinds, queries first.
fn windows(rules: &AttentionRules) -> Vec<u32> {
    let kinds = rules.kinds().len();
    let pairs = (0..kinds).flat_map(|query| (0..kinds).map(move |key| (query, key)));
    pairs.flat_map(|(query, key)| Window::of(rules.get(query, key)).words()).collect()
}

/// A rule as ranges of distances between key and query, for the kernels.
#[derive(Clone, Copy, Debug)]
struct Window {
    /// Key's minus query's place in the sequence.
    order: (i32, i32),
    /// Key's minus query's time.
    time: (i32, i32),
    /// In each position axis.
    radius: i32,
}

impl Window {
    /// The window of a rule that allows no key.
    const CLOSED: Self = Self { order: (1, 0), time: (1, 0), radius: -1 };

    fn of(rule: &Rule) -> Self {
        let mut window = Self { order: (-i32::MAX, i32::MAX), time: (-i32::MAX, i32::MAX), radius: i32::MAX };
        let Rule::When(conditions) = rule else { return Self::CLOSED };
        let narrow = |(low, high): &mut (i32, i32), from: i32, to: i32| {
            (*low, *high) = ((*low).max(from), (*high).min(to));
        };
        let bounded = |radius: u32| radius.min(i32::MAX as u32) as i32;
        for condition in conditions {
            match *condition {
                Condition::Causal => narrow(&mut window.order, -i32::MAX, 0),
                Condition::NearOrder(radius) => narrow(&mut window.order, -bounded(radius), bounded(radius)),
                Condition::Past => narrow(&mut window.time, -i32::MAX, 0),
                Condition::StrictPast => narrow(&mut window.time, -i32::MAX, -1),
                Condition::SameTime => narrow(&mut window.time, 0, 0),
                Condition::Near(radius) => window.radius = window.radius.min(bounded(radius)),
            }
        }
        window
    }

    /// As `Window` in `rules.cuh`: the beginning and the length of each range, modulo 2³². Places are below 2³¹, so no two
    /// differ by `i32::MAX`: the range of that distance alone is empty.
    fn words(self) -> [u32; 8] {
        let range = |(low, high): (i32, i32)| match low <= high {
            true => (low.cast_unsigned(), high.wrapping_sub(low).cast_unsigned()),
            false => (i32::MAX as u32, 0),
        };
        let ((order, orders), (time, times)) = (range(self.order), range(self.time));
        let (_, reach) = range((-self.radius, self.radius));
        [order, orders, time, times, self.radius.cast_unsigned(), reach, 0, 0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `Window::holds` in `rules.cuh`.
    fn holds(window: [u32; 8], queries: &TokenMeta, q: usize, keys: &TokenMeta, k: usize) -> bool {
        let [order, orders, time, times, radius, reach, ..] = window;
        let offset = |k: u32, q: u32, low: u32| k.wrapping_sub(q.wrapping_add(low));
        let mut axes = keys.positions[k].iter().zip(&queries.positions[q]);
        offset(keys.order[k], queries.order[q], order) <= orders
            && offset(keys.time[k], queries.time[q], time) <= times
            && axes.all(|(&k, &q)| offset(k, q, radius.wrapping_neg()) <= reach)
    }

    #[test]
    fn a_window_matches_its_rule() {
        let mut meta = TokenMeta::document(&[0; 60]);
        meta.time = (0..60).map(|i| i * i % 7).collect();
        meta.positions = (0..60).map(|i| [i / 8, i % 8]).collect();
        let rules = [
            "never",
            "all",
            "causal",
            "past",
            "strict_past",
            "same_time",
            "near(1)",
            "near(2, order)",
            "causal & near(5, order)",
            "past & near(1)",
            "causal & same_time",
            "near(3) & near(2)",
            "same_time & strict_past",
            "near(4294967295)",
        ];
        for rule in rules {
            let parsed: Rule = rule.parse().unwrap();
            let window = Window::of(&parsed).words();
            for (q, k) in (0..60).flat_map(|q| (0..60).map(move |k| (q, k))) {
                assert_eq!(
                    holds(window, &meta, q, &meta, k),
                    parsed.allows(&meta, q, &meta, k),
                    "{rule} {q} {k}"
                );
            }
        }
    }
}
