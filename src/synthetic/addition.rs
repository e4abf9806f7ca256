//! Sums of two numbers, as texts.

use super::kind::{Distinct, Draw, Kind, Rows};
use super::{Sizes, SyntheticError};
use serde::Deserialize;
use smalti_contract::Value;

/// Additions of two numbers of up to `digits` digits each. No pair of numbers repeats.
#[derive(Clone, Debug, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Addition {
    /// Most digits of a summand.
    #[schemars(range(min = 1, max = 9))]
    digits: u32,
    /// Form of the answer.
    form: Form,
    /// Whether summands and sums have leading zeros, so that each digit has a fixed place.
    zero_pad: bool,
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Form {
    /// `128+367=495`
    #[default]
    Plain,
    /// `128+367=594`, the digit of the ones first.
    Reversed,
    /// `128+367=A->5,C->1;A->9,C->0;A->4,C->0;495`: the digit and the carry of each place, from the ones, then the sum.
    Scratchpad,
}

impl Default for Addition {
    fn default() -> Self {
        Self { digits: 3, form: Form::Plain, zero_pad: false }
    }
}

impl Kind for Addition {
    const NAME: &'static str = "addition";
    const ABOUT: &'static str = "sums of two numbers, with the answer plain, reversed or after a scratchpad";
    const PAPER: &'static str = "Lee et al. 2023, Teaching Arithmetic to Small Transformers";
    const FIELDS: &'static [&'static str] = &["question", "answer", "text"];

    fn open(self, _: &Sizes) -> Result<Box<dyn Rows>, SyntheticError> {
        Ok(Box::new(self))
    }
}

impl Rows for Addition {
    fn distinct(&self) -> Distinct {
        Distinct::Numbered(10_u64.pow(2 * self.digits))
    }

    fn row(&self, draw: &mut Draw) -> Option<Vec<Value>> {
        let bound = 10_u64.pow(self.digits);
        let (a, b) = (draw.number / bound, draw.number % bound);
        let width = if self.zero_pad { self.digits as usize } else { 0 };
        let question = format!("{a:0width$}+{b:0width$}=");
        let answer = self.form.answer(a, b, width);
        let text = format!("{question}{answer}");
        Some([question, answer, text].map(Value::Text).into())
    }
}

impl Form {
    /// The answer; with leading zeros for summands of `width` digits, or without if it is 0.
    fn answer(self, a: u64, b: u64, width: usize) -> String {
        let sum_width = if width > 0 { width + 1 } else { 0 };
        let sum = format!("{:0sum_width$}", a + b);
        match self {
            Form::Plain => sum,
            Form::Reversed => sum.chars().rev().collect(),
            Form::Scratchpad => format!("{}{sum}", scratchpad(a, b, width)),
        }
    }
}

/// The digit and the carry of each place that a summand has, from the ones.
fn scratchpad(a: u64, b: u64, width: usize) -> String {
    let places = width.max(a.max(b).to_string().len()) as u32;
    let (mut text, mut carry) = (String::new(), 0);
    for place in (0..places).map(|place| 10_u64.pow(place)) {
        let total = a / place % 10 + b / place % 10 + carry;
        carry = total / 10;
        text += &format!("A->{},C->{carry};", total % 10);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_the_form_that_the_settings_name() {
        assert_eq!(Form::Plain.answer(128, 367, 0), "495");
        assert_eq!(Form::Reversed.answer(128, 367, 0), "594");
        assert_eq!(Form::Scratchpad.answer(128, 367, 0), "A->5,C->1;A->9,C->0;A->4,C->0;495");
        assert_eq!(Form::Scratchpad.answer(7, 995, 0), "A->2,C->1;A->0,C->1;A->0,C->1;1002");
        assert_eq!(Form::Scratchpad.answer(0, 0, 0), "A->0,C->0;0");
        assert_eq!(Form::Reversed.answer(7, 95, 3), "2010");
        assert_eq!(Form::Scratchpad.answer(7, 5, 2), "A->2,C->1;A->1,C->0;012");
    }
}
