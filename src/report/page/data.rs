//! The data of a run: its rows, fields, classes and tokens, as `smalti data check` counts them.

use super::super::html::{Cell, Html};
use super::task_title;
use crate::config::TaskEntry;
use crate::data::DataError;
use crate::inspect::{FieldReport, PartReport, SplitReport, inspect, number};
use crate::sample::Opened;

/// The most samples of a split to read.
const SAMPLES: usize = 1_000;
/// The most classes, and the most problems.
const SHOWN: usize = 30;

/// The counts of each task's splits, over samples spread over all.
pub(super) fn body(tasks: &[(TaskEntry, Opened)]) -> Result<Html, DataError> {
    let mut body = Html::new();
    for (entry, opened) in tasks {
        task_title(&entry.name, &mut body);
        let report = inspect(opened, SAMPLES)?;
        let [train, validation] = [&opened.train_rows, &opened.validation_rows].map(|split| split.rows());
        body.table(
            "",
            &["split", "source", "samples", "samples inspected"],
            report.splits.iter().zip([train, validation]).map(|(split, rows)| {
                let counts = [split.samples, split.inspected].map(|n| n.to_string());
                [split.split.to_string(), rows.chosen.clone()].into_iter().chain(counts).collect::<Vec<_>>()
            }),
        );
        body.table(
            "",
            &["split", "part", "modality", "missing", "tokens of a sample"],
            parts(&report.splits),
        );
        // The splits divide the tokens of the same rows.
        let (of, splits) = match (train.is_same(validation), &report.splits[..]) {
            (true, [first, ..]) => (Some("both, before they are divided"), std::slice::from_ref(first)),
            (_, all) => (None, all),
        };
        body.table("", &["split", "field", "holds", "missing", "found"], fields(splits, of));
        let outputs: Vec<&String> = opened.task.outputs().iter().flat_map(|output| &output.fields).collect();
        classes(&report.splits, &outputs, &mut body);
        let corrupt: Vec<&String> = report.splits.iter().flat_map(|split| &split.corrupt).collect();
        let skipped: Vec<String> =
            report.skipped.iter().map(|(what, why)| format!("{what}: {why}")).collect();
        problems("Corrupt samples", &corrupt, &mut body);
        problems("Not used", &skipped.iter().collect::<Vec<_>>(), &mut body);
    }
    Ok(body)
}

fn parts(splits: &[SplitReport]) -> Vec<Vec<String>> {
    let row = |split: &SplitReport| -> Vec<Vec<String>> {
        let of_part = |part: &PartReport| {
            let [least, mean, most] = part.tokens;
            let tokens = match least == most {
                true => number(most),
                false => format!("{} to {}, mean {mean:.1}", number(least), number(most)),
            };
            vec![
                split.split.into(),
                part.part.clone(),
                part.modality.clone(),
                part.missing.to_string(),
                tokens,
            ]
        };
        split.parts.iter().map(of_part).collect()
    };
    splits.iter().flat_map(row).collect()
}

/// A row for each field of each split, named by its split or by `of`.
fn fields(splits: &[SplitReport], of: Option<&str>) -> Vec<Vec<String>> {
    let row = |split: &SplitReport| -> Vec<Vec<String>> {
        let of_field = |field: &FieldReport| {
            let findings = field.findings().into_iter().filter(|(name, _)| name != "classes");
            let findings: Vec<String> =
                findings.map(|(name, finding)| format!("{name}: {finding}")).collect();
            let missing = field.missing.to_string();
            let split = of.unwrap_or(split.split).to_string();
            vec![split, field.field.clone(), field.holds.clone(), missing, findings.join("\n")]
        };
        split.fields.iter().map(of_field).collect()
    };
    splits.iter().flat_map(row).collect()
}

/// A table of classes for each field of an output that has some: a column of bars for each split, the most frequent class first.
fn classes(splits: &[SplitReport], outputs: &[&String], body: &mut Html) {
    let Some(first) = splits.first() else { return };
    let has_classes = |field: &&FieldReport| outputs.contains(&&field.field) && !field.classes.is_empty();
    for field in first.fields.iter().filter(has_classes) {
        let columns: Vec<(&str, &FieldReport)> = splits
            .iter()
            .filter_map(|split| {
                Some((split.split, split.fields.iter().find(|other| other.field == field.field)?))
            })
            .collect();
        let names = field.frequent_classes();
        let count = |field: &FieldReport, class: &str| field.classes.get(class).copied().unwrap_or(0);
        let counts = columns.iter().flat_map(|(_, field)| field.classes.values());
        let most = counts.max().copied().unwrap_or(1).max(1) as f32;
        let row = |(class, _): &(&str, usize)| -> Vec<Cell> {
            let counts = columns.iter().map(|(_, field)| count(field, class));
            let bars = counts.map(|count| Cell::Bar(count as f32 / most, count.to_string()));
            std::iter::once(Cell::Name(class.to_string())).chain(bars).collect()
        };
        let inspected: Vec<String> = splits
            .iter()
            .map(|split| format!("{} of {}", split.inspected.min(split.rows), split.split))
            .collect();
        let caption =
            format!("Classes of {}, counted in the inspected rows: {}", field.field, inspected.join(", "));
        let header: Vec<&str> =
            std::iter::once("class").chain(columns.iter().map(|(split, _)| *split)).collect();
        body.table(&caption, &header, names.iter().take(SHOWN).map(row));
        if names.len() > SHOWN {
            body.element("p", "class=\"note\"", &format!("And {} more classes.", names.len() - SHOWN));
        }
    }
}

/// A list of problems, if there are any.
fn problems(title: &str, problems: &[&String], body: &mut Html) {
    if problems.is_empty() {
        return;
    }
    let more = problems.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(", the first {SHOWN}") } else { String::new() };
    body.element("p", "", &format!("{title}: {}{more}.", problems.len()));
    let mut list = Html::new();
    problems.iter().take(SHOWN).for_each(|problem| list.element("li", "", problem));
    body.nested("ul", "", &list);
}
