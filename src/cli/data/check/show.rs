//! The report of a check, as tables.

use crate::cli::print;
use crate::inspect::{
    Corrupt, Duplicates, FieldReport, LabelledRow, Spread, Symbol, TableReport, TokenReport, Total,
};
use crate::table::{Declined, Detected};
use serde_json::Value;

/// Most corrupt rows, skipped files, duplicates and classes to print; JSON has all.
const SHOWN: usize = 20;
/// Length of the longest bar of a histogram.
const BAR: usize = 32;

/// Prints the layout that was taken and why, and why those layouts do not fit that the names of the files suit, too.
pub fn layout(Detected { layout, because, others, .. }: &Detected) {
    let because = because.as_ref().map_or(String::new(), |because| format!(" ({because})"));
    println!("layout: {layout}{because}");
    let near: Vec<String> = others
        .iter()
        .filter(|other| other.is_near)
        .map(|Declined { layout, reason, .. }| format!("not {layout}: {reason}"))
        .collect();
    if !near.is_empty() {
        println!("{}", near.join("; "));
    }
}

/// Prints the report of a table.
pub fn table(name: &str, report: &TableReport) {
    for split in &report.splits {
        let of = split.split.as_ref().map_or(String::new(), |split| format!("{split}: "));
        let inspected = if split.inspected < split.rows {
            format!(", {} inspected", split.inspected)
        } else {
            String::new()
        };
        println!("{of}{} of {name}{inspected}", counted(split.rows, "row"));
        if let Some(Total { total, spread }) = split.steps {
            println!("{} time steps; in a row {}", number(total), shown_spread(&spread));
        }
        fields(&split.fields);
        for field in &split.fields {
            tokens(field);
        }
        for Corrupt { row, field, problem } in split.corrupt.iter().take(SHOWN) {
            println!("corrupt: {row}, field {field}: {problem}");
        }
        more(&[split.corrupt.len()]);
    }
    for (name, why) in report.skipped.iter().take(SHOWN) {
        println!("skipped: {name}: {why}");
    }
    more(&[report.skipped.len()]);
    duplicates(&report.duplicates);
}

/// Prints a table of fields.
pub fn fields(fields: &[FieldReport]) {
    let row = |field: &FieldReport| {
        let range = field.range.map(|[low, high]| format!("range: {} to {}", number(low), number(high)));
        let classes = (!field.classes.is_empty()).then(|| format!("classes: {}", frequent_classes(field)));
        let found =
            field.found.iter().map(|(name, value)| format!("{}: {}", name.replace('_', " "), shown(value)));
        let found = range.into_iter().chain(classes).chain(found).collect::<Vec<_>>().join("\n");
        vec![field.field.clone(), field.holds.clone(), field.missing.to_string(), found]
    };
    print::table(&["field", "holds", "missing", "found"], &fields.iter().map(row).collect::<Vec<_>>());
}

/// The classes, the most frequent first.
fn frequent_classes(field: &FieldReport) -> String {
    let mut classes: Vec<(&String, &usize)> = field.classes.iter().collect();
    classes.sort_by(|one, other| other.1.cmp(one.1).then_with(|| one.0.cmp(other.0)));
    listed(classes.into_iter().map(|(class, n)| format!("{class}: {n}")).collect())
}

/// Prints how many tokens the values of a field become.
fn tokens(field: &FieldReport) {
    let name = &field.field;
    // A series of numbers has one token for each time step.
    let steps = ["series of number", "series of array"].contains(&field.holds.as_str());
    if let Some(report) = field.tokens.as_ref().filter(|_| !steps) {
        let total = counted(report.total as usize, "token");
        println!("{name}: {total}; in a row {}", shown_spread(&report.spread));
        histogram(report);
    }
    if let Some(failed) = &field.not_tokenized {
        let rows = counted(failed.rows, "row");
        println!("{name}: not tokenized with these options: {rows}; the first: {}", failed.problem);
    }
    if !field.most_frequent.is_empty() {
        let each = |one: &Symbol| format!("{:?} ({}) {:.1}%", one.reads, one.id, 100.0 * one.share);
        let symbols = field.most_frequent.iter().map(each).collect::<Vec<_>>().join(", ");
        println!("{name}: most frequent: {symbols}");
    }
}

/// Prints the duplicates, those with a fault first.
fn duplicates(duplicates: &[Duplicates]) {
    if duplicates.is_empty() {
        return;
    }
    let rows = duplicates.iter().map(|one| one.rows.len()).sum();
    println!("duplicates: {} in {}", counted(duplicates.len(), "content"), counted(rows, "row"));
    let (wrong, harmless): (Vec<&Duplicates>, Vec<&Duplicates>) =
        duplicates.iter().partition(|one| one.labels_differ || one.across_splits);
    for one in wrong.into_iter().chain(harmless).take(SHOWN) {
        let why = match (one.labels_differ, one.across_splits) {
            (true, true) => "different labels, in several splits",
            (true, false) => "different labels",
            (false, true) => "in several splits",
            (false, false) => "the same",
        };
        let names: Vec<String> = one.rows.iter().take(4).map(location_and_label).collect();
        let rest = one.rows.len() - names.len();
        let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
        println!("{why}: {}{rest}", names.join(" = "));
    }
    more(&[duplicates.len()]);
}

fn location_and_label(row: &LabelledRow) -> String {
    let about: Vec<&str> = [&row.split, &row.label].into_iter().flatten().map(String::as_str).collect();
    if about.is_empty() { row.row.clone() } else { format!("{} ({})", row.row, about.join(", ")) }
}

/// Prints how many items of these lists are not shown.
fn more(lengths: &[usize]) {
    let unshown: usize = lengths.iter().map(|length| length.saturating_sub(SHOWN)).sum();
    if unshown > 0 {
        println!("and {unshown} more; --json lists all");
    }
}

fn histogram(report: &TokenReport) {
    let most = report.histogram.iter().map(|bin| bin.rows).max().unwrap_or(0);
    let width = report.histogram.last().map_or(0, |bin| 2 * bin.to.to_string().len() + 1);
    if report.histogram.len() > 1 {
        for bin in &report.histogram {
            let range =
                if bin.from == bin.to { bin.to.to_string() } else { format!("{}–{}", bin.from, bin.to) };
            // A bin that is not empty has a bar.
            let bar = "█".repeat((bin.rows * BAR).div_ceil(most.max(1)));
            println!("  {range:>width$} {bar:BAR$} {}", bin.rows);
        }
    }
}

fn shown_spread(of: &Spread) -> String {
    spread(of.least, of.median, Some(of.p95), of.most)
}

fn spread(least: f64, median: f64, p95: Option<f64>, most: f64) -> String {
    if least == most {
        return number(most);
    }
    let p95 = p95.map_or(String::new(), |p95| format!(", 95% up to {}", number(p95)));
    format!("{} to {}, median {}{p95}", number(least), number(most), number(median))
}

/// A number; whole numbers without decimals.
fn number(x: f64) -> String {
    if x.fract() == 0.0 && x.abs() < 1e15 { format!("{x:.0}") } else { print::number(x) }
}

fn counted(n: usize, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}

/// The items, or the first of many.
fn listed(items: Vec<String>) -> String {
    match items.len() {
        few if few <= SHOWN => items.join(", "),
        many => format!("{}, … ({many} in all)", items[..SHOWN].join(", ")),
    }
}

/// A finding on one line.
fn shown(value: &Value) -> String {
    let part = |name: &str| value.get(name).and_then(Value::as_f64);
    let total = part("total").map_or(String::new(), |total| format!("{} in all; ", number(total)));
    match value {
        Value::String(text) => text.clone(),
        Value::Number(x) if x.is_f64() => number(x.as_f64().unwrap_or(f64::NAN)),
        Value::Array(items) => listed(items.iter().map(shown).collect()),
        Value::Object(items) => match (part("least"), part("median"), part("most")) {
            (Some(least), Some(median), Some(most)) => {
                format!("{total}{}", spread(least, median, part("p95"), most))
            }
            _ => listed(items.iter().map(|(name, value)| format!("{name}: {}", shown(value))).collect()),
        },
        Value::Null => "none".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn findings_are_short() {
        let spread = json!({ "least": 8.0, "median": 10.0, "p95": 11.5, "most": 12.0 });
        assert_eq!(shown(&spread), "8 to 12, median 10, 95% up to 11.5");
        assert_eq!(shown(&json!({ "least": 8.0, "median": 8.0, "p95": 8.0, "most": 8.0 })), "8");
        assert_eq!(shown(&json!({ "cat": 2, "dog": 1 })), "cat: 2, dog: 1");
        assert!(shown(&json!((0..30).collect::<Vec<_>>())).ends_with("19, … (30 in all)"));
        assert_eq!((shown(&json!(null)), shown(&json!(2.5))), ("none".into(), "2.5000".into()));
    }
}
