//! The attention mask on the GPU.

use super::{PLAIN, TILE};
use crate::cuda::{Launch, address, element, empty, number, upload};
use crate::rules::{AttentionMask, AttentionRules, Condition, Rule, TokenMeta};
use candle_core::cuda_backend::{WrapErr, cudarc::driver::sys};
use candle_core::{DType, Result, Tensor};

/// An attention mask on the GPU.
pub(super) struct GpuMask {
    /// The addresses of the parts, as `Mask` in `rules.cuh`.
    pub(super) addresses: Tensor,
    /// Owns the memory at the addresses.
    _parts: Vec<Tensor>,
    pub(super) query_tiles: usize,
    pub(super) key_tiles: usize,
    /// Bytes of shared memory that a block may have.
    pub(super) shared: usize,
}

impl GpuMask {
    pub(super) fn new(mask: &AttentionMask, like: &Tensor) -> Result<Self> {
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
