//! Reports as a Markdown table and as a page of HTML.

use super::report::{Report, Stat};
use super::{Judged, ReproduceError};
use crate::report::html::{Cell, Html, Section};
use crate::report::page::document;
use std::fmt::Write;

/// A number in few digits.
pub fn number(value: f64) -> String {
    match value.abs() {
        a if a >= 1000.0 => format!("{value:.0}"),
        a if a >= 10.0 => format!("{value:.1}"),
        a if a >= 0.01 || a == 0.0 => format!("{value:.3}"),
        _ => format!("{value:.2e}"),
    }
}

/// Mean ± standard deviation; the mean alone for one seed.
pub fn spread(stat: &Stat) -> String {
    match stat.values.len() {
        0 | 1 => number(stat.mean),
        _ => format!("{} ± {}", number(stat.mean), number(stat.deviation)),
    }
}

/// `passed`, `missed`, that it was not measured, or that a quick check claims nothing.
pub fn verdict(report: &Report, bound: &Judged) -> &'static str {
    match bound.passed {
        _ if report.quick => "not judged (quick)",
        Some(true) => "passed",
        Some(false) => "missed",
        None => "not measured",
    }
}

/// The bounded values.
pub fn found(bound: &Judged) -> String {
    let values = bound.found.iter().map(|value| match bound.passed {
        None if value.is_nan() => "not measured".into(),
        _ => number(*value),
    });
    values.collect::<Vec<_>>().join(", ")
}

/// Seconds, or minutes from two of them on.
pub fn time(seconds: f64) -> String {
    if seconds < 120.0 { format!("{seconds:.0} s") } else { format!("{:.1} min", seconds / 60.0) }
}

/// A section of Markdown: a row for each bound of each report, in the order of the reports, and the sources of the published
/// numbers.
pub fn markdown(reports: &[Report]) -> String {
    let mut text = String::from(
        "## The lecture, reproduced\n\nBy `smalti reproduce all`; means over the seeds, and time of training for each seed.\n\n\
         | experiment | bound | wanted | found | result | published | seeds | time |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for report in reports {
        for bound in &report.bounds {
            let cells: [&str; 8] = [
                &report.name,
                &bound.what,
                &bound.wanted,
                &found(bound),
                verdict(report, bound),
                &report.references.get(&bound.what).map_or_else(|| "–".into(), |value| number(*value)),
                &report.seeds.to_string(),
                &time(report.seconds),
            ];
            let _ = writeln!(text, "| {} |", cells.map(in_line).join(" | "));
        }
    }
    text.push_str("\nPublished numbers:\n\n");
    for report in reports {
        let _ = writeln!(text, "- {}: {}", report.name, in_line(&references(report)));
    }
    text
}

/// A text for one line of Markdown, or for a cell of a table.
fn in_line(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// The published numbers with their source.
fn references(report: &Report) -> String {
    let numbers: Vec<String> =
        report.references.iter().map(|(name, value)| format!("{name} {}", number(*value))).collect();
    match (numbers.is_empty(), report.source.is_empty()) {
        (true, true) => "none".into(),
        (true, false) => report.source.clone(),
        (false, _) => format!("{} – {}", numbers.join(", "), report.source),
    }
}

/// A page with the text, the figures and the tables of each report, in one file.
///
/// # Errors
/// [`ReproduceError::Draw`] if a figure cannot be drawn.
pub fn html(reports: &[Report]) -> Result<String, ReproduceError> {
    let sections = reports.iter().map(section).collect::<Result<Vec<_>, _>>()?;
    Ok(document("The lecture, reproduced", &Html::new(), &sections))
}

fn section(report: &Report) -> Result<Section, ReproduceError> {
    let mut page = Html::new();
    report.text.split("\n\n").for_each(|paragraph| page.element("p", "", paragraph));
    for figure in report.figures() {
        page.figure(&figure, "", "")?;
    }
    let measures = report.measures.iter().map(|(name, stat)| {
        let reference = report.references.get(name).map_or_else(String::new, |value| number(*value));
        vec![name.clone(), spread(stat), reference]
    });
    page.table("", &["measure", "value", "reference"], measures);
    let baselines = report.baselines.iter();
    let baselines =
        baselines.map(|(name, it)| vec![name.clone(), number(it.value), it.of.clone(), it.source.clone()]);
    page.table("", &["baseline", "value", "of", "source"], baselines);
    let bounds = report.bounds.iter().map(|bound| {
        let text = verdict(report, bound).to_string();
        let result = match bound.passed.filter(|_| !report.quick) {
            Some(passed) => Cell::Verdict(passed, text),
            None => Cell::Text(text),
        };
        vec![bound.what.clone().into(), bound.wanted.clone().into(), found(bound).into(), result]
    });
    page.table("", &["bound", "wanted", "found", "result"], bounds);
    for written in &report.texts {
        page.element("p", "", &format!("{} writes, given {:?}:", written.run, written.given));
        page.element("pre", "", &written.text);
    }
    for (run, reason) in &report.left_out {
        page.element("p", "", &format!("Not measured: {run}, because {reason}."));
    }
    let (papers, seeds) = (report.papers.join("; "), report.seeds);
    let record = format!(
        "{papers}. Reference: {}. Seeds: {seeds}; {} of training for each.",
        references(report),
        time(report.seconds)
    );
    let mut small = Html::new();
    small.element("small", "", &record);
    page.nested("p", "", &small);
    Ok(Section { id: report.name.clone(), title: report.title.clone(), body: page })
}
