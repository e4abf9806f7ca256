//! The attention mask: the keys that each query attends to, as runs that are evaluated from metadata on demand.

use super::{AttentionRules, Condition, Rule, TokenMeta};
use std::{
    any::Any,
    ops::Range,
    sync::{Arc, OnceLock},
};

/// The mask of one attention: which keys each query attends to under the rules. Nothing n×n is stored.
#[derive(Clone, Debug)]
pub struct AttentionMask {
    rules: Arc<AttentionRules>,
    queries: Arc<TokenMeta>,
    keys: Arc<TokenMeta>,
    /// For each document, its keys in segments within which the rule does not change.
    segments: Vec<Vec<Segment>>,
    /// The form of the mask that a kernel has prepared.
    prepared: OnceLock<Arc<dyn Any + Send + Sync>>,
}

/// Neighbouring keys of one document, under one rule for every query or of one kind.
#[derive(Clone, Debug)]
struct Segment {
    keys: Range<usize>,
    kind: usize,
    /// Whether times ascend, so that a comparison of times cuts the segment in two.
    sorted_by_time: bool,
}

impl AttentionMask {
    /// The mask of `queries` over `keys`, which have the same documents; for self-attention both are the same list.
    ///
    /// # Panics
    /// If the numbers of documents differ, or a kind is not one of the rules'.
    pub fn new(rules: Arc<AttentionRules>, queries: Arc<TokenMeta>, keys: Arc<TokenMeta>) -> Self {
        let documents = [&queries, &keys].map(|tokens| tokens.documents.len());
        assert_eq!(documents[0], documents[1], "expected queries and keys of the same documents");
        let kinds_in = |meta: &TokenMeta, rows: &Range<usize>| {
            let mut kinds = Vec::new();
            for kind in &meta.kind[rows.clone()] {
                if !kinds.contains(kind) {
                    kinds.push(*kind);
                }
            }
            kinds
        };
        let segments = queries.documents.iter().zip(&keys.documents).map(|(q_rows, k_rows)| {
            let (q_kinds, k_kinds) = (kinds_in(&queries, q_rows), kinds_in(&keys, k_rows));
            let mut places = q_kinds
                .iter()
                .flat_map(|&q| k_kinds.iter().map(move |&k| (q as usize, k as usize)))
                .map(|(q, k)| rules.place(q, k));
            let first = places.next();
            // Under one rule for all pairs, a document is one segment however its kinds interleave.
            let uniform = places.all(|place| Some(place) == first);
            segments_of(&keys, k_rows.clone(), uniform)
        });
        let segments = segments.collect();
        Self { rules, queries, keys, segments, prepared: OnceLock::new() }
    }

    /// The rules.
    pub fn rules(&self) -> &AttentionRules {
        &self.rules
    }

    /// The query tokens.
    pub fn queries(&self) -> &TokenMeta {
        &self.queries
    }

    /// The key tokens.
    pub fn keys(&self) -> &TokenMeta {
        &self.keys
    }

    /// The form of the mask that a kernel needs: `prepare` runs the first time, and layers that share a mask share it.
    ///
    /// # Errors
    /// The error of `prepare`.
    pub fn prepared<T: Any + Send + Sync, E>(
        &self,
        prepare: impl FnOnce() -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        if let Some(Ok(known)) = self.prepared.get().map(|known| known.clone().downcast()) {
            return Ok(known);
        }
        let fresh = Arc::new(prepare()?);
        let _ = self.prepared.set(fresh.clone()); // if the form of another kernel is stored, this one is prepared again
        Ok(fresh)
    }

    /// The query rows and the key rows of each document.
    pub fn documents(&self) -> impl ExactSizeIterator<Item = (Range<usize>, Range<usize>)> + '_ {
        self.queries.documents.iter().cloned().zip(self.keys.documents.iter().cloned())
    }

    /// The numbers of queries and keys.
    pub fn shape(&self) -> (usize, usize) {
        (self.queries.len(), self.keys.len())
    }

    /// The places of queries and keys in their sequences.
    pub fn orders(&self) -> (&[u32], &[u32]) {
        (&self.queries.order, &self.keys.order)
    }

    /// Writes the keys that query `q` attends to into `runs`: ranges of rows, ascending and disjoint.
    pub fn runs(&self, q: usize, runs: &mut Vec<Range<usize>>) {
        runs.clear();
        let kind = self.queries.kind[q] as usize;
        for segment in &self.segments[self.queries.document[q] as usize] {
            if let Rule::When(conditions) = self.rules.get(kind, segment.kind) {
                self.attended_in(segment, conditions, q, runs);
            }
        }
    }

    fn attended_in(
        &self,
        segment: &Segment,
        conditions: &[Condition],
        q: usize,
        runs: &mut Vec<Range<usize>>,
    ) {
        let (queries, keys) = (&*self.queries, &*self.keys);
        let Range { mut start, mut end } = segment.keys;
        let mut one_by_one = false;
        for condition in conditions {
            // Order ascends in a document, so most conditions cut off an end of the segment.
            let within = |start: usize, end: usize, numbers: &[u32], low: u32, high: Option<u32>| {
                let numbers = &numbers[start..end];
                let first = numbers.partition_point(|&n| n < low);
                let last = high.map_or(0, |high| numbers.partition_point(|&n| n <= high));
                (start + first, start + last.max(first))
            };
            let (order, time) = (queries.order[q], queries.time[q]);
            let sorted = segment.sorted_by_time;
            (start, end) = match *condition {
                Condition::Causal => within(start, end, &keys.order, 0, Some(order)),
                Condition::NearOrder(radius) => {
                    let (low, high) = (order.saturating_sub(radius), order.saturating_add(radius));
                    within(start, end, &keys.order, low, Some(high))
                }
                Condition::Past if sorted => within(start, end, &keys.time, 0, Some(time)),
                Condition::StrictPast if sorted => within(start, end, &keys.time, 0, time.checked_sub(1)),
                Condition::SameTime if sorted => within(start, end, &keys.time, time, Some(time)),
                _ => {
                    one_by_one = true;
                    (start, end)
                }
            };
        }
        if !one_by_one {
            push(runs, start..end);
            return;
        }
        for k in start..end {
            if conditions.iter().all(|c| c.holds(queries, q, keys, k)) {
                push(runs, k..k + 1);
            }
        }
    }
}

/// Adds a run; joins it to the last one if they touch.
fn push(runs: &mut Vec<Range<usize>>, run: Range<usize>) {
    if run.is_empty() {
        return;
    }
    match runs.last_mut() {
        Some(last) if last.end == run.start => last.end = run.end,
        _ => runs.push(run),
    }
}

fn segments_of(keys: &TokenMeta, rows: Range<usize>, uniform: bool) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    for row in rows {
        let kind = keys.kind[row] as usize;
        match segments.last_mut() {
            Some(last) if uniform || last.kind == kind => {
                last.keys.end = row + 1;
                last.sorted_by_time &= keys.time[row - 1] <= keys.time[row];
            }
            _ => segments.push(Segment { keys: row..row + 1, kind, sorted_by_time: true }),
        }
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Lists of tokens in documents, with kinds, times and positions in any mixture.
    fn lists() -> impl Strategy<Value = TokenMeta> {
        prop::collection::vec(prop::collection::vec((0..3u32, 0..4u32, 0..3u32, 0..3u32), 0..9), 1..4)
            .prop_map(|documents| {
                let mut meta = TokenMeta::default();
                for (d, tokens) in documents.iter().enumerate() {
                    let start = meta.len();
                    for (place, &(kind, time, row, column)) in tokens.iter().enumerate() {
                        meta.document.push(d as u32);
                        meta.kind.push(kind);
                        meta.order.push(place as u32);
                        meta.time.push(time);
                        meta.positions.push([row, column]);
                    }
                    meta.documents.push(start..meta.len());
                }
                meta
            })
    }

    fn rule() -> impl Strategy<Value = Rule> {
        let texts = [
            "never",
            "all",
            "causal",
            "past",
            "strict_past",
            "same_time",
            "near(1)",
            "near(2, order)",
            "causal & near(1, order)",
            "past & near(1)",
        ];
        prop::sample::select(texts.to_vec()).prop_map(|text| text.parse().unwrap())
    }

    proptest! {
        #[test]
        fn runs_are_the_figure(meta in lists(), table in prop::collection::vec(rule(), 9), same in any::<bool>()) {
            let mut rules = AttentionRules::never(["a", "b", "c"]);
            for (i, rule) in table.iter().enumerate() {
                let rule = if same { &table[0] } else { rule };
                rules.set(["a", "b", "c"][i / 3], ["a", "b", "c"][i % 3], rule.clone()).unwrap();
            }
            let figure = rules.draw(&meta);
            let meta = Arc::new(meta);
            let mask = AttentionMask::new(Arc::new(rules), meta.clone(), meta.clone());
            let mut runs = Vec::new();
            let mut drawn = String::new();
            for q in 0..meta.len() {
                mask.runs(q, &mut runs);
                drawn.extend((0..meta.len()).map(|k| if runs.iter().any(|r| r.contains(&k)) { 'x' } else { '.' }));
                drawn.push('\n');
            }
            prop_assert_eq!(drawn, figure);
        }
    }
}
