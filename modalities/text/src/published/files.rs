//! Opening published vocabularies: a file, two files in the same folder, or a folder.

use super::beside::Beside;
use super::{bert_beside, gpt2, tokenizer_json};
use crate::config::{TextConfig, Vocabulary};
use crate::tokenizer::TextTokenizer;
use smalti_contract::value::read_local;
use smalti_contract::{TokenizeError, Tokenizer};
use std::path::Path;

const TOKENIZER: &str = "tokenizer.json";
const ENCODERS: [&str; 2] = ["encoder.json", "vocab.json"];
const MERGES: [&str; 2] = ["vocab.bpe", "merges.txt"];
const LINES: &str = "vocab.txt";
/// The file names that a folder is searched for.
const KNOWN: [&str; 4] = [TOKENIZER, ENCODERS[0], ENCODERS[1], LINES];

/// Read the file at a location; `None` if there is none ([`Values::read_file`](smalti_contract::Values::read_file)).
type Read<'a> = &'a dyn Fn(&str) -> Result<Option<Vec<u8>>, TokenizeError>;

/// The location and content of a file.
type Found = (String, Vec<u8>);

/// Open a published vocabulary on disk; see [`open_with`].
///
/// # Errors
/// As of [`open_with`].
pub fn open(path: impl AsRef<Path>, context: usize) -> Result<TextTokenizer, TokenizeError> {
    open_with(&path.as_ref().display().to_string(), context, &read_local)
}

/// Open a published vocabulary for texts of at most `context` tokens: a `tokenizer.json`, one of GPT-2's `encoder.json`
/// and `vocab.bpe` (or `vocab.json` and `merges.txt`) with the other one in the same folder, BERT's `vocab.txt`, or a
/// folder or tar archive with one of these. `read` reads the file at a location and returns `None` if there is none.
///
/// `tokenizer_config.json` in the same folder overrides case, accents, Chinese characters, a space before the first word,
/// added tokens, and, for Llama's tokenizers, the tokens before and after a text; `special_tokens_map.json` names the
/// special tokens. RoBERTa's `vocab.json` and `merges.txt` are told from GPT-2's by their special tokens.
///
/// # Errors
/// [`TokenizeError`], which names the files, if there is no vocabulary or it cannot be read.
pub fn open_with(location: &str, context: usize, read: Read) -> Result<TextTokenizer, TokenizeError> {
    let (vocabulary, files) = vocabulary(location, read)?;
    TextTokenizer::new(TextConfig::new(vocabulary, context)).map_err(|e| match e {
        TokenizeError::Config { problem, .. } => failed(&files, problem),
        other => failed(&files, other),
    })
}

/// Read the vocabulary at a location; returns it and a description of its files.
fn vocabulary(location: &str, read: Read) -> Result<(Vocabulary, String), TokenizeError> {
    let file = match location.ends_with(".tar") {
        true => None,
        false => read(location)?.map(|bytes| (location.to_string(), bytes)),
    };
    let file = match file {
        Some(file) => Some(file),
        None => first(location, &KNOWN, read)?,
    };
    let (location, bytes) = file
        .ok_or_else(|| failed(location, format!("not found; expected a vocabulary: {}", KNOWN.join(", "))))?;
    let (folder, name) = location.split_at(location.rfind(['/', '\\', ':']).map_or(0, |at| at + 1));
    let beside = Beside::read(|name| read(&format!("{folder}{name}"))).map_err(|e| failed(folder, e))?;
    let sibling = |names: &[&str]| {
        let problem = || format!("not found; expected {} in the same folder", names.join(" or "));
        first(folder, names, read)?.ok_or_else(|| failed(&location, problem()))
    };
    let (files, vocabulary) = if MERGES.contains(&name) {
        let (encoder, vocab) = sibling(&ENCODERS)?;
        (format!("{encoder} with {location}"), gpt2(&vocab, &bytes))
    } else if ENCODERS.contains(&name) {
        let (pairs, merges) = sibling(&MERGES)?;
        (format!("{location} with {pairs}"), gpt2(&bytes, &merges))
    } else if name.ends_with(".txt") {
        (location.clone(), bert_beside(&bytes, &beside))
    } else {
        (location.clone(), tokenizer_json(&bytes))
    };
    let mut vocabulary = vocabulary.map_err(|e| failed(&files, e))?;
    if let Vocabulary::Subwords { tokenizer: serde_json::Value::Object(tokenizer) } = &mut vocabulary {
        if MERGES.contains(&name) || ENCODERS.contains(&name) {
            beside.apply_roberta(tokenizer);
        }
        beside.apply(tokenizer).map_err(|e| failed(folder, e))?;
    }
    Ok((vocabulary, files))
}

/// The first of these files that exists in a folder.
fn first(folder: &str, names: &[&str], read: Read) -> Result<Option<Found>, TokenizeError> {
    let slash = if folder.is_empty() || folder.ends_with(['/', '\\', ':']) { "" } else { "/" };
    for name in names {
        let location = format!("{folder}{slash}{name}");
        if let Some(bytes) = read(&location)? {
            return Ok(Some((location, bytes)));
        }
    }
    Ok(None)
}

fn failed(files: &str, problem: impl std::fmt::Display) -> TokenizeError {
    TokenizeError::Input(format!("{files}: {problem}"))
}
