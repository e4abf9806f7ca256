//! The names of classes.

use serde::{Deserialize, Serialize};
use smalti_contract::{TokenizeError, Value};
use std::collections::{BTreeSet, HashMap};

/// The names of classes or labels, each with its number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<String>", into = "Vec<String>")]
pub struct Labels {
    names: Vec<String>,
    numbers: HashMap<String, u32>,
}

/// The most labels that an error lists.
const LISTED: usize = 20;

impl From<Vec<String>> for Labels {
    fn from(names: Vec<String>) -> Self {
        let numbers = names.iter().cloned().zip(0..).collect();
        Self { names, numbers }
    }
}

impl From<Labels> for Vec<String> {
    fn from(labels: Labels) -> Self {
        labels.names
    }
}

impl Labels {
    /// `n` labels that are called by their numbers.
    pub fn numbered(n: usize) -> Self {
        (0..n).map(|number| number.to_string()).collect::<Vec<_>>().into()
    }

    /// The labels of training rows: in order of number if all are numbers, else in alphabetical order.
    ///
    /// # Errors
    /// If there is no label.
    pub fn fit(head: &'static str, labels: BTreeSet<String>) -> Result<Self, TokenizeError> {
        if labels.is_empty() {
            let problem = "expected labels in the training rows; found none".into();
            return Err(TokenizeError::Config { tokenizer: head, problem });
        }
        let number = |label: &String| label.parse::<f64>().ok().filter(|number| number.is_finite());
        let mut names: Vec<String> = labels.into_iter().collect();
        if names.iter().all(|label| number(label).is_some()) {
            names.sort_by(|a, b| number(a).partial_cmp(&number(b)).unwrap_or(std::cmp::Ordering::Equal));
        }
        Ok(names.into())
    }

    /// The names, by number.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The number of a label.
    ///
    /// # Errors
    /// If the training rows have no such label; the message lists those that they have.
    pub fn number(&self, label: &str) -> Result<u32, TokenizeError> {
        self.numbers.get(label).copied().ok_or_else(|| {
            let mut known: Vec<&str> = self.names.iter().take(LISTED).map(String::as_str).collect();
            let others = format!("and {} more", self.len().saturating_sub(LISTED));
            if self.len() > LISTED {
                known.push(&others);
            }
            TokenizeError::Input(format!(
                "expected a label that training has: {}; found {label:?}",
                known.join(", ")
            ))
        })
    }

    /// The number of the label that a value stands for.
    ///
    /// # Errors
    /// As of [`number`](Self::number), and for a value that is no label.
    pub fn number_of(&self, value: Value) -> Result<u32, TokenizeError> {
        self.number(&value.into_label()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_are_numbers_are_in_their_order() {
        let fit = |labels: &[&str]| Labels::fit("classify", labels.iter().map(|l| l.to_string()).collect());
        assert_eq!(fit(&["10", "9", "-1.5"]).unwrap().names(), ["-1.5", "9", "10"]);
        assert_eq!(fit(&["10", "9", "b"]).unwrap().names(), ["10", "9", "b"]);
        assert_eq!(
            fit(&[]).unwrap_err().to_string(),
            "classify: expected labels in the training rows; found none"
        );
    }

    #[test]
    fn an_unknown_label_is_named_with_those_that_are_known() {
        let message = |labels: Labels| labels.number("wide").unwrap_err().to_string();
        assert_eq!(
            message(vec!["high".to_string(), "low".into()].into()),
            "expected a label that training has: high, low; found \"wide\""
        );
        assert!(message(Labels::numbered(25)).contains("18, 19, and 5 more; found \"wide\""));
    }
}
