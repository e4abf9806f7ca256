//! Published vocabularies.
//!
//! Each becomes a [`Vocabulary::Subwords`] with its whole content, which
//! [`TextTokenizer::new`](smalti_contract::Tokenizer::new) checks. [`open`] reads any of them from disk, and
//! [`open_with`] from any location.

mod beside;
mod files;
mod write;

pub use files::{open, open_with};
pub use write::to_tokenizer_json;

use crate::config::Vocabulary;
use beside::Beside;
use serde_json::{Map, Value, json};
use smalti_contract::TokenizeError;

/// Read a `tokenizer.json` of the `tokenizers` library: BPE, WordPiece, Unigram or WordLevel.
///
/// # Errors
/// [`TokenizeError::Format`] if the file is not JSON or has no model.
pub fn tokenizer_json(file: &[u8]) -> Result<Vocabulary, TokenizeError> {
    const FORMAT: &str = "tokenizer.json";
    let tokenizer = object(FORMAT, file)?;
    if !tokenizer.contains_key("model") {
        return Err(failed(FORMAT, "it has no \"model\"".into()));
    }
    Ok(Vocabulary::Subwords { tokenizer: Value::Object(tokenizer) })
}

/// Read GPT-2's pair of files, `encoder.json` (also `vocab.json`) and `vocab.bpe` (also `merges.txt`): byte-level BPE
/// with the pattern of Radford et al. 2019. Special tokens are not recognised in texts: `<|endoftext|>` is plain text.
///
/// # Errors
/// [`TokenizeError::Format`] for an encoder that is not an object of tokens and ids, and for a line of merges that is
/// not two tokens.
pub fn gpt2(encoder: &[u8], merges: &[u8]) -> Result<Vocabulary, TokenizeError> {
    let vocab = object("encoder.json", encoder)?;
    let lines = lines("vocab.bpe", merges)?;
    let mut pairs = Vec::with_capacity(lines.len());
    for (number, line) in (1..).zip(lines) {
        if line.is_empty() || (number == 1 && line.starts_with("#version")) {
            continue;
        }
        match line.split(' ').collect::<Vec<_>>()[..] {
            [first, second] if !first.is_empty() && !second.is_empty() => pairs.push(json!([first, second])),
            _ => {
                let problem =
                    format!("line {number} must be two tokens separated by a space; found {line:?}");
                return Err(failed("vocab.bpe", problem));
            }
        }
    }
    let bytes =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let tokenizer = json!({
        "version": "1.0",
        "added_tokens": [],
        "normalizer": null,
        "pre_tokenizer": bytes,
        "post_processor": null,
        "decoder": bytes,
        "model": {"type": "BPE", "vocab": vocab, "merges": pairs},
    });
    Ok(Vocabulary::Subwords { tokenizer })
}

/// Read BERT's `vocab.txt`, one token in each line: WordPiece between `[CLS]` and `[SEP]`, with the normaliser of
/// Devlin et al. 2019. The file does not state whether the model is cased; it is if a token without brackets has an
/// upper-case letter. Otherwise texts are converted to lower case and lose their accents.
///
/// # Errors
/// [`TokenizeError::Format`] if the file is not UTF-8, a token occurs twice, or `[UNK]`, `[CLS]` or `[SEP]` is missing.
pub fn bert(vocab: &[u8]) -> Result<Vocabulary, TokenizeError> {
    bert_beside(vocab, &Beside::default())
}

/// [`bert`], with the names of special tokens and the case of the files beside it.
fn bert_beside(vocab: &[u8], beside: &Beside) -> Result<Vocabulary, TokenizeError> {
    const FORMAT: &str = "vocab.txt";
    let mut tokens = Map::new();
    for (id, token) in lines(FORMAT, vocab)?.into_iter().enumerate() {
        if let Some(before) = tokens.insert(token.into(), id.into()) {
            let first = before.as_u64().unwrap_or_default() + 1;
            return Err(failed(FORMAT, format!("line {} is {token:?}, the same as line {first}", id + 1)));
        }
    }
    let [pad, unknown, first, last, mask] = ["pad", "unk", "cls", "sep", "mask"].map(|role| {
        let usual = format!("[{}]", role.to_uppercase());
        beside.token(&format!("{role}_token")).map_or(usual, String::from)
    });
    let [pad, unknown, first, last, mask] = [&pad, &unknown, &first, &last, &mask];
    for special in [unknown, first, last] {
        if !tokens.contains_key(special) {
            return Err(failed(FORMAT, format!("the token {special} is missing")));
        }
    }
    let bracketed = |token: &str| token.starts_with('[') && token.ends_with(']');
    // With these files, transformers converts to lower case unless they say otherwise.
    let cased = !beside.has_config()
        && tokens.keys().any(|token| !bracketed(token) && token.to_lowercase() != **token);
    let special = |name: &String| {
        let id = tokens.get(name)?;
        let plain = json!({"id": id, "content": name, "special": true, "normalized": false});
        let mut token = plain.as_object()?.clone();
        token.extend(["single_word", "lstrip", "rstrip"].map(|setting| (setting.to_string(), false.into())));
        Some(Value::Object(token))
    };
    let added: Vec<Value> = [pad, unknown, first, last, mask].into_iter().filter_map(special).collect();
    let framing = |name: &String| json!({"id": name, "ids": [tokens[name]], "tokens": [name]});
    let placed = |name: &String| json!({"SpecialToken": {"id": name, "type_id": 0}});
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let tokenizer = json!({
        "version": "1.0",
        "added_tokens": added,
        "normalizer": {
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
            "lowercase": !cased,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [placed(first), text, placed(last)],
            "pair": [placed(first), text, placed(last), {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {first: framing(first), last: framing(last)},
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {
            "type": "WordPiece", "unk_token": unknown, "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": tokens,
        },
    });
    Ok(Vocabulary::Subwords { tokenizer })
}

fn failed(format: &'static str, problem: String) -> TokenizeError {
    TokenizeError::Format { format, problem }
}

fn object(format: &'static str, file: &[u8]) -> Result<Map<String, Value>, TokenizeError> {
    match serde_json::from_slice(file) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(failed(format, "expected a JSON object".into())),
        Err(error) => Err(failed(format, error.to_string())),
    }
}

/// Lines without their ends, which may be those of Windows.
fn lines<'a>(format: &'static str, file: &'a [u8]) -> Result<Vec<&'a str>, TokenizeError> {
    let text = std::str::from_utf8(file).map_err(|e| {
        failed(format, format!("invalid byte {:#04x} at offset {}", file[e.valid_up_to()], e.valid_up_to()))
    })?;
    Ok(text.lines().collect())
}
