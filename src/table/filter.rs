//! Filters of rows by their fields.

use crate::data::error::DataError;
use crate::data::files::canonical_split;
use std::cmp::Ordering;

/// The field of the split, whose values have several spellings.
const SPLIT: &str = "split";

/// Comparisons that a row must all pass, such as `index>=5 & speaker!=george`.
///
/// The operators are `=`, `!=`, `<`, `<=`, `>` and `>=`. Two numbers compare as numbers, any other values as texts. The words
/// for a split are one value of the field `split`: `split = dev` is `split = validation`. A comparison of `field?` is left out
/// for a table without this field.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter(Vec<Comparison>);

#[derive(Debug, Clone, PartialEq)]
struct Comparison {
    field: String,
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

/// Operators of two characters come first: `<=` is not `<` and a value that begins with `=`.
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
    /// Parses a filter: comparisons joined by `&`.
    ///
    /// ```
    /// # use smalti::table::Filter;
    /// assert!(Filter::parse("index>=5 & speaker!=george").is_ok());
    /// assert!(Filter::parse("index").is_err());
    /// ```
    ///
    /// # Errors
    /// [`DataError::Filter`] for a comparison that is not a field, an operator and a value.
    pub fn parse(filter: &str) -> Result<Self, DataError> {
        let comparison = |term: &str| {
            Comparison::parse(term).ok_or_else(|| DataError::Filter {
                filter: filter.to_string(),
                problem: format!(
                    "expected a field, one of = != < <= > >=, and a value; found {:?}",
                    term.trim()
                ),
            })
        };
        filter.split('&').map(comparison).collect::<Result<_, _>>().map(Self)
    }

    /// The fields that it compares.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|comparison| comparison.field.as_str())
    }

    /// The filter for a table of these fields; `None` if no comparison is left.
    pub(super) fn over(self, known: &[String]) -> Option<Self> {
        let over = |mut comparison: Comparison| {
            if !known.contains(&comparison.field)
                && let Some(optional) = comparison.field.strip_suffix('?')
            {
                comparison.field = known.iter().find(|field| *field == optional.trim_end())?.clone();
            }
            Some(comparison)
        };
        let comparisons: Vec<Comparison> = self.0.into_iter().filter_map(over).collect();
        (!comparisons.is_empty()).then_some(Self(comparisons))
    }

    /// Whether a row passes; `value` gives the value of a field.
    pub fn passes<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|comparison| value(&comparison.field).is_some_and(|value| comparison.passes(value)))
    }
}

impl Comparison {
    fn parse(term: &str) -> Option<Self> {
        let start = term.find(['!', '=', '<', '>'])?;
        let (field, rest) = term.split_at_checked(start)?;
        let (value, operator) =
            OPERATORS.iter().find_map(|(sign, operator)| Some((rest.strip_prefix(sign)?, *operator)))?;
        let (field, value) = (field.trim(), value.trim());
        let whole = !field.is_empty() && !value.is_empty() && !value.starts_with(['!', '=', '<', '>']);
        whole.then(|| Self { field: field.to_string(), operator, value: value.to_string() })
    }

    fn passes(&self, found: &str) -> bool {
        let canonical = |value| if self.field == SPLIT { canonical_split(value) } else { value };
        let (found, wanted) = (canonical(found), canonical(&self.value));
        let order = match (number(found), number(wanted)) {
            (Some(found), Some(wanted)) => found.total_cmp(&wanted),
            _ => found.cmp(wanted),
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

/// A finite number; `nan` and `inf` are texts.
fn number(text: &str) -> Option<f64> {
    // Adding zero makes -0 equal to 0 under a total order.
    text.trim().parse().ok().filter(|number: &f64| number.is_finite()).map(|number| number + 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_for_a_split_are_one_value() {
        let passes =
            |filter: &str, value: &'static str| Filter::parse(filter).unwrap().passes(|_| Some(value));
        for filter in ["split = valid", "split = dev", "split = validation", "split = Val", "split != train"]
        {
            assert!(passes(filter, "validation") && passes(filter, "dev"), "{filter}");
        }
        assert!(!passes("split = train", "validation") && passes("split = train", "Training"));
        assert!(!passes("subset = dev", "validation"), "another field");
        assert!(passes("split = fold1", "fold1") && !passes("split = fold1", "fold2"));
    }
}
