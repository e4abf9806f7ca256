//! Published vocabularies where they lie: a file, two files side by side, or a folder.

use super::{bert, gpt2, tokenizer_json};
use crate::config::{TextConfig, Vocabulary};
use crate::tokenizer::TextTokenizer;
use smalti_contract::value::read_local;
use smalti_contract::{TokenizeError, Tokenizer};
use std::path::Path;

const TOKENIZER: &str = "tokenizer.json";
const ENCODERS: [&str; 2] = ["encoder.json", "vocab.json"];
const MERGES: [&str; 2] = ["vocab.bpe", "merges.txt"];
const LINES: &str = "vocab.txt";
/// What is looked for in a folder.
const KNOWN: [&str; 4] = [TOKENIZER, ENCODERS[0], ENCODERS[1], LINES];

/// Reads the file at a location; `None` if there is none
/// ([`Values::read_file`](smalti_contract::Values::read_file)).
type Read<'a> = &'a dyn Fn(&str) -> Result<Option<Vec<u8>>, TokenizeError>;

/// A file, and where it was found.
type Found = (String, Vec<u8>);

/// The tokenizer of a published vocabulary on this disk, as of [`open_with`].
///
/// # Errors
/// As of [`open_with`].
pub fn open(path: impl AsRef<Path>, context: usize) -> Result<TextTokenizer, TokenizeError> {
    open_with(&path.as_ref().display().to_string(), context, &read_local)
}

/// The tokenizer of a published vocabulary, for texts of at most `context` tokens: a `tokenizer.json`, one of GPT-2's
/// `encoder.json` and `vocab.bpe` (or `vocab.json` and `merges.txt`) with the other beside it, BERT's `vocab.txt`, or a
/// folder or tar archive with one of these. `read` reads the file at a location; `None` if there is none.
///
/// # Errors
/// [`TokenizeError`], whose message names the files: no vocabulary is there, or it cannot be read.
pub fn open_with(location: &str, context: usize, read: Read) -> Result<TextTokenizer, TokenizeError> {
    let (vocabulary, files) = vocabulary(location, read)?;
    TextTokenizer::new(TextConfig::new(vocabulary, context)).map_err(|e| match e {
        TokenizeError::Config { problem, .. } => failed(&files, problem),
        other => failed(&files, other),
    })
}

/// The vocabulary at a location, and what to call its files.
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
    let beside = |names: &[&str]| {
        let problem = || format!("not found; expected {} beside it", names.join(" or "));
        first(folder, names, read)?.ok_or_else(|| failed(&location, problem()))
    };
    let (files, vocabulary) = if MERGES.contains(&name) {
        let (encoder, vocab) = beside(&ENCODERS)?;
        (format!("{encoder} with {location}"), gpt2(&vocab, &bytes))
    } else if ENCODERS.contains(&name) {
        let (pairs, merges) = beside(&MERGES)?;
        (format!("{location} with {pairs}"), gpt2(&bytes, &merges))
    } else if name.ends_with(".txt") {
        (location.clone(), bert(&bytes))
    } else {
        (location.clone(), tokenizer_json(&bytes))
    };
    Ok((vocabulary.map_err(|e| failed(&files, e))?, files))
}

/// The first of these files that is in a folder.
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
