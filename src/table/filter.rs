//! Choosing rows by their fields.

use crate::data::error::DataError;
use std::cmp::Ordering;

/// Comparisons that a row must all pass, such as `index>=5 & speaker!=george`.
///
/// The operators are `=`, `!=`, `<`, `<=`, `>` and `>=`. Two numbers compare as numbers, anything else as
/// text.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter(Vec<Comparison>);

#[derive(Debug, Clone, PartialEq)]
struct Comparison {
    column: String,
    operator: Operator,
    value: String,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

/// Those of two characters first: `<=` is not `<` and a value that begins with `=`.
const OPERATORS: [(&str, Operator); 7] = [
    ("!=", Operator::NotEqual),
    ("<=", Operator::AtMost),
    (">=", Operator::AtLeast),
    ("==", Operator::Equal),
    ("=", Operator::Equal),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

impl Filter {
    /// Reads a filter: comparisons joined by `&`.
    ///
    /// ```
    /// # use smalti::table::Filter;
    /// assert!(Filter::parse("index>=5 & speaker!=george").is_ok());
    /// assert!(Filter::parse("index").is_err());
    /// ```
    ///
    /// # Errors
    /// [`DataError::Filter`] for a comparison that is not a column, an operator and a value.
    pub fn parse(filter: &str) -> Result<Self, DataError> {
        let comparison = |term: &str| {
            Comparison::parse(term).ok_or_else(|| DataError::Filter {
                filter: filter.to_string(),
                problem: format!("{:?} is not a column, one of = != < <= > >=, and a value", term.trim()),
            })
        };
        filter.split('&').map(comparison).collect::<Result<_, _>>().map(Self)
    }

    /// The fields that it compares.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|comparison| comparison.column.as_str())
    }

    /// Whether a row passes, given its fields by column.
    pub fn passes<'a>(&self, field: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0
            .iter()
            .all(|comparison| field(&comparison.column).is_some_and(|field| comparison.passes(field)))
    }
}

impl Comparison {
    fn parse(term: &str) -> Option<Self> {
        let start = term.find(['!', '=', '<', '>'])?;
        let (column, rest) = term.split_at_checked(start)?;
        let (value, operator) =
            OPERATORS.iter().find_map(|(sign, operator)| Some((rest.strip_prefix(sign)?, *operator)))?;
        let (column, value) = (column.trim(), value.trim());
        let whole = !column.is_empty() && !value.is_empty() && !value.starts_with(['!', '=', '<', '>']);
        whole.then(|| Self { column: column.to_string(), operator, value: value.to_string() })
    }

    fn passes(&self, field: &str) -> bool {
        let order = match (number(field), number(&self.value)) {
            (Some(field), Some(value)) => field.total_cmp(&value),
            _ => field.cmp(&self.value),
        };
        match self.operator {
            Operator::Equal => order == Ordering::Equal,
            Operator::NotEqual => order != Ordering::Equal,
            Operator::Less => order == Ordering::Less,
            Operator::AtMost => order != Ordering::Greater,
            Operator::Greater => order == Ordering::Greater,
            Operator::AtLeast => order != Ordering::Less,
        }
    }
}

/// A finite number; `nan` and `inf` are words.
fn number(text: &str) -> Option<f64> {
    // Adding zero makes -0 equal to 0 under a total order.
    text.trim().parse().ok().filter(|number: &f64| number.is_finite()).map(|number| number + 0.0)
}
