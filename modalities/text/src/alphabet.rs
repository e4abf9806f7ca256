//! Encoding and decoding with a vocabulary of characters, bytes or subwords, without special tokens or context.

use crate::border::Cuts;
use crate::config::Vocabulary;
use crate::subwords::Subwords;
use rayon::prelude::*;
use smalti_contract::TokenizeError;

/// A vocabulary prepared for look-ups.
pub(crate) enum Alphabet {
    Characters {
        characters: Vec<char>,
        /// The ids of U+0000 to U+007F. Most text is ASCII, and an index is faster than a search.
        ascii: Vec<Option<u32>>,
    },
    Bytes,
    Numbers(usize),
    Subwords(Box<Subwords>),
}

/// Bytes of text for one thread: few enough to keep all threads busy, enough for words to repeat.
const SHARE: usize = 1 << 19;

impl Alphabet {
    /// Check and prepare a vocabulary.
    pub(crate) fn new(vocabulary: &Vocabulary) -> Result<Self, String> {
        match vocabulary {
            Vocabulary::Characters { characters } => Self::of_characters(characters),
            Vocabulary::Bytes => Ok(Self::Bytes),
            Vocabulary::Numbers { count: 0 } => Err("numbers: expected a count of 1 or more; found 0".into()),
            Vocabulary::Numbers { count } if *count > u32::MAX as usize => {
                Err(format!("numbers: expected a count of at most 32 bits; found {count}"))
            }
            Vocabulary::Numbers { count } => Ok(Self::Numbers(*count)),
            Vocabulary::Subwords { tokenizer } => Ok(Self::Subwords(Box::new(Subwords::new(tokenizer)?))),
        }
    }

    fn of_characters(characters: &str) -> Result<Self, String> {
        let characters: Vec<char> = characters.chars().collect();
        if characters.is_empty() {
            return Err("vocabulary: expected at least 1 character; found 0".into());
        }
        for (before, after) in characters.iter().zip(&characters[1..]) {
            if before == after {
                return Err(format!("character {before:?} occurs twice in the vocabulary"));
            }
            if before > after {
                return Err(format!(
                    "characters must be in ascending order of code point, each once; {after:?} follows {before:?}"
                ));
            }
        }
        let mut ascii = vec![None; 128];
        for (id, &character) in (0..).zip(&characters) {
            if let Some(entry) = ascii.get_mut(character as usize) {
                *entry = Some(id);
            }
        }
        Ok(Self::Characters { characters, ascii })
    }

    /// The number of ids.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Characters { characters, .. } => characters.len(),
            Self::Bytes => 256,
            Self::Numbers(count) => *count,
            Self::Subwords(subwords) => subwords.len(),
        }
    }

    /// The kind of the tokens.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Characters { .. } => "character",
            Self::Bytes => "byte",
            Self::Numbers(_) => "id",
            Self::Subwords(_) => "subword",
        }
    }

    /// The positions where a text may be cut.
    pub(crate) fn cuts(&self) -> Cuts {
        match self {
            Self::Characters { .. } | Self::Bytes => Cuts::Anywhere,
            Self::Numbers(_) => Cuts::Nowhere,
            Self::Subwords(subwords) => subwords.cuts(),
        }
    }

    /// The ids of `text`, with `unknown` for a character outside the vocabulary. Indices in errors start at `before`.
    pub(crate) fn ids(
        &self,
        text: &str,
        unknown: Option<u32>,
        before: usize,
    ) -> Result<Vec<u32>, TokenizeError> {
        let (characters, ascii) = match self {
            Self::Characters { characters, ascii } => (characters, ascii),
            Self::Bytes => return Ok(text.bytes().map(u32::from).collect()),
            Self::Numbers(count) => return numbers(text, *count),
            Self::Subwords(subwords) => return subwords.ids(text).map_err(TokenizeError::Input),
        };
        let mut ids = Vec::with_capacity(text.len());
        for (offset, character) in text.char_indices() {
            let known = match ascii.get(character as usize) {
                Some(entry) => *entry,
                None => characters.binary_search(&character).ok().map(|id| id as u32),
            };
            let unknown_character = || {
                TokenizeError::Input(format!(
                    "character {character:?} (U+{:04X}) at index {} of the text is not in the vocabulary of {} \
                     characters: try unknown=true in training",
                    u32::from(character),
                    before + text[..offset].chars().count(),
                    characters.len(),
                ))
            };
            ids.push(known.or(unknown).ok_or_else(unknown_character)?);
        }
        Ok(ids)
    }

    /// [`ids`](Self::ids) with all threads if the text is long.
    pub(crate) fn ids_of_many(
        &self,
        text: &str,
        unknown: Option<u32>,
        before: usize,
    ) -> Result<Vec<u32>, TokenizeError> {
        if !matches!(self, Self::Subwords(_)) || text.len() <= SHARE {
            return self.ids(text, unknown, before);
        }
        let parts = self.cuts().parts(text, SHARE);
        let ids = parts.into_par_iter().map(|part| self.ids(part, unknown, before));
        Ok(ids.collect::<Result<Vec<_>, _>>()?.concat())
    }

    /// The ids of a whole input.
    pub(crate) fn document(&self, text: &str, unknown: Option<u32>) -> Result<Vec<u32>, TokenizeError> {
        match self {
            Self::Subwords(subwords) => subwords.document(text).map_err(TokenizeError::Input),
            _ => self.ids(text, unknown, 0),
        }
    }

    /// The text of `ids`, without special tokens.
    pub(crate) fn text(&self, ids: &[u32]) -> String {
        match self {
            Self::Characters { characters, .. } => {
                ids.iter().filter_map(|&id| characters.get(id as usize)).collect()
            }
            Self::Bytes => {
                let bytes: Vec<u8> = ids.iter().filter_map(|&id| u8::try_from(id).ok()).collect();
                String::from_utf8_lossy(&bytes).into_owned()
            }
            Self::Numbers(_) => ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" "),
            Self::Subwords(subwords) => subwords.text(ids),
        }
    }

    /// The number of bytes of the text of `ids`, if tokens keep the whole text.
    pub(crate) fn utf8_len(&self, ids: &[u32]) -> Option<usize> {
        match self {
            Self::Characters { characters, .. } => {
                Some(ids.iter().filter_map(|&id| characters.get(id as usize)).map(|c| c.len_utf8()).sum())
            }
            Self::Bytes => Some(ids.iter().filter(|&&id| id < 256).count()),
            Self::Numbers(_) => None,
            Self::Subwords(subwords) => subwords.utf8_len(ids),
        }
    }
}

/// Parse the ids in a text, which must be below `count`.
fn numbers(text: &str, count: usize) -> Result<Vec<u32>, TokenizeError> {
    let id = |word: &str| word.parse::<u32>().ok().filter(|&id| (id as usize) < count);
    let invalid = |word: &str| TokenizeError::Input(format!("expected an id below {count}; found {word:?}"));
    text.split_whitespace().map(|word| id(word).ok_or_else(|| invalid(word))).collect()
}
