//! What was found, for people.

use super::Bad;
use super::numbers::TokenReport;
use super::part::{Named, Part};
use super::twins::Twins;
use crate::cli::print;
use serde_json::Value;

/// Bad and skipped files, and twins, that are printed; JSON has all.
const SHOWN: usize = 20;
/// Length of the longest bar of a histogram.
const BAR: usize = 32;

/// Prints a part.
pub fn part(part: &Part) {
    let of = part.split.as_ref().map_or(String::new(), |split| format!("{split}: "));
    println!("{of}{}, {}", part.what, counted(part.samples, "sample"));
    let rows = part.found.iter().map(|(name, value)| vec![name.replace('_', " "), shown(value)]);
    print::table(&["found", ""], &rows.collect::<Vec<_>>());
    part.tokens.report().iter().for_each(tokens);
    if let Some(refused) = part.tokens.refused() {
        let samples = counted(refused.samples, "sample");
        println!("not tokenized with these options: {samples}; the first: {}", refused.problem);
    }
    if !part.frequent.is_empty() {
        let each = |f: &super::part::Frequent| format!("{:?} ({}) {:.1}%", f.reads, f.id, 100.0 * f.share);
        println!("most frequent: {}", part.frequent.iter().map(each).collect::<Vec<_>>().join(", "));
    }
    for Bad { name, problem } in part.bad.iter().take(SHOWN) {
        println!("bad: {name}: {problem}");
    }
    for (name, why) in part.skipped.iter().take(SHOWN) {
        println!("skipped: {name}: {why}");
    }
    more(&[part.bad.len(), part.skipped.len()]);
}

/// Prints what is there more than once.
pub fn twins(twins: &[Twins]) {
    if twins.is_empty() {
        return;
    }
    let samples = twins.iter().map(|twins| twins.samples.len()).sum();
    let (groups, samples) = (counted(twins.len(), "content"), counted(samples, "sample"));
    println!("there more than once: {groups} in {samples}");
    let (wrong, harmless): (Vec<&Twins>, Vec<&Twins>) =
        twins.iter().partition(|twins| twins.labels_differ || twins.across_splits);
    for twins in wrong.into_iter().chain(harmless).take(SHOWN) {
        let why = match (twins.labels_differ, twins.across_splits) {
            (true, true) => "different labels, in several splits",
            (true, false) => "different labels",
            (false, true) => "in several splits",
            (false, false) => "the same",
        };
        let names: Vec<String> = twins.samples.iter().take(4).map(who).collect();
        let rest = twins.samples.len() - names.len();
        let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
        println!("{why}: {}{rest}", names.join(" = "));
    }
    more(&[twins.len()]);
}

fn who(named: &Named) -> String {
    let about: Vec<&str> = [&named.split, &named.label].into_iter().flatten().map(String::as_str).collect();
    if about.is_empty() { named.name.clone() } else { format!("{} ({})", named.name, about.join(", ")) }
}

/// Says how many of some lists are not shown.
fn more(lengths: &[usize]) {
    let unshown: usize = lengths.iter().map(|length| length.saturating_sub(SHOWN)).sum();
    if unshown > 0 {
        println!("and {unshown} more; --json lists all");
    }
}

fn tokens(report: &TokenReport) {
    let total = counted(report.total as usize, "token");
    println!(
        "{total}; in a sample {}",
        spread(report.spread.least, report.spread.median, Some(report.spread.p95), report.spread.most)
    );
    let most = report.histogram.iter().map(|bin| bin.samples).max().unwrap_or(0);
    let width = report.histogram.last().map_or(0, |bin| 2 * bin.to.to_string().len() + 1);
    if report.histogram.len() > 1 {
        for bin in &report.histogram {
            let range =
                if bin.from == bin.to { bin.to.to_string() } else { format!("{}–{}", bin.from, bin.to) };
            // What is there is seen, however few.
            let bar = "█".repeat((bin.samples * BAR).div_ceil(most.max(1)));
            println!("  {range:>width$} {bar:BAR$} {}", bin.samples);
        }
    }
}

fn spread(least: f64, median: f64, p95: Option<f64>, most: f64) -> String {
    if least == most {
        return number(most);
    }
    let p95 = p95.map_or(String::new(), |p95| format!(", 95% up to {}", number(p95)));
    format!("{} to {}, median {}{p95}", number(least), number(most), number(median))
}

/// Whole numbers without digits behind the point.
fn number(x: f64) -> String {
    if x.fract() == 0.0 && x.abs() < 1e15 { format!("{x:.0}") } else { print::number(x) }
}

fn counted(n: usize, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}

/// A finding in a line: of many, the first.
fn shown(value: &Value) -> String {
    let listed = |items: Vec<String>| match items.len() {
        few if few <= SHOWN => items.join(", "),
        many => format!("{}, … ({many} in all)", items[..SHOWN].join(", ")),
    };
    let part = |name: &str| value.get(name).and_then(Value::as_f64);
    match value {
        Value::String(text) => text.clone(),
        Value::Number(x) if x.is_f64() => number(x.as_f64().unwrap_or(f64::NAN)),
        Value::Array(items) => listed(items.iter().map(shown).collect()),
        Value::Object(items) => match (part("least"), part("median"), part("most")) {
            (Some(least), Some(median), Some(most)) => spread(least, median, part("p95"), most),
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
