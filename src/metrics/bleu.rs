//! Corpus BLEU as sacrebleu computes it by default.

use super::is_space;
use std::collections::HashMap;

/// Longest n-gram, in tokens.
const MAX_ORDER: usize = 4;

/// Corpus BLEU-4 (Papineni et al. 2002) of pairs of one hypothesis and one reference, with the defaults of sacrebleu 2
/// (Post 2018): tokenization `13a`, case kept, exponential smoothing (method 3 of Chen and Cherry 2014).
///
/// A corpus without a single 4-gram, such as one of short sentences, has BLEU 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bleu {
    hypothesis_length: u64,
    reference_length: u64,
    matches: [u64; MAX_ORDER],
    totals: [u64; MAX_ORDER],
}

impl Bleu {
    /// The settings as a sacrebleu signature, without its version.
    pub const SIGNATURE: &'static str = "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp";

    /// Add a hypothesis and its reference, both detokenized text.
    pub fn add(&mut self, hypothesis: &str, reference: &str) {
        let [hypothesis, reference] =
            [hypothesis, reference].map(|t| tokenize_13a(t.trim_end_matches(is_space)));
        self.hypothesis_length += hypothesis.len() as u64;
        self.reference_length += reference.len() as u64;
        for n in 1..=MAX_ORDER {
            let expected = ngrams(&reference, n);
            for (ngram, count) in ngrams(&hypothesis, n) {
                self.totals[n - 1] += count;
                self.matches[n - 1] += count.min(expected.get(ngram).copied().unwrap_or(0));
            }
        }
    }

    /// The score in 0..=100; 0 before the first pair.
    pub fn score(&self) -> f64 {
        let precisions = self.precisions();
        if precisions.contains(&0.0) {
            return 0.0;
        }
        let logs: f64 = precisions.iter().map(|&precision| libm::log(precision)).sum();
        self.brevity_penalty() * libm::exp(logs / MAX_ORDER as f64)
    }

    /// Smoothed precisions of n-grams of 1, 2, 3 and 4 tokens, each in 0..=100. All are 0 if no token matches; those
    /// beyond the longest hypothesis are 0.
    pub fn precisions(&self) -> [f64; MAX_ORDER] {
        let mut precisions = [0.0; MAX_ORDER];
        if self.matches == [0; MAX_ORDER] {
            return precisions;
        }
        let mut smoothing = 1.0;
        for (precision, (&matches, &total)) in
            precisions.iter_mut().zip(self.matches.iter().zip(&self.totals))
        {
            if total == 0 {
                break;
            }
            *precision = if matches == 0 {
                smoothing *= 2.0;
                100.0 / (smoothing * total as f64)
            } else {
                100.0 * matches as f64 / total as f64
            };
        }
        precisions
    }

    /// The factor in 0..=1 for hypotheses that are shorter than their references.
    pub fn brevity_penalty(&self) -> f64 {
        match (self.hypothesis_length, self.reference_length) {
            (hypothesis, reference) if hypothesis >= reference => 1.0,
            (0, _) => 0.0,
            (hypothesis, reference) => libm::exp(1.0 - reference as f64 / hypothesis as f64),
        }
    }
}

/// [`Bleu`] of pairs of a hypothesis and its reference, in 0..=100.
pub fn bleu<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> f64 {
    let mut bleu = Bleu::default();
    pairs.into_iter().for_each(|(hypothesis, reference)| bleu.add(hypothesis, reference));
    bleu.score()
}

fn ngrams(tokens: &[String], n: usize) -> HashMap<&[String], u64> {
    let mut counts = HashMap::new();
    for ngram in tokens.windows(n) {
        *counts.entry(ngram).or_insert(0) += 1;
    }
    counts
}

/// The tokens of sacrebleu's tokenization `13a`, from WMT's `mteval-v13a.pl`: splits words at ASCII punctuation, except at
/// periods and commas within numbers, at apostrophes, and at dashes that do not follow a digit.
pub fn tokenize_13a(text: &str) -> Vec<String> {
    let mut text = text.replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    for (entity, character) in [("&quot;", "\""), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")] {
        text = text.replace(entity, character);
    }
    let mut characters = vec![' '];
    for character in text.chars() {
        if is_separator(character) {
            characters.extend([' ', character, ' ']);
        } else {
            characters.push(character);
        }
    }
    characters.push(' ');
    let is_point = |character: char| matches!(character, '.' | ',');
    let is_digit = |character: char| character.is_ascii_digit();
    let split = replace_pairs(&characters, |a, b| (!is_digit(a) && is_point(b)).then_some([a, ' ', b, ' ']));
    let split = replace_pairs(&split, |a, b| (is_point(a) && !is_digit(b)).then_some([' ', a, ' ', b]));
    let split = replace_pairs(&split, |a, b| (is_digit(a) && b == '-').then_some([a, ' ', b, ' ']));
    split.split(|&c| is_space(c)).filter(|token| !token.is_empty()).map(String::from_iter).collect()
}

/// ASCII punctuation except `'`, `,`, `-` and `.`.
fn is_separator(character: char) -> bool {
    character.is_ascii_punctuation() && !matches!(character, '\'' | ',' | '-' | '.')
}

/// Replaces pairs of neighbours from left to right, as a regular expression of two characters does: a replaced pair is
/// not part of the next one.
fn replace_pairs(characters: &[char], replace: impl Fn(char, char) -> Option<[char; 4]>) -> Vec<char> {
    let mut replaced = Vec::with_capacity(characters.len() * 2);
    let mut rest = characters;
    while let [first, after @ ..] = rest {
        match after.first().and_then(|&second| replace(*first, second)) {
            Some(pair) => {
                replaced.extend(pair);
                rest = &after[1..];
            }
            None => {
                replaced.push(*first);
                rest = after;
            }
        }
    }
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs of a hypothesis and its reference.
    const CORPUS: [(&str, &str); 5] = [
        ("Der schöne Hund läuft über die Straße.", "Der schöne Hund lief über die große Straße."),
        ("It costs 1,000.5 dollars, not 2-3 (or so)!", "It costs 1,000.5 dollars, not 2-4 (or more)!"),
        ("", "Nothing was said."),
        ("Yes.", "Yes."),
        ("The cat sat on the mat &amp; slept.", "The cat sat on the mat & slept well."),
    ];

    fn assert_close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "found {found}, expected {expected}");
    }

    /// Expected: `sacrebleu.corpus_bleu([hypothesis…], [[reference…]])` of sacrebleu 2.6.0: `.score`, `.precisions`, `.bp`.
    #[test]
    fn a_corpus_has_the_score_of_sacrebleu() {
        let mut bleu = Bleu::default();
        CORPUS.iter().for_each(|(hypothesis, reference)| bleu.add(hypothesis, reference));
        assert_close(bleu.score(), 52.36482850413201);
        let expected = [90.9090909090909, 72.41379310344827, 52.0, 45.45454545454545];
        bleu.precisions()
            .into_iter()
            .zip(expected)
            .for_each(|(found, expected)| assert_close(found, expected));
        assert_close(bleu.brevity_penalty(), 0.8337529180751805);
        assert_eq!((bleu.hypothesis_length, bleu.reference_length), (33, 39));
        // BLEU().get_signature() is "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0"
        assert_eq!(Bleu::SIGNATURE, "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp");
    }

    /// Expected: `sacrebleu.corpus_bleu([hypothesis], [[reference]]).score` of sacrebleu 2.6.0.
    #[test]
    fn single_sentences_have_the_score_of_sacrebleu() {
        let expected = [26.66354429712651, 60.600320738082466, 0.0, 0.0, 79.56371661921447];
        for (pair, expected) in CORPUS.into_iter().zip(expected) {
            assert_close(bleu([pair]), expected);
        }
        // No n-gram of 2, 3 or 4 tokens but the smoothed ones.
        assert_close(bleu([("the cat is here now", "the dog is there now")]), 14.058533129758727);
        assert_close(bleu([("Grüße aus Köln", "Grüsse aus Köln")]), 0.0);
        assert_close(bleu([("abc", "")]), 0.0);
        assert_close(bleu([]), 0.0);
    }

    /// Expected: `Tokenizer13a()(text)` of sacrebleu 2.6.0 (`sacrebleu.tokenizers.tokenizer_13a`).
    #[test]
    fn texts_are_tokenized_as_by_sacrebleu() {
        let cases = [
            (CORPUS[1].0, "It costs 1,000.5 dollars , not 2 - 3 ( or so ) !"),
            ("a..b, c.5 5.c 5., x-y 7-", "a . . b , c . 5 5 . c 5 . , x-y 7 -"),
            ("\"Grüße\" &quot;x&quot; &lt;b&gt; [1] {2} it's", "\" Grüße \" \" x \" < b > [ 1 ] { 2 } it's"),
            ("end-\nof line\nnext<skipped>", "endof line next"),
            ("§5 №3 … „ja“ 3,-", "§5 №3 … „ja“ 3 , -"),
            (" .5 ", ". 5"),
            (",", ","),
            ("1.", "1 ."),
            ("a\u{1f}b\u{a0}c", "a b c"),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(tokenize_13a(text).join(" "), expected, "{text:?}");
        }
    }
}
