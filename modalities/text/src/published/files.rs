//! Published vocabularies where they lie on disk.

use super::{bert, gpt2, tokenizer_json};
use crate::config::{TextConfig, Vocabulary};
use crate::tokenizer::TextTokenizer;
use smalti_contract::{TokenizeError, Tokenizer};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

const TOKENIZER: &str = "tokenizer.json";
const ENCODERS: [&str; 2] = ["encoder.json", "vocab.json"];
const MERGES: [&str; 2] = ["vocab.bpe", "merges.txt"];
const LINES: &str = "vocab.txt";

/// The tokenizer of a published vocabulary on disk, for texts of at most `context` tokens: a `tokenizer.json`, one of
/// GPT-2's `encoder.json` and `vocab.bpe` (or `vocab.json` and `merges.txt`) with the other beside it, BERT's
/// `vocab.txt`, or a folder with one of these.
///
/// # Errors
/// [`TokenizeError`], whose message names the files: no vocabulary is there, or it cannot be read.
pub fn open(path: impl AsRef<Path>, context: usize) -> Result<TextTokenizer, TokenizeError> {
    let (vocabulary, files) = vocabulary(path.as_ref())?;
    TextTokenizer::new(TextConfig::new(vocabulary, context)).map_err(|e| match e {
        TokenizeError::Config { problem, .. } => failed(&files, problem),
        other => failed(&files, other),
    })
}

/// The vocabulary at a path, and what to call its files.
fn vocabulary(path: &Path) -> Result<(Vocabulary, String), TokenizeError> {
    let shown = path.display().to_string();
    let missing = |expected: String| failed(&shown, format!("not found; expected {expected}"));
    if !path.is_file() {
        let known = [TOKENIZER, ENCODERS[0], ENCODERS[1], LINES];
        let file =
            first(path, &known).ok_or_else(|| missing(format!("a vocabulary: {}", known.join(", "))))?;
        return vocabulary(&file);
    }
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let beside = |names: &[&str]| {
        let file = first(path.parent().unwrap_or(Path::new("")), names);
        file.ok_or_else(|| missing(format!("{} beside it", names.join(" or "))))
    };
    if MERGES.contains(&name) {
        return pair(&beside(&ENCODERS)?, path);
    }
    if ENCODERS.contains(&name) {
        return pair(path, &beside(&MERGES)?);
    }
    let bytes = read(path)?;
    let vocabulary = if name.ends_with(".txt") { bert(&bytes) } else { tokenizer_json(&bytes) };
    Ok((vocabulary.map_err(|e| failed(&shown, e))?, shown))
}

/// GPT-2's two files.
fn pair(encoder: &Path, merges: &Path) -> Result<(Vocabulary, String), TokenizeError> {
    let files = format!("{} with {}", encoder.display(), merges.display());
    let vocabulary = gpt2(&read(encoder)?, &read(merges)?).map_err(|e| failed(&files, e))?;
    Ok((vocabulary, files))
}

/// The first of these files that is in a folder.
fn first(folder: &Path, names: &[&str]) -> Option<PathBuf> {
    names.iter().map(|name| folder.join(name)).find(|file| file.is_file())
}

fn read(path: &Path) -> Result<Vec<u8>, TokenizeError> {
    std::fs::read(path).map_err(|e| match e.kind() {
        ErrorKind::NotFound => failed(path.display(), "not found; expected a file"),
        _ => failed(path.display(), e),
    })
}

fn failed(files: impl ToString, problem: impl ToString) -> TokenizeError {
    TokenizeError::Input(format!("{}: {}", files.to_string(), problem.to_string()))
}
