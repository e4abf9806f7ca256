//! What a label stands for: a character, or a whole word of a small vocabulary.

use crate::tasks::TaskError;
use serde::{Deserialize, Serialize};
use smalti_contract::TokenizeError;
use smalti_text::TextTokenizer;
use std::collections::BTreeSet;

/// What a label stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A character: any text can be written.
    Characters,
    /// A word of the training texts: for commands and digits, where few words occur and none is new.
    Words,
}

/// The labels, and the text that they stand for.
pub(super) enum Alphabet {
    Characters(TextTokenizer),
    /// In alphabetical order.
    Words(Vec<String>),
}

impl Alphabet {
    /// Every word of these texts.
    pub fn of_words(texts: &[String]) -> Self {
        let words: BTreeSet<&str> = texts.iter().flat_map(|text| text.split_whitespace()).collect();
        Alphabet::Words(words.into_iter().map(String::from).collect())
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        match self {
            Alphabet::Characters(tokenizer) => tokenizer.vocabulary_size(),
            Alphabet::Words(words) => words.len(),
        }
    }

    /// The labels of a text.
    pub fn ids(&self, text: &str) -> Result<Vec<u32>, TaskError> {
        let words = match self {
            Alphabet::Characters(tokenizer) => return Ok(tokenizer.ids(text)?),
            Alphabet::Words(words) => words,
        };
        let id = |word: &str| match words.binary_search_by(|known| known.as_str().cmp(word)) {
            Ok(place) => Ok(place as u32),
            Err(_) => Err(TokenizeError::Input(format!(
                "the word {word:?} is none of the {} in the training texts",
                words.len()
            ))),
        };
        Ok(text.split_whitespace().map(id).collect::<Result<_, _>>()?)
    }

    /// The text of labels.
    pub fn text(&self, ids: &[u32]) -> String {
        match self {
            Alphabet::Characters(tokenizer) => tokenizer.text(ids),
            Alphabet::Words(words) => {
                let named = ids.iter().filter_map(|&id| words.get(id as usize).map(String::as_str));
                named.collect::<Vec<_>>().join(" ")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_labels() {
        let alphabet = Alphabet::of_words(&["two one".to_string(), "one three".to_string()]);
        assert_eq!(alphabet.len(), 3);
        assert_eq!(alphabet.ids("three  one").unwrap(), [1, 0]);
        assert_eq!(alphabet.text(&[1, 0]), "three one");
        let error = alphabet.ids("four").unwrap_err().to_string();
        assert_eq!(error, "the word \"four\" is none of the 3 in the training texts");
    }
}
