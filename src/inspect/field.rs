//! What one field holds, over all values that were read.

use super::look::{Holds, Look, Range};
use super::numbers::{Refused, TokenCounts, TokenReport, spread};
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
    /// Sizes, lengths, durations: by name a number, a [`Spread`](super::Spread), or counts by name.
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

/// The most different labels that are counted.
const MOST_LABELS: usize = 10_000;
/// Ids are below this.
const MOST_IDS: f64 = 65_536.0;

/// What is counted of a field.
#[derive(Default)]
pub(super) struct Field {
    holds: Holds,
    series: bool,
    values: usize,
    missing: usize,
    tokens: TokenCounts,
    counts: BTreeMap<&'static str, BTreeMap<String, usize>>,
    totals: BTreeMap<&'static str, f64>,
    measures: BTreeMap<&'static str, Vec<f64>>,
    characters: BTreeMap<char, usize>,
    labels: BTreeMap<String, usize>,
    too_many: bool,
    range: Range,
    size: Option<[usize; 2]>,
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
        #[cfg(any(feature = "image", feature = "trajectory"))]
        if let (true, Some(size), Some(first)) = (look.series, look.size, self.size)
            && size != first
        {
            return Err(super::image::differs(size, first));
        }
        if self.holds == Holds::Missing {
            (self.holds, self.series) = (look.holds, look.series);
        }
        self.size = self.size.or(look.size);
        self.values += look.values;
        self.missing += look.missing;
        if let Some(tokens) = look.tokens {
            self.tokens.add(tokens);
        }
        for (what, names) in look.counts {
            add_all(self.counts.entry(what).or_default(), names);
        }
        add_all(&mut self.totals, look.totals);
        for (what, numbers) in look.measures {
            self.measures.entry(what).or_default().extend(numbers);
        }
        add_all(&mut self.characters, look.characters);
        if !self.too_many {
            add_all(&mut self.labels, look.labels);
            if self.labels.len() > MOST_LABELS {
                (self.too_many, self.labels) = (true, BTreeMap::new());
            }
        }
        self.range.merge(look.range);
        Ok(())
    }

    /// What was counted; `bytes` are the tokens of texts, and not characters.
    pub fn report(mut self, field: String, bytes: bool) -> FieldReport {
        let mut found = Map::new();
        let label = is_label(&field) || field == "split";
        if label {
            (self.totals, self.measures, self.characters) = Default::default();
            self.tokens = TokenCounts::default();
        }
        if !self.characters.is_empty() {
            found.insert("distinct_characters".into(), json!(self.characters.len()));
        }
        // Numbers that are counts are whole.
        let whole = |n: f64| if n.fract() == 0.0 { json!(n as u64) } else { json!(n) };
        found.extend(self.totals.into_iter().map(|(what, n)| (what.to_string(), whole(n))));
        found.extend(self.counts.into_iter().map(|(what, names)| (what.to_string(), json!(names))));
        let spread = |(what, numbers): (&str, Vec<f64>)| (what.to_string(), json!(spread(numbers)));
        found.extend(self.measures.into_iter().map(spread));
        let Range { count, low, high, sum, whole } = self.range;
        if count > 0 {
            found.insert("mean".into(), json!(sum / count as f64));
            if whole && high < MOST_IDS {
                found.insert("ids".into(), json!(high as u64 + 1));
            }
        }
        // If hardly any value occurs twice they are texts or measurements, and no labels.
        let seen: usize = self.labels.values().sum();
        let classes = if label || self.labels.len() * 2 <= seen { self.labels } else { BTreeMap::new() };
        let holds = match (serde_json::to_value(self.holds), self.series) {
            (Ok(Value::String(name)), true) => format!("series of {name}"),
            (Ok(Value::String(name)), false) => name,
            _ => String::new(),
        };
        FieldReport {
            field,
            holds,
            values: self.values,
            missing: self.missing,
            range: (count > 0).then_some([low, high]),
            classes,
            found,
            tokens: self.tokens.report(),
            not_tokenized: self.tokens.refused(),
            most_frequent: text::most_frequent(self.characters, bytes),
        }
    }
}

fn add_all<K: Ord, N: Default + std::ops::AddAssign>(sums: &mut BTreeMap<K, N>, more: BTreeMap<K, N>) {
    more.into_iter().for_each(|(name, n)| *sums.entry(name).or_default() += n);
}
