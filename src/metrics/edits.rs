//! Edit distance, and the error rates of transcripts.

/// The least number of insertions, deletions and substitutions between two sequences (Levenshtein 1966).
pub fn edits<T: PartialEq>(found: &[T], expected: &[T]) -> usize {
    let mut row: Vec<usize> = (0..=expected.len()).collect();
    for (i, a) in found.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in expected.iter().enumerate() {
            let substituted = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[expected.len()]
}

/// Word and character errors of transcripts against their references, summed over a corpus.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ErrorCounts {
    word_errors: usize,
    words: usize,
    character_errors: usize,
    characters: usize,
}

/// Error rates of transcripts. A rate exceeds 1 if there are more errors than reference words or characters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ErrorRates {
    /// Word errors over the words of the references.
    pub wer: f64,
    /// Character errors over the characters of the references, spaces included.
    pub cer: f64,
}

impl ErrorCounts {
    /// Add a transcript and its reference. Words are split at spaces; case and punctuation count.
    pub fn add(&mut self, hypothesis: &str, reference: &str) {
        let [found, expected] = [hypothesis, reference].map(|t| t.split_whitespace().collect::<Vec<_>>());
        self.word_errors += edits(&found, &expected);
        self.words += expected.len();
        let [found, expected] = [hypothesis, reference].map(|t| t.chars().collect::<Vec<_>>());
        self.character_errors += edits(&found, &expected);
        self.characters += expected.len();
    }

    /// The error rates; `None` if the references have no words.
    pub fn rates(&self) -> Option<ErrorRates> {
        let rates = || ErrorRates {
            wer: self.word_errors as f64 / self.words as f64,
            cer: self.character_errors as f64 / self.characters as f64,
        };
        (self.words > 0).then(rates)
    }
}

/// Error rates of pairs of a transcript and its reference; `None` if the references have no words.
pub fn error_rates<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<ErrorRates> {
    let mut counts = ErrorCounts::default();
    pairs.into_iter().for_each(|(hypothesis, reference)| counts.add(hypothesis, reference));
    counts.rates()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        let count = |a: &str, b: &str| edits(a.as_bytes(), b.as_bytes());
        assert_eq!(count("kitten", "sitting"), 3);
        assert_eq!(count("", "abc"), 3);
        assert_eq!(count("abc", "abc"), 0);
        assert_eq!(count("ab", ""), 2);
    }

    /// Expected: `jiwer.wer([reference…], [hypothesis…])` and `jiwer.cer` of the same, of jiwer 4.0.
    #[test]
    fn error_rates_are_those_of_jiwer() {
        let pairs =
            [("the cat sat", "the cat sat down"), ("Grüße", "Grüsse"), ("", "nothing"), ("a b c d", "a x c")];
        let rates = error_rates(pairs).unwrap();
        assert!((rates.wer - 0.5555555555555556).abs() < 1e-12, "{rates:?}");
        assert!((rates.cer - 0.5).abs() < 1e-12, "{rates:?}");
        assert_eq!(error_rates([("a", ""), ("", " ")]), None);
        assert_eq!(error_rates([]), None);
    }
}
