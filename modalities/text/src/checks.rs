//! Checks of a `tokenizer.json` before the `tokenizers` crate reads it.
//!
//! That crate validates little: it drops characters without a token, gives an added token another id than its file, and
//! panics for a merge whose result is not a token and for a template with unknown tokens.

use crate::border::flat;
use serde_json::{Map, Value};
use std::collections::HashSet;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

type Object = Map<String, Value>;

/// Check the model and the template of a `tokenizer.json`.
pub(crate) fn check(tokenizer: &Object) -> Result<(), String> {
    for part in flat(tokenizer.get("post_processor").unwrap_or(&Value::Null), "processors") {
        if part["type"] == "TemplateProcessing" {
            template(part)?;
        }
    }
    let model = tokenizer.get("model").and_then(Value::as_object).ok_or("has no model")?;
    let byte_level = is_byte_level(tokenizer);
    match model.get("type").and_then(Value::as_str) {
        Some("BPE") => byte_pairs(model, byte_level),
        Some("WordPiece" | "WordLevel") => {
            let tokens = tokens(model)?;
            let unknown = model.get("unk_token").and_then(Value::as_str).ok_or("model has no unk_token")?;
            known(tokens, unknown, "unk_token")
        }
        Some("Unigram") => unigram(model),
        Some(other) => {
            Err(format!("model has the type {other:?}; expected BPE, WordPiece, WordLevel or Unigram"))
        }
        // Files from before 2020 have no type; a model with merges is BPE.
        None if model.contains_key("merges") => byte_pairs(model, byte_level),
        None => Err("model has no type; expected BPE, WordPiece, WordLevel or Unigram".into()),
    }
}

/// The tokens of a template for one input must be among its special tokens, and there must be no second input.
fn template(template: &Value) -> Result<(), String> {
    let inputs =
        template["single"].as_array().into_iter().flatten().filter(|piece| piece["Sequence"]["id"] == "A");
    let inputs = inputs.count();
    if inputs > 1 {
        return Err(format!("template for one input has it {inputs} times; expected once"));
    }
    for piece in template["single"].as_array().into_iter().flatten() {
        let special = piece["SpecialToken"]["id"].as_str();
        let unknown = special.filter(|name| template["special_tokens"].get(name).is_none());
        let second = piece["Sequence"]["id"].as_str().filter(|id| *id != "A");
        if let Some(name) = unknown.or(second) {
            return Err(format!("template for one input has {name:?}; expected one of its special tokens"));
        }
    }
    Ok(())
}

/// The ids of a model's vocabulary: those of its tokens, or the places of its pieces.
pub(crate) fn model_ids(tokenizer: &Object) -> Box<dyn Iterator<Item = u64> + '_> {
    match tokenizer.get("model").and_then(|model| model.get("vocab")) {
        Some(Value::Object(tokens)) => Box::new(tokens.values().filter_map(Value::as_u64)),
        Some(Value::Array(pieces)) => Box::new(0..pieces.len() as u64),
        _ => Box::new(std::iter::empty()),
    }
}

/// Check the ids of a vocabulary with its added tokens: distinct, and almost without gaps, because an embedding table
/// has a row for each id up to the largest. Returns the number of rows.
pub(crate) fn rows(ids: &[u64]) -> Result<usize, String> {
    let rows = ids.iter().max().map_or(0, |most| most.saturating_add(1));
    if rows > 2 * ids.len() as u64 {
        return Err(format!("{} tokens have ids up to {}; too many ids are unused", ids.len(), rows - 1));
    }
    let mut seen = vec![false; rows as usize];
    match ids.iter().find(|&&id| std::mem::replace(&mut seen[id as usize], true)) {
        Some(id) => Err(format!("two tokens have the id {id}")),
        None => Ok(seen.len()),
    }
}

/// The vocabulary of a model: tokens and their ids.
fn tokens(model: &Object) -> Result<&Object, String> {
    let tokens =
        model.get("vocab").and_then(Value::as_object).ok_or("model has no vocab of tokens and ids")?;
    let invalid = tokens.iter().find(|(_, id)| id.as_u64().is_none_or(|id| id >= u64::from(u32::MAX)));
    match invalid {
        Some((token, id)) => Err(format!("token {token:?} has the id {id}; expected a whole number")),
        None if tokens.is_empty() => Err("model's vocab is empty".into()),
        None => Ok(tokens),
    }
}

fn known(tokens: &Object, token: &str, role: &str) -> Result<(), String> {
    match tokens.contains_key(token) {
        true => Ok(()),
        false => Err(format!("{role} {token:?} is not in the vocab")),
    }
}

/// Whether a text is split into its bytes, each of which is a character for the model.
pub(crate) fn is_byte_level(tokenizer: &Object) -> bool {
    let splits = flat(tokenizer.get("pre_tokenizer").unwrap_or(&Value::Null), "pretokenizers");
    splits.iter().any(|part| part["type"] == "ByteLevel")
}

/// The bytes without a token: with a byte-level model that has no unknown token, they would be lost.
pub(crate) fn lost_bytes(tokenizer: &Object) -> Vec<u8> {
    let Some(model) = tokenizer.get("model").and_then(Value::as_object) else { return vec![] };
    let known = |character: char| {
        let vocab = model.get("vocab").and_then(Value::as_object);
        vocab.is_some_and(|vocab| vocab.contains_key(character.encode_utf8(&mut [0; 4]) as &str))
    };
    if !is_byte_level(tokenizer)
        || !model.contains_key("merges")
        || model.get("unk_token").is_some_and(Value::is_string)
    {
        return vec![];
    }
    // The alphabet of Radford et al. 2019: a printable byte is its own character, the others follow from U+0100 on.
    let mut others = (0x100_u32..).filter_map(char::from_u32);
    let character = |byte: u8| match byte {
        b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => Some(char::from(byte)),
        _ => others.next(),
    };
    let characters: Vec<Option<char>> = (0..=255).map(character).collect();
    (0..=255)
        .zip(characters)
        .filter(|(_, character)| !character.is_some_and(known))
        .map(|(byte, _)| byte)
        .collect()
}

fn byte_pairs(model: &Object, byte_level: bool) -> Result<(), String> {
    let tokens = tokens(model)?;
    if model.get("dropout").is_some_and(|dropout| !dropout.is_null() && dropout != 0.0) {
        return Err("model has dropout; the same text must always have the same ids".into());
    }
    match model.get("unk_token").and_then(Value::as_str) {
        Some(unknown) => known(tokens, unknown, "unk_token")?,
        // Texts with other bytes are refused one by one.
        None if byte_level => {}
        None => every_byte(tokens, model.get("byte_fallback") == Some(&Value::Bool(true)))?,
    }
    let merges = model.get("merges").and_then(Value::as_array).ok_or("model has no list of merges")?;
    let prefix = model.get("continuing_subword_prefix").and_then(Value::as_str).unwrap_or_default();
    let names: HashSet<&str> = tokens.keys().map(String::as_str).collect();
    for (place, merge) in merges.iter().enumerate() {
        merged(&names, merge, prefix).map_err(|problem| format!("merge {place} {problem}"))?;
    }
    Ok(())
}

/// Without an unknown token, there must be a token for each byte; otherwise characters would be lost.
fn every_byte(tokens: &Object, fallback: bool) -> Result<(), String> {
    let missing = match fallback {
        true => (0..=255_u8).filter(|byte| !tokens.contains_key(&format!("<0x{byte:02X}>"))).count(),
        false => {
            let mut buffer = [0; 4];
            ByteLevel::alphabet()
                .iter()
                .filter(|c| !tokens.contains_key(&*c.encode_utf8(&mut buffer)))
                .count()
        }
    };
    match missing {
        0 => Ok(()),
        n => Err(format!("vocab lacks {n} of the 256 bytes and there is no unk_token; text would be lost")),
    }
}

fn merged(tokens: &HashSet<&str>, merge: &Value, prefix: &str) -> Result<(), String> {
    let parts = match merge {
        Value::String(pair) => pair.split_once(' '),
        Value::Array(pair) => match &pair[..] {
            [Value::String(a), Value::String(b)] => Some((a.as_str(), b.as_str())),
            _ => None,
        },
        _ => None,
    };
    let (first, second) = parts.ok_or_else(|| format!("must be two tokens; found {merge}"))?;
    let suffix = second
        .strip_prefix(prefix)
        .ok_or_else(|| format!("has {second:?} as its second; expected it to begin with {prefix:?}"))?;
    let result = format!("{first}{suffix}");
    match [first, second, &result].into_iter().find(|token| !tokens.contains(token)) {
        Some(token) => Err(format!("of {first:?} and {second:?}: the token {token:?} is not in the vocab")),
        None => Ok(()),
    }
}

fn unigram(model: &Object) -> Result<(), String> {
    let vocab =
        model.get("vocab").and_then(Value::as_array).ok_or("model has no vocab of pieces and scores")?;
    let piece = |entry: &Value| match entry.as_array().map(Vec::as_slice) {
        Some([Value::String(piece), Value::Number(_)]) => (!piece.is_empty()).then(|| piece.clone()),
        _ => None,
    };
    let mut pieces = HashSet::new();
    for (place, entry) in vocab.iter().enumerate() {
        let Some(piece) = piece(entry) else {
            return Err(format!("piece {place} must be a text and a score; found {entry}"));
        };
        if let Some(repeated) = pieces.replace(piece) {
            return Err(format!("piece {place}, {repeated:?}, occurs twice"));
        }
    }
    let unknown = model.get("unk_id").filter(|id| !id.is_null());
    match unknown.map(|id| id.as_u64().ok_or(id)) {
        None | Some(Ok(_)) if vocab.is_empty() => Err("model's vocab is empty".into()),
        Some(Ok(id)) if id < vocab.len() as u64 => Ok(()),
        None => Ok(()),
        Some(Ok(id)) => Err(format!("unk_id is {id}; there are {} pieces", vocab.len())),
        Some(Err(id)) => Err(format!("unk_id is {id}; expected the index of a piece")),
    }
}
