//! Fitting a vocabulary of words.

use super::{cuts, empty};
use crate::blocks::Blocks;
use crate::config::{TextConfig, UNKNOWN, Vocabulary};
use crate::error::TextError;
use serde_json::{Map, Value, json};
use smalti_contract::TokenizeError;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::io::Read;

/// Fit a vocabulary of the words of a text, separated by white space, that occur at least `min_frequency` times.
/// [`UNKNOWN`] has the id 0 and stands for all other words; the most frequent word has the id 1.
///
/// Decoded texts have single spaces between words.
///
/// # Errors
/// [`TextError`] if no word is frequent enough, or the text cannot be read, is not UTF-8 or has no space in 4 MiB.
pub fn words(
    text: impl Read,
    min_frequency: usize,
    specials: Vec<String>,
    context: usize,
) -> Result<TextConfig, TextError> {
    let mut words = Words::default();
    for block in Blocks::new(text, cuts(&pre_tokenizer())) {
        words.add(&block?);
    }
    Ok(TextConfig { specials, ..words.config(min_frequency, context)? })
}

/// The counts of words of texts that are added one by one.
#[derive(Default)]
pub(crate) struct Words {
    counts: HashMap<String, usize>,
}

impl Words {
    pub fn add(&mut self, text: &str) {
        for word in text.split_whitespace() {
            match self.counts.get_mut(word) {
                Some(count) => *count += 1,
                None => drop(self.counts.insert(word.into(), 1)),
            }
        }
    }

    pub fn config(self, min_frequency: usize, context: usize) -> Result<TextConfig, TokenizeError> {
        let Some(most) = self.counts.values().copied().max() else { return Err(empty()) };
        let known = |(word, count): &(String, usize)| *count >= min_frequency && word != UNKNOWN;
        let mut words: Vec<(String, usize)> = self.counts.into_iter().filter(known).collect();
        if words.is_empty() {
            return Err(TokenizeError::Input(format!(
                "no word occurs {min_frequency} times; the most frequent occurs {most} times; lower min_frequency"
            )));
        }
        words.sort_by(|(a, n), (b, m)| (Reverse(n), a).cmp(&(Reverse(m), b)));
        let names = std::iter::once(UNKNOWN.to_string()).chain(words.into_iter().map(|(word, _)| word));
        let vocab: Map<String, Value> = (0_u64..).zip(names).map(|(id, word)| (word, id.into())).collect();
        let tokenizer = json!({
            "version": "1.0",
            "added_tokens": [],
            "normalizer": null,
            "pre_tokenizer": pre_tokenizer(),
            "post_processor": null,
            "decoder": null, // words with single spaces between them
            "model": {"type": "WordLevel", "vocab": vocab, "unk_token": UNKNOWN},
        });
        Ok(TextConfig::new(Vocabulary::Subwords { tokenizer }, context))
    }
}

fn pre_tokenizer() -> Value {
    json!({"type": "WhitespaceSplit"})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TextTokenizer;
    use smalti_contract::{Tokenizer, testing::check};

    fn fitted(text: &str, min_frequency: usize) -> TextTokenizer {
        TextTokenizer::new(words(text.as_bytes(), min_frequency, vec![], 8).unwrap()).unwrap()
    }

    #[test]
    fn the_most_frequent_word_comes_first() {
        let tokenizer = fitted("b a\n\nthe  the\tc, the <unk> a", 1);
        assert_eq!(tokenizer.ids("the a b c, c").unwrap(), [1, 2, 3, 4, 0]);
        assert_eq!((tokenizer.vocabulary_size(), tokenizer.special(UNKNOWN)), (5, Some(0)));
        assert_eq!(tokenizer.text(&[1, 0, 2]), "the <unk> a");
        assert_eq!(tokenizer.ids("the <unk> a").unwrap(), [1, 0, 2]);
        check(&tokenizer, &["the b", "a  stranger\n", ""].map(String::from)).unwrap();
    }

    #[test]
    fn rare_words_are_unknown() {
        let tokenizer = fitted("a b a b c", 2);
        assert_eq!(tokenizer.ids("a b c").unwrap(), [1, 2, 0]);
        let message = |text: &[u8], most| words(text, most, vec![], 8).unwrap_err().to_string();
        assert_eq!(
            message(b"a b a", 3),
            "no word occurs 3 times; the most frequent occurs 2 times; lower min_frequency"
        );
        assert!(message(b" \n", 1).contains("the text is empty"));
        assert!(message(b"ab\xff", 1).contains("0xff at offset 2"));
    }
}
