//! Characters or bytes to ids and back, without specials or context.

use crate::config::Vocabulary;

/// A vocabulary made ready for look-ups.
pub(crate) enum Alphabet {
    Characters {
        characters: Vec<char>,
        /// The ids of U+0000 to U+007F: most text is ASCII, and an index is faster than a search.
        ascii: Vec<Option<u32>>,
    },
    Bytes,
}

impl Alphabet {
    /// `Err` says what is wrong with the vocabulary.
    pub(crate) fn new(vocabulary: &Vocabulary) -> Result<Self, String> {
        let Vocabulary::Characters { characters } = vocabulary else { return Ok(Self::Bytes) };
        let characters: Vec<char> = characters.chars().collect();
        if characters.is_empty() {
            return Err("vocabulary has no characters; at least 1 is needed".into());
        }
        for (before, after) in characters.iter().zip(&characters[1..]) {
            if before == after {
                return Err(format!("character {before:?} is twice in the vocabulary"));
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

    /// How many ids there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Characters { characters, .. } => characters.len(),
            Self::Bytes => 256,
        }
    }

    /// What one token is called.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Characters { .. } => "character",
            Self::Bytes => "byte",
        }
    }

    /// The ids of `text`, with `unknown` for a character outside the vocabulary; `Err` is the byte offset
    /// of the first such character where `unknown` is none.
    pub(crate) fn ids(&self, text: &str, unknown: Option<u32>) -> Result<Vec<u32>, usize> {
        let Self::Characters { characters, ascii } = self else {
            return Ok(text.bytes().map(u32::from).collect());
        };
        let mut ids = Vec::with_capacity(text.len());
        for (offset, character) in text.char_indices() {
            let known = match ascii.get(character as usize) {
                Some(entry) => *entry,
                None => characters.binary_search(&character).ok().map(|id| id as u32),
            };
            ids.push(known.or(unknown).ok_or(offset)?);
        }
        Ok(ids)
    }

    /// The text of `ids`; those that are no character or byte are left out.
    pub(crate) fn text(&self, ids: &[u32]) -> String {
        match self {
            Self::Characters { characters, .. } => {
                ids.iter().filter_map(|&id| characters.get(id as usize)).collect()
            }
            Self::Bytes => {
                let bytes: Vec<u8> = ids.iter().filter_map(|&id| u8::try_from(id).ok()).collect();
                String::from_utf8_lossy(&bytes).into_owned()
            }
        }
    }
}
