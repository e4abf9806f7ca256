//! Finding the vocabulary of a text.

use crate::config::{TextConfig, Vocabulary};
use smalti_contract::TokenizeError;
use std::collections::BTreeSet;

/// The configuration whose vocabulary is every character of `texts`, in order of code point.
///
/// # Errors
/// [`TokenizeError::Input`] where the texts hold no character at all.
pub fn characters<'a>(
    texts: impl IntoIterator<Item = &'a str>,
    specials: Vec<String>,
    context: usize,
) -> Result<TextConfig, TokenizeError> {
    let distinct: BTreeSet<char> = texts.into_iter().flat_map(str::chars).collect();
    if distinct.is_empty() {
        return Err(TokenizeError::Input(
            "the text is empty; a vocabulary needs at least 1 character".into(),
        ));
    }
    let vocabulary = Vocabulary::Characters { characters: distinct.into_iter().collect() };
    Ok(TextConfig { vocabulary, specials, context })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_sorted_by_code_point() {
        let config = characters(["zebra é", "Äpfel"], vec!["<unk>".into()], 8).unwrap();
        assert_eq!(config.vocabulary, Vocabulary::Characters { characters: " abeflprzÄé".into() });
        assert_eq!((config.specials, config.context), (vec!["<unk>".to_string()], 8));
    }

    #[test]
    fn nothing_to_fit_is_an_error() {
        assert!(characters([], vec![], 8).is_err());
        assert!(characters(["", ""], vec![], 8).is_err());
    }
}
