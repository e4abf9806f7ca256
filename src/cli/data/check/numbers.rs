//! Many numbers in few: the least, the middle, the largest; how many tokens samples become.

use serde::Serialize;

/// Numbers, one for each sample.
#[derive(Default)]
pub struct Numbers(Vec<f64>);

/// How some numbers are spread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The least.
    pub least: f64,
    /// The least that half of them do not exceed.
    pub median: f64,
    /// The least that 95% of them do not exceed.
    pub p95: f64,
    /// The largest.
    pub most: f64,
}

impl Numbers {
    pub fn add(&mut self, number: f64) {
        self.0.push(number);
    }

    #[cfg(any(feature = "audio", feature = "trajectory", test))]
    pub fn total(&self) -> f64 {
        self.0.iter().sum()
    }

    /// `None` where there is no number.
    pub fn spread(&self) -> Option<Spread> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let at =
            |percent: usize| sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        Some(Spread { least: at(0)?, median: at(50)?, p95: at(95)?, most: at(100)? })
    }
}

/// How many tokens samples become.
#[derive(Default)]
pub struct TokenCounts {
    counts: Vec<u32>,
    refused: usize,
    why: Option<String>,
}

/// [`TokenCounts`] in few numbers.
#[derive(Serialize)]
pub struct TokenReport {
    /// Of all samples.
    pub total: u64,
    /// Of each.
    #[serde(flatten)]
    pub spread: Spread,
    /// Samples by their number of tokens.
    pub histogram: Vec<Bin>,
}

/// Samples of `from` to `to` tokens.
#[derive(Debug, PartialEq, Serialize)]
pub struct Bin {
    pub from: u32,
    pub to: u32,
    pub samples: usize,
}

/// Samples that can be read but do not become tokens with these options.
#[derive(Serialize)]
pub struct Refused {
    pub samples: usize,
    /// Why the first does not.
    pub problem: String,
}

/// The most bins.
const BINS: u32 = 10;

impl TokenCounts {
    /// A sample's number of tokens, or why it has none.
    pub fn add(&mut self, tokens: Result<usize, String>) {
        match tokens {
            Ok(n) => self.counts.push(u32::try_from(n).unwrap_or(u32::MAX)),
            Err(why) => {
                self.refused += 1;
                self.why.get_or_insert(why);
            }
        }
    }

    /// `None` where no sample became tokens.
    pub fn report(&self) -> Option<TokenReport> {
        let numbers = Numbers(self.counts.iter().map(|count| f64::from(*count)).collect());
        let total = self.counts.iter().map(|count| u64::from(*count)).sum();
        Some(TokenReport { total, spread: numbers.spread()?, histogram: self.histogram() })
    }

    /// `None` where every sample became tokens.
    pub fn refused(&self) -> Option<Refused> {
        Some(Refused { samples: self.refused, problem: self.why.clone()? })
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
                Bin { from, to: from.saturating_add(width - 1).min(most), samples: 0 }
            })
            .collect();
        self.counts.iter().for_each(|count| bins[((count - least) / width) as usize].samples += 1);
        bins
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_of_numbers_that_occur() {
        let numbers = Numbers((1..=100).rev().map(f64::from).collect());
        let expected = Spread { least: 1.0, median: 50.0, p95: 95.0, most: 100.0 };
        assert_eq!((numbers.spread(), numbers.total()), (Some(expected), 5050.0));
        assert_eq!(Numbers(vec![7.0]).spread().map(|s| [s.least, s.median, s.p95, s.most]), Some([7.0; 4]));
        assert_eq!(Numbers::default().spread(), None);
    }

    #[test]
    fn every_sample_is_in_one_bin() {
        let mut tokens = TokenCounts::default();
        [5, 9, 105, 64, 64].into_iter().for_each(|n| tokens.add(Ok(n)));
        tokens.add(Err("no multiple".into()));
        tokens.add(Err("another".into()));
        let report = tokens.report().unwrap();
        assert_eq!((report.total, report.histogram.len()), (247, 10));
        assert_eq!(report.histogram[0], Bin { from: 5, to: 15, samples: 2 });
        assert_eq!(report.histogram[5], Bin { from: 60, to: 70, samples: 2 });
        assert_eq!(report.histogram[9], Bin { from: 104, to: 105, samples: 1 });
        let refused = tokens.refused().unwrap();
        assert_eq!((refused.samples, refused.problem.as_str()), (2, "no multiple"));
    }

    #[test]
    fn one_length_is_one_bin() {
        let mut tokens = TokenCounts::default();
        [u32::MAX as usize, usize::MAX].into_iter().for_each(|n| tokens.add(Ok(n)));
        assert_eq!(tokens.histogram(), [Bin { from: u32::MAX, to: u32::MAX, samples: 2 }]);
        assert!(TokenCounts::default().report().is_none() && TokenCounts::default().refused().is_none());
    }
}
