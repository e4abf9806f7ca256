//! Numbers as digits and as English words.

use super::kind::{Distinct, Draw, Kind, Rows};
use super::{Sizes, SyntheticError, setting};
use serde::Deserialize;
use smalti_contract::Value;

/// Numbers as digits and as English words. Every number of digits is equally frequent.
#[derive(Clone, Debug, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct NumberWords {
    /// Fewest digits of a number.
    #[schemars(range(min = 1, max = 15))]
    min_digits: u32,
    /// Most digits of a number.
    #[schemars(range(min = 1, max = 15))]
    max_digits: u32,
}

impl Default for NumberWords {
    fn default() -> Self {
        Self { min_digits: 1, max_digits: 6 }
    }
}

impl Kind for NumberWords {
    const NAME: &'static str = "number-words";
    const ABOUT: &'static str = "numbers as digits and as English words, 42 and forty-two";
    const PAPER: &'static str = "for translation by length as in Bahdanau et al. 2014";
    const FIELDS: &'static [&'static str] = &["number", "words", "digits"];

    fn open(self, _: &Sizes) -> Result<Box<dyn Rows>, SyntheticError> {
        if self.min_digits > self.max_digits {
            let expected = format!("at most max_digits = {}", self.max_digits);
            return Err(setting(Self::NAME, "min_digits", expected, self.min_digits));
        }
        Ok(Box::new(self))
    }
}

impl Rows for NumberWords {
    fn distinct(&self) -> Distinct {
        Distinct::ByFirstField
    }

    fn row(&self, draw: &mut Draw) -> Option<Vec<Value>> {
        let digits = self.min_digits + draw.below((self.max_digits - self.min_digits + 1) as usize) as u32;
        let least = if digits == 1 { 0 } else { 10_u64.pow(digits - 1) };
        let number = least + draw.below((10_u64.pow(digits) - least) as usize) as u64;
        let texts = [number.to_string(), words(number)].map(Value::Text);
        Some(texts.into_iter().chain([Value::Number(digits.into())]).collect())
    }
}

const ONES: [&str; 20] = [
    "",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 10] =
    ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
const SCALES: [&str; 5] = ["", " thousand", " million", " billion", " trillion"];

/// A number below 10¹⁵ in American English: `one thousand two hundred thirty-four`.
fn words(number: u64) -> String {
    if number == 0 {
        return "zero".into();
    }
    let groups = SCALES.iter().enumerate().rev().filter_map(|(place, scale)| {
        let group = number / 1000_u64.pow(place as u32) % 1000;
        (group > 0).then(|| format!("{}{scale}", below_thousand(group as usize)))
    });
    groups.collect::<Vec<_>>().join(" ")
}

fn below_thousand(number: usize) -> String {
    let (hundreds, rest) = (number / 100, number % 100);
    let hundreds = if hundreds > 0 { format!("{} hundred", ONES[hundreds]) } else { String::new() };
    let rest = match (rest / 10, rest % 10) {
        (0 | 1, _) => ONES[rest].to_string(),
        (tens, 0) => TENS[tens].to_string(),
        (tens, ones) => format!("{}-{}", TENS[tens], ONES[ones]),
    };
    [hundreds, rest].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spelled_as_in_english() {
        let spelled = [
            (0, "zero"),
            (13, "thirteen"),
            (20, "twenty"),
            (42, "forty-two"),
            (100, "one hundred"),
            (119, "one hundred nineteen"),
            (1000, "one thousand"),
            (70_305, "seventy thousand three hundred five"),
            (1_000_001, "one million one"),
            (999_000_000_000_080, "nine hundred ninety-nine trillion eighty"),
        ];
        for (number, expected) in spelled {
            assert_eq!(words(number), expected);
        }
    }
}
