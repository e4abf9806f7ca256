//! The data of a run: its rows, fields, classes and tokens, as `smalti data check` counts them.

use super::super::html::{Html, escaped};
use super::task_title;
use crate::config::TaskEntry;
use crate::data::DataError;
use crate::inspect::{FieldReport, PartReport, SplitReport, inspect, number};
use crate::sample::Opened;

/// The most samples of a split to read.
const SAMPLES: usize = 1_000;
/// The most classes, and the most problems.
const SHOWN: usize = 30;

/// The counts of each task's splits, over evenly spaced samples.
pub(super) fn body(tasks: &[(TaskEntry, Opened)]) -> Result<Html, DataError> {
    let mut body = Html::new();
    for (entry, opened) in tasks {
        task_title(&entry.name, &mut body);
        let report = inspect(opened, SAMPLES)?;
        body.table(
            &["split", "source", "rows", "samples", "samples inspected"],
            report.splits.iter().map(|split| {
                let SplitReport { source, rows, samples, inspected, .. } = split;
                let counts = [rows, samples, inspected].map(usize::to_string);
                [split.split.to_string(), source.clone()].into_iter().chain(counts).collect()
            }),
        );
        body.table(&["split", "part", "modality", "missing", "tokens of a sample"], parts(&report.splits));
        body.table(&["split", "field", "holds", "missing", "found"], fields(&report.splits));
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

fn fields(splits: &[SplitReport]) -> Vec<Vec<String>> {
    let row = |split: &SplitReport| -> Vec<Vec<String>> {
        let of_field = |field: &FieldReport| {
            let findings = field.findings().into_iter().filter(|(name, _)| name != "classes");
            let findings: Vec<String> =
                findings.map(|(name, finding)| format!("{name}: {finding}")).collect();
            let missing = field.missing.to_string();
            vec![split.split.into(), field.field.clone(), field.holds.clone(), missing, findings.join("\n")]
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
        let header = columns.iter().map(|(split, _)| format!("<th scope=\"col\">{split}</th>"));
        let header: String = header.collect();
        let mut table = Html::new();
        table.raw(&format!("<caption>Classes of {}</caption>", escaped(&field.field)));
        table.raw(&format!("<tr><th scope=\"col\">class</th>{header}</tr>"));
        for (class, _) in names.iter().take(SHOWN) {
            let cells = columns.iter().map(|(_, field)| bar(field, class));
            let class = escaped(class);
            table.raw(&format!("<tr><th scope=\"row\">{class}</th>{}</tr>", cells.collect::<String>()));
        }
        let mut scroll = Html::new();
        scroll.nested("table", "class=\"bars\"", &table);
        body.nested("div", "class=\"scroll\"", &scroll);
        if names.len() > SHOWN {
            body.element("p", "class=\"note\"", &format!("And {} more classes.", names.len() - SHOWN));
        }
    }
}

/// A cell with the count of a class and a bar, whose full length is the most frequent class.
fn bar(field: &FieldReport, class: &str) -> String {
    let count = field.classes.get(class).copied().unwrap_or(0);
    let most = field.classes.values().max().copied().unwrap_or(1).max(1);
    let width = 5.0 * count as f64 / most as f64;
    format!("<td><span class=\"bar\" style=\"width:{width:.2}rem\"></span>{count}</td>")
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
