//! Dates as people write them and in ISO 8601, with the alignment of their characters.

use super::kind::{Distinct, Draw, Kind, Rows};
use super::{Sizes, SyntheticError, setting};
use serde::Deserialize;
use smalti_contract::{Array, Numbers, Value};
use std::ops::Range;

/// Dates as people write them and in ISO 8601. Each day occurs once at most.
#[derive(Clone, Debug, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Dates {
    /// First year.
    #[schemars(range(min = 1000, max = 9999))]
    first_year: i64,
    /// Last year.
    #[schemars(range(min = 1000, max = 9999))]
    last_year: i64,
}

impl Default for Dates {
    fn default() -> Self {
        Self { first_year: 1900, last_year: 2099 }
    }
}

impl Kind for Dates {
    const NAME: &'static str = "dates";
    const ABOUT: &'static str =
        "dates as people write them and in ISO 8601, with the alignment of characters";
    const PAPER: &'static str = "for learned alignment as in Bahdanau et al. 2014";
    const FIELDS: &'static [&'static str] = &["human", "iso", "alignment"];

    fn open(self, _: &Sizes) -> Result<Box<dyn Rows>, SyntheticError> {
        if self.first_year > self.last_year {
            let expected = format!("at most last_year = {}", self.last_year);
            return Err(setting(Self::NAME, "first_year", expected, self.first_year));
        }
        Ok(Box::new(self))
    }
}

impl Rows for Dates {
    fn distinct(&self) -> Distinct {
        let days = first_day(self.last_year + 1) - first_day(self.first_year);
        Distinct::Numbered(days.unsigned_abs())
    }

    fn row(&self, draw: &mut Draw) -> Option<Vec<Value>> {
        let date = Date::new(first_day(self.first_year) + draw.number as i64);
        let form: &&str = draw.pick(&FORMS);
        let human = date.written(form);
        let numbers = human.alignment().into_iter().flat_map(|at| [at.start as f32, at.end as f32]).collect();
        let alignment = Value::Array(Array { shape: vec![10, 2], numbers: Numbers::F32(numbers) });
        Some(vec![Value::Text(human.text), Value::Text(date.iso()), alignment])
    }
}

/// How people write dates: day, ordinal of the day, month by name, month by number, year and weekday.
const FORMS: [&str; 7] = ["D M Y", "M D, Y", "W, M D, Y", "D.N.Y", "Y M D", "W D M Y", "the DO of M Y"];
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const WEEKDAYS: [&str; 7] = ["thursday", "friday", "saturday", "sunday", "monday", "tuesday", "wednesday"];

/// The days from 1 January 1970 to 1 January of a year of the Gregorian calendar.
fn first_day(year: i64) -> i64 {
    let before = year - 1;
    365 * (year - 1970) + before / 4 - before / 100 + before / 400 - (1969 / 4 - 1969 / 100 + 1969 / 400)
}

fn month_length(year: i64, month: usize) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

struct Date {
    year: i64,
    month: usize,
    day: i64,
    weekday: &'static str,
}

/// A date as people write it, and the places of its parts, in characters.
struct Written {
    text: String,
    year: Range<usize>,
    month: Range<usize>,
    day: Range<usize>,
    /// Whether the month is a number.
    is_number: bool,
}

impl Date {
    /// The date this many days after 1 January 1970.
    fn new(days: i64) -> Self {
        let mut year = 1970 + days.div_euclid(if days < 0 { 365 } else { 366 }); // at most the year
        while first_day(year + 1) <= days {
            year += 1;
        }
        let (mut day, mut month) = (days - first_day(year), 1);
        while day >= month_length(year, month) {
            day -= month_length(year, month);
            month += 1;
        }
        Self { year, month, day: day + 1, weekday: WEEKDAYS[days.rem_euclid(7) as usize] }
    }

    fn iso(&self) -> String {
        format!("{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }

    /// The date in one of the [`FORMS`].
    fn written(&self, form: &str) -> Written {
        let is_number = form.contains('N');
        let mut written = Written { text: String::new(), year: 0..0, month: 0..0, day: 0..0, is_number };
        for sign in form.chars() {
            let start = written.text.len(); // all characters are ASCII
            match sign {
                'Y' => written.text += &self.year.to_string(),
                'M' => written.text += MONTHS[self.month - 1],
                'N' => written.text += &self.month.to_string(),
                'D' => written.text += &self.day.to_string(),
                'O' => written.text += ordinal(self.day),
                'W' => written.text += self.weekday,
                sign => written.text.push(sign),
            }
            let place = start..written.text.len();
            match sign {
                'Y' => written.year = place,
                'M' | 'N' => written.month = place,
                'D' => written.day = place,
                _ => {}
            }
        }
        written
    }
}

fn ordinal(day: i64) -> &'static str {
    match day {
        1 | 21 | 31 => "st",
        2 | 22 => "nd",
        3 | 23 => "rd",
        _ => "th",
    }
}

impl Written {
    /// For each of the ten characters of the ISO date, the characters here that determine it: its own digit, or the name of the
    /// month. A hyphen has none, nor has the leading zero of a number of one digit: the digit and the character after it tell
    /// together that there is one.
    fn alignment(&self) -> Vec<Range<usize>> {
        let digits = |at: &Range<usize>, n: usize| -> Vec<Range<usize>> {
            let digit = |i: usize| match (i + at.len()).checked_sub(n) {
                Some(place) => at.start + place..at.start + place + 1,
                None => Range::default(),
            };
            (0..n).map(digit).collect()
        };
        let month = match self.is_number {
            true => digits(&self.month, 2),
            false => vec![self.month.clone(); 2],
        };
        let hyphen = vec![Range::default()];
        [digits(&self.year, 4), hyphen.clone(), month, hyphen, digits(&self.day, 2)].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (days, iso, weekday) in [
            (0, "1970-01-01", "thursday"),
            (-1, "1969-12-31", "wednesday"),
            (11_016, "2000-02-29", "tuesday"),
            (-25_567, "1900-01-01", "monday"),
            (-354_285, "1000-01-01", "wednesday"),
            (2_932_896, "9999-12-31", "friday"),
        ] {
            let date = Date::new(days);
            assert_eq!((date.iso().as_str(), date.weekday), (iso, weekday));
        }
    }

    #[test]
    fn each_character_is_aligned_to_those_that_determine_it() {
        let date = Date { year: 1979, month: 5, day: 3, weekday: "thursday" };
        let aligned = |form| {
            let written = date.written(form);
            let parts = written.alignment().into_iter().map(|at| written.text[at].to_string());
            (written.text.clone(), parts.collect::<Vec<_>>().join("|"))
        };
        let expected = |human: &str, parts: &str| (human.to_string(), parts.to_string());
        assert_eq!(aligned("W, M D, Y"), expected("thursday, may 3, 1979", "1|9|7|9||may|may|||3"));
        assert_eq!(aligned("D.N.Y"), expected("3.5.1979", "1|9|7|9|||5|||3"));
        assert_eq!(aligned("the DO of M Y"), expected("the 3rd of may 1979", "1|9|7|9||may|may|||3"));
        let late = Date { day: 21, month: 12, ..date };
        let written = late.written("D.N.Y");
        let parts: String = written.alignment().into_iter().map(|at| &written.text[at]).collect();
        assert_eq!(parts, "19791221");
    }
}
