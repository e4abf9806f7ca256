//! Reading rows field by field, on all cores.

use super::FieldReport;
use super::counts::ValueType;
use super::field::{Field, is_label};
use super::text::summarize_long;
use super::value::{Readers, ValueSummary};
use crate::table::Table;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A row that cannot be used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Corrupt {
    /// Its location.
    pub row: String,
    /// The field that cannot be read.
    pub field: String,
    /// The error.
    pub problem: String,
}

/// A digest of the content of a row: the first half of a SHA-256.
pub(super) type Content = [u8; 16];

/// The report of some rows.
pub(super) struct Found {
    pub fields: Vec<FieldReport>,
    pub corrupt: Vec<Corrupt>,
    /// The number of time steps of each usable row that has series.
    pub steps: Vec<f64>,
    /// The content of each usable row, and its number.
    pub contents: Vec<(Content, u32)>,
}

/// Rows to read in parallel before they are counted.
const TOGETHER: usize = 256;

/// Reads these fields of these rows. Calls `progress` with the number of rows read since the last call.
pub(super) fn inspect(
    table: &dyn Table,
    rows: &[u32],
    fields: &[String],
    readers: &Readers,
    progress: &mut dyn FnMut(usize),
) -> Found {
    let mut found = Found { fields: vec![], corrupt: vec![], steps: vec![], contents: vec![] };
    let mut counted: Vec<Field> = fields.iter().map(|_| Field::default()).collect();
    for chunk in rows.chunks(TOGETHER) {
        let summary = |field: &String, row: u32| {
            if table.streams(field) {
                let file = table.stream(row as usize, field).map_err(|e| e.to_string())?;
                if let Some(summary) = summarize_long(readers, file)? {
                    return Ok(summary);
                }
            }
            let value = table.value(row as usize, field).map_err(|e| e.to_string())?;
            readers.summarize(value)
        };
        let summaries = |row: &u32| fields.iter().map(|field| summary(field, *row)).collect::<Vec<_>>();
        for (row, summaries) in chunk.iter().zip(chunk.par_iter().map(summaries).collect::<Vec<_>>()) {
            let content = content(fields, &summaries);
            let mut problem = None;
            for ((field, counted), summary) in fields.iter().zip(&mut counted).zip(summaries) {
                if let Err(why) = summary.and_then(|summary| counted.add(summary)) {
                    problem.get_or_insert((field.clone(), why));
                }
            }
            if let Some((field, problem)) = problem {
                let row = table.location(*row as usize);
                found.corrupt.push(Corrupt { row, field, problem });
                continue;
            }
            let steps = table.steps(*row as usize);
            found.steps.extend((steps > 0).then_some(steps as f64));
            found.contents.extend(content.map(|content| (content, *row)));
        }
        progress(chunk.len());
    }
    let report = |(field, counted): (&String, Field)| counted.report(field.clone(), readers.bytes);
    found.fields = fields.iter().zip(counted).map(report).collect();
    found
}

/// The digest of a row: of its files and series, and of its arrays without a text beside them; or, if it has none, of all its
/// values except labels and split.
fn content(fields: &[String], summaries: &[Result<ValueSummary, String>]) -> Option<Content> {
    let present = || {
        let usable = fields.iter().zip(summaries);
        let usable = usable.filter_map(|(field, summary)| Some((field, summary.as_ref().ok()?)));
        usable.filter(|(_, summary)| summary.counts.holds != ValueType::Missing)
    };
    let is_other = |field: &str| !is_label(field) && field != "split";
    let has_text =
        present().any(|(field, summary)| summary.counts.holds == ValueType::Text && is_other(field));
    let is_raw = |summary: &ValueSummary| match summary.counts.holds {
        _ if summary.counts.series => true,
        ValueType::Text | ValueType::Number => false,
        ValueType::Array => !has_text, // beside a text, such as its alignment
        _ => true,
    };
    let raw = present().any(|(_, summary)| is_raw(summary));
    let of_content = present().filter(|(field, summary)| match raw {
        true => is_raw(summary),
        false => is_other(field),
    });
    let (mut digest, mut any) = (Sha256::new(), false);
    for (field, summary) in of_content {
        digest.update(field);
        digest.update(summary.digest.clone().finalize());
        any = true;
    }
    let whole = digest.finalize();
    any.then(|| std::array::from_fn(|i| whole[i]))
}
