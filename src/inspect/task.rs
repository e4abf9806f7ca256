//! A task's rows, field by field and part by part.

use crate::data::{Dataset, Stream};
use crate::sample::{Composition, Opened, Samples};
use crate::task::Task;
use serde::Serialize;
use smalti_contract::Value;
use std::collections::BTreeMap;

/// What was found in a task's rows.
#[derive(Clone, Debug, Serialize)]
pub struct TaskReport {
    /// The splits: `train` and `validation`.
    pub splits: Vec<SplitReport>,
    /// Files and columns that are not used, each with the reason.
    pub skipped: Vec<(String, String)>,
}

/// One split.
#[derive(Clone, Debug, Serialize)]
pub struct SplitReport {
    /// Its name.
    pub split: &'static str,
    /// Where its rows come from.
    pub source: String,
    /// The number of rows.
    pub rows: usize,
    /// The number of samples: rows, or windows of their series.
    pub samples: usize,
    /// The number of samples that were inspected.
    pub inspected: usize,
    /// The fields that parts read.
    pub fields: Vec<FieldReport>,
    /// The parts that have tokens.
    pub parts: Vec<PartReport>,
    /// What is wrong with samples that cannot be used.
    pub corrupt: Vec<String>,
}

/// One field over the inspected samples.
#[derive(Clone, Debug, Serialize)]
pub struct FieldReport {
    /// Its name.
    pub field: String,
    /// Samples without a value.
    pub missing: usize,
    /// What its first value is.
    pub holds: String,
    /// How many samples have each label, the most frequent first; empty for a field that is no label.
    pub labels: Vec<(String, usize)>,
    /// The smallest and the largest number, for numbers.
    pub range: Option<[f64; 2]>,
}

/// One part over the inspected samples.
#[derive(Clone, Debug, Serialize)]
pub struct PartReport {
    /// Its name.
    pub part: String,
    /// Its modality.
    pub modality: String,
    /// Samples without tokens of it.
    pub missing: usize,
    /// The fewest, the mean and the most tokens of a sample that has some.
    pub tokens: [f64; 3],
}

/// The most distinct labels that are counted.
const MOST_LABELS: usize = 1_000;

/// Inspects `limit` samples of each split, spread evenly (0 for all), as they are without random variation.
pub fn inspect(opened: &Opened, limit: usize) -> TaskReport {
    let split = |name, samples: &Samples| of_split(name, &opened.task, samples, limit);
    let skipped = opened.task.skipped().iter().map(|(what, why)| (what.clone(), why.to_string()));
    TaskReport {
        splits: vec![split("train", &opened.train_rows), split("validation", &opened.validation_rows)],
        skipped: skipped.collect(),
    }
}

fn of_split(split: &'static str, task: &Composition, samples: &Samples, limit: usize) -> SplitReport {
    let n = samples.len();
    let inspected = if limit == 0 { n } else { limit.min(n) };
    let mut fields: BTreeMap<String, Field> = BTreeMap::new();
    let mut parts: Vec<Vec<usize>> = vec![vec![]; task.parts().len()];
    let mut corrupt = vec![];
    for i in 0..inspected {
        let index = i * n / inspected;
        let (get, _, _) = samples.row(index);
        for field in task.fields() {
            fields.entry(field.clone()).or_default().add(get(&field).unwrap_or_default());
        }
        match samples.sample(index, None) {
            Ok(sample) => {
                for (number, counts) in parts.iter_mut().enumerate() {
                    let part = &task.parts()[number];
                    let stream: Stream = part.stream;
                    let tokens = sample.inputs.iter().find(|(of, _)| *of == stream);
                    let first = task.first_kind(part);
                    let count = tokens.map_or(0, |(_, tokens)| {
                        tokens.groups[first..first + part.kinds.len()].iter().map(|group| group.len()).sum()
                    });
                    counts.push(count);
                }
            }
            Err(error) => corrupt.push(error.to_string()),
        }
    }
    SplitReport {
        split,
        source: samples.rows().table.name().to_string(),
        rows: samples.rows().rows.len(),
        samples: n,
        inspected,
        fields: fields.into_iter().map(|(name, field)| field.report(name)).collect(),
        parts: task.parts().iter().zip(parts).map(|(part, counts)| PartReport::of(part, &counts)).collect(),
        corrupt,
    }
}

impl PartReport {
    fn of(part: &crate::sample::Part, counts: &[usize]) -> Self {
        let present: Vec<usize> = counts.iter().copied().filter(|&count| count > 0).collect();
        let ends =
            [present.iter().min(), present.iter().max()].map(|end| end.map_or(0.0, |&count| count as f64));
        let mean = present.iter().sum::<usize>() as f64 / present.len().max(1) as f64;
        Self {
            part: part.name.clone(),
            modality: part.tokenizer.name().to_string(),
            missing: counts.len() - present.len(),
            tokens: [ends[0], mean, ends[1]],
        }
    }
}

/// What is counted of a field.
#[derive(Default)]
struct Field {
    holds: Option<String>,
    missing: usize,
    labels: BTreeMap<String, usize>,
    too_many: bool,
    range: Option<[f64; 2]>,
}

impl Field {
    fn add(&mut self, value: Value) {
        match value {
            Value::Missing => self.missing += 1,
            Value::Series(steps) => {
                self.holds.get_or_insert_with(|| {
                    format!("a series of {}", steps.first().map_or("nothing".into(), Value::describe))
                });
                steps.into_iter().for_each(|step| self.count(step));
            }
            value => {
                self.holds.get_or_insert_with(|| value.describe());
                self.count(value);
            }
        }
    }

    fn count(&mut self, value: Value) {
        let numbers = match &value {
            Value::Number(number) => vec![*number],
            Value::Array(array) if array.len() <= 64 => array.to_f32().into_iter().map(f64::from).collect(),
            _ => vec![],
        };
        for number in numbers {
            let [low, high] = self.range.unwrap_or([number; 2]);
            self.range = Some([low.min(number), high.max(number)]);
        }
        let label =
            if matches!(value, Value::Text(_) | Value::Number(_)) { value.into_label().ok() } else { None };
        let Some(label) = label.filter(|_| !self.too_many) else { return };
        *self.labels.entry(label).or_default() += 1;
        if self.labels.len() > MOST_LABELS {
            self.labels.clear();
            self.too_many = true;
        }
    }

    fn report(self, field: String) -> FieldReport {
        let seen: usize = self.labels.values().sum();
        // Where hardly any value occurs twice they are texts or measurements, not labels.
        let repeat = self.labels.len() * 2 <= seen;
        let mut labels: Vec<(String, usize)> =
            if repeat { self.labels.into_iter().collect() } else { vec![] };
        labels.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let holds = self.holds.unwrap_or_else(|| "nothing".into());
        FieldReport { field, missing: self.missing, holds, labels, range: self.range }
    }
}
