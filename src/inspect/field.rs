//! The report of one field, over all values that were read.

use super::counts::{Counts, Range};
use super::numbers::{NotTokenized, TokenCounts, TokenReport, spread, spread_of_counts, total};
use super::text;
use super::value::ValueSummary;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The report of one field over the inspected rows.
#[derive(Clone, Debug, Serialize)]
pub struct FieldReport {
    /// Its name.
    pub field: String,
    /// The type of its values: `text`, `number`, `array`, `image`, `audio`, `file`; of a series, `series of …`.
    pub holds: String,
    /// The number of values: one for each row, or for each time step of a series.
    pub values: usize,
    /// The number of missing values.
    pub missing: usize,
    /// The smallest and the largest number.
    pub range: Option<[f64; 2]>,
    /// The number of values of each class; empty for a field that is no label.
    pub classes: BTreeMap<String, usize>,
    /// Sizes, lengths, durations and so on by name: a number, a [`Spread`](super::Spread), a [`Total`](super::Total), or
    /// counts by name.
    pub found: Map<String, Value>,
    /// The numbers of tokens of rows.
    pub tokens: Option<TokenReport>,
    /// Rows that cannot be tokenized.
    pub not_tokenized: Option<NotTokenized>,
    /// The most frequent token ids of texts.
    pub most_frequent: Vec<Symbol>,
}

/// A token id, its text and its frequency.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Symbol {
    /// The id.
    pub id: u32,
    /// Its text.
    pub reads: String,
    /// The number of its tokens.
    pub count: usize,
    /// Its share of all tokens.
    pub share: f64,
}

/// The measures whose sum is reported.
const SUMMED: [&str; 5] = ["bytes", "characters", "lines", "seconds", "sum"];
/// Whole numbers below this may be ids.
const MOST_IDS: f64 = 65_536.0;

/// The counts of a field.
#[derive(Default)]
pub(super) struct Field {
    counts: Counts,
    tokens: TokenCounts,
}

/// Whether a field of this name holds labels.
pub(super) fn is_label(field: &str) -> bool {
    ["label", "labels", "class", "cls"].contains(&field)
}

impl FieldReport {
    pub(super) fn without_tokens(self) -> Self {
        Self { tokens: None, not_tokenized: None, ..self }
    }
}

impl Field {
    /// Counts a value.
    ///
    /// # Errors
    /// If it does not match the values before it.
    pub fn add(&mut self, summary: ValueSummary) -> Result<(), String> {
        self.counts.merge(summary.counts)?;
        if let Some(tokens) = summary.tokens {
            self.tokens.add(tokens);
        }
        Ok(())
    }

    /// The report; with `bytes`, the tokens of texts are bytes and not characters.
    pub fn report(self, field: String, bytes: bool) -> FieldReport {
        let Self { mut counts, mut tokens } = self;
        let mut found = Map::new();
        let label = is_label(&field) || field == "end";
        if label {
            (counts.measures, counts.characters, counts.lines) = Default::default();
            tokens = TokenCounts::default();
        }
        let mut find = |what: &str, value: Value| drop(found.insert(what.into(), value));
        if !counts.characters.is_empty() {
            find("distinct_characters", json!(counts.characters.len()));
        }
        counts.names.into_iter().for_each(|(what, names)| find(what, json!(names)));
        let summary = |(what, numbers): (&'static str, Vec<f64>)| {
            let summary = if SUMMED.contains(&what) { json!(total(numbers)) } else { json!(spread(numbers)) };
            (what, summary)
        };
        let mut measured: BTreeMap<&str, Value> = counts.measures.into_iter().map(summary).collect();
        measured.extend(spread_of_counts(&counts.lines).map(|lines| ("characters_in_a_line", json!(lines))));
        measured.into_iter().for_each(|(what, value)| find(what, value));
        let Range { count, low, high, sum, whole } = counts.range;
        if count > 0 {
            find("mean", json!(sum / count as f64));
        }
        if count > 0 && whole && high < MOST_IDS {
            find("ids", json!(high as u64 + 1));
        }
        // Values that hardly ever repeat are texts or measurements, and no labels.
        let seen: usize = counts.labels.values().sum();
        let repeat = label || counts.labels.len() * 2 <= seen;
        FieldReport {
            field,
            holds: format!("{}{}", if counts.series { "series of " } else { "" }, counts.holds.name()),
            values: counts.values,
            missing: counts.missing,
            range: (count > 0).then_some([low, high]),
            classes: if repeat { counts.labels } else { BTreeMap::new() },
            found,
            tokens: tokens.report(),
            not_tokenized: tokens.not_tokenized(),
            most_frequent: text::most_frequent(counts.characters, bytes),
        }
    }
}
