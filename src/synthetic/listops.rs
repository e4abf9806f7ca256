//! Nested operations on lists of digits.

use super::kind::{Distinct, Draw, Kind, Rows};
use super::{Sizes, SyntheticError, setting};
use serde::Deserialize;
use smalti_contract::Value;

/// Nested operations on lists of digits: maximum, minimum, median (rounded down) and sum modulo 10.
#[derive(Clone, Debug, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ListOps {
    /// Fewest tokens of an expression: digits, operators and closing brackets.
    #[schemars(range(min = 4, max = 16_384))]
    min_length: usize,
    /// Most tokens of an expression.
    #[schemars(range(min = 4, max = 16_384))]
    max_length: usize,
    /// Most operations within one another.
    #[schemars(range(min = 1, max = 32))]
    max_depth: usize,
    /// Most arguments of an operation; 2 or more.
    #[schemars(range(min = 2, max = 64))]
    max_args: usize,
}

impl Default for ListOps {
    fn default() -> Self {
        Self { min_length: 8, max_length: 64, max_depth: 6, max_args: 5 }
    }
}

impl Kind for ListOps {
    const NAME: &'static str = "listops";
    const ABOUT: &'static str = "nested operations on lists of digits, with the digit that they result in";
    const PAPER: &'static str = "Nangia and Bowman 2018, ListOps; Tay et al. 2020, Long Range Arena";
    const FIELDS: &'static [&'static str] = &["text", "label", "length"];

    fn open(self, _: &Sizes) -> Result<Box<dyn Rows>, SyntheticError> {
        if self.min_length > self.max_length {
            let expected = format!("at most max_length = {}", self.max_length);
            return Err(setting(Self::NAME, "min_length", expected, self.min_length));
        }
        Ok(Box::new(self))
    }
}

impl Rows for ListOps {
    fn distinct(&self) -> Distinct {
        Distinct::ByFirstField
    }

    fn row(&self, draw: &mut Draw) -> Option<Vec<Value>> {
        let length = self.min_length + draw.below(self.max_length - self.min_length + 1);
        let mut tokens = Vec::with_capacity(length);
        let result = self.expression(length, self.max_depth, draw, &mut tokens);
        (tokens.len() >= self.min_length).then(|| {
            let texts = [tokens.join(" "), result.to_string()].map(Value::Text);
            texts.into_iter().chain([Value::Number(tokens.len() as f64)]).collect()
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operator {
    Max,
    Min,
    Median,
    Sum,
}

const OPERATORS: [(&str, Operator); 4] =
    [("[MAX", Operator::Max), ("[MIN", Operator::Min), ("[MED", Operator::Median), ("[SM", Operator::Sum)];
const DIGITS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
/// The fewest tokens of an operation: operator, two digits and the bracket.
const LEAST: usize = 4;

impl ListOps {
    /// Appends an expression of at most `length` tokens; returns its result. An operation shares its length among its
    /// arguments at random; what an argument leaves is for those after it.
    fn expression(&self, length: usize, depth: usize, draw: &mut Draw, tokens: &mut Vec<&'static str>) -> u8 {
        if length < LEAST || depth == 0 {
            let digit = draw.below(10);
            tokens.push(DIGITS[digit]);
            return digit as u8;
        }
        let (name, operator) = *draw.pick(&OPERATORS);
        tokens.push(name);
        let end = tokens.len() + length - 2;
        let n_args = 2 + draw.below(self.max_args.min(length - 2) - 1);
        let mut args = Vec::with_capacity(n_args);
        for later in (0..n_args).rev() {
            let left = end - tokens.len() - later;
            let mean = left / (later + 1);
            let share = if later == 0 { left } else { (1 + draw.below(2 * mean)).min(left) };
            args.push(self.expression(share, depth - 1, draw, tokens));
        }
        tokens.push("]");
        operator.of(args)
    }
}

impl Operator {
    fn of(self, mut args: Vec<u8>) -> u8 {
        args.sort_unstable();
        let (middle, odd) = (args.len() / 2, args.len() % 2);
        match self {
            Operator::Max => args[args.len() - 1],
            Operator::Min => args[0],
            Operator::Median if odd == 1 => args[middle],
            Operator::Median => (args[middle - 1] + args[middle]) / 2,
            Operator::Sum => (args.iter().map(|arg| usize::from(*arg)).sum::<usize>() % 10) as u8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_are_those_of_the_paper() {
        for (name, operator, result) in [
            ("maximum", Operator::Max, 9),
            ("minimum", Operator::Min, 1),
            ("median", Operator::Median, 4), // of 1, 3, 6 and 9, rounded down
            ("sum", Operator::Sum, 9),
        ] {
            assert_eq!(operator.of(vec![9, 3, 1, 6]), result, "{name}");
        }
        assert_eq!(Operator::Median.of(vec![7, 0, 8]), 7);
    }
}
