//! Writing a vocabulary as a `tokenizer.json`.

use crate::checks::model_ids;
use crate::config::{TextConfig, UNKNOWN, Vocabulary};
use serde_json::{Map, Value, json};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

/// The configuration as a `tokenizer.json` that gives the same ids; `None` for a vocabulary of ids, whose texts are numbers.
///
/// The `tokenizers` library recognises special tokens in a text, which [`TextTokenizer`](crate::TextTokenizer) does not. A
/// character outside a vocabulary of characters without [`UNKNOWN`] gets the id after the last one, which a model does not have.
pub fn to_tokenizer_json(config: &TextConfig) -> Option<Value> {
    let mut file = match &config.vocabulary {
        Vocabulary::Numbers { .. } => return None,
        Vocabulary::Subwords { tokenizer } => tokenizer.clone(),
        Vocabulary::Bytes => {
            let byte_level = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false });
            let model = pieces((0..=255).map(|byte| byte_character(byte).to_string()), None);
            json!({ "version": "1.0", "model": model, "pre_tokenizer": byte_level, "decoder": byte_level })
        }
        Vocabulary::Characters { characters } => {
            let unknown = (!config.specials.iter().any(|name| name == UNKNOWN)).then(|| UNKNOWN.to_string());
            let names = characters.chars().map(String::from).chain(config.specials.iter().cloned());
            let model = pieces(names.chain(unknown), Some(UNKNOWN));
            json!({ "version": "1.0", "model": model, "decoder": { "type": "Fuse" } })
        }
    };
    let object = file.as_object_mut()?;
    let first = rows(object);
    // Characters have their special tokens in the vocabulary too, from the first on.
    let first = if let Vocabulary::Characters { characters } = &config.vocabulary {
        characters.chars().count()
    } else {
        first
    };
    let special = |(id, name): (usize, &String)| {
        json!({
            "id": id, "content": name, "special": true, "normalized": false,
            "single_word": false, "lstrip": false, "rstrip": false,
        })
    };
    let mut added = object.get("added_tokens").and_then(Value::as_array).cloned().unwrap_or_default();
    added.extend((first..).zip(&config.specials).map(special));
    object.insert("added_tokens".into(), added.into());
    if config.lowercase {
        let lowercase = json!({ "type": "Lowercase" });
        let normalizer = match object.get("normalizer").filter(|own| !own.is_null()) {
            None => lowercase,
            Some(own) => json!({ "type": "Sequence", "normalizers": [lowercase, own] }),
        };
        object.insert("normalizer".into(), normalizer);
    }
    for key in ["truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder"] {
        object.entry(key).or_insert(Value::Null);
    }
    Some(file)
}

/// BPE without merges: each character is a token.
fn pieces(names: impl Iterator<Item = String>, unknown: Option<&str>) -> Value {
    let vocab: Map<String, Value> = names.zip(0_u32..).map(|(name, id)| (name, id.into())).collect();
    json!({
        "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
        "vocab": vocab, "merges": [],
    })
}

/// The character of a byte in the alphabet of Radford et al. 2019: a printable byte is its own, the others follow from U+0100.
fn byte_character(byte: u8) -> char {
    let is_own = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if is_own(&byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|other| !is_own(other)).count();
    let mut others: Vec<char> = ByteLevel::alphabet().into_iter().filter(|c| *c >= '\u{100}').collect();
    others.sort_unstable();
    others.get(before).copied().unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The largest id of a `tokenizer.json`, plus 1.
fn rows(file: &Map<String, Value>) -> usize {
    let added = file.get("added_tokens").and_then(Value::as_array).into_iter().flatten();
    let ids = model_ids(file).chain(added.filter_map(|token| token["id"].as_u64()));
    ids.max().map_or(0, |id| id as usize + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TextTokenizer, fit, published};
    use smalti_contract::Tokenizer;

    fn again(config: &TextConfig) -> TextTokenizer {
        let file = to_tokenizer_json(config).unwrap().to_string();
        let vocabulary = published::tokenizer_json(file.as_bytes()).unwrap();
        TextTokenizer::new(TextConfig::new(vocabulary, config.context)).unwrap()
    }

    #[test]
    fn every_vocabulary_gives_the_same_ids_from_its_file() {
        let text = "zebra é, the low lower lowest\n\t𝄞 ";
        let specials = || vec!["<unk>".to_string(), "<mask>".into()];
        let texts = text.repeat(20);
        let configs = [
            fit::characters([text], specials(), 64).unwrap(),
            fit::characters([text], vec![], 64).unwrap(),
            TextConfig { specials: specials(), ..TextConfig::new(Vocabulary::Bytes, 64) },
            fit::bpe(texts.as_bytes(), 270, specials(), 64).unwrap(),
            fit::words(text.as_bytes(), 1, vec!["<mask>".into()], 64).unwrap(),
        ];
        for config in configs {
            let (ours, theirs) = (TextTokenizer::new(config.clone()).unwrap(), again(&config));
            let ids = ours.ids(text).unwrap();
            assert_eq!(theirs.ids(text).unwrap(), ids, "{config:?}");
            assert_eq!(theirs.text(&ids), ours.text(&ids), "{config:?}");
            for special in &config.specials {
                assert_eq!(theirs.special(special), ours.special(special), "{special} of {config:?}");
            }
        }
    }

    #[test]
    fn lower_case_stays() {
        let config = TextConfig { lowercase: true, ..fit::characters(["the cat"], vec![], 8).unwrap() };
        let ours = TextTokenizer::new(config.clone()).unwrap();
        assert_eq!(again(&config).ids("The CAT").unwrap(), ours.ids("the cat").unwrap());
    }

    #[test]
    fn ids_have_no_file() {
        assert_eq!(to_tokenizer_json(&TextConfig::new(Vocabulary::Numbers { count: 5 }, 8)), None);
    }
}
