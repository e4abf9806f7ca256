//! The time of regular expressions that are not known to be fast.
//!
//! A pattern may need a time that grows with the square of a text, or more: `fancy-regex` limits the steps back of one match, not of
//! all. And where it gives up, the `tokenizers` crate takes the rest of the text as one piece, without a word.

use crate::border::{PATTERNS, flat};
use fancy_regex::Regex;
use serde_json::{Map, Value};
use std::time::{Duration, Instant};
use tokenizers::{NormalizedString, Normalizer, NormalizerWrapper};

/// The pattern of spaces in a row, which the files of SentencePiece models have.
const SPACES: &str = " {2,}";
/// The bytes of the first part of a text that is tried; each next part is twice as long.
const FIRST: usize = 1 << 10;
/// The time that the patterns may take, and the time for each byte of a text.
const TIME: Duration = Duration::from_millis(500);
const PER_BYTE: Duration = Duration::from_micros(5);

/// The patterns of a `tokenizer.json` that are not known, and the normalizers before them.
pub(crate) struct Watch {
    normalizers: Vec<(Option<Regex>, NormalizerWrapper)>,
    splits: Vec<Regex>,
}

impl Watch {
    /// The patterns of a file; `None` if all are known to be fast.
    ///
    /// # Errors
    /// For a pattern that is no regular expression.
    pub fn of(file: &Map<String, Value>) -> Result<Option<Self>, String> {
        let part = |name: &str| file.get(name).unwrap_or(&Value::Null);
        let mut watch = Self { normalizers: vec![], splits: vec![] };
        for normalizer in flat(part("normalizer"), "normalizers") {
            let parsed = serde_json::from_value(normalizer.clone());
            let parsed = parsed.map_err(|e| format!("normalizer: {e}"))?;
            watch.normalizers.push((unknown(normalizer)?, parsed));
        }
        for split in flat(part("pre_tokenizer"), "pretokenizers") {
            watch.splits.extend(unknown(split)?);
        }
        let is_known = watch.splits.is_empty() && watch.normalizers.iter().all(|(regex, _)| regex.is_none());
        Ok((!is_known).then_some(watch))
    }

    /// Fail for a text on which the patterns take too long, or give up.
    ///
    /// Parts of the text from its beginning are tried first, so that a time that grows fast is seen early.
    pub fn check(&self, text: &str) -> Result<(), String> {
        let mut size = FIRST;
        loop {
            let end =
                (0..=size.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or_default();
            self.check_part(&text[..end])?;
            if end == text.len() {
                return Ok(());
            }
            size *= 2;
        }
    }

    fn check_part(&self, text: &str) -> Result<(), String> {
        let bytes = u32::try_from(text.len()).unwrap_or(u32::MAX);
        let until = Instant::now() + TIME + PER_BYTE * bytes;
        let mut normalized = NormalizedString::from(text);
        for (regex, normalizer) in &self.normalizers {
            if let Some(regex) = regex {
                find_all(regex, normalized.get(), until)?;
            }
            normalizer.normalize(&mut normalized).map_err(|e| e.to_string())?;
        }
        self.splits.iter().try_for_each(|regex| find_all(regex, normalized.get(), until))
    }
}

/// The pattern of a `Split` or `Replace`, unless it is known to be fast.
fn unknown(part: &Value) -> Result<Option<Regex>, String> {
    match part["pattern"]["Regex"].as_str() {
        Some(pattern) if pattern != SPACES && !PATTERNS.contains(&pattern) => {
            Regex::new(pattern).map(Some).map_err(|e| format!("the pattern {:?}: {e}", short(pattern)))
        }
        _ => Ok(None),
    }
}

fn find_all(regex: &Regex, text: &str, until: Instant) -> Result<(), String> {
    let failed = |problem: String| {
        format!(
            "the pattern {:?} of the tokenizer.json {problem} on {} bytes of text; expected a pattern that steps back less",
            short(regex.as_str()),
            text.len()
        )
    };
    for found in regex.find_iter(text) {
        found.map_err(|e| failed(format!("fails ({e})")))?;
        if Instant::now() > until {
            return Err(failed("takes too long".into()));
        }
    }
    match Instant::now() > until {
        true => Err(failed("takes too long".into())),
        false => Ok(()),
    }
}

/// The beginning of a pattern, for messages.
fn short(pattern: &str) -> String {
    pattern.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn watch(pattern: &str) -> Option<Watch> {
        let split =
            json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
        Watch::of(json!({ "pre_tokenizer": split }).as_object().unwrap()).unwrap()
    }

    #[test]
    fn published_patterns_are_not_watched() {
        assert!(PATTERNS.iter().all(|pattern| watch(pattern).is_none()));
        assert!(watch(SPACES).is_none());
    }

    #[test]
    fn a_pattern_that_steps_back_without_end_is_an_error() {
        let text = "a".repeat(5000);
        let error = watch(r"(?:(?:a(?!c))+)+b|a").unwrap().check(&text).unwrap_err();
        assert!(error.starts_with("the pattern \"(?:(?:a(?!c))+)+b|a\" of the tokenizer.json"), "{error}");
        assert!(watch(r"\p{L}+|\s+(?!\S)|\s+").unwrap().check(&"to be ".repeat(1000)).is_ok());
    }

    #[test]
    fn a_replacement_is_watched_on_the_text_before_it() {
        let b_to_a = json!({"type": "Replace", "pattern": {"String": "b"}, "content": "a"});
        let slow = json!({"type": "Replace", "pattern": {"Regex": "(?:(?:a(?!d))+)+c"}, "content": ""});
        let file = json!({"normalizer": {"type": "Sequence", "normalizers": [b_to_a, slow]}});
        let watch = Watch::of(file.as_object().unwrap()).unwrap().unwrap();
        assert!(watch.check(&"b".repeat(100)).is_err());
        assert!(watch.check("x").is_ok());
    }
}
