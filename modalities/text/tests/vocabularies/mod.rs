//! Small vocabularies of every type.

use serde_json::{Value, json};
use smalti_contract::Tokenizer;
use smalti_text::{TextConfig, TextTokenizer, Vocabulary, fit, published};

/// Text with repeated words.
pub const TEXT: &str =
    "It's not the low or the lower but the lowest that we've seen: naïve 東京 🦀!\nLow, lower, lowest.\n";

pub fn build(vocabulary: Vocabulary) -> TextTokenizer {
    TextTokenizer::new(TextConfig::new(vocabulary, 512)).unwrap()
}

pub fn json_of(vocabulary: Vocabulary) -> Value {
    match vocabulary {
        Vocabulary::Subwords { tokenizer } => tokenizer,
        other => panic!("{other:?} has no tokenizer.json"),
    }
}

/// Byte-level BPE of 300 subwords.
pub fn byte_pairs() -> Value {
    json_of(fit::bpe(TEXT.repeat(20).as_bytes(), 300, vec![], 512).unwrap().vocabulary)
}

/// The lines of a small WordPiece vocabulary.
pub fn word_pieces() -> String {
    let whole = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "low", "##er", "##est", "not", "naive"];
    let marks = "!'#,-.:?".chars().map(String::from);
    let letters = ('a'..='z').flat_map(|c| [c.to_string(), format!("##{c}")]);
    whole.map(String::from).into_iter().chain(marks).chain(letters).collect::<Vec<_>>().join("\n")
}

pub fn bert() -> Value {
    json_of(published::bert(word_pieces().as_bytes()).unwrap())
}

/// SentencePiece's Unigram as in T5, without the table of its normaliser.
pub fn unigram() -> Value {
    let pieces: Vec<Value> =
        [("<unk>", 0.0), ("▁", -2.0), ("▁the", -3.0), ("▁low", -3.5), ("er", -3.0), ("est", -3.2)]
            .into_iter()
            .map(|(piece, score)| json!([piece, score]))
            .chain(('a'..='z').map(|c| json!([c.to_string(), -6.0])))
            .collect();
    json!({
        "version": "1.0",
        "added_tokens": [{
            "id": 0, "content": "<unk>", "special": true, "normalized": false,
            "single_word": false, "lstrip": false, "rstrip": false,
        }],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "NFKC"},
            {"type": "Strip", "strip_left": false, "strip_right": true},
            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"},
        ]},
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
        "post_processor": null,
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
        "model": {"type": "Unigram", "unk_id": 0, "vocab": pieces, "byte_fallback": false},
    })
}

/// Byte pairs with another pre-tokenizer, normaliser or added token.
pub fn byte_pairs_with(part: &str, value: Value) -> Value {
    let mut tokenizer = byte_pairs();
    tokenizer[part] = value;
    tokenizer
}

/// The pattern of Llama 3.
pub fn llama() -> Value {
    let pattern = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let split =
        json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    let bytes =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    byte_pairs_with("pre_tokenizer", json!({"type": "Sequence", "pretokenizers": [split, bytes]}))
}
