//! Positions where a text can be cut so that the concatenated ids of its parts equal the ids of the whole.

use serde_json::{Map, Value};

/// The positions where a text may be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cuts {
    /// Between any two characters.
    Anywhere,
    /// Before white space, at [`Borders`].
    At(Borders),
    /// No position is known to be safe.
    Nowhere,
}

/// A border is the position before a space that follows a character that is neither white space nor a control
/// character.
///
/// Before its model, a subword tokenizer only normalises characters and splits the text by a pattern that is matched
/// from left to right without state. So a border is safe if no match can cross it and the left part does not depend on
/// the right part. This holds for the tokenizers that [`of`](Self::of) accepts: their patterns match a space only at
/// the beginning of a piece or within white space, and the only look-ahead (`\s+(?!\S)`) follows white space, with
/// which the left part does not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Borders {
    /// Whether a line feed counts as a space.
    lines: bool,
    /// Whether the character before the border must be printable ASCII, because the normaliser maps sequences of other
    /// characters.
    ascii: bool,
}

/// The patterns of GPT-2, of GPT-4 and Llama 3, and of Qwen 2, as in their `tokenizer.json`. In none of them a space
/// follows another character within a match.
pub(crate) const PATTERNS: [&str; 3] = [
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
];

/// The behaviour of a pre-tokenizer at borders.
struct Splitter {
    /// Whether it splits before line feeds in the same way as before spaces.
    lines: bool,
    /// Whether white space is a separator and not part of tokens.
    drops_space: bool,
}

impl Borders {
    /// The borders of a `tokenizer.json`; `None` unless all of its components are known to keep them.
    pub fn of(tokenizer: &Map<String, Value>) -> Option<Self> {
        let splitter = splitter(tokenizer.get("pre_tokenizer")?)?;
        let mut borders = Self { lines: splitter.lines, ascii: false };
        for normalizer in flat(tokenizer.get("normalizer").unwrap_or(&Value::Null), "normalizers") {
            match kind(normalizer) {
                "NFC" | "NFD" | "NFKC" | "NFKD" | "Lowercase" => {}
                // They remove characters, which is safe only if white space is a separator.
                "BertNormalizer" | "StripAccents" if splitter.drops_space => {}
                "Precompiled" => borders.ascii = true,
                "Strip" if normalizer["strip_left"] == false => borders.ascii = true,
                "Replace" if normalizer["pattern"]["Regex"] == " {2,}" => borders.ascii = true,
                _ => return None,
            }
        }
        let added = tokenizer.get("added_tokens").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        added.iter().all(keeps_borders).then_some(borders)
    }

    /// The last border of a text, after its first character.
    fn last(self, text: &str) -> Option<usize> {
        (1..text.len()).rev().find(|&at| self.is_border(text, at))
    }

    fn is_border(self, text: &str, at: usize) -> bool {
        let bytes = text.as_bytes();
        if bytes[at] != b' ' && !(self.lines && bytes[at] == b'\n') {
            return false;
        }
        if bytes[at - 1].is_ascii() {
            return bytes[at - 1].is_ascii_graphic();
        }
        let before = text[..at].chars().next_back();
        !self.ascii && before.is_some_and(|c| !c.is_whitespace() && !c.is_control())
    }

    /// Split a text at every border.
    pub fn words(self, text: &str) -> impl Iterator<Item = &str> {
        let mut rest = text;
        std::iter::from_fn(move || {
            let end = (1..rest.len()).find(|&at| self.is_border(rest, at)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            rest = after;
            (!word.is_empty()).then_some(word)
        })
    }
}

impl Cuts {
    /// The last position to cut an incomplete text; `None` if there is none.
    pub fn last(self, text: &str) -> Option<usize> {
        match self {
            Self::Anywhere => Some(text.len()).filter(|&len| len > 0),
            Self::At(borders) => borders.last(text),
            Self::Nowhere => None,
        }
    }

    /// Split a text into parts of about `size` bytes, longer if there is no position to cut.
    pub fn parts(self, mut text: &str, size: usize) -> Vec<&str> {
        let mut parts = Vec::new();
        let mut wanted = size;
        while text.len() > wanted {
            let end = (0..=wanted).rev().find(|&at| text.is_char_boundary(at)).unwrap_or_default();
            match self.last(&text[..end]) {
                Some(at) => {
                    let (part, after) = text.split_at(at);
                    parts.push(part);
                    (text, wanted) = (after, size);
                }
                None => wanted *= 2,
            }
        }
        parts.push(text);
        parts
    }
}

/// The first pre-tokenizer that splits words. Those before it may split more, but only by class of character; those
/// after it process one piece at a time.
fn splitter(pre_tokenizer: &Value) -> Option<Splitter> {
    let parts = flat(pre_tokenizer, "pretokenizers");
    let part = parts.into_iter().find(|part| !matches!(kind(part), "Digits" | "Punctuation"))?;
    let known = match kind(part) {
        "ByteLevel" => part["use_regex"] != false,
        "Split" => {
            let pattern = part["pattern"]["Regex"].as_str();
            let whole = part["behavior"] == "Isolated" && part["invert"] == false;
            whole && pattern.is_some_and(|pattern| PATTERNS.contains(&pattern))
        }
        "Metaspace" => part["split"] != false,
        "BertPreTokenizer" | "Whitespace" | "WhitespaceSplit" => true,
        _ => false,
    };
    let drops_space = matches!(kind(part), "BertPreTokenizer" | "Whitespace" | "WhitespaceSplit");
    // With a prefix, a part that begins with a line feed would get an additional space.
    let lines = drops_space || (kind(part) == "ByteLevel" && part["add_prefix_space"] == false);
    known.then_some(Splitter { lines, drops_space })
}

/// Whether an added token can neither cross a border nor depend on text across one.
fn keeps_borders(token: &Value) -> bool {
    let content = token["content"].as_str().unwrap_or_default();
    let inside = content.trim_start();
    let looks_back = token["single_word"] == true && inside.len() < content.len();
    token["rstrip"] != true && !looks_back && !inside.contains(char::is_whitespace)
}

/// The components of a sequence, or a single component; empty for null.
pub(crate) fn flat<'a>(part: &'a Value, list: &str) -> Vec<&'a Value> {
    match part.get(list).and_then(Value::as_array) {
        Some(parts) => parts.iter().flat_map(|part| flat(part, list)).collect(),
        None if part.is_null() => vec![],
        None => vec![part],
    }
}

fn kind(part: &Value) -> &str {
    part["type"].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(tokenizer: Value) -> Option<Borders> {
        Borders::of(tokenizer.as_object().unwrap())
    }

    fn byte_level() -> Value {
        json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": true})
    }

    fn cut(borders: Borders, text: &str) -> String {
        borders.words(text).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn a_border_lies_between_a_word_and_white_space() {
        let borders = of(json!({ "pre_tokenizer": byte_level() })).unwrap();
        assert_eq!(
            cut(borders, "To be,  or\n\nnot 東京\n é\u{1} x\t y"),
            "To| be,|  or|\n\nnot| 東京|\n é\u{1} x\t y"
        );
        assert_eq!(cut(borders, ""), "");
        assert_eq!(cut(borders, "  "), "  ");
        let spaces = of(json!({"pre_tokenizer": {"type": "Metaspace", "replacement": "▁"}})).unwrap();
        assert_eq!(cut(spaces, "To be\nor not"), "To| be\nor| not");
    }

    #[test]
    fn parts_end_at_borders_and_are_longer_without_one() {
        let cuts = Cuts::At(of(json!({ "pre_tokenizer": byte_level() })).unwrap());
        assert_eq!(cuts.parts("aa bb cccccccccccc d", 5), ["aa", " bb", " cccccccccccc d"]);
        assert_eq!(Cuts::Anywhere.parts("aé東", 3), ["aé", "東"]);
        assert_eq!(Cuts::Nowhere.parts("aa bb", 2), ["aa bb"]);
        assert_eq!(Cuts::Anywhere.parts("", 2), [""]);
    }

    #[test]
    fn tokenizers_that_could_cross_borders_have_none() {
        let token = |fields: Value| {
            let mut token = json!({"content": "[X]", "single_word": false, "rstrip": false});
            token.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            json!({"pre_tokenizer": byte_level(), "added_tokens": [token]})
        };
        assert!(of(token(json!({}))).is_some());
        assert!(of(token(json!({"content": "   "}))).is_some(), "white space is one piece");
        for fields in [
            json!({"rstrip": true}),
            json!({"content": "two words"}),
            json!({"content": "open "}),
            json!({"content": " x", "single_word": true}),
        ] {
            assert_eq!(of(token(fields.clone())), None, "{fields}");
        }
        for tokenizer in [
            json!({}),
            json!({"pre_tokenizer": null}),
            json!({"pre_tokenizer": {"type": "ByteLevel", "use_regex": false}}),
            json!({"pre_tokenizer": {"type": "Metaspace", "split": false}}),
            json!({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "a b"}, "behavior": "Isolated", "invert": false}}),
            json!({"pre_tokenizer": byte_level(), "normalizer": {"type": "Prepend", "prepend": "▁"}}),
            json!({"pre_tokenizer": byte_level(), "normalizer": {"type": "StripAccents"}}),
            json!({"pre_tokenizer": byte_level(), "normalizer": {"type": "Strip", "strip_left": true}}),
        ] {
            assert_eq!(of(tokenizer.clone()), None, "{tokenizer}");
        }
    }

    #[test]
    fn sequences_are_searched() {
        let pre = json!({"type": "Sequence", "pretokenizers": [{"type": "Digits"}, byte_level()]});
        let normal = json!({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Precompiled"}]});
        let borders = of(json!({"pre_tokenizer": pre, "normalizer": normal})).unwrap();
        assert_eq!(borders, Borders { lines: true, ascii: true });
        assert_eq!(cut(borders, "é a b"), "é a| b");
    }
}
