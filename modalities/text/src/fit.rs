//! Fitting a vocabulary to a text.

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

/// The maximal amount of text in which byte pairs are counted: the first 256 MiB. More text adds little, and memory
/// would grow with the number of words.
const COUNTED: usize = 256 << 20;
/// The bytes of text that one thread counts at a time.
const SHARE: usize = 1 << 16;
/// The minimal number of occurrences of a pair that becomes a token.
const MIN_FREQUENCY: u64 = 2;

/// Fit a vocabulary of every character of `texts`, in order of code point.
///
/// # Errors
/// [`TokenizeError::Input`] if the texts are empty.
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

/// [`characters`] for a text of any size, which is read in blocks.
///
/// # Errors
/// As [`characters`]; and [`TextError`] if the text cannot be read or is not UTF-8.
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

/// The distinct characters of texts that are added one by one.
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

/// Fit a vocabulary of `size` subwords: the 256 bytes and the results of merging the most frequent pairs (byte-level
/// BPE: Sennrich et al. 2016, with the bytes and the pattern of GPT-2, Radford et al. 2019).
///
/// Pairs are counted in the first 256 MiB of the text. The vocabulary encodes any text without loss. It is smaller than
/// `size` if no pair occurs twice any more.
///
/// # Errors
/// [`TextError`] for a size below 257, and for a text that is empty, cannot be read, is not UTF-8 or has no space in 4
/// MiB.
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

/// [`bpe`] for separate texts: no pair crosses from one into the next.
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
            "expected a vocabulary of at least 257 tokens, because 256 are the single bytes; found {size}"
        ))),
        _ => Ok(()),
    }
}

fn byte_level() -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": true})
}

/// The positions where a text for this pre-tokenizer may be cut.
fn cuts(pre_tokenizer: &Value) -> Cuts {
    let tokenizer = json!({ "pre_tokenizer": pre_tokenizer });
    tokenizer.as_object().and_then(Borders::of).map_or(Cuts::Nowhere, Cuts::At)
}

/// Count the byte pairs of parts of texts with all threads, and train BPE.
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
        Err(error) => Err(TokenizeError::Input(format!("BPE training failed: {error}"))),
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
    fn empty_texts_are_an_error() {
        assert!(characters([], vec![], 8).is_err());
        assert!(characters(["", ""], vec![], 8).is_err());
    }

    #[test]
    fn characters_of_a_stream_equal_those_of_the_text() {
        let text = "zebra é 東京 🦀 \u{10ffff}";
        let streamed = characters_of(text.as_bytes(), vec![], 8).unwrap();
        assert_eq!(streamed, characters([text], vec![], 8).unwrap());
        assert!(characters_of(&b""[..], vec![], 8).is_err());
        assert!(characters_of(&b"ab\xff"[..], vec![], 8).is_err());
    }

    #[test]
    fn frequent_pairs_become_tokens_deterministically() {
        let text = "low lower lowest\n".repeat(50);
        let fitted = bpe(text.as_bytes(), 270, vec!["<mask>".into()], 8).unwrap();
        assert_eq!(fitted, bpe(text.as_bytes(), 270, vec!["<mask>".into()], 8).unwrap());
        let Vocabulary::Subwords { tokenizer } = fitted.vocabulary else { panic!("{fitted:?}") };
        let tokens = tokenizer["model"]["vocab"].as_object().unwrap();
        assert!(tokens.contains_key("low") && tokens.contains_key("Ġlow"), "{tokens:?}");
        assert!(tokens.len() > 256 && tokens.len() <= 270, "{}", tokens.len());
    }

    #[test]
    fn invalid_texts_and_sizes_are_errors() {
        let message = |text: &[u8], size| bpe(text, size, vec![], 8).unwrap_err().to_string();
        assert!(
            message(b"abc", 256).contains("at least 257 tokens, because 256 are the single bytes; found 256")
        );
        assert!(message(b"", 300).contains("the text is empty"));
        assert!(message(b"ab\xff", 300).contains("0xff at offset 2"));
    }
}
