//! Bounds of a `tokenizer.json`: how far a normalizer may lengthen a text, and how long a word or a piece may be. The
//! `tokenizers` crate takes any.

use crate::border::flat;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};
use smalti_contract::memory;
use std::collections::HashSet;

/// The most bytes that normalizers may make of one. The longest character of NFKC has 11 for each of its own; a space that
/// becomes `▁` has 3.
const MOST_GROWTH: usize = 64;
/// The most bytes that a normalizer may put before a text.
const MOST_PREPENDED: usize = 64;
/// The most characters of a word that WordPiece splits, in a time that grows with their cube.
const MOST_CHARACTERS: u64 = 512;
/// The most bytes of a piece of Unigram.
const MOST_OF_PIECE: usize = 512;
/// The bytes that the crate holds for one byte of a normalized text: itself and its place in the text.
const HELD: usize = 20;

/// Check the parts of a `tokenizer.json`; returns the most bytes that a byte of text may become.
pub(crate) fn check(file: &Map<String, Value>) -> Result<usize, String> {
    let part = |name: &str| file.get(name).unwrap_or(&Value::Null);
    model(part("model"))?;
    if flat(part("pre_tokenizer"), "pretokenizers")
        .iter()
        .any(|part| part["type"] == "FixedLength" && part["length"] == 0)
    {
        return Err("pre_tokenizer FixedLength has the length 0; expected 1 or more".into());
    }
    let mut growth = 1_usize;
    for normalizer in flat(part("normalizer"), "normalizers") {
        growth = growth.saturating_mul(growth_of(normalizer)?);
        if growth > MOST_GROWTH {
            return Err(format!(
                "normalizers may make more than {MOST_GROWTH} bytes of one; expected fewer, or shorter replacements"
            ));
        }
    }
    Ok(growth)
}

/// Fail for a text that may be too long for the memory once it is normalized.
pub(crate) fn fits(text: &str, growth: usize) -> Result<(), String> {
    memory::check((text.len() as u64).saturating_mul((growth * HELD) as u64)).map_err(|e| {
        format!("a text of {} bytes may become {growth} times as long once it is normalized: {e}", text.len())
    })
}

fn model(model: &Value) -> Result<(), String> {
    let limit = &model["max_input_chars_per_word"];
    if !limit.is_null() && !limit.as_u64().is_some_and(|limit| (1..=MOST_CHARACTERS).contains(&limit)) {
        return Err(format!(
            "model has max_input_chars_per_word {limit}; expected 1 to {MOST_CHARACTERS}, as 100 in BERT"
        ));
    }
    let pieces = model["vocab"].as_array().into_iter().flatten();
    match pieces.filter_map(|piece| piece[0].as_str()).find(|piece| piece.len() > MOST_OF_PIECE) {
        Some(piece) => {
            let start: String = piece.chars().take(20).collect();
            Err(format!("piece {start:?}… has {} bytes; expected at most {MOST_OF_PIECE}", piece.len()))
        }
        None => Ok(()),
    }
}

/// The most bytes that a normalizer makes of one.
fn growth_of(normalizer: &Value) -> Result<usize, String> {
    let text = |value: &Value| value.as_str().map_or(0, str::len);
    Ok(match normalizer["type"].as_str().unwrap_or_default() {
        // A pattern may match nothing, at each place.
        "Replace" => match text(&normalizer["pattern"]["String"]) {
            0 => 1 + text(&normalizer["content"]),
            replaced => text(&normalizer["content"]).div_ceil(replaced).max(1),
        },
        "Prepend" if text(&normalizer["prepend"]) > MOST_PREPENDED => {
            return Err(format!("normalizer Prepend has more than {MOST_PREPENDED} bytes"));
        }
        "ByteLevel" => 2,
        "Precompiled" => match normalizer["precompiled_charsmap"].as_str() {
            Some(charsmap) => {
                let bytes = BASE64_STANDARD.decode(charsmap);
                let bytes = bytes.map_err(|e| format!("precompiled_charsmap is not base64: {e}"))?;
                Charsmap::parse(&bytes)
                    .and_then(|map| map.growth())
                    .ok_or("precompiled_charsmap is corrupt: an entry is outside of it")?
            }
            None => 1,
        },
        _ => 1,
    })
}

/// The normalisation of SentencePiece: a trie of bytes, whose values are places in a list of texts that end in zeros.
struct Charsmap<'a> {
    trie: Vec<usize>,
    texts: &'a [u8],
}

impl<'a> Charsmap<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (size, rest) = bytes.split_first_chunk::<4>()?;
        let (trie, texts) = rest.split_at_checked(u32::from_le_bytes(*size) as usize)?;
        let trie = trie.as_chunks::<4>().0.iter().map(|unit| u32::from_le_bytes(*unit) as usize).collect();
        Some(Self { trie, texts })
    }

    /// The most bytes that replace one; `None` if a search could leave the trie or the texts.
    fn growth(&self) -> Option<usize> {
        let offset = |unit: usize| (unit >> 10) << ((unit & (1 << 9)) >> 6);
        let (mut most, mut seen) = (1, HashSet::new());
        // The places after each found byte, and the number of bytes to them.
        let mut open = vec![(offset(*self.trie.first()?), 0_usize)];
        while let Some((place, depth)) = open.pop() {
            if !seen.insert(place) {
                continue;
            }
            // Any next byte must be in the trie.
            self.trie.get(place | 0xff)?;
            for byte in 1..=0xff_usize {
                let unit = self.trie[place ^ byte];
                if unit & (1 << 31 | 0xff) != byte {
                    continue;
                }
                let next = place ^ byte ^ offset(unit);
                if unit >> 8 & 1 == 1 {
                    let value = self.trie.get(next)? & ((1 << 31) - 1);
                    let text = self.texts.get(value..)?.split(|&byte| byte == 0).next()?;
                    std::str::from_utf8(text).ok()?;
                    most = most.max(text.len().div_ceil(depth + 1));
                }
                open.push((next, depth + 1));
            }
        }
        Some(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn checked(part: &str, value: Value) -> Result<usize, String> {
        check(json!({ part: value }).as_object().unwrap())
    }

    fn replace(pattern: &str, content: &str) -> Value {
        json!({"type": "Replace", "pattern": {"String": pattern}, "content": content})
    }

    #[test]
    fn normalizers_that_lengthen_a_text_are_refused() {
        assert_eq!(checked("normalizer", replace(" ", "▁")), Ok(3));
        let doubling = json!({"type": "Sequence", "normalizers": vec![replace("a", "aa"); 40]});
        let error = checked("normalizer", doubling).unwrap_err();
        assert!(error.starts_with("normalizers may make more than 64 bytes of one"), "{error}");
        assert!(checked("normalizer", replace("a", &"b".repeat(1000))).is_err());
        assert!(checked("normalizer", replace(&"a".repeat(500), &"b".repeat(1000))).is_ok());
        let regex = json!({"type": "Replace", "pattern": {"Regex": "x*"}, "content": "y".repeat(100)});
        assert!(checked("normalizer", regex).is_err());
        assert!(checked("normalizer", json!({"type": "Prepend", "prepend": "▁"})).is_ok());
        assert!(checked("normalizer", json!({"type": "Prepend", "prepend": "▁".repeat(100)})).is_err());
    }

    #[test]
    fn limits_of_words_and_pieces_are_checked() {
        for (limit, is_ok) in
            [(json!(0), false), (json!(100), true), (json!(1_000_000), false), (json!(-1), false)]
        {
            let model = json!({"type": "WordPiece", "max_input_chars_per_word": limit});
            assert_eq!(checked("model", model).is_ok(), is_ok, "{limit}");
        }
        let error =
            checked("model", json!({"type": "WordPiece", "max_input_chars_per_word": 0})).unwrap_err();
        assert_eq!(error, "model has max_input_chars_per_word 0; expected 1 to 512, as 100 in BERT");
        assert!(checked("model", json!({"type": "Unigram", "vocab": [["a".repeat(5000), 0.0]]})).is_err());
        assert!(checked("pre_tokenizer", json!({"type": "FixedLength", "length": 0})).is_err());
    }

    #[test]
    fn charsmaps_are_followed_within_their_bytes() {
        let precompiled = |trie: &[u32], size: u32, texts: &[u8]| {
            let mut bytes = size.to_le_bytes().to_vec();
            trie.iter().for_each(|unit| bytes.extend(unit.to_le_bytes()));
            bytes.extend(texts);
            let charsmap = BASE64_STANDARD.encode(bytes);
            checked("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": charsmap}))
        };
        // The root points to the place 256; `a` is a leaf there, whose value is at 512.
        let mut trie = vec![0; 1024];
        trie[0] = 256 << 10;
        trie[256 ^ 97] = (97 ^ 512 ^ 256) << 10 | 1 << 8 | 97;
        trie[512] = 2;
        assert_eq!(precompiled(&trie, 4096, b"x\0abc\0"), Ok(3));
        trie[512] = 100;
        assert!(precompiled(&trie, 4096, b"x\0abc\0").is_err(), "a text outside");
        trie[256 ^ 97] = 1 << 20 << 10 | 1 << 8 | 97;
        assert!(precompiled(&trie, 4096, b"x\0abc\0").is_err(), "a place outside");
        assert!(precompiled(&trie, u32::MAX, b"").is_err(), "a size beyond the bytes");
    }
}
