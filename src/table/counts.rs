//! What a field holds over all rows.

use super::Table;
use crate::data::DataError;
use serde::Serialize;
use smalti_contract::Value;
use std::collections::BTreeMap;

/// The most different labels that are counted.
const MOST_LABELS: usize = 10_000;

/// Longer texts, in bytes, are no labels.
const LONGEST_LABEL: usize = 200;

/// What a field holds over all rows, or over all time steps of its series.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Counts {
    /// The number of values: one for each row or, of a series, for each time step.
    pub values: u64,
    /// Those that are missing.
    pub missing: u64,
    /// Those that cannot be read.
    pub corrupt: u64,
    /// What is wrong with the first that cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// How many values are of which type: `text`, `number`, `array [3]`, `file`.
    pub types: BTreeMap<String, u64>,
    /// How often each text or number comes; `None` if there are too many to be labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, u64>>,
    /// What the numbers are like, if there are some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numbers: Option<Numbers>,
}

/// The range and mean of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Numbers {
    /// How many there are.
    pub count: u64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// The mean.
    pub mean: f64,
}

/// Counts the values of a field. The bytes of files are not read.
///
/// # Errors
/// [`DataError`] for a field that the table does not have. Values that cannot be read are counted.
pub fn counts(table: &dyn Table, field: &str) -> Result<Counts, DataError> {
    if !table.fields().iter().any(|known| known == field) {
        return Err(super::unknown_field(table, field));
    }
    let mut counts = Counts { labels: Some(BTreeMap::new()), ..Counts::default() };
    for row in 0..table.len() {
        match table.peek(row, field) {
            Ok(Value::Series(steps)) => steps.iter().for_each(|step| counts.add(step)),
            Ok(value) => counts.add(&value),
            Err(error) => {
                counts.values += 1;
                counts.corrupt += 1;
                counts.problem.get_or_insert(error.to_string());
            }
        }
    }
    if counts.labels.as_ref().is_some_and(BTreeMap::is_empty) {
        counts.labels = None;
    }
    Ok(counts)
}

impl Counts {
    fn add(&mut self, value: &Value) {
        self.values += 1;
        let kind = match value {
            Value::Missing => {
                self.missing += 1;
                return;
            }
            Value::Text(text) => {
                self.label(text);
                "text".to_string()
            }
            Value::Number(number) => {
                self.label(&number.to_string());
                self.number(*number);
                "number".into()
            }
            Value::Array(array) => {
                array.to_f32().iter().for_each(|number| self.number(f64::from(*number)));
                format!("array {:?}", array.shape)
            }
            Value::File(_) => "file".into(),
            Value::Series(_) | Value::Several { .. } => "series".into(),
        };
        *self.types.entry(kind).or_default() += 1;
    }

    fn label(&mut self, label: &str) {
        let Some(labels) = &mut self.labels else { return };
        if let Some(times) = labels.get_mut(label) {
            *times += 1;
        } else if labels.len() < MOST_LABELS && label.len() <= LONGEST_LABEL {
            labels.insert(label.into(), 1);
        } else {
            self.labels = None;
        }
    }

    fn number(&mut self, number: f64) {
        let before = self.numbers.get_or_insert(Numbers { count: 0, min: number, max: number, mean: 0.0 });
        before.count += 1;
        before.min = before.min.min(number);
        before.max = before.max.max(number);
        before.mean += (number - before.mean) / before.count as f64;
    }
}
