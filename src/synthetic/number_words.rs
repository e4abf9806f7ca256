//! Numbers as digits and as English words, with the alignment of their characters.

use super::kind::{Distinct, Draw, Kind, Rows};
use super::{Sizes, SyntheticError, setting};
use serde::Deserialize;
use smalti_contract::{Array, Numbers, Value};
use std::ops::Range;

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
    const ABOUT: &'static str =
        "numbers as digits and as English words, 42 and forty-two, with the alignment of characters";
    const PAPER: &'static str = "for translation by length as in Bahdanau et al. 2014";
    const FIELDS: &'static [&'static str] = &["number", "words", "digits", "alignment"];

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
        let Spelled { text, spans } = spell(number);
        let shape = vec![spans.len(), 2];
        let ends = spans.into_iter().flat_map(|at| [at.start as f32, at.end as f32]).collect();
        let alignment = Value::Array(Array { shape, numbers: Numbers::F32(ends) });
        Some(vec![
            Value::Text(number.to_string()),
            Value::Text(text),
            Value::Number(digits.into()),
            alignment,
        ])
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
const SCALES: [&str; 5] = ["", "thousand", "million", "billion", "trillion"];

/// A number in words, with the digits that determine each character. Only the first letter of a word for one or two digits has
/// any: the letters after it follow from the text before them, and `hundred` or `thousand` from the length of the number.
#[derive(Default)]
struct Spelled {
    text: String,
    spans: Vec<Range<usize>>,
}

impl Spelled {
    /// Appends a word, and a sign before it unless it is the first.
    fn word(&mut self, sign: char, word: &str, digits: Range<usize>) {
        if !self.text.is_empty() {
            self.text.push(sign);
            self.spans.push(0..0);
        }
        self.text += word;
        self.spans.push(digits);
        self.spans.extend(word.chars().skip(1).map(|_| 0..0));
    }

    /// Appends a number below 1000, whose last digit is at `end - 1`.
    fn below_thousand(&mut self, number: usize, end: usize) {
        let (hundreds, rest) = (number / 100, number % 100);
        if hundreds > 0 {
            self.word(' ', ONES[hundreds], end - 3..end - 2);
            self.word(' ', "hundred", 0..0);
        }
        match (rest / 10, rest % 10) {
            (0, 0) => {}
            (0, ones) => self.word(' ', ONES[ones], end - 1..end),
            (1, _) => self.word(' ', ONES[rest], end - 2..end),
            (tens, ones) => {
                self.word(' ', TENS[tens], end - 2..end - 1);
                if ones > 0 {
                    self.word('-', ONES[ones], end - 1..end);
                }
            }
        }
    }
}

/// A number below 10¹⁵ in American English: `one thousand two hundred thirty-four`.
fn spell(number: u64) -> Spelled {
    let (mut spelled, digits) = (Spelled::default(), number.to_string().len());
    if number == 0 {
        spelled.word(' ', "zero", 0..1);
    }
    for (place, scale) in SCALES.iter().enumerate().rev() {
        let group = number / 1000_u64.pow(place as u32) % 1000;
        if group == 0 {
            continue;
        }
        spelled.below_thousand(group as usize, digits - 3 * place);
        if !scale.is_empty() {
            spelled.word(' ', scale, 0..0);
        }
    }
    spelled
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
            assert_eq!(spell(number).text, expected);
        }
    }

    #[test]
    fn the_first_letter_of_a_word_is_aligned_to_its_digits() {
        let aligned = |number: u64| {
            let (digits, Spelled { text, spans }) = (number.to_string(), spell(number));
            assert_eq!(text.chars().count(), spans.len());
            let known = text.chars().zip(spans).filter(|(_, at)| !at.is_empty());
            known.map(|(letter, at)| format!("{letter}{}", &digits[at])).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(aligned(0), "z0");
        assert_eq!(aligned(42), "f4 t2");
        assert_eq!(aligned(213), "t2 t13");
        assert_eq!(aligned(70_305), "s7 t3 f5");
        assert_eq!(aligned(999_000_000_000_081), "n9 n9 n9 e8 o1");
    }
}
