//! The report of a task's rows, field by field and part by part.

use super::FieldReport;
use super::rows;
use super::table::spread;
use super::value::{Readers, Slicing};
use crate::data::{DataError, Dataset, Stream};
use crate::random;
use crate::sample::{Composition, Opened, Samples};
use serde::Serialize;

/// The report of a task's rows.
#[derive(Clone, Debug, Serialize)]
pub struct TaskReport {
    /// The splits: `train` and `validation`.
    pub splits: Vec<SplitReport>,
    /// Skipped files and fields, each with the reason.
    pub skipped: Vec<(String, String)>,
}

/// The report of one split.
#[derive(Clone, Debug, Serialize)]
pub struct SplitReport {
    /// Its name.
    pub split: &'static str,
    /// The source of its rows.
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
    /// The errors of samples that cannot be used.
    pub corrupt: Vec<String>,
}

/// The report of one part over the inspected samples.
#[derive(Clone, Debug, Serialize)]
pub struct PartReport {
    /// Its name.
    pub part: String,
    /// Its modality.
    pub modality: String,
    /// The number of samples without its tokens.
    pub missing: usize,
    /// The least, the mean and the largest number of tokens of a sample that has some.
    pub tokens: [f64; 3],
}

/// Inspects `limit` samples of each split, spread over all (0 for all), without augmentation, and the fields of as many rows.
///
/// # Errors
/// [`DataError`] if this build's tokenizers cannot read images or audio.
pub fn inspect(opened: &Opened, limit: usize) -> Result<TaskReport, DataError> {
    let readers = Readers::new(&Slicing::default()).map_err(|e| DataError::tokenize("data", e))?;
    let split = |name, samples: &Samples| of_split(name, &opened.task, samples, limit, &readers);
    let skipped = opened.train.skipped().iter().map(|(what, why)| (what.clone(), why.to_string()));
    Ok(TaskReport {
        splits: vec![split("train", &opened.train_rows), split("validation", &opened.validation_rows)],
        skipped: skipped.collect(),
    })
}

fn of_split(
    split: &'static str,
    task: &Composition,
    samples: &Samples,
    limit: usize,
    readers: &Readers,
) -> SplitReport {
    let n = samples.len();
    let inspected = if limit == 0 { n } else { limit.min(n) };
    let mut parts: Vec<Vec<usize>> = vec![vec![]; task.parts().len()];
    let mut corrupt = vec![];
    for i in 0..inspected {
        match samples.sample(random::spread(i, inspected, n), None) {
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
    let all = samples.rows();
    let known = |field: &String| all.table.fields().contains(field);
    let fields: Vec<String> = task.fields().into_iter().filter(known).collect();
    let chosen = spread(all.rows.clone(), limit);
    let found = rows::inspect(all.table.as_ref(), &chosen, &fields, readers, &mut |_| {});
    SplitReport {
        split,
        source: all.table.name().to_string(),
        rows: all.rows.len(),
        samples: n,
        inspected,
        // The parts have the numbers of tokens.
        fields: found.fields.into_iter().map(FieldReport::without_tokens).collect(),
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
