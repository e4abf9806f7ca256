//! Multi-query associative recall: keys with values, then some of the keys again.

use super::kind::{Distinct, Draw, Kind, Rows};
use super::{Sizes, SyntheticError, setting};
use crate::random::{Permutation, uniform};
use rand::Rng;
use serde::Deserialize;
use smalti_contract::Value;

/// Texts of `pairs` keys, each with its value, then each key once more among random values. The label of that key is its value.
/// The scratchpad of a text has as many words as the text. It repeats the pairs in their order; but where a key comes again, it
/// has the pair of that key.
#[derive(Clone, Debug, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Recall {
    /// Number of words: half are keys, half values.
    #[schemars(range(min = 4, max = 65_536))]
    vocabulary: usize,
    /// Number of keys in a text.
    #[schemars(range(min = 1, max = 8192))]
    pairs: usize,
    /// Number of words of a text.
    #[schemars(range(min = 4, max = 65_536))]
    length: usize,
    /// Least number of words between the pairs and the first key that comes again.
    #[schemars(range(max = 65_536))]
    gap: usize,
}

impl Default for Recall {
    fn default() -> Self {
        Self { vocabulary: 256, pairs: 4, length: 64, gap: 0 }
    }
}

impl Kind for Recall {
    const NAME: &'static str = "recall";
    const ABOUT: &'static str =
        "multi-query associative recall (MQAR): keys with values, then the keys again";
    const PAPER: &'static str = "Arora et al. 2023, Zoology";
    const FIELDS: &'static [&'static str] = &["text", "targets", "scratchpad"];

    fn open(self, _: &Sizes) -> Result<Box<dyn Rows>, SyntheticError> {
        if !self.vocabulary.is_multiple_of(2) {
            return Err(setting(Self::NAME, "vocabulary", "an even number", self.vocabulary));
        }
        if self.pairs > self.vocabulary / 2 {
            let expected = format!("at most {}, half of the vocabulary", self.vocabulary / 2);
            return Err(setting(Self::NAME, "pairs", expected, self.pairs));
        }
        let least = 4 * self.pairs;
        if !self.length.is_multiple_of(2) || self.length < least {
            let expected = format!("an even number from {least}, four words for each pair");
            return Err(setting(Self::NAME, "length", expected, self.length));
        }
        let most = self.length - least;
        if !self.gap.is_multiple_of(2) || self.gap > most {
            let expected = format!("an even number up to {most}, which leaves a place for each key");
            return Err(setting(Self::NAME, "gap", expected, self.gap));
        }
        Ok(Box::new(self))
    }
}

/// The label of a word without one.
const NONE: &str = "_";
/// The power of the distribution of gaps between a pair and its query, as in the paper.
const POWER: f64 = 0.01;

impl Rows for Recall {
    fn distinct(&self) -> Distinct {
        Distinct::ByFirstField
    }

    fn row(&self, draw: &mut Draw) -> Option<Vec<Value>> {
        let n = self.vocabulary / 2;
        let order = Permutation::new(draw.generator.next_u64(), n as u64);
        let value = |draw: &mut Draw| format!("v{}", draw.below(n));
        let pairs: Vec<(String, String)> =
            (0..self.pairs).map(|i| (format!("k{}", order.at(i as u64)), value(draw))).collect();
        let mut words: Vec<String> =
            pairs.iter().flat_map(|(key, value)| [key.clone(), value.clone()]).collect();
        let mut targets = vec![NONE; self.length];
        let repeated = pairs.iter().flat_map(|(key, value)| [key.as_str(), value]).cycle();
        let mut scratchpad: Vec<&str> = repeated.take(self.length).collect();
        words.extend((words.len()..self.length).map(|_| value(draw)));
        // A query has an even place, as the keys before.
        for ((key, value), gap) in pairs.iter().zip(self.gaps(draw)) {
            let place = 2 * (self.pairs + gap);
            words[place].clone_from(key);
            targets[place] = value;
            (scratchpad[place], scratchpad[place + 1]) = (key, value);
        }
        Some([words.join(" "), targets.join(" "), scratchpad.join(" ")].map(Value::Text).into())
    }
}

impl Recall {
    /// A different gap for each pair, of a power law (Efraimidis and Spirakis 2006: the smallest of exponential numbers).
    fn gaps(&self, draw: &mut Draw) -> Vec<usize> {
        let exponential = |gap: usize| {
            let weight = libm::pow((gap + 1) as f64, POWER - 1.0);
            (-libm::log(1.0 - uniform(&mut draw.generator)) / weight, gap)
        };
        let places = self.gap / 2..self.length / 2 - self.pairs;
        let mut gaps: Vec<(f64, usize)> = places.map(exponential).collect();
        gaps.sort_by(|one, other| one.0.total_cmp(&other.0));
        gaps.into_iter().take(self.pairs).map(|(_, gap)| gap).collect()
    }
}
