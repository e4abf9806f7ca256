//! Attention: tiles of 64 queries and 64 keys of a document, of which those that no query sees into are passed over.
//!
//! Which tiles those are is found on the GPU once for each [`Visibility`] and kept with it. Heads of `bf16` whose size
//! is a multiple of 16 run on the matrix units; others, and `f32`, in plain arithmetic.

use super::compile::{Constant, Source, element, number};
use super::launch::{Launch, address, empty, whole};
use super::transfer::upload;
use crate::ops::attention::Heads;
use crate::ops::autograd::{Gradient, Value, with_rule};
use crate::rules::{AttentionRules, Condition, Rule, TokenMeta, Visibility};
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

/// The largest head whose tiles the matrix units' kernels hold.
const LARGEST: usize = 128;

/// softmax(scale·q·kᵀ)·v over the keys that each query sees: `query` `[n, heads·d_head]`, `key_value`
/// `[m, 2·key_heads·d_head]`, where equally many heads share one of keys and values.
pub(crate) fn attention(
    query: &Value,
    key_value: &Value,
    heads: Heads,
    view: &Arc<Visibility>,
) -> Result<Value> {
    let call = Call {
        query: whole(query.tensor())?,
        key_value: whole(key_value.tensor())?,
        heads,
        plan: view.prepared(|| Plan::new(view, query.tensor()))?,
    };
    let (y, log_sums) = call.forward()?;
    let kept = y.clone();
    Ok(with_rule(y, &[query, key_value], move |dy| {
        let (d_query, d_key_value) = call.backward(&kept, &log_sums, &whole(dy)?)?;
        Ok(vec![Some(Gradient::own(d_query)), Some(Gradient::own(d_key_value))])
    }))
}

struct Call {
    query: Tensor,
    key_value: Tensor,
    heads: Heads,
    plan: Arc<Plan>,
}

impl Call {
    fn d_head(&self) -> usize {
        self.query.dims()[1] / self.heads.n_heads
    }

    /// Whether the matrix units take heads of this type and size.
    fn fits(&self) -> bool {
        let d = self.d_head();
        self.query.dtype() == DType::BF16 && d.is_multiple_of(16) && d <= LARGEST
    }

    fn constants(&self) -> [Constant; 2] {
        [element(self.query.dtype()), number("D", self.d_head())]
    }

    /// A kernel with a block for each of these tiles and heads; `tiles` of shared memory where it is the matrix units'.
    fn launch(&self, kernel: &str, grid: (usize, usize), tiles: usize) -> Result<Launch> {
        let grid = (grid.0, grid.1, 1);
        if !self.fits() {
            return Ok(Launch::of(&self.query, &PLAIN, kernel, &self.constants())?.grid(grid, 256));
        }
        let numbers = 4 * TILE * size_of::<f32>(); // what the gradient of keys keeps of queries
        let bytes = tiles * TILE * (self.d_head() + 8) * DType::BF16.size_in_bytes() + numbers;
        Launch::of(&self.query, &MATRIX, kernel, &self.constants())?.grid(grid, 128).shared(bytes)
    }

    /// The arguments that all kernels end in.
    fn finish(&self, launch: Launch) -> Result<()> {
        let (n, width) = self.query.dims2()?;
        let key_width = self.key_value.dim(1)? / 2;
        let launch = launch.tensor(&self.plan.view)?.int(n)?.int(width)?.int(key_width)?;
        launch.int(self.heads.group())?.float(self.heads.scale).run()
    }

    /// The result and the log-sum-exp of each head and row, `[heads, n]`.
    fn forward(&self) -> Result<(Tensor, Tensor)> {
        let (n, d) = self.query.dims2()?;
        let y = empty(&self.query, (n, d), self.query.dtype())?;
        let log_sums = empty(&self.query, (self.heads.n_heads, n), DType::F32)?;
        let launch = self.launch("forward", (self.plan.query_tiles, self.heads.n_heads), 5)?;
        self.finish(launch.tensor(&y)?.tensor(&log_sums)?.tensor(&self.query)?.tensor(&self.key_value)?)?;
        Ok((y, log_sums))
    }

    fn backward(&self, y: &Tensor, log_sums: &Tensor, dy: &Tensor) -> Result<(Tensor, Tensor)> {
        let (n, width) = self.query.dims2()?;
        let products = empty(&self.query, (self.heads.n_heads, n), DType::F32)?;
        let source = if self.fits() { &MATRIX } else { &PLAIN };
        let launch = Launch::of(y, source, "products", &self.constants())?
            .grid((n.div_ceil(8), self.heads.n_heads, 1), 256);
        launch.tensor(&products)?.tensor(y)?.tensor(dy)?.int(n)?.int(width)?.run()?;
        let run = |kernel, grid, gradient: &Tensor| {
            let launch = self.launch(kernel, grid, 6)?.tensor(gradient)?.tensor(&self.query)?;
            let launch = launch.tensor(&self.key_value)?.tensor(dy)?.tensor(log_sums)?.tensor(&products)?;
            self.finish(launch)
        };
        let d_query = empty(&self.query, self.query.shape(), self.query.dtype())?;
        run("query_gradient", (self.plan.query_tiles, self.heads.n_heads), &d_query)?;
        let d_key_value = empty(&self.query, self.key_value.shape(), self.query.dtype())?;
        run("key_gradient", (self.plan.key_tiles, self.heads.n_kv_heads), &d_key_value)?;
        Ok((d_query, d_key_value))
    }
}

/// What the GPU knows of who sees whom.
struct Plan {
    /// Addresses of what follows, as `View` in `rules.cuh`.
    view: Tensor,
    /// Kept for their addresses.
    _parts: Vec<Tensor>,
    query_tiles: usize,
    key_tiles: usize,
}

impl Plan {
    fn new(view: &Visibility, like: &Tensor) -> Result<Self> {
        let layout = Layout::new(view);
        let numbers = |numbers: &[i32]| {
            let words: Vec<u32> = numbers.iter().map(|n| n.cast_unsigned()).collect();
            upload(like, if words.is_empty() { &[0] } else { &words[..] })
        };
        let queries = numbers(&tokens(view.queries()))?;
        let keys = match std::ptr::eq(view.queries(), view.keys()) {
            true => queries.clone(),
            false => numbers(&tokens(view.keys()))?,
        };
        let parts = vec![
            numbers(&layout.documents)?,
            numbers(&layout.query_tiles)?,
            numbers(&layout.key_tiles)?,
            queries,
            keys,
            numbers(&windows(view.rules()))?,
            empty(like, layout.map.max(1), DType::U8)?,
        ];
        let mut words = parts.iter().map(address).collect::<Result<Vec<u64>>>()?;
        words.push(view.rules().kinds().len() as u64);
        let words: Vec<i64> = words.into_iter().map(u64::cast_signed).collect();
        let plan = Self {
            view: upload(like, &words)?,
            _parts: parts,
            query_tiles: layout.query_tiles.len() / 2,
            key_tiles: layout.key_tiles.len() / 2,
        };
        let constants = [element(DType::F32), number("D", 16)];
        let grid = (plan.query_tiles, layout.widest, 1);
        Launch::of(like, &PLAIN, "classify", &constants)?.grid(grid, 256).tensor(&plan.view)?.run()?;
        Ok(plan)
    }
}

/// Documents and their tiles, as in `rules.cuh`.
struct Layout {
    /// Five numbers each: first query, queries, first key, keys, first place in the map.
    documents: Vec<i32>,
    /// Two numbers each: its document, its number there.
    query_tiles: Vec<i32>,
    key_tiles: Vec<i32>,
    /// Pairs of tiles over all documents.
    map: usize,
    /// The most key tiles of a document.
    widest: usize,
}

impl Layout {
    fn new(view: &Visibility) -> Self {
        let mut layout =
            Self { documents: vec![], query_tiles: vec![], key_tiles: vec![], map: 0, widest: 0 };
        for (document, (queries, keys)) in view.documents().enumerate() {
            let (down, across) = (queries.len().div_ceil(TILE), keys.len().div_ceil(TILE));
            let numbers = [queries.start, queries.len(), keys.start, keys.len(), layout.map];
            layout.documents.extend(numbers.map(|n| n as i32));
            layout.query_tiles.extend((0..down).flat_map(|tile| [document as i32, tile as i32]));
            layout.key_tiles.extend((0..across).flat_map(|tile| [document as i32, tile as i32]));
            layout.map += down * across;
            layout.widest = layout.widest.max(across);
        }
        layout
    }
}

/// Kind, order, time and two positions of each token.
fn tokens(meta: &TokenMeta) -> Vec<i32> {
    let token = |i: usize| {
        let [row, column] = meta.positions[i];
        [meta.kind[i], meta.order[i], meta.time[i], row, column].map(u32::cast_signed)
    };
    (0..meta.len()).flat_map(token).collect()
}

/// A window for each pair of kinds, queries first.
fn windows(rules: &AttentionRules) -> Vec<i32> {
    let kinds = rules.kinds().len();
    let pairs = (0..kinds).flat_map(|query| (0..kinds).map(move |key| (query, key)));
    pairs.flat_map(|(query, key)| Window::of(rules.get(query, key)).numbers()).collect()
}

/// How far a key may be from a query: a rule as the kernels know it.
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
    fn of(rule: &Rule) -> Self {
        let mut window = Self { order: (-i32::MAX, i32::MAX), time: (-i32::MAX, i32::MAX), radius: i32::MAX };
        let Rule::When(conditions) = rule else { return Self { radius: -1, ..window } };
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

    fn numbers(self) -> [i32; 5] {
        [self.order.0, self.order.1, self.time.0, self.time.1, self.radius]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `View::sees` in `rules.cuh`.
    fn sees(window: Window, queries: &TokenMeta, q: usize, keys: &TokenMeta, k: usize) -> bool {
        let difference = |k: u32, q: u32| k.cast_signed() - q.cast_signed();
        let order = difference(keys.order[k], queries.order[q]);
        let time = difference(keys.time[k], queries.time[q]);
        let mut axes = keys.positions[k].iter().zip(&queries.positions[q]);
        (window.order.0..=window.order.1).contains(&order)
            && (window.time.0..=window.time.1).contains(&time)
            && axes.all(|(k, q)| difference(*k, *q).abs() <= window.radius)
    }

    #[test]
    fn a_window_is_its_rule() {
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
        ];
        for rule in rules {
            let parsed: Rule = rule.parse().unwrap();
            let window = Window::of(&parsed);
            for (q, k) in (0..60).flat_map(|q| (0..60).map(move |k| (q, k))) {
                assert_eq!(
                    sees(window, &meta, q, &meta, k),
                    parsed.allows(&meta, q, &meta, k),
                    "{rule} {q} {k}"
                );
            }
        }
    }
}
