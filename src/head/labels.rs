//! The names of classes and labels.

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
    /// `n` labels, each named by its number.
    pub fn numbered(n: usize) -> Self {
        (0..n).map(|number| number.to_string()).collect::<Vec<_>>().into()
    }

    /// The labels of the training rows: in numerical order if all are numbers, else in alphabetical order.
    ///
    /// # Errors
    /// If there are no labels.
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

    /// The number of labels.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are no labels.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The number of a label.
    ///
    /// # Errors
    /// If the training rows do not have the label; the message lists the known labels.
    pub fn number(&self, label: &str) -> Result<u32, TokenizeError> {
        self.numbers.get(label).copied().ok_or_else(|| {
            let known = smalti_contract::listed(&self.names, ", ");
            TokenizeError::Input(format!("expected a label of the training rows: {known}; found {label:?}"))
        })
    }

    /// The number of a value's label.
    ///
    /// # Errors
    /// As for [`number`](Self::number), and if the value is not a label.
    pub fn number_of(&self, value: Value) -> Result<u32, TokenizeError> {
        self.number(&value.into_label()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numeric_labels_are_in_numerical_order() {
        let fit = |labels: &[&str]| Labels::fit("classify", labels.iter().map(|l| l.to_string()).collect());
        assert_eq!(fit(&["10", "9", "-1.5"]).unwrap().names(), ["-1.5", "9", "10"]);
        assert_eq!(fit(&["10", "9", "b"]).unwrap().names(), ["10", "9", "b"]);
        assert_eq!(
            fit(&[]).unwrap_err().to_string(),
            "classify: expected labels in the training rows; found none"
        );
    }

    #[test]
    fn an_unknown_label_is_an_error_that_lists_the_known_labels() {
        let message = |labels: Labels| labels.number("wide").unwrap_err().to_string();
        assert_eq!(
            message(vec!["high".to_string(), "low".into()].into()),
            "expected a label of the training rows: high, low; found \"wide\""
        );
        assert!(message(Labels::numbered(25)).contains("8, 9, … (25 in all); found \"wide\""));
    }
}
