//! One rule: the conditions under which a query attends to a key.

use super::TokenMeta;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// When a query token may attend to a key token of the same document.
///
/// Written as in `run.toml`: `never`, `all`, or conditions joined by `&`, such as `causal & near(64)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Rule {
    /// Never.
    Never,
    /// If all of these conditions hold; always if there are none.
    When(Vec<Condition>),
}

/// One condition on a (query, key) pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The key is not later in the sequence. A token attends to itself.
    Causal,
    /// The key is not later in time. The same time step counts: a state attends to the action of its step.
    Past,
    /// The key is earlier in time.
    StrictPast,
    /// The key is of the same time step.
    SameTime,
    /// Every position axis differs by at most this much (Chebyshev distance); a window in 1-D or 2-D.
    Near(u32),
    /// The places in the sequence differ by at most this much.
    NearOrder(u32),
}

/// A rule that cannot be parsed, or does not fit its kinds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// A text that is no rule.
    #[error(
        "attention rule: expected never, all, or a conjunction such as `causal & near(64)` of causal, past, \
         strict_past, same_time, near(radius), near(radius, order); found {0:?}"
    )]
    Unreadable(String),
    /// A name that is not in the table.
    #[error("attention rules: expected one of the kinds {known}; found {name:?}")]
    UnknownKind {
        /// The name.
        name: String,
        /// The names in the table.
        known: String,
    },
    /// `near` between kinds whose positions cannot be compared.
    #[error(
        "near({radius}) compares positions, but {query} has axes [{query_axes}] and {key} has [{key_axes}]; \
         use near({radius}, order)"
    )]
    Axes {
        /// The radius of the rule.
        radius: u32,
        /// The query's kind.
        query: String,
        /// Its axes.
        query_axes: String,
        /// The key's kind.
        key: String,
        /// Its axes.
        key_axes: String,
    },
}

impl Rule {
    /// Full attention, as in an encoder.
    pub const ALL: Rule = Rule::When(Vec::new());

    /// Attention to earlier tokens of the sequence and to itself, as in a decoder.
    pub fn causal() -> Rule {
        Rule::When(vec![Condition::Causal])
    }

    /// Attention to all tokens of the same time step and of earlier ones, such as the patches of video frames.
    pub fn past() -> Rule {
        Rule::When(vec![Condition::Past])
    }

    /// Whether query `q` attends to key `k` of the same document.
    pub fn allows(&self, queries: &TokenMeta, q: usize, keys: &TokenMeta, k: usize) -> bool {
        match self {
            Rule::Never => false,
            Rule::When(conditions) => conditions.iter().all(|c| c.holds(queries, q, keys, k)),
        }
    }

    /// Whether no query at place `first` of the sequence, or after it, attends to a key at place `key`.
    pub fn forgets(&self, key: u32, first: u32) -> bool {
        let Rule::When(conditions) = self else { return true };
        let forgets =
            |c: &Condition| matches!(*c, Condition::NearOrder(radius) if key.saturating_add(radius) < first);
        conditions.iter().any(forgets)
    }

    /// The rule without its conditions of nearness.
    pub fn without_near(&self) -> Rule {
        let Rule::When(conditions) = self else { return Rule::Never };
        let is_near = |c: &&Condition| matches!(c, Condition::Near(_) | Condition::NearOrder(_));
        Rule::When(conditions.iter().filter(|c| !is_near(c)).copied().collect())
    }

    /// The radius, if the rule compares positions.
    pub fn compares_positions(&self) -> Option<u32> {
        let Rule::When(conditions) = self else { return None };
        conditions.iter().find_map(|c| if let Condition::Near(radius) = c { Some(*radius) } else { None })
    }
}

impl Condition {
    /// Whether the condition holds between query `q` and key `k`.
    pub fn holds(&self, queries: &TokenMeta, q: usize, keys: &TokenMeta, k: usize) -> bool {
        match *self {
            Condition::Causal => keys.order[k] <= queries.order[q],
            Condition::Past => keys.time[k] <= queries.time[q],
            Condition::StrictPast => keys.time[k] < queries.time[q],
            Condition::SameTime => keys.time[k] == queries.time[q],
            Condition::Near(radius) => {
                let mut axes = keys.positions[k].iter().zip(&queries.positions[q]);
                axes.all(|(a, b)| a.abs_diff(*b) <= radius)
            }
            Condition::NearOrder(radius) => keys.order[k].abs_diff(queries.order[q]) <= radius,
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Condition::Causal => f.write_str("causal"),
            Condition::Past => f.write_str("past"),
            Condition::StrictPast => f.write_str("strict_past"),
            Condition::SameTime => f.write_str("same_time"),
            Condition::Near(radius) => write!(f, "near({radius})"),
            Condition::NearOrder(radius) => write!(f, "near({radius}, order)"),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Rule::Never => f.write_str("never"),
            Rule::When(conditions) if conditions.is_empty() => f.write_str("all"),
            Rule::When(conditions) => {
                let texts: Vec<String> = conditions.iter().map(Condition::to_string).collect();
                f.write_str(&texts.join(" & "))
            }
        }
    }
}

impl FromStr for Condition {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let near = |text: &str| -> Option<Condition> {
            let inside = text.strip_prefix("near(")?.strip_suffix(')')?;
            Some(match inside.split_once(',') {
                None => Condition::Near(inside.trim().parse().ok()?),
                Some((radius, "order" | " order")) => Condition::NearOrder(radius.trim().parse().ok()?),
                Some(_) => return None,
            })
        };
        match text {
            "causal" => Ok(Condition::Causal),
            "past" => Ok(Condition::Past),
            "strict_past" => Ok(Condition::StrictPast),
            "same_time" => Ok(Condition::SameTime),
            other => near(other).ok_or(()),
        }
    }
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        match text.trim() {
            "never" => Ok(Rule::Never),
            "all" => Ok(Rule::ALL),
            conjunction => conjunction
                .split('&')
                .map(|condition| condition.trim().parse())
                .collect::<Result<_, ()>>()
                .map(Rule::When)
                .map_err(|()| RuleError::Unreadable(text.into())),
        }
    }
}

impl TryFrom<String> for Rule {
    type Error = RuleError;

    fn try_from(text: String) -> Result<Self, RuleError> {
        text.parse()
    }
}

impl From<Rule> for String {
    fn from(rule: Rule) -> String {
        rule.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_written_and_read() {
        for text in ["never", "all", "causal", "causal & near(4096)", "past & near(2, order)"] {
            assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
        }
        for text in ["", "sometimes", "near()", "near(-1)", "near(2, row)", "all & causal"] {
            assert_eq!(text.parse::<Rule>(), Err(RuleError::Unreadable(text.into())));
        }
    }
}
