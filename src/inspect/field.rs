//! What one field holds, over all values that were read.

use super::counts::{Counts, Range};
use super::look::Look;
use super::numbers::{Refused, TokenCounts, TokenReport, spread, total};
use super::text;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// One field over the inspected rows.
#[derive(Clone, Debug, Serialize)]
pub struct FieldReport {
    /// Its name.
    pub field: String,
    /// What its values are: `text`, `number`, `array`, `image`, `audio`, `file`; of a series, `series of …`.
    pub holds: String,
    /// The number of values: one for each row or, of a series, for each time step.
    pub values: usize,
    /// Those that are missing.
    pub missing: usize,
    /// The smallest and the largest number.
    pub range: Option<[f64; 2]>,
    /// How many values are of each class; none for a field that is no label.
    pub classes: BTreeMap<String, usize>,
    /// Sizes, lengths, durations: by name a number, a [`Spread`](super::Spread), a [`Total`](super::Total), or counts by
    /// name.
    pub found: Map<String, Value>,
    /// How many tokens values become.
    pub tokens: Option<TokenReport>,
    /// Values that cannot become tokens.
    pub not_tokenized: Option<Refused>,
    /// The ids that texts become most often.
    pub most_frequent: Vec<Symbol>,
}

/// An id, what it reads as, and how often it comes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Symbol {
    /// The id.
    pub id: u32,
    /// Its text.
    pub reads: String,
    /// How often it comes.
    pub count: usize,
    /// Its share of all tokens.
    pub share: f64,
}

/// The numbers whose sum says something.
const SUMMED: [&str; 5] = ["bytes", "characters", "lines", "seconds", "sum"];
/// Ids are below this.
const MOST_IDS: f64 = 65_536.0;

/// What is counted of a field.
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
    /// If it is not like those before it.
    pub fn add(&mut self, look: Look) -> Result<(), String> {
        self.counts.merge(look.counts)?;
        if let Some(tokens) = look.tokens {
            self.tokens.add(tokens);
        }
        Ok(())
    }

    /// What was counted; `bytes` are the tokens of texts, and not characters.
    pub fn report(self, field: String, bytes: bool) -> FieldReport {
        let Self { mut counts, mut tokens } = self;
        let mut found = Map::new();
        let label = is_label(&field) || field == "end";
        if label {
            (counts.measures, counts.characters) = Default::default();
            tokens = TokenCounts::default();
        }
        let mut find = |what: &str, value: Value| drop(found.insert(what.into(), value));
        if !counts.characters.is_empty() {
            find("distinct_characters", json!(counts.characters.len()));
        }
        counts.names.into_iter().for_each(|(what, names)| find(what, json!(names)));
        for (what, numbers) in counts.measures {
            find(what, if SUMMED.contains(&what) { json!(total(numbers)) } else { json!(spread(numbers)) });
        }
        let Range { count, low, high, sum, whole } = counts.range;
        if count > 0 {
            find("mean", json!(sum / count as f64));
        }
        if count > 0 && whole && high < MOST_IDS {
            find("ids", json!(high as u64 + 1));
        }
        // If hardly any value occurs twice they are texts or measurements, and no labels.
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
            not_tokenized: tokens.refused(),
            most_frequent: text::most_frequent(counts.characters, bytes),
        }
    }
}
