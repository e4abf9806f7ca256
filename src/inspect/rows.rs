//! Reading rows field by field, on all cores.

use super::FieldReport;
use super::counts::Holds;
use super::field::{Field, is_label};
use super::look::{Look, Readers};
use crate::table::Table;
use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// A row that cannot be used.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Corrupt {
    /// Where it lies.
    pub row: String,
    /// The field that cannot be read.
    pub field: String,
    /// What is wrong.
    pub problem: String,
}

/// What tells the content of a row from that of others: the first half of a SHA-256.
pub(super) type Content = [u8; 16];

/// What was found in some rows.
pub(super) struct Found {
    pub fields: Vec<FieldReport>,
    pub corrupt: Vec<Corrupt>,
    /// The time steps of each sound row that has series.
    pub steps: Vec<f64>,
    /// The content of each sound row, and its number.
    pub contents: Vec<(Content, u32)>,
}

/// Rows that are read side by side before they are counted.
const TOGETHER: usize = 256;

/// Reads these fields of these rows. `progress` is told how many are done.
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
        let look = |field: &String, row: u32| {
            let value = table.value(row as usize, field).map_err(|e| e.to_string())?;
            readers.look(value)
        };
        let looks = |row: &u32| fields.iter().map(|field| look(field, *row)).collect::<Vec<_>>();
        for (row, looks) in chunk.iter().zip(chunk.par_iter().map(looks).collect::<Vec<_>>()) {
            let content = content(fields, &looks);
            let mut problem = None;
            for ((field, counted), look) in fields.iter().zip(&mut counted).zip(looks) {
                if let Err(why) = look.and_then(|look| counted.add(look)) {
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

/// What is in a row: its files, arrays and series or, if it has none, its texts and numbers but for labels and splits.
fn content(fields: &[String], looks: &[Result<Look, String>]) -> Option<Content> {
    let present = || {
        let sound = fields.iter().zip(looks).filter_map(|(field, look)| Some((field, look.as_ref().ok()?)));
        sound.filter(|(_, look)| look.counts.holds != Holds::Missing)
    };
    let is_raw =
        |look: &Look| look.counts.series || !matches!(look.counts.holds, Holds::Text | Holds::Number);
    let raw = present().any(|(_, look)| is_raw(look));
    let of_content = present().filter(|(field, look)| match raw {
        true => is_raw(look),
        false => !is_label(field) && *field != "split",
    });
    let (mut digest, mut any) = (Sha256::new(), false);
    for (field, look) in of_content {
        digest.update(field);
        digest.update(look.digest.clone().finalize());
        any = true;
    }
    let whole = digest.finalize();
    any.then(|| std::array::from_fn(|i| whole[i]))
}
