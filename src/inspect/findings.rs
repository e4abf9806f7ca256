//! Findings in words.

use super::{FieldReport, Spread};
use serde_json::Value;
use std::fmt;

/// Most items of a list.
const SHOWN: usize = 20;

impl FieldReport {
    /// The range, the classes and all other findings: names and words.
    pub fn findings(&self) -> Vec<(String, String)> {
        let range = self.range.map(|[low, high]| format!("{} to {}", number(low), number(high)));
        let classes = (!self.classes.is_empty()).then(|| {
            listed(self.frequent_classes().iter().map(|(class, n)| format!("{class}: {n}")).collect())
        });
        let first = [("range", range), ("classes", classes)];
        let first = first.into_iter().filter_map(|(name, words)| Some((name.to_string(), words?)));
        first.chain(self.found.iter().map(|(name, value)| (name.replace('_', " "), shown(value)))).collect()
    }

    /// The classes with their counts, the most frequent first.
    pub fn frequent_classes(&self) -> Vec<(&str, usize)> {
        let mut classes: Vec<(&str, usize)> =
            self.classes.iter().map(|(class, n)| (class.as_str(), *n)).collect();
        classes.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(other.0)));
        classes
    }
}

impl fmt::Display for Spread {
    /// `8 to 12, median 10, 95% up to 11.5`.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&spread(self.least, self.median, Some(self.p95), self.most))
    }
}

/// A number; whole numbers without decimals.
pub fn number(x: f64) -> String {
    if x.fract() == 0.0 && x.abs() < 1e15 { format!("{x:.0}") } else { rounded(x) }
}

/// A number, rounded for reading.
pub fn rounded(x: f64) -> String {
    match x.abs() {
        a if a >= 1000.0 => format!("{x:.0}"),
        a if a >= 10.0 => format!("{x:.1}"),
        _ => format!("{x:.4}"),
    }
}

fn spread(least: f64, median: f64, p95: Option<f64>, most: f64) -> String {
    if least == most {
        return number(most);
    }
    let p95 = p95.map_or(String::new(), |p95| format!(", 95% up to {}", number(p95)));
    format!("{} to {}, median {}{p95}", number(least), number(most), number(median))
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
    // The total of one value is the value.
    let several = part("total").filter(|total| part("most") != Some(*total));
    let total = several.map_or(String::new(), |total| format!("{} in all; ", number(total)));
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
        assert_eq!(shown(&json!({ "total": 7.0, "least": 7.0, "median": 7.0, "most": 7.0 })), "7");
        assert_eq!(shown(&json!({ "cat": 2, "dog": 1 })), "cat: 2, dog: 1");
        assert!(shown(&json!((0..30).collect::<Vec<_>>())).ends_with("19, … (30 in all)"));
        assert_eq!((shown(&json!(null)), shown(&json!(2.5))), ("none".into(), "2.5000".into()));
    }
}
