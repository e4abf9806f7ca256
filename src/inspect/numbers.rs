//! Summaries of many numbers: the smallest, the median, the largest; counts of tokens.

use serde::Serialize;
use std::collections::BTreeMap;

/// The spread of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The smallest.
    pub least: f64,
    /// The smallest number that half of the numbers do not exceed.
    pub median: f64,
    /// The smallest number that 95% of the numbers do not exceed.
    pub p95: f64,
    /// The largest.
    pub most: f64,
}

/// The sum and the spread of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Total {
    /// Their sum.
    pub total: f64,
    /// Their spread.
    #[serde(flatten)]
    pub spread: Spread,
}

/// The spread; `None` without a number.
pub(super) fn spread(mut numbers: Vec<f64>) -> Option<Spread> {
    numbers.sort_unstable_by(f64::total_cmp);
    let at = |percent: usize| numbers.get((numbers.len() * percent).div_ceil(100).saturating_sub(1)).copied();
    Some(Spread { least: at(0)?, median: at(50)?, p95: at(95)?, most: at(100)? })
}

/// The spread of numbers that are counted by their value; `None` without a number.
pub(super) fn spread_of_counts(counts: &BTreeMap<usize, usize>) -> Option<Spread> {
    let n: usize = counts.values().sum();
    let at = |percent: usize| {
        let place = n.saturating_mul(percent).div_ceil(100).max(1);
        let mut before = 0;
        let reaches = |(_, count): &(&usize, &usize)| {
            before += **count;
            before >= place
        };
        counts.iter().find(reaches).map(|(value, _)| *value as f64)
    };
    Some(Spread { least: at(0)?, median: at(50)?, p95: at(95)?, most: at(100)? })
}

/// The sum and the spread; `None` without a number.
pub(super) fn total(numbers: Vec<f64>) -> Option<Total> {
    Some(Total { total: numbers.iter().sum(), spread: spread(numbers)? })
}

/// The numbers of tokens of values.
#[derive(Default)]
pub(super) struct TokenCounts {
    counts: Vec<u32>,
    failed: usize,
    first_problem: Option<String>,
}

/// Summary of the numbers of tokens of rows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TokenReport {
    /// The tokens of all rows.
    pub total: u64,
    /// The tokens of a row.
    #[serde(flatten)]
    pub spread: Spread,
    /// Rows by their number of tokens.
    pub histogram: Vec<Bin>,
}

/// Rows whose number of tokens is in a range.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bin {
    /// The fewest tokens.
    pub from: u32,
    /// The most tokens.
    pub to: u32,
    /// The number of such rows.
    pub rows: usize,
}

/// Rows that can be read but not tokenized with these options.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NotTokenized {
    /// The number of rows.
    pub rows: usize,
    /// The error of the first.
    pub problem: String,
}

/// The most bins.
const BINS: u32 = 10;

impl TokenCounts {
    /// Adds a row's number of tokens, or why it has none.
    pub fn add(&mut self, tokens: Result<usize, String>) {
        match tokens {
            Ok(n) => self.counts.push(u32::try_from(n).unwrap_or(u32::MAX)),
            Err(why) => {
                self.failed += 1;
                self.first_problem.get_or_insert(why);
            }
        }
    }

    /// The summary; `None` if no row was tokenized.
    pub fn report(&self) -> Option<TokenReport> {
        let numbers = self.counts.iter().map(|count| f64::from(*count)).collect();
        let total = self.counts.iter().map(|count| u64::from(*count)).sum();
        Some(TokenReport { total, spread: spread(numbers)?, histogram: self.histogram() })
    }

    /// The rows that failed; `None` if every row was tokenized.
    pub fn not_tokenized(&self) -> Option<NotTokenized> {
        Some(NotTokenized { rows: self.failed, problem: self.first_problem.clone()? })
    }

    /// Bins of equal width from the least to the largest.
    fn histogram(&self) -> Vec<Bin> {
        let (Some(&least), Some(&most)) = (self.counts.iter().min(), self.counts.iter().max()) else {
            return vec![];
        };
        let width = (most - least) / BINS + 1;
        let mut bins: Vec<Bin> = (0..=(most - least) / width)
            .map(|i| {
                let from = least + i * width;
                Bin { from, to: from.saturating_add(width - 1).min(most), rows: 0 }
            })
            .collect();
        self.counts.iter().for_each(|count| bins[((count - least) / width) as usize].rows += 1);
        bins
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_consists_of_numbers_that_occur() {
        let expected = Spread { least: 1.0, median: 50.0, p95: 95.0, most: 100.0 };
        let found = total((1..=100).rev().map(f64::from).collect());
        assert_eq!(found, Some(Total { total: 5050.0, spread: expected }));
        assert_eq!(spread(vec![7.0]).map(|s| [s.least, s.median, s.p95, s.most]), Some([7.0; 4]));
        assert_eq!((spread(vec![]), total(vec![])), (None, None));
        assert_eq!(spread_of_counts(&(1..=100).map(|n| (n, 1)).collect()), Some(expected));
        assert_eq!(spread_of_counts(&BTreeMap::new()), None);
    }

    #[test]
    fn every_row_is_in_one_bin() {
        let mut tokens = TokenCounts::default();
        [5, 9, 105, 64, 64].into_iter().for_each(|n| tokens.add(Ok(n)));
        tokens.add(Err("no multiple".into()));
        tokens.add(Err("another".into()));
        let report = tokens.report().unwrap();
        assert_eq!((report.total, report.histogram.len()), (247, 10));
        assert_eq!(report.histogram[0], Bin { from: 5, to: 15, rows: 2 });
        assert_eq!(report.histogram[5], Bin { from: 60, to: 70, rows: 2 });
        assert_eq!(report.histogram[9], Bin { from: 104, to: 105, rows: 1 });
        let failed = tokens.not_tokenized().unwrap();
        assert_eq!((failed.rows, failed.problem.as_str()), (2, "no multiple"));
    }

    #[test]
    fn rows_of_one_length_are_in_one_bin() {
        let mut tokens = TokenCounts::default();
        [u32::MAX as usize, usize::MAX].into_iter().for_each(|n| tokens.add(Ok(n)));
        assert_eq!(tokens.histogram(), [Bin { from: u32::MAX, to: u32::MAX, rows: 2 }]);
        assert!(
            TokenCounts::default().report().is_none() && TokenCounts::default().not_tokenized().is_none()
        );
    }
}
