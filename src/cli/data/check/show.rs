//! The report of a check, as tables.

use crate::cli::print;
use crate::inspect::{
    Corrupt, Duplicates, FieldReport, LabelledRow, Symbol, TableReport, TokenReport, Total, number,
};
use crate::table::{Declined, Detected};

/// Most corrupt rows, skipped files and duplicates to print; JSON has all.
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
            println!("{} time steps; in a row {spread}", number(total));
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
        let found = field.findings().into_iter().map(|(name, finding)| format!("{name}: {finding}"));
        let found = found.collect::<Vec<_>>().join("\n");
        vec![field.field.clone(), field.holds.clone(), field.missing.to_string(), found]
    };
    print::table(&["field", "holds", "missing", "found"], &fields.iter().map(row).collect::<Vec<_>>());
}

/// Prints how many tokens the values of a field become.
fn tokens(field: &FieldReport) {
    let name = &field.field;
    // A series of numbers has one token for each time step.
    let steps = ["series of number", "series of array"].contains(&field.holds.as_str());
    if let Some(report) = field.tokens.as_ref().filter(|_| !steps) {
        let total = counted(report.total as usize, "token");
        println!("{name}: {total}; in a row {}", report.spread);
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

fn counted(n: usize, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}
