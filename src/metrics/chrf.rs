//! chrF as sacrebleu computes it by default.

use super::is_space;
use std::collections::HashMap;

/// Longest n-gram, in characters.
const MAX_ORDER: usize = 6;
/// The weight of recall against precision.
const BETA: f64 = 2.0;

/// Corpus chrF2 (Popović 2015) of pairs of one hypothesis and one reference, with the defaults of sacrebleu 2 (Post
/// 2018): n-grams of 1 to 6 characters without spaces, no words, beta 2. Precision and recall are averaged over the
/// lengths of n-gram that both sides have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chrf {
    orders: [Counts; MAX_ORDER],
}

/// Numbers of n-grams of one length.
#[derive(Clone, Debug, Default, PartialEq)]
struct Counts {
    hypothesis: u64,
    reference: u64,
    matches: u64,
}

impl Chrf {
    /// The settings as a sacrebleu signature, without its version.
    pub const SIGNATURE: &'static str = "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no";

    /// Add a hypothesis and its reference.
    pub fn add(&mut self, hypothesis: &str, reference: &str) {
        let characters = |text: &str| text.chars().filter(|&c| !is_space(c)).collect::<Vec<char>>();
        let (hypothesis, reference) = (characters(hypothesis), characters(reference));
        for (n, counts) in (1..).zip(&mut self.orders) {
            let expected = ngrams(&reference, n);
            if expected.is_empty() {
                // As in sacrebleu, n-grams of the hypothesis do not count if the reference has none of this length.
                continue;
            }
            counts.reference += expected.values().sum::<u64>();
            for (ngram, count) in ngrams(&hypothesis, n) {
                counts.hypothesis += count;
                counts.matches += count.min(expected.get(ngram).copied().unwrap_or(0));
            }
        }
    }

    /// The score in 0..=100; 0 before the first pair.
    pub fn score(&self) -> f64 {
        let (mut precision, mut recall, mut orders) = (0.0, 0.0, 0.0);
        for counts in self.orders.iter().filter(|counts| counts.hypothesis > 0 && counts.reference > 0) {
            precision += counts.matches as f64 / counts.hypothesis as f64;
            recall += counts.matches as f64 / counts.reference as f64;
            orders += 1.0;
        }
        if precision + recall == 0.0 {
            return 0.0;
        }
        let (precision, recall, factor) = (precision / orders, recall / orders, BETA * BETA);
        100.0 * ((1.0 + factor) * precision * recall / (factor * precision + recall))
    }
}

/// [`Chrf`] of pairs of a hypothesis and its reference, in 0..=100.
pub fn chrf<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> f64 {
    let mut chrf = Chrf::default();
    pairs.into_iter().for_each(|(hypothesis, reference)| chrf.add(hypothesis, reference));
    chrf.score()
}

fn ngrams(characters: &[char], n: usize) -> HashMap<&[char], u64> {
    let mut counts = HashMap::new();
    for ngram in characters.windows(n) {
        *counts.entry(ngram).or_insert(0) += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected: `sacrebleu.corpus_chrf([hypothesis…], [[reference…]]).score` of sacrebleu 2.6.0, of the whole and of
    /// each pair alone.
    #[test]
    fn texts_have_the_score_of_sacrebleu() {
        let corpus = [
            (
                "Der schöne Hund läuft über die Straße.",
                "Der schöne Hund lief über die große Straße.",
                65.10768246459286,
            ),
            (
                "It costs 1,000.5 dollars, not 2-3 (or so)!",
                "It costs 1,000.5 dollars, not 2-4 (or more)!",
                76.39512717351245,
            ),
            ("", "Nothing was said.", 0.0),
            ("Yes.", "Yes.", 100.0),
            (
                "The cat sat on the mat &amp; slept.",
                "The cat sat on the mat & slept well.",
                70.59845428323689,
            ),
        ];
        let alone = [
            ("Grüße aus Köln", "Grüsse aus Köln", 60.329338545767854),
            ("the cat is here now", "the dog is there now", 43.627210657193665),
            ("ab", "abc", 63.636363636363626),
            ("xyz", "abc", 0.0),
            ("abc", "", 0.0),
        ];
        let close = |found: f64, expected: f64| {
            assert!((found - expected).abs() < 1e-9, "found {found}, expected {expected}");
        };
        for (hypothesis, reference, expected) in corpus.into_iter().chain(alone) {
            close(chrf([(hypothesis, reference)]), expected);
        }
        close(chrf(corpus.map(|(hypothesis, reference, _)| (hypothesis, reference))), 64.28114047735);
        assert_eq!(chrf([]), 0.0);
        // CHRF().get_signature() is "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.6.0"
        assert_eq!(Chrf::SIGNATURE, "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no");
    }
}
