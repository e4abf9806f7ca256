//! Finding the vocabulary of a text.

mod words;

pub(crate) use words::Words;
pub use words::words;

use crate::blocks::Blocks;
use crate::border::{Borders, Cuts};
use crate::config::{TextConfig, Vocabulary};
use crate::error::TextError;
use serde_json::{Value, json};
use smalti_contract::TokenizeError;
use std::collections::BTreeSet;
use std::io::Read;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

/// The most text that pairs of bytes are counted in: the first 256 MiB. More tells little that is new, and memory
/// would grow with the words.
const COUNTED: usize = 256 << 20;
/// Text that one thread counts at a time.
const SHARE: usize = 1 << 16;
/// How often a pair must occur to become a token.
const MIN_FREQUENCY: u64 = 2;

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
        return Err(empty());
    }
    let vocabulary = Vocabulary::Characters { characters: distinct.into_iter().collect() };
    Ok(TextConfig { specials, ..TextConfig::new(vocabulary, context) })
}

/// [`characters`] of a text of any size, which is not held in memory.
///
/// # Errors
/// As [`characters`]; and [`TextError`] for what cannot be read or is not UTF-8.
pub fn characters_of(
    text: impl Read,
    specials: Vec<String>,
    context: usize,
) -> Result<TextConfig, TextError> {
    let mut distinct = Distinct::new();
    for block in Blocks::new(text, Cuts::Anywhere) {
        distinct.add(&block?);
    }
    Ok(TextConfig { specials, ..distinct.config(context)? })
}

/// The distinct characters of texts that are read one after another.
pub(crate) struct Distinct {
    /// For each code point, whether it has occurred: an index is faster than a set.
    seen: Vec<bool>,
}

impl Distinct {
    pub fn new() -> Self {
        Self { seen: vec![false; char::MAX as usize + 1] }
    }

    pub fn add(&mut self, text: &str) {
        text.chars().for_each(|c| self.seen[c as usize] = true);
    }

    pub fn config(&self, context: usize) -> Result<TextConfig, TokenizeError> {
        let distinct: String = ('\0'..=char::MAX).filter(|&c| self.seen[c as usize]).collect();
        characters([&*distinct], vec![], context)
    }
}

/// The configuration whose vocabulary is `size` subwords: the 256 bytes, and what the commonest pairs of them and of
/// their results make (byte-level BPE: Sennrich et al. 2016 on the bytes and the pattern of GPT-2, Radford et al. 2019).
///
/// The first 256 MiB of the text are counted. It takes any text, of which nothing is lost. The vocabulary is smaller
/// than `size` where no pair is left that occurs twice.
///
/// # Errors
/// [`TextError`] for a size that leaves no room for a pair, a text that is empty, cannot be read, is not UTF-8 or has
/// no space in 4 MiB.
pub fn bpe(
    text: impl Read + Send,
    size: usize,
    specials: Vec<String>,
    context: usize,
) -> Result<TextConfig, TextError> {
    check_size(size)?;
    let cuts = cuts(&byte_level());
    let (mut failed, mut counted) = (None, 0);
    let parts = Blocks::new(text, cuts).map_while(|block| match block {
        Ok(block) if counted < COUNTED => {
            counted += block.len();
            Some(cuts.parts(&block, SHARE).into_iter().map(String::from).collect::<Vec<_>>())
        }
        Ok(_) => None,
        Err(error) => {
            failed = Some(error);
            None
        }
    });
    let fitted = byte_pairs(parts.flatten(), size);
    if let Some(error) = failed {
        return Err(error);
    }
    if counted == 0 {
        return Err(empty().into());
    }
    Ok(TextConfig { specials, ..TextConfig::new(fitted?, context) })
}

/// [`bpe`] of texts that are apart: no pair reaches from one into the next.
pub(crate) fn bpe_of(
    texts: impl Iterator<Item = Result<String, TokenizeError>>,
    size: usize,
    context: usize,
) -> Result<TextConfig, TokenizeError> {
    check_size(size)?;
    let (mut held, mut counted) = (Vec::new(), 0);
    for text in texts {
        let text = text?;
        counted += text.len();
        held.push(text);
        if counted >= COUNTED {
            break;
        }
    }
    if counted == 0 {
        return Err(empty());
    }
    let cuts = cuts(&byte_level());
    let parts = held.iter().flat_map(|text| cuts.parts(text, SHARE));
    Ok(TextConfig::new(byte_pairs(parts, size)?, context))
}

fn check_size(size: usize) -> Result<(), TokenizeError> {
    match size {
        ..=256 => Err(TokenizeError::Input(format!(
            "byte pairs come after the 256 bytes: a vocabulary of them has at least 257 tokens; found {size}"
        ))),
        _ => Ok(()),
    }
}

fn byte_level() -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": true})
}

/// Where a text may be cut that this pre-tokenizer splits.
fn cuts(pre_tokenizer: &Value) -> Cuts {
    let tokenizer = json!({ "pre_tokenizer": pre_tokenizer });
    tokenizer.as_object().and_then(Borders::of).map_or(Cuts::Nowhere, Cuts::At)
}

/// The byte pairs of parts of texts, which are counted by all threads.
fn byte_pairs<S: AsRef<str> + Send>(
    parts: impl Iterator<Item = S> + Send,
    size: usize,
) -> Result<Vocabulary, TokenizeError> {
    let trainer = BpeTrainerBuilder::new()
        .vocab_size(size)
        .min_frequency(MIN_FREQUENCY)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .show_progress(false)
        .build();
    let mut tokenizer = tokenizers::Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    tokenizer.with_decoder(Some(ByteLevel::new(false, true, true)));
    let trained = tokenizer.train(&mut TrainerWrapper::BpeTrainer(trainer), parts).map(drop);
    match trained.and_then(|()| Ok(serde_json::to_value(&tokenizer)?)) {
        Ok(tokenizer) => Ok(Vocabulary::Subwords { tokenizer }),
        Err(error) => Err(TokenizeError::Input(format!("byte pairs cannot be found: {error}"))),
    }
}

fn empty() -> TokenizeError {
    TokenizeError::Input("the text is empty; a vocabulary needs at least 1 character".into())
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

    #[test]
    fn characters_of_a_stream_are_those_of_the_text() {
        let text = "zebra é 東京 🦀 \u{10ffff}";
        let streamed = characters_of(text.as_bytes(), vec![], 8).unwrap();
        assert_eq!(streamed, characters([text], vec![], 8).unwrap());
        assert!(characters_of(&b""[..], vec![], 8).is_err());
        assert!(characters_of(&b"ab\xff"[..], vec![], 8).is_err());
    }

    #[test]
    fn the_commonest_pairs_become_tokens_always_the_same() {
        let text = "low lower lowest\n".repeat(50);
        let fitted = bpe(text.as_bytes(), 270, vec!["<mask>".into()], 8).unwrap();
        assert_eq!(fitted, bpe(text.as_bytes(), 270, vec!["<mask>".into()], 8).unwrap());
        let Vocabulary::Subwords { tokenizer } = fitted.vocabulary else { panic!("{fitted:?}") };
        let tokens = tokenizer["model"]["vocab"].as_object().unwrap();
        assert!(tokens.contains_key("low") && tokens.contains_key("Ġlow"), "{tokens:?}");
        assert!(tokens.len() > 256 && tokens.len() <= 270, "{}", tokens.len());
    }

    #[test]
    fn byte_pairs_that_cannot_be_found_are_told() {
        let message = |text: &[u8], size| bpe(text, size, vec![], 8).unwrap_err().to_string();
        assert!(message(b"abc", 256).contains("at least 257 tokens; found 256"));
        assert!(message(b"", 300).contains("the text is empty"));
        assert!(message(b"ab\xff", 300).contains("0xff at offset 2"));
    }
}
