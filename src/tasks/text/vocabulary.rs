//! What a token of text is: of the text itself, or of a published vocabulary.

use super::TextTaskConfig;
use crate::data::files::{is_file, join};
use crate::data::{DataError, open_text, read};
use crate::tasks::TaskError;
use serde::{Deserialize, Serialize};
use smalti_contract::{TokenizeError, Tokenizer};
use smalti_text::published::{bert, gpt2, tokenizer_json};
use smalti_text::{TextConfig, TextError, TextTokenizer, Vocabulary, fit};

/// What a token of text is: `vocabulary = "characters"`, `"bytes"`, `{ bpe = 4096 }`, `{ file = "tokenizer.json" }` or
/// `{ numbers = 97 }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextUnit {
    /// A character of the training text.
    Characters,
    /// A byte of UTF-8.
    Bytes,
    /// A subword of byte-level BPE that is fitted to the training text: so many in all, at least 257.
    Bpe(usize),
    /// A subword of a published vocabulary: a `tokenizer.json`, one of GPT-2's `encoder.json` and `vocab.bpe` (or
    /// `vocab.json` and `merges.txt`) with the other beside it, BERT's `vocab.txt`, or a folder with one of these.
    File(String),
    /// One of so many ids, which the text writes out: `12 7 55`. For a published model without its vocabulary.
    Numbers(usize),
}

/// What is wrong with the text at `location`.
pub(super) fn refused(location: &str, error: TextError) -> DataError {
    match error {
        TextError::Read(error) => DataError::io(location, "a file", error),
        error => DataError::tokenize(location, error),
    }
}

/// The tokenizer that a task's settings ask for, fitted to its text. `needed` are the special tokens that it needs, each
/// by the names that published vocabularies have for it; its own is the first of them.
pub(super) fn fitted(config: &TextTaskConfig, needed: &[&[&str]]) -> Result<TextTokenizer, TaskError> {
    // A vocabulary stays the text's own, or the published one, where no special token is needed.
    let specials: Vec<String> = needed.iter().map(|names| names[0].to_string()).collect();
    let (context, segments) = (config.context, config.segments);
    let text = || open_text(&config.path);
    let fitted = match &config.vocabulary {
        TextUnit::Characters => fit::characters_of(text()?, specials, context),
        TextUnit::Bytes => Ok(TextConfig { vocabulary: Vocabulary::Bytes, specials, context, segments }),
        TextUnit::Numbers(count) => {
            Ok(TextConfig { vocabulary: Vocabulary::Numbers { count: *count }, specials, context, segments })
        }
        TextUnit::Bpe(size @ ..=256) => {
            let problem = format!("bpe must be at least 257, for 256 are the single bytes; found {size}");
            return Err(TaskError::Setting { setting: "vocabulary", problem });
        }
        TextUnit::Bpe(size) => fit::bpe(text()?, *size, specials, context),
        TextUnit::File(location) => return from_file(location, needed, context, segments),
    };
    let fitted = fitted.map_err(|e| refused(&config.path, e))?;
    Ok(TextTokenizer::new(TextConfig { segments, ..fitted })?)
}

/// The tokenizer of a published vocabulary, as it is: where, [`TextUnit::File`] says; `context` is the most tokens of
/// a text.
///
/// # Errors
/// A location without a vocabulary, and one that cannot be read.
pub fn published(location: &str, context: usize) -> Result<TextTokenizer, TaskError> {
    from_file(location, &[], context, 0)
}

fn from_file(
    location: &str,
    needed: &[&[&str]],
    context: usize,
    segments: usize,
) -> Result<TextTokenizer, TaskError> {
    let (vocabulary, files) = published_at(location)?;
    let tokenizer = TextTokenizer::new(TextConfig { vocabulary, specials: vec![], context, segments });
    let tokenizer = tokenizer.map_err(|e| match e {
        TokenizeError::Config { problem, .. } => DataError::tokenize(&files, problem),
        other => DataError::tokenize(&files, other),
    })?;
    let missing = needed.iter().filter(|names| names.iter().all(|name| tokenizer.special(name).is_none()));
    let specials: Vec<String> = missing.map(|names| names[0].to_string()).collect();
    if specials.is_empty() {
        return Ok(tokenizer);
    }
    Ok(TextTokenizer::new(TextConfig { specials, ..tokenizer.config().clone() })?)
}

/// The vocabulary at a location, and what to call its files.
fn published_at(location: &str) -> Result<(Vocabulary, String), DataError> {
    const ENCODERS: [&str; 2] = ["encoder.json", "vocab.json"];
    const MERGES: [&str; 2] = ["vocab.bpe", "merges.txt"];
    if !is_file(location)? {
        let known = ["tokenizer.json", ENCODERS[0], ENCODERS[1], "vocab.txt"];
        let file = first(location, &known)?.ok_or_else(|| DataError::Missing {
            location: location.into(),
            expected: format!("a vocabulary: {}", known.join(", ")),
        })?;
        return published_at(&file);
    }
    let (folder, name) = location.rsplit_once('/').unwrap_or(("", location));
    let beside = |names: &[&str]| {
        first(folder, names)?.ok_or_else(|| DataError::Missing {
            location: location.into(),
            expected: format!("{} beside it", names.join(" or ")),
        })
    };
    let pair = |encoder: String, merges: String| {
        let (tokens, pairs) = (read(&encoder)?, read(&merges)?);
        let files = format!("{encoder} with {merges}");
        let vocabulary = gpt2(&tokens, &pairs).map_err(|e| DataError::tokenize(&files, e))?;
        Ok((vocabulary, files))
    };
    if MERGES.contains(&name) {
        return pair(beside(&ENCODERS)?, location.into());
    }
    let bytes = read(location)?;
    if ENCODERS.contains(&name) {
        return pair(location.into(), beside(&MERGES)?);
    }
    let vocabulary = match name.ends_with(".txt") {
        true => bert(&bytes),
        false => tokenizer_json(&bytes),
    };
    Ok((vocabulary.map_err(|e| DataError::tokenize(location, e))?, location.into()))
}

/// The first of these files that is in a folder.
fn first(folder: &str, names: &[&str]) -> Result<Option<String>, DataError> {
    for name in names {
        let file = join(folder, name);
        if is_file(&file)? {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const WORDS: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nlow\n##er\n";

    fn config(folder: &Path, vocabulary: TextUnit) -> TextTaskConfig {
        let path = folder.join("text.txt").display().to_string();
        TextTaskConfig { path, vocabulary, ..TextTaskConfig::default() }
    }

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn of_file(folder: &tempfile::TempDir, name: &str, mask: &[&str]) -> Result<TextTokenizer, TaskError> {
        let location = folder.path().join(name).display().to_string();
        fitted(
            &config(folder.path(), TextUnit::File(location)),
            &if mask.is_empty() { vec![] } else { vec![mask] },
        )
    }

    fn pairs() -> (String, String) {
        let fitted = fit::bpe("low lower ".repeat(9).as_bytes(), 260, vec![], 8).unwrap();
        let Vocabulary::Subwords { tokenizer } = fitted.vocabulary else { panic!("no subwords") };
        let line = |pair: &serde_json::Value| {
            format!("{} {}\n", pair[0].as_str().unwrap(), pair[1].as_str().unwrap())
        };
        let merges = tokenizer["model"]["merges"].as_array().unwrap().iter().map(line).collect();
        (tokenizer["model"]["vocab"].to_string(), merges)
    }

    #[test]
    fn every_published_file_is_found_by_itself_and_by_its_folder() {
        let (encoder, merges) = pairs();
        for names in [["encoder.json", "vocab.bpe"], ["vocab.json", "merges.txt"]] {
            let folder = folder(&[(names[0], &encoder), (names[1], &merges)]);
            for name in [names[0], names[1], ""] {
                assert_eq!(of_file(&folder, name, &[]).unwrap().vocabulary_size(), 260, "{name}");
            }
        }
        let folder = folder(&[("vocab.txt", WORDS)]);
        let tokenizer = of_file(&folder, "", &[]).unwrap();
        assert_eq!(tokenizer.ids("The lower").unwrap(), [5, 6, 7]);
        let Vocabulary::Subwords { tokenizer: json } = &tokenizer.config().vocabulary else { panic!() };
        std::fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
        assert!(of_file(&folder, "", &[]).unwrap().config() == tokenizer.config());
    }

    #[test]
    fn a_mask_is_added_where_the_vocabulary_has_none() {
        let words = folder(&[("vocab.txt", WORDS)]);
        let tokenizer = of_file(&words, "", &["<mask>", "[MASK]"]).unwrap();
        assert_eq!((tokenizer.vocabulary_size(), tokenizer.special("[MASK]")), (8, Some(4)));
        let (encoder, merges) = pairs();
        let bytes = folder(&[("encoder.json", &encoder), ("vocab.bpe", &merges)]);
        let tokenizer = of_file(&bytes, "", &["<mask>", "[MASK]"]).unwrap();
        assert_eq!((tokenizer.vocabulary_size(), tokenizer.special("<mask>")), (261, Some(260)));
    }

    #[test]
    fn what_is_wrong_names_the_file() {
        let (encoder, merges) = pairs();
        let message = |files: &[(&str, &str)], name: &str| {
            let folder = folder(files);
            let error = of_file(&folder, name, &[]).err().expect("an error").to_string();
            error.replace(&folder.path().display().to_string(), "DIR")
        };
        assert_eq!(
            message(&[], ""),
            "DIR/: not found; expected a vocabulary: tokenizer.json, encoder.json, vocab.json, vocab.txt"
        );
        assert_eq!(
            message(&[("encoder.json", &encoder)], ""),
            "DIR/encoder.json: not found; expected vocab.bpe or merges.txt beside it"
        );
        let lost = message(&[("encoder.json", "{\"a\": 0}"), ("vocab.bpe", &merges)], "");
        assert!(
            lost.starts_with("DIR/encoder.json with DIR/vocab.bpe: vocab lacks 255 of the 256 bytes"),
            "{lost}"
        );
        let words = message(&[("vocab.txt", "the\n")], "vocab.txt");
        assert_eq!(words, "DIR/vocab.txt: not readable as vocab.txt: no line is [UNK]");
        let small = fitted(&config(Path::new("x"), TextUnit::Bpe(256)), &[]).err().unwrap().to_string();
        assert_eq!(
            small,
            "data.vocabulary: bpe must be at least 257, for 256 are the single bytes; found 256"
        );
    }
}
